"""Compiled engines on disk: the key is everything that they depend on, and files are written whole or not at all.

A file holds one line of JSON (the key, and the plan's sha256) and the plan. A file that is truncated, altered or of another key
counts as missing. If two processes want the same engine, one builds it and the other waits. TensorRT's timings of kernels, measured
while it builds, lie beside the plans in the same form.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from hmr_ros.backends.graph import BackendError

_log = logging.getLogger(__name__)
T = TypeVar("T")


class StalePlan(BackendError):
    """TensorRT does not accept the plan: it must be built again."""


@dataclass(frozen=True)
class EngineKey:
    """What a plan depends on."""

    graph: str
    """Name of the graph; only for people who look into the folder."""
    graph_sha256: str
    gpu: str
    """As `Cuda.description` says."""
    tensorrt: str
    precision: str
    people: tuple[int, int, int]
    pictures: tuple[tuple[int, int], ...] = ()
    """Numbers of people and sizes of pictures that kernels are chosen for."""
    recipe: int = 0
    """`tensorrt.RECIPE`: the version of how plans are built."""

    @property
    def file_name(self) -> str:
        return f"{self.graph}-{_digest(asdict(self))}.plan"


class EngineCache:
    """folder: where plans lie; empty for `hmr_ros/engines` in the user's cache ($XDG_CACHE_HOME, or ~/.cache)."""

    def __init__(self, folder: str = ""):
        default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hmr_ros" / "engines"
        self.folder = Path(folder).expanduser() if folder else default

    def engine(self, key: EngineKey, build: Callable[[], bytes], load: Callable[[bytes], T]) -> T:
        """Return what `load` makes of the plan for `key`: the one in the folder or, if there is none or `load` raises StalePlan, a new one."""
        found = self._find(key, load)  # without the lock: a robot's folder may be read-only
        if found is not None:
            return found
        with self._lock(key):
            found = self._find(key, load)  # another process may have built it while we waited for the lock
            if found is None:
                plan = build()
                self._write(key.file_name, asdict(key), plan)
                found = load(plan)
            return found

    def timings(self, key: EngineKey) -> bytes:
        """Timings of kernels measured in earlier builds for the same GPU and TensorRT; empty if there are none."""
        return self._read(*_about_timings(key)) or b""

    def keep_timings(self, key: EngineKey, timings: bytes) -> None:
        self._write(*_about_timings(key), timings)

    def _find(self, key: EngineKey, load: Callable[[bytes], T]) -> T | None:
        plan = self._read(key.file_name, asdict(key))
        try:
            return None if plan is None else load(plan)
        except StalePlan as error:
            _log.warning("%s is built again: %s", self.folder / key.file_name, error)
            return None

    def _read(self, name: str, about: dict) -> bytes | None:
        path = self.folder / name
        try:
            header, _, content = path.read_bytes().partition(b"\n")
        except OSError:  # missing, or not readable by us
            return None
        if header != _header(about, content):
            _log.warning("%s is damaged: it is made again", path)
            return None
        return content

    def _write(self, name: str, about: dict, content: bytes) -> None:
        """Write under another name, then rename: a reader finds the whole file or none, even after a power cut."""
        try:
            handle, part = tempfile.mkstemp(dir=self.folder, prefix=name, suffix=".part")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(_header(about, content) + b"\n" + content)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(part, self.folder / name)
            finally:
                Path(part).unlink(missing_ok=True)
        except OSError as error:  # the content is still in memory, and used from there
            _log.warning("%s cannot be kept, and is made again at the next start: %s", self.folder / name, error)

    @contextmanager
    def _lock(self, key: EngineKey) -> Iterator[None]:
        """Let one process in at a time; the kernel releases the lock when a process ends, however it ends."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = open(self.folder / f"{key.file_name}.lock", "w")
        except OSError as error:
            raise BackendError(
                f"engines cannot be kept in {self.folder} ({error}): set `model.engine_cache` to a folder that can be written to"
            ) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _log.info("another process is building the engine of '%s': waiting for it", key.graph)
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _about_timings(key: EngineKey) -> tuple[str, dict]:
    """Name of the timings' file, and what the timings depend on."""
    about = {"gpu": key.gpu, "tensorrt": key.tensorrt}
    return f"{_digest(about)}.timings", about


def _header(about: dict, content: bytes) -> bytes:
    return _canonical({**about, "sha256": hashlib.sha256(content).hexdigest()})


def _digest(about: dict) -> str:
    return hashlib.sha256(_canonical(about)).hexdigest()[:16]


def _canonical(about: dict) -> bytes:
    return json.dumps(about, sort_keys=True).encode()
