"""From settings to a pipeline: the only file that knows the concrete classes."""

from __future__ import annotations

from pathlib import Path

from hmr_ros.backends.graph import Graph, check_golden
from hmr_ros.backends.onnx_runtime import OnnxRuntimeGraph
from hmr_ros.body_model import BodyModel
from hmr_ros.bundle import GRAPHS, Bundle, BundleError, load_bundle
from hmr_ros.config import ModelConfig, PipelineConfig
from hmr_ros.keypoints.blazepose import BlazePose
from hmr_ros.keypoints.source import KeypointSource
from hmr_ros.pipeline import Pipeline
from hmr_ros.regressor import Regressor
from hmr_ros.smoothing import Smoother
from hmr_ros.smpl_file import load_body
from hmr_ros.tracker import Tracker
from hmr_ros.tto import Optimiser
from hmr_ros.warm_start import WarmStart


def build_pipeline(config: PipelineConfig, source: KeypointSource | None = None) -> Pipeline:
    """Load body, bundle and detector, check that they fit together and compute what they should.

    source: where keypoints come from, if not from the detector that `config` names. Raises ConfigError, BundleError, BodyModelError or KeypointModelError, each saying what is wrong and what to do.
    """
    body, bundle, graphs = load_model(config.model)
    return Pipeline(
        config=config,
        body=body,
        source=source or BlazePose(config.keypoints),  # type: ignore[arg-type]  # its config may not be None
        tracker=Tracker(config.tracker),
        regressor=Regressor(graphs["encode"], graphs["regress"], bundle.loss_weights),
        optimiser=Optimiser(graphs["adapt"], graphs["readout"], bundle.without_steps),
        warm_start=WarmStart(config.warm_start),
        smoother=Smoother(config.smoothing),
        description={
            "bundle": bundle.name,
            "bundle_sha256": bundle.sha256,
            "shape_space": body.shape_space,
            "backend": "onnxruntime (CPU)",
            "keypoints": config.keypoints.source,
        },
    )


def load_model(config: ModelConfig) -> tuple[BodyModel, Bundle, dict[str, Graph]]:
    """Body, bundle, and the bundle's graphs with the body bound to them, each checked against its golden pair."""
    body, bundle = load_body(config.body), load_bundle(config.bundle)
    if body.shape_space != bundle.shape_space:
        raise BundleError(
            f"bundle {bundle.name!r} speaks the shape space {bundle.shape_space!r}, body {config.body!r} has "
            f"{body.shape_space!r}: their betas are not interchangeable. Use a bundle trained with that body "
            "(`python -m training.train --body ...`), or model.body = 'open' with the shipped bundle"
        )
    graphs = {}
    for name in GRAPHS:
        graph = _load_graph(bundle.graph_path(name), config)
        check_golden(graph, name, bundle, "ONNX Runtime")
        graphs[name] = graph.bind(body.graph_inputs())
    return body, bundle, graphs


def _load_graph(path: Path, config: ModelConfig) -> Graph:
    return OnnxRuntimeGraph(path, config.threads)
