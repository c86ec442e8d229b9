"""Build plans from ONNX files and run them, with TensorRT 8.6 to 11. The only file that imports it.

The ONNX file decides the precision (TensorRT 10 and newer obey its types; 11 offers nothing else). TF32 is off, because it is too
coarse for the gradients in these graphs. Plans are valid for one GPU and one version of TensorRT: see `engine_cache`.
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
"""Numbers of people in each optimisation profile: minimum, optimum, maximum; one engine for each. The last covers `keypoints.max_people`.

Not one engine with three profiles: on an H100, TensorRT 8.6.0 computed such an engine correctly for one person and wrongly for more (the golden
pair noticed); with one profile it was correct for any number."""
PICTURES = ((16, 16), (720, 1280), LARGEST_PICTURE)
"""Height and width of the picture, if a graph reads one: minimum, optimum, maximum."""
RECIPE = 1
"""Raise this with every change to how plans are built from the same file: plans in users' caches are then built again."""
OLDEST = (8, 6)
BY_PIP = "`pip install tensorrt-cu13`, or tensorrt-cu12 where nvidia-smi says CUDA 12"
_log = logging.getLogger(__name__)


class TensorRt:
    """The TensorRT library, with its latest error messages. Raises BackendError if it cannot be used."""

    def __init__(self, cuda: Cuda):
        # Only once there is a `Cuda`: without a GPU, TensorRT's Runtime ends the process.
        try:
            import tensorrt
        except (ImportError, OSError) as error:
            raise BackendError(
                f"TensorRT does not import ({error}): on a Jetson `apt install python3-libnvinfer` (a virtual environment needs "
                f"--system-site-packages); on x86-64 {BY_PIP}"
            ) from error
        self.version = str(tensorrt.__version__)
        if tuple(int(part) for part in self.version.split(".")[:2]) < OLDEST:
            raise BackendError(f"TensorRT {self.version} is too old: install 8.6 or newer (JetPack 6 or newer)")
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
        """Build a plan from the ONNX file; takes seconds to minutes. Returns the plan, and `timings` with the new measurements added.

        half: whether the file computes in float16. people: one of PEOPLE. progress: called with the finished share, 0 to 1 (by TensorRT 8 only at the end).
        timings: how long kernels took in earlier builds, which need not be measured again.
        """
        trt = self.api
        builder = self._start(trt.Builder)
        network = builder.create_network(self._network_flags())
        parser = trt.OnnxParser(network, self._logger)
        if not parser.parse_from_file(str(path)):
            errors = "; ".join(str(parser.get_error(i)).strip() for i in range(parser.num_errors))
            raise BackendError(
                f"TensorRT {self.version} cannot read {path}: {errors}. Install a newer TensorRT, or set `model.backend` to onnxruntime"
            )
        config = builder.create_builder_config()
        config.clear_flag(trt.BuilderFlag.TF32)
        if not hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):  # TensorRT 8
            # Allows several contexts to share a profile, as TensorRT 10 and newer always do.
            config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)
            if half:
                config.set_flag(trt.BuilderFlag.FP16)  # permits float16 where the file asks for it
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
        """max_people: the largest number that the plan was built for. Raises StalePlan if it is not for this GPU and this version."""
        self._complaints.clear()
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            why = self._complained()
            kind = BackendError if "out of memory" in why.lower() else StalePlan
            raise kind(f"TensorRT {self.version} cannot load the plan: {why}")
        return TensorRtEngine(self, engine, max_people)

    def ask(self, method: Callable, *arguments: Any) -> Any:
        """Call `method`. If it fails, add TensorRT's log to the error: the bindings' own message says little."""
        self._complaints.clear()
        try:
            return method(*arguments)
        except RuntimeError as error:
            raise BackendError(f"TensorRT {self.version} refused ({error}): {self._complained()}") from error

    def _start(self, make: Callable[[Any], Any]) -> Any:
        """Make a Runtime or a Builder. The bindings raise TypeError if the library cannot create one."""
        try:
            return make(self._logger)
        except TypeError as error:
            raise BackendError(
                f"TensorRT {self.version} cannot start CUDA ({error}; {self._complained()}): install one made for the driver's "
                f"major version of CUDA: {BY_PIP}"
            ) from error

    def _network_flags(self) -> int:
        known = self.api.NetworkDefinitionCreationFlag
        wanted = ("EXPLICIT_BATCH", "STRONGLY_TYPED")  # the first is the only mode from 10 on; the second is not in 8
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
                raise BackendError(f"tensor '{name}' is {dtype}: inputs and outputs must be float32, pictures uint8")
        is_input = {name: engine.get_tensor_mode(name) == api.TensorIOMode.INPUT for name in names}
        self.inputs = {name: shape for name, shape in shapes.items() if is_input[name]}
        self.outputs = {name: shape for name, shape in shapes.items() if not is_input[name]}
        self.max_people = max_people
        sizes = (getattr(engine, name, None) for name in ("device_memory_size_v2", "device_memory_size"))  # new, old
        library.scratch.want(next(size for size in sizes if size is not None))

    def prepare(self, shapes: Shapes, addresses: dict[str, int]) -> Callable[[], None]:
        """See `device_graph.Engine`. Makes a context of its own: NVIDIA requires one per captured CUDA graph."""
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

        def enqueue(held: DeviceBuffer = scratch) -> None:  # keeps it alive as long as the context
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
    """Make a timing cache from earlier builds' `timings`, or an empty one, and add it to `config`. None if TensorRT does not accept them."""
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
    """Keep the file's exact layers in float32: TensorRT 8 treats types as hints, and would round positions in the picture to half a pixel."""
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    kinds = ("ELEMENTWISE", "UNARY", "ACTIVATION", "MATRIX_MULTIPLY", "SHUFFLE", "GRID_SAMPLE")
    exact = {getattr(trt.LayerType, kind) for kind in kinds}
    for layer in (network.get_layer(i) for i in range(network.num_layers)):
        if layer.name.startswith(EXACT) and layer.type in exact:
            layer.precision = trt.DataType.FLOAT
            layer.set_output_type(0, trt.DataType.FLOAT)


def _logger(api: Any, complaints: deque[str]) -> Any:
    """Make a logger that passes TensorRT's messages to our log, and its errors to `complaints` too."""

    class Logger(api.ILogger):
        def __init__(self) -> None:
            api.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (api.ILogger.Severity.INTERNAL_ERROR, api.ILogger.Severity.ERROR):
                complaints.append(message)
                _log.error("TensorRT: %s", message)
            else:  # its many warnings are meant for people who write TensorRT networks
                _log.debug("TensorRT: %s", message)

    return Logger()


def _progress_monitor(api: Any, progress: Callable[[float], None]) -> Any:
    """Report the finished share of the outermost phase to `progress`; the phases within it are too uneven to add up."""

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
            return True  # continue building

        def phase_finish(self, phase_name: str) -> None: ...

    return Monitor()
