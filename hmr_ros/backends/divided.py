"""Run a graph on several CPU threads that share its people. Only the encoder is large enough to gain from this."""

from __future__ import annotations

import numpy as np

from hmr_ros.backends.graph import Graph
from hmr_ros.worker_pool import WorkerPool


class DividedGraph:
    """Gives the same outputs as `graph`, whose inputs must all have one row per person, and which must be thread-safe."""

    def __init__(self, graph: Graph, pool: WorkerPool):
        self._graph, self._pool = graph, pool

    def __call__(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        people = len(next(iter(inputs.values())))
        shares = np.array_split(np.arange(people), min(people, self._pool.size))
        if len(shares) < 2:
            return self._graph(**inputs)
        answers = self._pool.map(lambda share: self._graph(**{n: a[share] for n, a in inputs.items()}), shares)
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    def bind(self, inputs: dict[str, np.ndarray]) -> DividedGraph:
        return DividedGraph(self._graph.bind(inputs), self._pool)
