"""TensorFlow Lite models run by ai-edge-litert on one CPU thread. The only file that imports it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hmr_ros.keypoints.blazepose_models import KeypointModelError


class LiteRtModel:
    """A model with one image input, as a function from that image to its output tensors."""

    def __init__(self, path: Path):
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise KeypointModelError(
                f"ai-edge-litert, which runs {path.name}, does not import ({error}): `pip install ai-edge-litert`"
            ) from error
        # One thread: more make models this small slower, and the rest of the robot needs the cores.
        self._interpreter = Interpreter(model_path=str(path), num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        self._outputs = self._interpreter.get_output_details()

    @property
    def side(self) -> int:
        """Height and width of the input image, pixels."""
        return int(self._input["shape"][1])

    def __call__(self, image: np.ndarray) -> dict[tuple[int, ...], np.ndarray]:
        """image: (side, side, 3) float32. Returns the outputs by shape, as copies, without their batch axis.

        By shape because both models' outputs are named Identity_1, Identity_2..., and no two of one model share a shape.
        """
        self._interpreter.set_tensor(self._input["index"], image[None])
        self._interpreter.invoke()
        return {tuple(out["shape"][1:]): self._interpreter.get_tensor(out["index"])[0] for out in self._outputs}
