"""A machine with an NVIDIA GPU, as far as our code can tell: cuda-python's runtime and TensorRT's Python API of several versions.

For what no machine here has. Graphs are computed by ONNX Runtime; around that everything that a real GPU punishes is punished:
work is done only when the stream is waited for, memory starts as NaN, copies must stay within what was allocated and come from
page-locked memory, addresses must be aligned, a context must not change once it has been captured, and its first run after a
change of shapes must not be captured. The names are those of the Python bindings' sources at NVIDIA's tags v8.6.1, v10.3.0 and
v11.1, and of cuda-python 12.9 and 13.4.
"""

from __future__ import annotations

import ctypes
import enum
import functools
import json
import types
import weakref
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from hmr_ros.backends.cuda import Cuda
from hmr_ros.backends.graph import BackendError

STREAM = 77
SCRATCH = 999
"""Bytes of an engine's scratch memory for each of the people it takes at most; a number that no buffer has."""
VERSIONS = ("8.6.1", "10.3.0", "11.1.0")
"""Of TensorRT's API."""
REAL = "the real GPU"


def set_up(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of VERSIONS, or REAL: the real thing where there is one."""
    if machine in VERSIONS:
        SimulatedGpu().install(monkeypatch, machine)
        return
    try:
        Cuda()
    except BackendError as error:
        pytest.skip(f"no GPU here: {error}")


class CudaError(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorInsufficientDriver = 35
    cudaErrorIllegalAddress = 700
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901


class Handle:
    """cuda-python's own types turn into integers only when asked."""

    def __init__(self, value: int = 0):
        self.value = value

    def __int__(self) -> int:
        return self.value


class SimulatedGpu:
    """name, capability, multiprocessors: of the device. devices: how many there are. error: added, relatively, to what
    engines for so many people at most compute. refuses: what fails here: "runtime", "builder" (CUDA does not start), "loading"
    (out of memory), "profile", "shapes", "capture" (TensorRT may not be captured), "end of capture", "graph" (none is made)."""

    def __init__(self, name: str = "Simulated Orin", capability: tuple[int, int] = (8, 7), multiprocessors: int = 16):
        self.name, self.capability, self.multiprocessors = name, capability, multiprocessors
        self.refuses: set[str] = set()
        self.devices, self.start_error = 1, CudaError.cudaSuccess
        self.device: dict[int, ctypes.Array] = {}
        self.pinned: dict[int, ctypes.Array] = {}
        self.pending: list = []
        self.captured: list | None = None
        self.graphs: dict[int, list] = {}
        self.last_error = CudaError.cudaSuccess
        self.copies: list[tuple[str, int]] = []
        self.launches = self.waits = self.builds = self.measured = self.graphs_made = 0
        self.error: dict[int, float] = {}

    # -- memory and streams ------------------------------------------------------------------------------------------

    def allocate(self, kind: dict, size: int) -> tuple:
        if self.captured is not None:
            return CudaError.cudaErrorStreamCaptureUnsupported, None
        memory = (ctypes.c_uint8 * (size + 512))()
        address = -(-ctypes.addressof(memory) // 256) * 256
        ctypes.memset(address, 0xFF, size)  # NaN in any floating type
        memory.span = size
        kind[address] = memory
        return CudaError.cudaSuccess, address

    def release(self, kind: dict, address: int) -> tuple:
        return (CudaError.cudaSuccess if kind.pop(address, None) is not None else CudaError.cudaErrorInvalidValue,)

    def holds(self, kind: dict, address: int, size: int) -> bool:
        return any(start <= address and address + size <= start + memory.span for start, memory in kind.items())

    def enqueue(self, work) -> tuple:
        (self.pending if self.captured is None else self.captured).append(work)
        return (CudaError.cudaSuccess,)

    def copy(self, target: int, source: int, size: int, kind: str, stream: int) -> tuple:
        up = kind == "up"
        host, device = (source, target) if up else (target, source)
        if stream != STREAM or not self.holds(self.pinned, host, size) or not self.holds(self.device, device, size):
            return (CudaError.cudaErrorInvalidValue,)

        def work() -> None:
            assert self.holds(self.pinned, host, size) and self.holds(self.device, device, size), "memory was freed"
            self.copies.append((kind, size))
            ctypes.memmove(target, source, size)

        return self.enqueue(work)

    def synchronize(self, stream: int) -> tuple:
        if self.captured is not None:
            return (CudaError.cudaErrorStreamCaptureUnsupported,)
        self.waits += 1
        pending, self.pending = self.pending, []
        for work in pending:
            work()
        return (CudaError.cudaSuccess,)

    def begin_capture(self) -> tuple:
        assert not self.pending, "work that was started before would be lost in the count"
        self.captured = []
        return (CudaError.cudaSuccess,)

    def end_capture(self) -> tuple:
        captured, self.captured = self.captured, None
        if "end of capture" in self.refuses:
            return self.fail(CudaError.cudaErrorStreamCaptureInvalidated), Handle()
        return CudaError.cudaSuccess, self.new_graph(captured)

    def new_graph(self, work: list) -> Handle:
        self.graphs_made += 1
        self.graphs[self.graphs_made] = work
        return Handle(self.graphs_made)

    def instantiate(self, graph: Handle) -> tuple:
        if "graph" in self.refuses:
            return self.fail(CudaError.cudaErrorInvalidValue), Handle()
        return CudaError.cudaSuccess, self.new_graph(self.graphs[int(graph)])

    def fail(self, error: CudaError) -> CudaError:
        """It stays until it is asked for: whoever asks next after his own work takes it for his."""
        self.last_error = error
        return error

    def get_last_error(self) -> tuple:
        last, self.last_error = self.last_error, CudaError.cudaSuccess
        return (last,)

    def launch(self, graph: Handle) -> tuple:
        self.launches += 1
        self.pending += self.graphs[int(graph)]
        return (CudaError.cudaSuccess,)

    # -- modules -----------------------------------------------------------------------------------------------------

    def cuda_runtime(self) -> types.SimpleNamespace:
        """In place of `cuda.bindings.runtime`."""
        ok = CudaError.cudaSuccess
        major, minor = self.capability
        properties = types.SimpleNamespace(
            name=self.name.encode(), major=major, minor=minor, multiProcessorCount=self.multiprocessors
        )
        return types.SimpleNamespace(
            cudaError_t=CudaError,
            cudaMemcpyKind=types.SimpleNamespace(cudaMemcpyHostToDevice="up", cudaMemcpyDeviceToHost="down"),
            cudaStreamCaptureMode=types.SimpleNamespace(cudaStreamCaptureModeThreadLocal=1),
            cudaStreamNonBlocking=1,
            cudaGetDeviceCount=lambda: (self.start_error, self.devices),
            cudaGetErrorString=lambda error: (ok, error.name.encode()),
            cudaSetDevice=lambda device: (ok,),
            cudaGetDeviceProperties=lambda device: (ok, properties),
            cudaStreamCreateWithFlags=lambda flags: (ok, Handle(STREAM)),
            cudaStreamDestroy=lambda stream: (ok,),
            cudaMalloc=lambda size: self.allocate(self.device, size),
            cudaFree=lambda address: self.release(self.device, address),
            cudaMallocHost=lambda size: self.allocate(self.pinned, size),
            cudaFreeHost=lambda address: self.release(self.pinned, address),
            cudaMemcpyAsync=self.copy,
            cudaStreamSynchronize=self.synchronize,
            cudaStreamBeginCapture=lambda stream, mode: self.begin_capture(),
            cudaStreamEndCapture=lambda stream: self.end_capture(),
            cudaGraphInstantiate=lambda graph, flags: self.instantiate(graph),
            cudaGraphDestroy=lambda graph: self.release(self.graphs, int(graph)),
            cudaGraphExecDestroy=lambda graph: self.release(self.graphs, int(graph)),
            cudaGetLastError=self.get_last_error,
            cudaGraphLaunch=lambda graph, stream: self.launch(graph),
            cudaEventCreate=lambda: (ok, Handle()),
            cudaEventDestroy=lambda event: (ok,),
            cudaEventRecord=lambda event, stream: (ok,),
            cudaEventSynchronize=lambda event: self.synchronize(STREAM),
            cudaEventElapsedTime=lambda began, ended: (ok, 0.25),
        )

    def tensorrt(self, version: str = "10.3.0") -> types.ModuleType:
        """In place of `tensorrt`."""
        return _tensorrt(self, version)

    def install(self, monkeypatch, version: str = "10.3.0") -> SimulatedGpu:
        """Let our code find this GPU instead of the machine's own."""
        runtime = self.cuda_runtime()
        bindings = types.ModuleType("cuda.bindings")
        bindings.runtime = runtime
        monkeypatch.setitem(__import__("sys").modules, "cuda", types.ModuleType("cuda"))
        monkeypatch.setitem(__import__("sys").modules, "cuda.bindings", bindings)
        monkeypatch.setitem(__import__("sys").modules, "tensorrt", self.tensorrt(version))
        monkeypatch.setattr("hmr_ros.backends.cuda.load_driver", lambda: None)
        return self


def _tensorrt(gpu: SimulatedGpu, version: str) -> types.ModuleType:
    major = int(version.split(".")[0])
    trt = types.ModuleType("tensorrt")
    trt.__version__ = version
    trt.DataType = enum.Enum("DataType", "FLOAT HALF INT32 INT64 BOOL UINT8")
    trt.LayerType = enum.Enum(
        "LayerType",
        "CAST SHUFFLE ELEMENTWISE UNARY ACTIVATION MATRIX_MULTIPLY GRID_SAMPLE POOLING CONVOLUTION CONSTANT",
    )
    trt.TensorIOMode = enum.Enum("TensorIOMode", "NONE INPUT OUTPUT")
    creation = {8: {"EXPLICIT_BATCH": 0}, 10: {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}, 11: {"STRONGLY_TYPED": 1}}
    trt.NetworkDefinitionCreationFlag = enum.IntEnum("NetworkDefinitionCreationFlag", creation[major])
    if major == 8:
        trt.PreviewFeature = enum.Enum("PreviewFeature", "PROFILE_SHARING_0806")
    trt.BuilderFlag = enum.Enum("BuilderFlag", "TF32" if major == 11 else "FP16 TF32 OBEY_PRECISION_CONSTRAINTS")

    class ILogger:
        Severity = enum.Enum("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")

    class IProgressMonitor: ...

    class Profile:
        def __init__(self):
            self.shapes = {}

        def set_shape(self, name, least, mostly, most):
            self.shapes[name] = [list(least), list(mostly), list(most)]

    class Config:
        def __init__(self):
            self.flags, self.profiles, self.timings = {trt.BuilderFlag.TF32}, [], None
            self.shares_profiles = major >= 10
            if major >= 10:
                self.progress_monitor = None

        def set_preview_feature(self, feature, on):
            assert feature == trt.PreviewFeature.PROFILE_SHARING_0806
            self.shares_profiles = on

        def set_flag(self, flag):
            self.flags.add(flag)

        def clear_flag(self, flag):
            self.flags.discard(flag)

        def add_optimization_profile(self, profile):
            self.profiles.append(profile)
            return len(self.profiles) - 1

        def create_timing_cache(self, serialized):
            return TimingCache(json.loads(serialized) if serialized else {"of": [version, gpu.name], "kernels": []})

        def set_timing_cache(self, cache, ignore_mismatch):
            if cache.content["of"] == [version, gpu.name]:
                self.timings = cache
            return self.timings is cache

    class TimingCache:
        def __init__(self, content):
            self.content = content

        def serialize(self):
            return memoryview(json.dumps(self.content).encode())

    class Network:
        def __init__(self, flags):
            self.flags, self.path, self.inputs, self.layers = flags, None, [], []

        @property
        def num_inputs(self):
            return len(self.inputs)

        def get_input(self, index):
            return self.inputs[index]

        @property
        def num_layers(self):
            return len(self.layers)

        def get_layer(self, index):
            return self.layers[index]

    class Layer:
        """precision: None where TensorRT may choose."""

        def __init__(self, node):
            self.name, self.type = node.name, _layer_types(trt).get(node.op_type, trt.LayerType.CONVOLUTION)
            self.precision = self.output_type = None

        def set_output_type(self, index, dtype):
            self.output_type = dtype

    def start(what, logger):
        if what in gpu.refuses:
            logger.log(ILogger.Severity.ERROR, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    class Builder:
        def __init__(self, logger):
            start("builder", logger)
            self.logger = logger

        def create_network(self, flags=0):
            return Network(flags)

        def create_builder_config(self):
            return Config()

        def create_optimization_profile(self):
            return Profile()

        def build_serialized_network(self, network, config):
            gpu.builds += 1
            strong = major >= 10 and network.flags >> int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED) & 1
            half = getattr(trt.BuilderFlag, "FP16", None)
            if major == 8 and not network.flags & 1 or strong and half in config.flags:
                self.logger.log(ILogger.Severity.ERROR, "the network's and the builder's flags contradict each other")
                return None
            dynamic = {tensor.name for tensor in network.inputs if -1 in tensor.shape}
            if any(set(profile.shapes) != dynamic for profile in config.profiles) or not config.profiles:
                self.logger.log(ILogger.Severity.ERROR, "an optimization profile lacks shapes")
                return None
            measured = config.timings.content["kernels"] if config.timings else []
            if Path(network.path).stem not in measured:
                gpu.measured += 1
                measured.append(Path(network.path).stem)
            monitor = getattr(config, "progress_monitor", None)
            if monitor:
                monitor.phase_start("Building", None, 4)
                monitor.phase_start("Tactics", "Building", 9)
                for step in range(4):
                    assert monitor.step_complete("Tactics", step) and monitor.step_complete("Building", step)
                monitor.phase_finish("Tactics")
                monitor.phase_finish("Building")
            about = {
                "version": version, "gpu": gpu.name, "profiles": [profile.shapes for profile in config.profiles],
                "tf32": trt.BuilderFlag.TF32 in config.flags, "strong": bool(strong), "half": half in config.flags,
                "shares_profiles": config.shares_profiles,
                "float32": [layer.name for layer in network.layers if layer.precision == trt.DataType.FLOAT],
            }  # fmt: skip
            return json.dumps(about).encode() + b"\n" + network.path.encode()

    class OnnxParser:
        def __init__(self, network, logger):
            self.network, self.errors = network, []

        @property
        def num_errors(self):
            return len(self.errors)

        def get_error(self, index):
            return self.errors[index]

        def parse_from_file(self, path):
            try:
                session = _session(path)
            except Exception as error:
                self.errors.append(f"In node 0 (importModel): UNSUPPORTED_NODE: {type(error).__name__}")
                return False
            if complaint := _complaint_about_uint8(path):
                self.errors.append(complaint)
                return False
            self.network.path = path
            self.network.layers = [Layer(node) for node in _nodes(path)]
            self.network.inputs = [
                types.SimpleNamespace(name=node.name, shape=_shape(node)) for node in session.get_inputs()
            ]
            return True

    class Runtime:
        def __init__(self, logger):
            start("runtime", logger)
            self.logger = logger

        def deserialize_cuda_engine(self, plan):
            if "loading" in gpu.refuses:
                words = "[defaultAllocator.cpp::allocate::20] Error Code 1: Cuda Runtime (out of memory)"
                self.logger.log(ILogger.Severity.ERROR, words)
                return None
            try:
                about, path = plan.split(b"\n")
                about = json.loads(about)
                assert (about["version"], about["gpu"]) == (version, gpu.name)
            except (ValueError, AssertionError):
                self.logger.log(ILogger.Severity.ERROR, "Serialization assertion failed: version tag does not match")
                return None
            return Engine(about, path.decode())

    class Engine:
        def __init__(self, about, path):
            self.about, self.session = about, _session(path)
            self.inputs = {node.name: _shape(node) for node in self.session.get_inputs()}
            self.outputs = {node.name: _shape(node) for node in self.session.get_outputs()}
            self.pictures = {node.name for node in self.session.get_inputs() if node.type == "tensor(uint8)"}
            self.profiles_in_use: set[int] = set()
            self.num_io_tensors = len(self.inputs) + len(self.outputs)
            self.scratch = 0 if major == 11 else SCRATCH * self.most  # bytes; small graphs need none
            if major < 11:
                self.device_memory_size = self.scratch
            if major >= 10:
                self.device_memory_size_v2 = self.scratch

        @property
        def most(self):
            """People."""
            return max(sizes[-1][0] for name, sizes in self.about["profiles"][0].items() if name not in self.pictures)

        def get_tensor_name(self, index):
            return [*self.inputs, *self.outputs][index]

        def get_tensor_shape(self, name):
            return {**self.inputs, **self.outputs}[name]

        def get_tensor_dtype(self, name):
            return trt.DataType.UINT8 if name in self.pictures else trt.DataType.FLOAT

        def get_tensor_mode(self, name):
            return trt.TensorIOMode.INPUT if name in self.inputs else trt.TensorIOMode.OUTPUT

    class Context:
        def __init__(self, engine):
            self.__dict__.update(engine=engine, profile=None, shapes={}, addresses={}, fresh=True, was_captured=False)

        def __setattr__(self, name, value):
            """`device_memory` is a property without a getter."""
            assert name == "device_memory", name
            self._place(value, self.engine.scratch)

        def _place(self, address, size):
            assert size >= self.engine.scratch and gpu.holds(gpu.device, address, size) and address % 256 == 0
            self.__dict__["place"] = address

        def _change(self, **what):
            assert not self.was_captured, "a context that was captured must not change"
            self.__dict__.update(what, fresh=True)

        def set_optimization_profile_async(self, index, stream):
            self._change(profile=self.engine.about["profiles"][index], index=index)
            free = self.engine.about["shares_profiles"] or index not in self.engine.profiles_in_use
            self.engine.profiles_in_use.add(index)
            if not free or "profile" in gpu.refuses:
                raise RuntimeError("Error in set optimization profile async.")
            return True

        def set_input_shape(self, name, shape):
            least, _, most = self.profile.get(name, [[*shape]] * 3)
            self._change(shapes={**self.shapes, name: tuple(shape)})
            wanted = self.engine.inputs[name]
            alike = len(wanted) == len(shape) and all(n in (m, -1) for m, n in zip(shape, wanted))
            return alike and all(a <= n <= b for a, n, b in zip(least, shape, most))

        def set_tensor_address(self, name, address):
            self._change(addresses={**self.addresses, name: address})
            return address % 256 == 0

        def infer_shapes(self):
            if "shapes" in gpu.refuses:
                raise RuntimeError("infer_shapes error code: -1")
            return sorted(set(self.engine.inputs) - set(self.shapes))

        def execute_async_v3(self, stream):
            people = {s[0] for n, s in self.shapes.items() if self.engine.inputs[n][0] == -1}
            shapes = {
                **self.shapes,
                **{n: tuple(next(iter(people)) if a == -1 else a for a in s) for n, s in self.engine.outputs.items()},
            }
            sizes = {name: self._bytes_each(name) * int(np.prod(shape)) for name, shape in shapes.items()}
            known = set(self.addresses) == {*self.engine.inputs, *self.engine.outputs} == set(shapes)
            inside = known and all(gpu.holds(gpu.device, self.addresses[n], sizes[n]) for n in shapes)
            if gpu.captured is not None:
                assert not self.fresh, "the first run after a change must not be captured"
                self.__dict__["was_captured"] = True
            self.__dict__["fresh"] = False
            may = gpu.captured is None or "capture" not in gpu.refuses
            if stream != STREAM or len(people) != 1 or not inside or "place" not in self.__dict__ or not may:
                return False
            if gpu.last_error:  # looked at after every kernel
                return False
            context = weakref.ref(self)  # the GPU keeps nothing alive

            def work():
                assert context() is not None, "the context is gone, and with it the memory of the captured graph"
                context()._compute(shapes)

            gpu.enqueue(work)
            return True

        def _bytes_each(self, name):
            return 1 if name in self.engine.pictures else 4

        def _compute(self, shapes):
            assert gpu.holds(gpu.device, self.place, self.engine.scratch), "the context's memory was freed"
            tensors = {n: _at(self.addresses[n], shape, self._bytes_each(n)) for n, shape in shapes.items()}
            answer = self.engine.session.run(
                list(self.engine.outputs), {name: tensors[name].copy() for name in self.engine.inputs}
            )
            wrong = 0.01 * self.engine.about["tf32"] + gpu.error.get(self.engine.most, 0.0)
            wrong += 0.3 * (major == 8 and self.index > 0)  # so it was found on an H100
            for name, value in zip(self.engine.outputs, answer):
                tensors[name][...] = value * np.float32(1 + wrong)

    if major >= 10:
        trt.IProgressMonitor = IProgressMonitor
        trt.ExecutionContextAllocationStrategy = enum.Enum("Strategy", "STATIC ON_PROFILE_CHANGE USER_MANAGED")

        def create_execution_context(self, strategy=None):
            assert strategy == trt.ExecutionContextAllocationStrategy.USER_MANAGED
            return Context(self)

        Engine.create_execution_context = create_execution_context
        Context.set_device_memory = Context._place
    else:
        Engine.create_execution_context_without_device_memory = lambda self: Context(self)
    trt.ILogger, trt.Builder, trt.OnnxParser, trt.Runtime = ILogger, Builder, OnnxParser, Runtime
    return trt


def _session(path: str) -> onnxruntime.InferenceSession:
    return _session_of(path, Path(path).read_bytes())


@functools.lru_cache(maxsize=16)
def _session_of(path: str, graph: bytes) -> onnxruntime.InferenceSession:
    """graph: the file's content, so that it is read again when that changes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _shape(node) -> tuple[int, ...]:
    return tuple(n if isinstance(n, int) else -1 for n in node.shape)


def _at(address: int, shape: tuple[int, ...], bytes_each: int) -> np.ndarray:
    size = bytes_each * int(np.prod(shape))
    memory = np.frombuffer((ctypes.c_uint8 * size).from_address(address), np.uint8)
    return memory.view({1: np.uint8, 4: np.float32}[bytes_each]).reshape(shape)


def _nodes(path: str) -> list:
    """The graph's nodes; none where there is no onnx to read them."""
    try:
        import onnx
    except ImportError:
        return []
    return list(onnx.load(path, load_external_data=False).graph.node)


def _complaint_about_uint8(path: str) -> str:
    """TensorRT takes uint8 into a network only to cast it to something else."""
    pictures = {node.name for node in _session(path).get_inputs() if node.type == "tensor(uint8)"}
    misused = [n.name for n in _nodes(path) if pictures & {*n.input} and n.op_type != "Cast"] if pictures else []
    return f"In node {misused[0]} (parseGraph): UNSUPPORTED_NODE: uint8 may only be cast" if misused else ""


def _layer_types(trt: types.ModuleType) -> dict:
    kinds = trt.LayerType
    return {
        "Cast": kinds.CAST, "Transpose": kinds.SHUFFLE, "Reshape": kinds.SHUFFLE, "Abs": kinds.UNARY, "Relu": kinds.ACTIVATION,
        "Add": kinds.ELEMENTWISE, "Sub": kinds.ELEMENTWISE, "Mul": kinds.ELEMENTWISE, "MatMul": kinds.MATRIX_MULTIPLY,
        "GridSample": kinds.GRID_SAMPLE, "AveragePool": kinds.POOLING, "Constant": kinds.CONSTANT,
    }  # fmt: skip
