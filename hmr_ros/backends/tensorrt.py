"""Plans built from ONNX files, and run, by TensorRT 8.6 to 11. The only file that imports it.

Arithmetic is decided in the ONNX file (TensorRT 10 and newer obey its types; 11 knows nothing else); TF32 is off, for it is too
coarse for the gradients in these graphs. Plans hold for one GPU and one version of TensorRT: see `engine_cache`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hmr_ros.backends.cuda import Cuda, DeviceBuffer, Scratch
from hmr_ros.backends.device_graph import Shapes, is_picture
from hmr_ros.backends.engine_cache import StalePlan
from hmr_ros.backends.graph import BackendError
from hmr_ros.bundle import EXACT
from hmr_ros.crop import LARGEST_PICTURE

PEOPLE = ((1, 1, 1), (2, 4, 8), (9, 16, 32))
"""Numbers of people that kernels are chosen for: at least, mostly, at most; an engine for each. The last covers `keypoints.max_people`.

Not one engine with three profiles: TensorRT 8.6.0 on an H100 computed such engines rightly for one person and wrongly for more (the golden
pair noticed), and rightly for any number with one profile."""
PICTURES = ((16, 16), (720, 1280), LARGEST_PICTURE)
"""Height and width of pictures, where a graph sees one: at least, mostly, at most."""
RECIPE = 1
"""To be raised with every change of how plans are built from the same file: those in people's folders are then built anew."""
OLDEST = (8, 6)
BY_PIP = "`pip install tensorrt-cu13`, or tensorrt-cu12 where nvidia-smi says CUDA 12"
_log = logging.getLogger(__name__)


class TensorRt:
    """The library, with what it complains about. Raises BackendError where it cannot be used."""

    def __init__(self, cuda: Cuda):
        # Not before there is a `Cuda`: without a GPU, TensorRT's Runtime ends the process.
        try:
            import tensorrt
        except (ImportError, OSError) as error:
            raise BackendError(
                f"TensorRT does not import ({error}): on a Jetson `apt install python3-libnvinfer` (a virtual environment needs "
                f"--system-site-packages); on x86-64 {BY_PIP}"
            ) from error
        self.version = str(tensorrt.__version__)
        if tuple(int(part) for part in self.version.split(".")[:2]) < OLDEST:
            raise BackendError(f"TensorRT {self.version} is too old: 8.6 or newer (JetPack 6 or newer)")
        self.api, self.cuda, self.scratch = tensorrt, cuda, Scratch(cuda)
        self._complaints: deque[str] = deque(maxlen=3)
        self._logger = _logger(tensorrt, self._complaints)
        self._runtime = self._start(tensorrt.Runtime)

    def build(
        self,
        path: Path,
        half: bool,
        people: tuple[int, int, int],
        progress: Callable[[float], None],
        timings: bytes = b"",
    ) -> tuple[bytes, bytes]:
        """A plan of the ONNX file; takes seconds to minutes. Returns it, and `timings` with those that were measured for it.

        half: whether the file computes in float16. people: one of PEOPLE. progress: told the finished share, 0 to 1 (not by TensorRT 8).
        timings: how long kernels took in earlier builds, which need not be measured again.
        """
        trt = self.api
        builder = self._start(trt.Builder)
        network = builder.create_network(self._network_flags())
        parser = trt.OnnxParser(network, self._logger)
        if not parser.parse_from_file(str(path)):
            errors = "; ".join(str(parser.get_error(i)).strip() for i in range(parser.num_errors))
            raise BackendError(
                f"TensorRT {self.version} cannot read {path}: {errors}. A newer TensorRT may, or `model.backend` = onnxruntime"
            )
        config = builder.create_builder_config()
        config.clear_flag(trt.BuilderFlag.TF32)
        if not hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):  # TensorRT 8
            # Several contexts of one profile, as always from 10 on.
            config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)
            if half:
                config.set_flag(trt.BuilderFlag.FP16)  # permission to do what the file says
                _hold_to_float32(trt, network, config)
        config.add_optimization_profile(_profile(builder, network, people))
        if hasattr(config, "progress_monitor"):
            config.progress_monitor = _progress_monitor(trt, progress)
        measured = _timing_cache(config, timings) or _timing_cache(config, b"")
        self._complaints.clear()
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise BackendError(f"TensorRT {self.version} cannot build {path}: {self._complained()}")
        progress(1.0)
        return bytes(plan), bytes(measured.serialize()) if measured else b""

    def load(self, plan: bytes, max_people: int) -> TensorRtEngine:
        """max_people: that it was built for. Raises StalePlan when it is no plan for this GPU and this version."""
        self._complaints.clear()
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            why = self._complained()
            kind = BackendError if "out of memory" in why.lower() else StalePlan
            raise kind(f"TensorRT {self.version} cannot load the plan: {why}")
        return TensorRtEngine(self, engine, max_people)

    def ask(self, method: Callable, *arguments: Any) -> Any:
        """Its answer. The bindings' own errors say little: TensorRT's log says more."""
        self._complaints.clear()
        try:
            return method(*arguments)
        except RuntimeError as error:
            raise BackendError(f"TensorRT {self.version} refused ({error}): {self._complained()}") from error

    def _start(self, make: Callable[[Any], Any]) -> Any:
        """A Runtime or a Builder. The bindings raise TypeError where the library has none to give."""
        try:
            return make(self._logger)
        except TypeError as error:
            raise BackendError(
                f"TensorRT {self.version} cannot start CUDA ({error}; {self._complained()}): it must be made for the driver's "
                f"major version of CUDA: {BY_PIP}"
            ) from error

    def _network_flags(self) -> int:
        known = self.api.NetworkDefinitionCreationFlag
        wanted = ("EXPLICIT_BATCH", "STRONGLY_TYPED")  # the only kind there is from 10 on; not in 8
        return sum(1 << int(getattr(known, flag)) for flag in wanted if hasattr(known, flag))

    def _complained(self) -> str:
        return "; ".join(self._complaints) or "it gave no reason"


class TensorRtEngine:
    """A loaded plan."""

    def __init__(self, library: TensorRt, engine: Any, max_people: int):
        self._library = library  # its logger and its runtime must outlive the engine
        self._api, self._engine, self._cuda = library.api, engine, library.cuda
        api = self._api
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        shapes: Shapes = {name: tuple(engine.get_tensor_shape(name)) for name in names}
        for name, shape in shapes.items():
            dtype, wanted = engine.get_tensor_dtype(name), "UINT8" if is_picture(shape) else "FLOAT"
            if dtype != getattr(api.DataType, wanted):
                raise BackendError(f"'{name}' is {dtype}: graphs take and give float32, and take pictures as uint8")
        is_input = {name: engine.get_tensor_mode(name) == api.TensorIOMode.INPUT for name in names}
        self.inputs = {name: shape for name, shape in shapes.items() if is_input[name]}
        self.outputs = {name: shape for name, shape in shapes.items() if not is_input[name]}
        self.max_people = max_people
        sizes = (getattr(engine, name, None) for name in ("device_memory_size_v2", "device_memory_size"))  # new, old
        library.scratch.want(next(size for size in sizes if size is not None))

    def prepare(self, shapes: Shapes, addresses: dict[str, int]) -> Callable[[], None]:
        """See `device_graph.Engine`. A context of its own: NVIDIA asks for one per captured CUDA graph."""
        scratch = self._library.scratch.get()
        context = self._context(scratch)
        self._library.ask(context.set_optimization_profile_async, 0, self._cuda.stream)
        self._cuda.synchronize()
        for name, shape in shapes.items():
            if not context.set_input_shape(name, shape):
                raise BackendError(f"the engine does not take '{name}' of shape {shape}")
        for name, address in addresses.items():
            if not context.set_tensor_address(name, address):
                raise BackendError(f"TensorRT does not take the address of '{name}'")
        if unknown := self._library.ask(context.infer_shapes):
            raise BackendError(f"TensorRT does not know the shapes of {', '.join(unknown)}")

        def enqueue(held: DeviceBuffer = scratch) -> None:  # as long as the context
            if not context.execute_async_v3(self._cuda.stream):
                raise BackendError("TensorRT refused to run; its log says why")

        return enqueue

    def _context(self, scratch: DeviceBuffer) -> Any:
        if not hasattr(self._api, "ExecutionContextAllocationStrategy"):  # TensorRT 8
            context = self._engine.create_execution_context_without_device_memory()
        else:
            strategy = self._api.ExecutionContextAllocationStrategy.USER_MANAGED
            context = self._engine.create_execution_context(strategy)
        if hasattr(context, "set_device_memory"):
            context.set_device_memory(scratch.address, scratch.size)
        else:  # up to 10.0
            context.device_memory = scratch.address
        return context


def _timing_cache(config: Any, timings: bytes) -> Any:
    """Of earlier builds' `timings`, or empty, and part of `config` now; None where TensorRT does not take them."""
    cache = config.create_timing_cache(timings)
    return cache if cache is not None and config.set_timing_cache(cache, False) else None


def _profile(builder: Any, network: Any, people: tuple[int, int, int]) -> Any:
    profile = builder.create_optimization_profile()
    for tensor in (network.get_input(i) for i in range(network.num_inputs)):
        first, *rest = tensor.shape
        if is_picture((first, *rest)):
            profile.set_shape(tensor.name, *((first, *size, rest[-1]) for size in PICTURES))
        elif first == -1:
            profile.set_shape(tensor.name, *((count, *rest) for count in people))
    return profile


def _hold_to_float32(trt: Any, network: Any, config: Any) -> None:
    """TensorRT 8 reads the file's types as advice, and would round places in the picture to half a pixel."""
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    kinds = ("ELEMENTWISE", "UNARY", "ACTIVATION", "MATRIX_MULTIPLY", "SHUFFLE", "GRID_SAMPLE")
    exact = {getattr(trt.LayerType, kind) for kind in kinds}
    for layer in (network.get_layer(i) for i in range(network.num_layers)):
        if layer.name.startswith(EXACT) and layer.type in exact:
            layer.precision = trt.DataType.FLOAT
            layer.set_output_type(0, trt.DataType.FLOAT)


def _logger(api: Any, complaints: deque[str]) -> Any:
    """TensorRT's messages, in our log; its errors in `complaints` too."""

    class Logger(api.ILogger):
        def __init__(self) -> None:
            api.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (api.ILogger.Severity.INTERNAL_ERROR, api.ILogger.Severity.ERROR):
                complaints.append(message)
                _log.error("TensorRT: %s", message)
            else:  # its warnings are many, and for whoever writes TensorRT networks
                _log.debug("TensorRT: %s", message)

    return Logger()


def _progress_monitor(api: Any, progress: Callable[[float], None]) -> Any:
    """Tells `progress` the finished share of the outermost phase; the phases within it are too uneven to add up."""

    class Monitor(api.IProgressMonitor):
        def __init__(self) -> None:
            api.IProgressMonitor.__init__(self)
            self._outermost: tuple[str, int] | None = None

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                self._outermost = phase_name, num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            if self._outermost and phase_name == self._outermost[0]:
                progress(min(1.0, (step + 1) / max(self._outermost[1], 1)))
            return True  # go on

        def phase_finish(self, phase_name: str) -> None: ...

    return Monitor()
