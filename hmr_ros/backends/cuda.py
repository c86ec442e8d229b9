"""Memory, one stream and CUDA graphs on one GPU. The only file that imports cuda-python.

Uses the first GPU that CUDA lists; `CUDA_VISIBLE_DEVICES` chooses another. Only one thread may use it at a time.
"""

from __future__ import annotations

import ctypes
import logging
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np

from hmr_ros.backends.graph import BackendError

ALIGNMENT = 256
"""Bytes; the alignment that TensorRT requires of every address."""
_log = logging.getLogger(__name__)


class Cuda:
    """The GPU. Raises BackendError, which says what is missing, if there is none."""

    def __init__(self) -> None:
        self._api: Any = _import_api()
        self._check(self._api.cudaSetDevice(0))
        properties = self._check(self._api.cudaGetDeviceProperties(0))
        self.device_name = properties.name.decode().rstrip("\0")
        # The name does not tell Jetsons of one generation apart, and their power modes switch multiprocessors off.
        self.description = (
            f"{self.device_name}, compute capability {properties.major}.{properties.minor}, "
            f"{properties.multiProcessorCount} multiprocessors"
        )
        self._captures = True
        stream = self._check(self._api.cudaStreamCreateWithFlags(self._api.cudaStreamNonBlocking))
        self.stream = int(stream)
        weakref.finalize(self, self._api.cudaStreamDestroy, stream).atexit = False

    def allocate(self, size: int) -> DeviceBuffer:
        """Allocate `size` bytes on the GPU; freed with the returned object."""
        address = int(self._check(self._api.cudaMalloc(max(size, 1))))
        return DeviceBuffer(address, size, self._api.cudaFree)

    def allocate_pinned(self, size: int) -> np.ndarray:
        """(size,) uint8 in page-locked host memory, from which copies to the GPU are fastest; freed with the last view of it."""
        address = int(self._check(self._api.cudaMallocHost(max(size, 1))))
        memory = (ctypes.c_uint8 * size).from_address(address)
        weakref.finalize(memory, self._api.cudaFreeHost, address).atexit = False
        return np.frombuffer(memory, np.uint8)

    def upload(self, address: int, pinned: np.ndarray) -> None:
        """Start copying to the GPU. `pinned` must not change before `synchronize`."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._check(self._api.cudaMemcpyAsync(address, pinned.ctypes.data, pinned.nbytes, kind, self.stream))

    def download(self, pinned: np.ndarray, address: int) -> None:
        """Start copying from the GPU; the data is there after `synchronize`."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._check(self._api.cudaMemcpyAsync(pinned.ctypes.data, address, pinned.nbytes, kind, self.stream))

    def synchronize(self) -> None:
        self._check(self._api.cudaStreamSynchronize(self.stream))

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Capture what `work` enqueues on the stream as one CUDA graph; calling the result launches all of it at once.

        Returns `work` itself if that fails: not every operation can be captured.
        """
        try:
            return _Replay(self, self._record(work), work)
        except BackendError as error:
            self._api.cudaGetLastError()  # clears the error: the next call would report it again
            if self._captures:
                _log.warning("no CUDA graphs here, so calls take longer: %s", error)
            self._captures = False
            return work

    def _record(self, work: Callable[[], None]) -> Any:
        """An executable CUDA graph."""
        mode = self._api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal  # other threads may allocate meanwhile
        self._check(self._api.cudaStreamBeginCapture(self.stream, mode))
        with ExitStack() as afterwards:
            try:
                work()
            finally:  # the stream must leave capture mode, whatever `work` raises
                ended = self._api.cudaStreamEndCapture(self.stream)
                if int(ended[1] or 0):  # cuda-python 12.6 returns a null handle if there is no graph
                    afterwards.callback(self._api.cudaGraphDestroy, ended[1])
            return self._check(self._api.cudaGraphInstantiate(self._check(ended), 0))

    def elapsed_ms(self, work: Callable[[], None]) -> float:
        """Time on the GPU from the first to the last operation that `work` enqueues on the stream, measured with CUDA events."""
        began, ended = (self._check(self._api.cudaEventCreate()) for _ in range(2))
        self._check(self._api.cudaEventRecord(began, self.stream))
        work()
        self._check(self._api.cudaEventRecord(ended, self.stream))
        self._check(self._api.cudaEventSynchronize(ended))
        elapsed = float(self._check(self._api.cudaEventElapsedTime(began, ended)))
        for event in (began, ended):
            self._check(self._api.cudaEventDestroy(event))
        return elapsed

    def _check(self, answer: tuple) -> Any:
        """Unpack what a call of cuda-python returned: (error, value...)."""
        error, *values = answer
        if error != self._api.cudaError_t.cudaSuccess:
            raise BackendError(f"CUDA failed: {_explain(self._api, error)}. If this repeats, restart the process")
        return values[0] if values else None


class DeviceBuffer:
    """Memory on the GPU."""

    def __init__(self, address: int, size: int, free: Callable[[int], object]):
        self.address, self.size = address, size
        weakref.finalize(self, free, address).atexit = False


class Scratch:
    """Memory that an engine needs only while it runs: one buffer for all engines, because they run one after the other.

    If an engine that is loaded later wants more than the buffer has, it gets a new, larger one, which those after it share too. Engines
    that were given the smaller one keep it, and it is freed with the last of them.
    """

    def __init__(self, cuda: Cuda):
        self._cuda, self._wanted = cuda, 0
        self._buffer: DeviceBuffer | None = None

    def want(self, size: int) -> None:
        self._wanted = max(self._wanted, size)

    def get(self) -> DeviceBuffer:
        """Call this only after `want` was called for all known engines: a buffer does not grow once it is handed out, so each later, larger
        request adds another."""
        if self._buffer is None or self._buffer.size < self._wanted:
            self._buffer = self._cuda.allocate(self._wanted)
        return self._buffer


class _Replay:
    """A captured CUDA graph. It keeps a reference to `work`, because the graph uses the memory of what was captured."""

    def __init__(self, cuda: Cuda, executable: Any, work: Callable[[], None]):
        self._cuda, self._executable, self._work = cuda, executable, work
        weakref.finalize(self, cuda._api.cudaGraphExecDestroy, executable).atexit = False

    def __call__(self) -> None:
        self._cuda._check(self._cuda._api.cudaGraphLaunch(self._executable, self._cuda.stream))


def _import_api() -> Any:
    """Return cuda-python's runtime API after checking that there is a GPU: TensorRT's Runtime crashes without one."""
    try:
        load_driver()
    except OSError as error:
        raise BackendError(f"there is no NVIDIA driver ({error})") from None
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise BackendError(
            f"cuda-python does not import ({error}): `pip install 'cuda-python>=12.6.1,<13'` where nvidia-smi says CUDA 12, "
            "'cuda-python>=13' where it says 13; on JetPack 6 cuda-python==12.6.2.post1"
        ) from error
    status, count = runtime.cudaGetDeviceCount()
    if status != runtime.cudaError_t.cudaSuccess:
        raise BackendError(
            f"CUDA does not start: {_explain(runtime, status)}. The driver's CUDA and cuda-python must have the same major version; in a "
            "container the GPU must be passed in (`--gpus all`; on a Jetson `--runtime nvidia` too)"
        )
    if not count:
        raise BackendError("CUDA sees no GPU: check nvidia-smi and CUDA_VISIBLE_DEVICES")
    return runtime


def load_driver() -> None:
    """Load the driver's library. Raises OSError if it is not installed."""
    ctypes.CDLL("libcuda.so.1")


def _explain(api: Any, error: Any) -> str:
    told, text = api.cudaGetErrorString(error)
    return f"{text.decode() if told == api.cudaError_t.cudaSuccess else 'unknown error'} (code {int(error)})"
