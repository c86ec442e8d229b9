"""A graph that is large enough for its people to be divided among threads: the encoder, on a CPU."""

from __future__ import annotations

import numpy as np

from hmr_ros.backends.graph import Graph
from hmr_ros.crew import Crew


class DividedGraph:
    """Same answers as `graph`, whose inputs must all be of one person a row, and which must let several threads in."""

    def __init__(self, graph: Graph, crew: Crew):
        self._graph, self._crew = graph, crew

    def __call__(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        people = len(next(iter(inputs.values())))
        shares = np.array_split(np.arange(people), min(people, self._crew.size))
        if len(shares) < 2:
            return self._graph(**inputs)
        answers = self._crew.map(lambda share: self._graph(**{n: a[share] for n, a in inputs.items()}), shares)
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    def bind(self, inputs: dict[str, np.ndarray]) -> DividedGraph:
        return DividedGraph(self._graph.bind(inputs), self._crew)
