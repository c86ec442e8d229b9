"""Which backend runs the graphs, and why: the first of a list that works."""

from __future__ import annotations

import dataclasses
import logging
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from hmr_ros.backends.engines import Engines
from hmr_ros.backends.graph import BackendError, Graph
from hmr_ros.bundle import BundleError

Make = Callable[[], "Loaded"]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """A bundle's graphs, checked and ready, and what runs them."""

    graphs: dict[str, Graph]
    name: str
    """The backend, with version and device where they matter."""
    reason: str = ""
    """One line: why this backend, and why none of those preferred to it."""
    engines: Engines | None = None
    """Where the graphs come from, if they are TensorRT's."""


def first_that_works(candidates: dict[str, Make]) -> Loaded:
    """candidates: name to a function that makes and checks the graphs, the best first. An exception of the last one is passed on."""
    refused: list[str] = []
    *better, last = candidates
    for name in better:
        try:
            return dataclasses.replace(candidates[name](), reason=_reason(refused))
        except (BackendError, BundleError) as error:
            refused.append(f"not {name}: {error}")
        except Exception as error:  # whatever a GPU's libraries raise, the robot must start
            _log.warning("%s failed unexpectedly; please report this", name, exc_info=True)
            refused.append(f"not {name}: {type(error).__name__}: {error}")
    return dataclasses.replace(candidates[last](), reason=_reason(refused))


def unless_slower(make: Make, plain: Make, frame: Callable[[Loaded], None], repeats: int = 20) -> Make:
    """Like `make`, but refuses (BackendError) if `plain` takes less time for one `frame`: launching hundreds of small kernels
    one by one on a GPU can take longer than computing on a CPU."""

    def checked() -> Loaded:
        loaded = make()
        ours, theirs = (_median_ms(lambda x=x: frame(x), repeats) for x in (loaded, plain()))  # type: ignore[misc]
        if theirs < ours:
            raise BackendError(f"slower here, {ours:.1f} ms for a frame's graphs against {theirs:.1f} ms")
        return loaded

    return checked


def _median_ms(work: Callable[[], None], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


def _reason(refused: list[str]) -> str:
    return " ".join("; ".join(refused).split()) or "the first choice works"
