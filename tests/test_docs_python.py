"""The examples of docs/python.md, run as they stand there."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from hmr_ros.keypoints.blazepose_models import KeypointModelError, find_models
from hmr_ros.media import DEMO_CLIP

PAGE = Path(__file__).parents[1] / "docs" / "python.md"

try:
    find_models("")
except KeypointModelError as missing:
    pytest.skip(f"no keypoint models: {missing}", allow_module_level=True)


def example(heading: str) -> str:
    """The code below a heading."""
    section = PAGE.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    return "\n".join(line[4:] for line in section.splitlines() if re.match(r"    |$", line))


def test_one_image_its_meshes_and_other_keypoints(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    clip = cv2.VideoCapture(str(DEMO_CLIP))
    cv2.imwrite("people.jpg", clip.read()[1])
    names: dict = {}
    exec(example("One image"), names)
    assert "(24, 3)" in capsys.readouterr().out
    assert (cv2.imread("overlay.png") != cv2.imread("people.jpg")).any()
    exec(example("Meshes"), names)
    assert names["vertices"].shape == (6890, 3) and names["faces"].shape == (13776, 3)
    assert np.ptp(names["vertices"][:, 1]) > 1
    exec(example("Your own keypoints"), names)
    assert names["pipeline"](names["Frame"](names["image"], names["camera"])).people == ()


def test_a_live_camera_with_a_deadline(monkeypatch, capsys):
    film = cv2.VideoCapture

    class Short:
        """The demo clip's first frames."""

        def __init__(self, index: int):
            self.clip, self.left = film(str(DEMO_CLIP)), 4

        def read(self):
            self.left -= 1
            return self.clip.read() if self.left >= 0 else (False, None)

    monkeypatch.setattr(cv2, "VideoCapture", Short)
    names: dict = {}
    exec(example("A live camera, with a deadline"), names)
    told = capsys.readouterr().out
    assert told.count("'readout'") == 4 and len(names["result"].people) == 1
