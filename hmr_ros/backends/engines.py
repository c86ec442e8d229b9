"""A bundle's graphs as TensorRT engines: found in the cache, or built there the first time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from hmr_ros.backends.cuda import Cuda
from hmr_ros.backends.device_graph import DeviceGraph, Shapes, people_in
from hmr_ros.backends.engine_cache import EngineCache, EngineKey
from hmr_ros.backends.tensorrt import PEOPLE, PICTURES, RECIPE, TensorRt, TensorRtEngine
from hmr_ros.bundle import Bundle

Progress = Callable[[str, float], None]
"""Called with a graph's name and the finished share of building its engine, 0 to 1."""
Ranges = tuple[tuple[int, int, int], ...]
"""Numbers of people, in the form of `PEOPLE`."""
HALF_TOLERANCE = 1e-2
"""Largest relative error allowed in half precision; see `check_golden`."""
_log = logging.getLogger(__name__)


class Engines:
    """precision: of the encoder, "fp16" or "fp32"; fp16 takes effect if the bundle has a graph for it (`encode_fp16.onnx`). Raises BackendError
    if there is no GPU or no TensorRT."""

    def __init__(self, cache: EngineCache, precision: str, progress: Progress):
        self.cuda = Cuda()
        self._tensorrt = TensorRt(self.cuda)
        self._cache, self._precision, self._progress = cache, precision, progress

    def graph(self, bundle: Bundle, name: str) -> DeviceGraph:
        half = self.is_half(bundle, name)
        version = f"{name}_fp16" if half else name
        return self.graph_in(bundle.graph_path(version), name, bundle.graph_sha256(version), half)

    def graph_in(self, file: Path, name: str, sha256: str, half: bool = False, ranges: Ranges = PEOPLE) -> DeviceGraph:
        """Engines of any ONNX file. name: shown in logs and file names; sha256: of the file and the weights it refers to; half: whether it computes
        in float16; ranges: numbers of people to have engines for."""
        return DeviceGraph(
            ByPeople([self._engine(file, name, sha256, half, ranges, i) for i in range(len(ranges))]), self.cuda
        )

    def _engine(self, file: Path, name: str, sha256: str, half: bool, ranges: Ranges, which: int) -> TensorRtEngine:
        """The engine for the numbers of people in ranges[which]."""
        people = ranges[which]
        key = EngineKey(
            graph=name,
            graph_sha256=sha256,
            gpu=self.cuda.description,
            tensorrt=self._tensorrt.version,
            precision="fp16" if half else "fp32",
            people=people,
            pictures=PICTURES,
            recipe=RECIPE,
        )

        def progress(share: float) -> None:
            self._progress(name, (which + share) / len(ranges))

        def build() -> bytes:
            many = f"{people[0]} to {people[-1]} people"
            _log.info("building the TensorRT engine of '%s' for %s on %s: once, may take minutes", name, many, key.gpu)
            began = time.monotonic()
            plan, timings = self._tensorrt.build(file, half, people, progress, self._cache.timings(key))
            self._cache.keep_timings(key, timings)
            _log.info("built '%s' in %.0f s", name, time.monotonic() - began)
            return plan

        return self._cache.engine(key, build, lambda plan: self._tensorrt.load(plan, people[-1]))

    def is_half(self, bundle: Bundle, name: str) -> bool:
        """Only the encoder has a version in half precision: what follows it computes gradients."""
        return self._precision == "fp16" and f"{name}_fp16.onnx" in bundle.manifest["sha256"]

    def tolerance(self, bundle: Bundle, name: str) -> float:
        return HALF_TOLERANCE if self.is_half(bundle, name) else 1e-3

    def describe(self, bundle: Bundle) -> str:
        encoder = "fp16" if self.is_half(bundle, "encode") else "fp32"
        return f"TensorRT {self._tensorrt.version} ({self.cuda.device_name}, encoder {encoder})"


class ByPeople:
    """Several engines of one graph as one: each has its largest number of people, and the first that is large enough runs."""

    def __init__(self, engines: list[TensorRtEngine]):
        self._engines = engines
        self.inputs, self.outputs = engines[0].inputs, engines[0].outputs
        self.max_people = engines[-1].max_people

    def prepare(self, shapes: Shapes, addresses: dict[str, int]) -> Callable[[], None]:
        """See `device_graph.Engine`."""
        people = people_in(shapes, self.inputs)
        return next(e for e in self._engines if people <= e.max_people).prepare(shapes, addresses)
