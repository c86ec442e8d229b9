"""From settings to a pipeline: the only file that knows the concrete classes."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Collection
from functools import partial
from pathlib import Path

from hmr_ros.backends.divided import DividedGraph
from hmr_ros.backends.engine_cache import EngineCache
from hmr_ros.backends.engines import Engines, Progress
from hmr_ros.backends.graph import Graph, check_golden
from hmr_ros.backends.onnx_runtime import CPU, CUDA, OnnxRuntimeGraph
from hmr_ros.backends.selection import Loaded, first_that_works, unless_slower
from hmr_ros.body_model import BodyModel
from hmr_ros.bundle import GRAPHS, LOOK, Bundle, BundleError, load_bundle
from hmr_ros.config import KeypointsConfig, ModelConfig, PipelineConfig
from hmr_ros.encoders import make_encoder
from hmr_ros.keypoints.blazepose import BlazePose
from hmr_ros.keypoints.external import ExternalKeypoints
from hmr_ros.keypoints.flips import FlipRepair
from hmr_ros.keypoints.graph_network import GraphNetwork, onnx_of
from hmr_ros.keypoints.source import KeypointSource
from hmr_ros.metric_depth import MetricDepth
from hmr_ros.pipeline import Pipeline
from hmr_ros.regressor import Regressor
from hmr_ros.smoothing import Smoother
from hmr_ros.smpl_file import load_body
from hmr_ros.tracker import Tracker
from hmr_ros.tto import Optimiser
from hmr_ros.warm_start import WarmStart
from hmr_ros.worker_pool import WorkerPool

_log = logging.getLogger(__name__)


def no_progress(graph: str, share: float) -> None:
    """Ignore progress: the log reports the building of engines anyway."""


def build_pipeline(config: PipelineConfig, source: KeypointSource | None = None) -> Pipeline:
    """Load body, bundle and detector, check that they fit together and compute what they should.

    source: where keypoints come from, if not from the detector that `config` names. Raises ConfigError, BundleError, BackendError, BodyModelError or
    KeypointModelError, each saying what is wrong and what to do.
    """
    body, bundle = load_weights(config.model)
    loaded = load_graphs(config.model, body, bundle, config.keypoints.max_people)
    graphs = loaded.graphs
    detector = type(source).__name__ if source else config.keypoints.source
    return Pipeline(
        config=config,
        body=body,
        source=source or make_source(config.keypoints, config.model, engines=loaded.engines),  # type: ignore[arg-type]  # their config may not be None
        tracker=Tracker(config.tracker),
        flips=FlipRepair(),
        regressor=make_regressor(bundle, graphs),
        optimiser=Optimiser(graphs["adapt"], graphs["readout"]),
        warm_start=WarmStart(config.warm_start),
        metric_depth=MetricDepth(body),
        smoother=Smoother(config.smoothing),
        description={
            "bundle": bundle.name,
            "bundle_sha256": bundle.sha256,
            "shape_space": body.shape_space,
            "backend": loaded.name,
            "backend_reason": loaded.reason,
            "keypoints": detector,
            "keypoints_backend": config.keypoints.backend if detector == "blazepose" else "",
        },
    )


def make_source(
    config: KeypointsConfig,
    model: ModelConfig,
    progress: Progress = no_progress,
    engines: Engines | None = None,
) -> BlazePose | ExternalKeypoints:
    """The detector that `config` names. model: says where engines are kept. progress: as for `load_graphs`. engines: the maker of the
    bundle's engines, if it has one, which then makes the detector's too."""
    if config.source == "topic":
        return ExternalKeypoints(config)
    if config.backend == "litert":
        return BlazePose(config)
    shared = engines or Engines(EngineCache(model.engine_cache), "fp32", progress)

    def on_gpu(network: Path, unwanted: object = None) -> GraphNetwork:  # the ONNX file has no `unwanted` outputs
        file = onnx_of(network)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        return GraphNetwork(shared.graph_in(file, file.stem, digest, ranges=((1, 1, 1),)), network)

    # One thread: there is one GPU, and one stream to it.
    return BlazePose(dataclasses.replace(config, threads=1), on_gpu)


def make_regressor(bundle: Bundle, graphs: dict[str, Graph]) -> Regressor:
    """graphs: the bundle's, as `load_graphs` returns them."""
    return Regressor(make_encoder(bundle, graphs), graphs["regress"], bundle.loss_weights)


def load_model(
    config: ModelConfig, people: int = 1, progress: Progress = no_progress
) -> tuple[BodyModel, Bundle, dict[str, Graph]]:
    """Body, bundle, and the bundle's graphs with the body bound to them; see `load_graphs`."""
    body, bundle = load_weights(config)
    return body, bundle, load_graphs(config, body, bundle, people, progress).graphs


def load_weights(config: ModelConfig) -> tuple[BodyModel, Bundle]:
    """Load body and bundle; raise BundleError unless both use the same shape space."""
    body, bundle = load_body(config.body), load_bundle(config.bundle)
    if body.shape_space != bundle.shape_space:
        raise BundleError(
            f"bundle {bundle.name!r} speaks the shape space {bundle.shape_space!r}, body {config.body!r} has "
            f"{body.shape_space!r}: their betas are not interchangeable. Use a bundle trained with that body "
            "(`python -m training.train --body ...`), or model.body = 'open' with the shipped bundle"
        )
    return body, bundle


def load_graphs(
    config: ModelConfig,
    body: BodyModel,
    bundle: Bundle,
    people: int = 1,
    progress: Progress = no_progress,
    names: Collection[str] = (),
) -> Loaded:
    """The bundle's graphs, each checked against its golden pair, on the backend that `config` names or the best that works.

    people: prepare for up to this many people now, rather than when so many are first seen. progress: called while engines are built,
    which may take minutes the first time. names: which graphs; by default those that a frame needs: on a GPU `look` in place of `encode`,
    if the bundle has it.
    """
    on_cpu = names or GRAPHS
    on_gpu = names or [LOOK if name == "encode" and LOOK in bundle.graphs else name for name in GRAPHS]

    def on_tensorrt() -> Loaded:
        engines = Engines(EngineCache(config.engine_cache), config.precision, progress)
        graphs = {}
        for name in on_gpu:
            graph = engines.graph(bundle, name)
            check_golden(graph, name, bundle, "TensorRT", engines.tolerance(bundle, name))
            graphs[name] = graph.bind(body.graph_inputs())
            graph.make_ready(people)
        return Loaded(dict(graphs), engines.describe(bundle), engines=engines)

    def on_onnx_runtime(provider: str, name: str) -> Loaded:
        graphs: dict[str, Graph] = {}
        for graph in on_gpu if provider == CUDA else on_cpu:
            loaded = OnnxRuntimeGraph(bundle.graph_path(graph), config.threads, provider)
            check_golden(loaded, graph, bundle, f"ONNX Runtime ({provider})")
            graphs[graph] = loaded.bind(body.graph_inputs())
            if provider == CPU and graph == "encode":
                graphs[graph] = DividedGraph(graphs[graph], WorkerPool(config.encoder_threads))
        return Loaded(graphs, name)

    makers = {
        "tensorrt": on_tensorrt,
        "onnxruntime_cuda": lambda: on_onnx_runtime(CUDA, "onnxruntime (CUDA)"),
        "onnxruntime": lambda: on_onnx_runtime(CPU, "onnxruntime (CPU)"),
    }
    if config.backend != "auto":
        return dataclasses.replace(makers[config.backend](), reason=f"model.backend is {config.backend}")
    frame = partial(_run_one_frame, {name: bundle.golden(name)[0] for name in bundle.graphs})
    faster = unless_slower(makers["onnxruntime_cuda"], makers["onnxruntime"], frame)
    loaded = first_that_works({**makers, "onnxruntime_cuda": faster})
    _log.info("graphs run on %s: %s", loaded.name, loaded.reason)
    return loaded


def _run_one_frame(inputs: dict[str, dict], loaded: Loaded) -> None:
    """Call the graphs as one frame does, with a few steps of optimisation."""
    for name, calls in {LOOK: 1, "encode": 1, "regress": 1, "adapt": 5, "readout": 2}.items():
        for _ in range(calls if name in loaded.graphs else 0):
            loaded.graphs[name](**inputs[name])
