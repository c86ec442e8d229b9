"""A compiled graph, whatever runs it: one small protocol, and the check every backend must pass."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from hmr_ros.bundle import SHARED, Bundle, BundleError


class BackendError(RuntimeError):
    """A backend that cannot work here. The message says what is missing or wrong, and what to do."""


class Graph(Protocol):
    """A function from named arrays to named arrays. Names that it does not take are ignored.

    An input that owns its data, is read-only, and is the very same array as in the call before has not changed: a backend may
    skip its upload. What a graph returns may be read-only for that reason: copy before writing.
    """

    def __call__(self, **inputs: np.ndarray) -> dict[str, np.ndarray]: ...

    def bind(self, inputs: dict[str, np.ndarray]) -> Graph:
        """Return the same graph with these inputs fixed; names it does not take are ignored."""
        ...


def check_golden(graph: Graph, name: str, bundle: Bundle, backend: str, tolerance: float = 1e-3) -> None:
    """Run `graph` on the bundle's golden inputs and compare with what torch computed.

    The golden pair is a batch of a few people. One of them alone and three times as many must give the same results, because a
    backend may use other kernels for other batch sizes. tolerance: largest error allowed, relative to the largest value of each
    output. Raises BundleError on a mismatch: a backend that computes something else must not be used. (ONNX Runtime's default
    optimisations do so on graphs with gradients, like these.)
    """
    inputs, expected = bundle.golden(name)
    count = len(next(iter(expected.values())))
    for people in (count, 1, 3 * count):
        chosen = np.arange(people) % count
        _compare(
            graph,
            {n: a if n in SHARED else a[chosen] for n, a in inputs.items()},
            {n: a[chosen] for n, a in expected.items()},
            f"{backend} computes '{name}' of bundle {bundle.path} wrongly for {people} people",
            tolerance,
        )


def _compare(graph: Graph, inputs: dict, expected: dict, complaint: str, tolerance: float) -> None:
    outputs = graph(**inputs)
    if "new_state" in expected:  # the step alone: the state that it is added to would hide an error
        outputs = {**outputs, "new_state": outputs["new_state"] - inputs["state"]}
        expected = {**expected, "new_state": expected["new_state"] - inputs["state"]}
    for output, truth in expected.items():
        error = np.abs(outputs[output] - truth).max() / max(np.abs(truth).max(), 1e-12)
        if not error <= tolerance:
            raise BundleError(
                f"{complaint}: output '{output}' is off by {100 * error:.2g} % from the golden pair (allowed "
                f"{100 * tolerance:.2g} %). Try another `model.backend` or another version of it, and please report this"
            )
