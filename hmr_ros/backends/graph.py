"""A compiled graph, whatever runs it: one small protocol, and the check every backend must pass."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from hmr_ros.bundle import Bundle, BundleError


class Graph(Protocol):
    """A function from named arrays to named arrays."""

    def __call__(self, **inputs: np.ndarray) -> dict[str, np.ndarray]: ...

    def bind(self, inputs: dict[str, np.ndarray]) -> Graph:
        """The same graph with these inputs given for good; names it does not take are ignored."""
        ...


def check_golden(graph: Graph, name: str, bundle: Bundle, backend: str, tolerance: float = 1e-3) -> None:
    """Run `graph` on the bundle's golden inputs and compare with what torch computed.

    tolerance: largest error allowed, relative to the largest value of each output. Raises BundleError on a mismatch: a backend
    that computes something else must not drive anything. (ONNX Runtime's default optimisations do, on such gradient graphs.)
    """
    inputs, expected = bundle.golden(name)
    outputs = graph(**inputs)
    if name == "adapt":  # the step itself, not the state it is added to, which would hide a wrong one
        outputs = {**outputs, "new_state": outputs["new_state"] - inputs["state"]}
        expected = {**expected, "new_state": expected["new_state"] - inputs["state"]}
    for output, truth in expected.items():
        error = np.abs(outputs[output] - truth).max() / max(np.abs(truth).max(), 1e-12)
        if not error <= tolerance:
            raise BundleError(
                f"{backend} computes '{name}' of bundle {bundle.path} wrongly: output '{output}' is off by "
                f"{100 * error:.2g} % from the golden pair (allowed {100 * tolerance:.2g} %). Try another `model.backend` or "
                "another version of it, and please report this"
            )
