"""Graphs on ONNX Runtime: any CPU, and the reference for every other backend; or an NVIDIA GPU, through its CUDA provider."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hmr_ros.backends.graph import BackendError
from hmr_ros.bundle import BundleError

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"


class OnnxRuntimeGraph:
    """One ONNX file.

    threads: CPU threads of this graph; the adaptation step is too small to gain from more than one. provider: CPU or CUDA; raises
    BackendError where ONNX Runtime cannot use it.
    """

    def __init__(self, path: Path, threads: int = 1, provider: str = CPU):
        import onnxruntime as ort

        if provider not in ort.get_available_providers():
            raise BackendError(
                f"the installed onnxruntime {ort.__version__} has no {provider}: `pip install onnxruntime-gpu` in its place; "
                "PyPI has none for JetPack 6, whose own index NVIDIA's Jetson pages name"
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Not the default level: its MatmulTransposeFusion computes wrong gradients in these graphs.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.log_severity_level = 3
        # TF32 is too coarse for gradients.
        wanted = [(CUDA, {"use_tf32": "0"}), CPU] if provider == CUDA else [CPU]
        try:
            self._session = ort.InferenceSession(str(path), options, providers=wanted)
        except Exception as error:  # ONNX Runtime's exceptions have no common public base class
            raise BundleError(f"ONNX Runtime {ort.__version__} cannot load {path}: {error}") from error
        if provider not in self._session.get_providers():  # ONNX Runtime only logs this, and continues on the CPU
            raise BackendError(
                f"onnxruntime {ort.__version__} cannot start its {provider}: CUDA or cuDNN is missing in the version that it was built for"
            )
        self._inputs = {node.name for node in self._session.get_inputs()}
        self._outputs = [node.name for node in self._session.get_outputs()]
        self._bound: dict[str, np.ndarray] = {}

    def bind(self, inputs: dict[str, np.ndarray]) -> OnnxRuntimeGraph:
        bound = object.__new__(OnnxRuntimeGraph)
        bound._session, bound._inputs, bound._outputs = self._session, self._inputs, self._outputs
        bound._bound = self._bound | {n: np.ascontiguousarray(a) for n, a in inputs.items() if n in self._inputs}
        return bound

    def __call__(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        feed = {name: value for name, value in inputs.items() if name in self._inputs}
        return dict(zip(self._outputs, self._session.run(self._outputs, feed | self._bound)))
