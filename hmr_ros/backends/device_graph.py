"""A compiled engine as a `Graph`: buffers on the GPU, uploads in one copy, and one CUDA graph per call.

There is one program for every number of people and, if the graph reads the picture, for the picture's size: fixed addresses, and a captured CUDA graph
that computes and downloads all outputs. A call writes the inputs that have changed into page-locked memory, starts one copy and one graph, and waits once.

An output `new_x` beside an input `x` (the adaptation step's state) is never uploaded again: two blocks of outputs take turns,
and each turn reads `x` where the other wrote `new_x`. The array is recognised by its identity; it is read-only.

A picture is the same for all people, large, and new with every call: all programs share its memory, and it is uploaded in a copy of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from hmr_ros.backends.cuda import ALIGNMENT, Cuda
from hmr_ros.backends.graph import BackendError

Shapes = dict[str, tuple[int, ...]]
"""By name. -1 as the first axis stands for the number of people, elsewhere for the picture's height or width."""


class Engine(Protocol):
    """A compiled graph. All inputs and outputs are float32, except a picture, which is uint8; only one graph may read one."""

    inputs: Shapes
    outputs: Shapes
    max_people: int

    def prepare(self, shapes: Shapes, addresses: dict[str, int]) -> Callable[[], None]:
        """Return a function that enqueues one run on the stream, with inputs of these shapes and inputs and outputs at these addresses."""
        ...


def is_picture(shape: tuple[int, ...]) -> bool:
    return -1 in shape[1:]


def people_in(shapes: Shapes, inputs: Shapes) -> int:
    """Number of people in inputs of these shapes. inputs: the engine's own shapes."""
    return next(shapes[name][0] for name, shape in inputs.items() if shape[:1] == (-1,))


class DeviceGraph:
    def __init__(self, engine: Engine, cuda: Cuda):
        self._engine = engine
        self._programs = _Programs(engine, cuda)
        self._bound: dict[str, np.ndarray] = {}

    def bind(self, inputs: dict[str, np.ndarray]) -> DeviceGraph:
        bound = object.__new__(DeviceGraph)
        bound._engine, bound._programs = self._engine, self._programs
        bound._bound = self._bound | {n: _frozen_copy(a) for n, a in inputs.items() if n in self._engine.inputs}
        return bound

    def __call__(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        given = inputs | self._bound
        if missing := [name for name in self._engine.inputs if name not in given]:
            raise ValueError(f"inputs are missing: the graph also takes {', '.join(missing)}")
        self._programs.show(given)
        people = people_in({name: np.shape(given[name]) for name in self._engine.inputs}, self._engine.inputs)
        return self._programs.of(people)(given)

    def make_ready(self, people: int) -> None:
        """Make the programs for 1 to `people` people now or, if the graph reads a picture, as soon as the picture's size is known."""
        self._programs.make_ready(people)

    def device_ms(self, people: int) -> float:
        """Time on the GPU of one run for this many people, measured with CUDA events: computing and downloading the outputs. If the graph
        reads a picture, it has the size of the last one."""
        return self._programs.of(people).device_ms()


class _Programs:
    """The programs of one engine by number of people, for one size of picture; a new size replaces them."""

    def __init__(self, engine: Engine, cuda: Cuda):
        self._engine, self._cuda = engine, cuda
        self._made: dict[int, _Program] = {}
        self._ready = 0
        self._picture = _Block(cuda, {})
        self._pictures = [name for name, shape in engine.inputs.items() if is_picture(shape)]

    def make_ready(self, people: int) -> None:
        self._ready = people
        if not self._pictures:
            self._make_those_ready()

    def show(self, given: dict[str, np.ndarray]) -> None:
        """Note the picture's size, and start its upload."""
        shapes = {name: np.shape(given[name]) for name in self._pictures}
        is_new = shapes != self._picture.shapes
        if is_new:
            for name, shape in shapes.items():
                _check_shape(name, shape, self._engine.inputs[name])
            self._made.clear()
            self._picture = _Block(self._cuda, shapes, np.uint8)
        self._picture.upload({name: given[name] for name in self._pictures})
        if is_new:
            self._make_those_ready()

    def of(self, people: int) -> _Program:
        """Return the program for this many people; made on first use, which takes some milliseconds."""
        if people not in self._made:
            if not 1 <= people <= self._engine.max_people:
                raise BackendError(f"{people} people: the engine takes 1 to {self._engine.max_people}")
            self._made[people] = _Program(self._engine, self._cuda, people, self._picture)
        return self._made[people]

    def _make_those_ready(self) -> None:
        for people in range(1, self._ready + 1):
            self.of(people)


class _Program:
    """Buffers and CUDA graphs for one number of people. picture: the block that it shares with the other programs."""

    def __init__(self, engine: Engine, cuda: Cuda, people: int, picture: _Block):
        self._cuda, self._picture = cuda, picture
        inputs = {n: _sized(s, people) for n, s in engine.inputs.items() if n not in picture.shapes}
        outputs = {n: _sized(s, people) for n, s in engine.outputs.items()}
        self._feedback = {name: f"new_{name}" for name in inputs if f"new_{name}" in outputs}
        self._inputs = _Block(cuda, {n: s for n, s in inputs.items() if n not in self._feedback})
        self._outputs = [_Block(cuda, outputs) for _ in range(2 if self._feedback else 1)]
        for block in (self._inputs, *self._outputs):  # the first runs read them
            block.clear()
        shapes = inputs | picture.shapes
        self._turns = [self._capture(engine, shapes, turn) for turn in range(len(self._outputs))]
        self._turn = 0
        self._resident: dict[str, np.ndarray] = {}
        """Inputs whose values are on the GPU already: read-only arrays, referenced here so that no other array can take their place in memory."""

    def _capture(self, engine: Engine, shapes: Shapes, turn: int) -> Callable[[], None]:
        written, read = self._outputs[turn], self._outputs[turn - 1]
        addresses = self._picture.addresses | self._inputs.addresses | written.addresses
        addresses |= {name: read.addresses[output] for name, output in self._feedback.items()}
        enqueue = engine.prepare(shapes, addresses)

        def work() -> None:
            enqueue()
            written.download()

        work()  # the first run after a change of shapes also does work that cannot be captured
        self._cuda.synchronize()
        return self._cuda.capture(work)

    def __call__(self, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self._upload(given)
        self._launch()
        self._cuda.synchronize()
        written = self._outputs[self._turn]
        answer = {name: _read_only(view.copy()) for name, view in written.views.items()}
        self._resident |= {name: answer[output] for name, output in self._feedback.items()}
        return answer

    def device_ms(self) -> float:
        return self._cuda.elapsed_ms(self._launch)

    def _launch(self) -> None:
        for name in self._feedback:  # until this run has been waited for, the state that it writes is not known
            self._resident.pop(name, None)
        self._turn = (self._turn + 1) % len(self._turns)
        self._turns[self._turn]()

    def _upload(self, given: dict[str, np.ndarray]) -> None:
        changed = {n: given[n] for n in self._inputs.views if given[n] is not self._resident.get(n)}
        returned = {n: given[n] for n in self._feedback if given[n] is not self._resident.get(n)}
        for name in changed | returned:
            self._resident.pop(name, None)
        self._inputs.upload(changed)
        latest = self._outputs[self._turn]  # the next turn reads from here
        latest.upload({self._feedback[name]: value for name, value in returned.items()})
        self._resident |= {n: a for n, a in changed.items() if a.flags.owndata and not a.flags.writeable}


class _Block:
    """Some tensors of one type side by side, on the GPU and in page-locked host memory. Without tensors nothing is allocated."""

    def __init__(self, cuda: Cuda, shapes: Shapes, dtype: type = np.float32):
        self._cuda, self.shapes = cuda, shapes
        sizes = [np.dtype(dtype).itemsize * int(np.prod(shape)) for shape in shapes.values()]
        ends = np.cumsum([0, *(-(-size // ALIGNMENT) * ALIGNMENT for size in sizes)])
        size = int(ends[-1])
        if shapes:
            self._device, self._host = cuda.allocate(size), cuda.allocate_pinned(size)
            self._host[:] = 0
        self._spans = {name: (int(s), int(s) + size) for name, s, size in zip(shapes, ends, sizes)}
        self.addresses = {name: self._device.address + start for name, (start, _) in self._spans.items()}
        self.views = {n: self._host[slice(*self._spans[n])].view(dtype).reshape(s) for n, s in shapes.items()}

    def upload(self, values: dict[str, np.ndarray]) -> None:
        """Start one copy that covers all of `values`; tensors that lie between them are uploaded again unchanged."""
        if not values:
            return
        for name, value in values.items():
            _check_shape(name, np.shape(value), self.shapes[name])
            self.views[name][...] = value
        start = min(self._spans[name][0] for name in values)
        end = max(self._spans[name][1] for name in values)
        self._cuda.upload(self._device.address + start, self._host[start:end])

    def clear(self) -> None:
        """Fill the GPU's memory with zeros. Only valid before anything else was written."""
        if self.shapes:
            self._cuda.upload(self._device.address, self._host)

    def download(self) -> None:
        self._cuda.download(self._host, self._device.address)


def _sized(shape: tuple[int, ...], people: int) -> tuple[int, ...]:
    return tuple(people if n == -1 else n for n in shape)


def _check_shape(name: str, shape: tuple[int, ...], taken: tuple[int, ...]) -> None:
    if len(shape) != len(taken) or any(n not in (m, -1) for m, n in zip(shape, taken)):
        raise ValueError(f"'{name}' has shape {shape}, the graph takes {taken}")


def _frozen_copy(array: np.ndarray) -> np.ndarray:
    return _read_only(np.array(array, np.float32))


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array
