"""The real node with a pipeline that misbehaves on command: for what a real one cannot be made to do.

The first pixel of an image says what happens: OK finds one person, CRASH raises, SLOW takes 0.3 s, LOSE loses the GPU.
"""

import os
import sys
import time

import numpy as np

from hmr_ros.backends.graph import BackendError
from hmr_ros.config import ConfigError
from hmr_ros.rotation import rotvec_to_rotmat
from hmr_ros.types import FitReport, FrameResult, Person

OK, CRASH, SLOW, LOSE = 0, 1, 2, 3


class FakeBody:
    """A cloud of points instead of a body: 8 vertices, 12 faces."""

    shape_space = "fake"
    faces = np.random.default_rng(0).permuted(np.tile(np.arange(8), (12, 1)), axis=1)[:, :3]
    calls = 0

    def vertices(self, rotmat, betas, transl):
        FakeBody.calls += 1
        return (transl[:, None] + np.random.default_rng(1).normal(size=(8, 3))).astype(np.float32)

    def keypoints(self, rotmat, betas, transl):
        return (transl[:, None] + np.random.default_rng(2).normal(size=(23, 3))).astype(np.float32)


def person(person_id: int = 7, seed: int = 0) -> Person:
    """Somebody with a pose unlike the identity and consistent orientations."""
    from hmr_ros.skeleton import PARENTS

    rng = np.random.default_rng(seed)
    rotmat = rotvec_to_rotmat(rng.normal(size=(24, 3)))
    offsets = rng.normal(size=(24, 3))
    joints, turned = np.zeros((24, 3)), rotmat.copy()
    joints[0] = transl = rng.normal(size=3) + (0, 0, 4)
    for j in range(1, 24):
        joints[j] = joints[PARENTS[j]] + turned[PARENTS[j]] @ offsets[j]
        turned[j] = turned[PARENTS[j]] @ rotmat[j]
    f32 = {
        "rotmat": rotmat, "betas": rng.normal(size=10), "transl": transl, "joints": joints, "joint_rotmat": turned,
        "joint_confidence": rng.uniform(size=24), "keypoints_uv": rng.uniform(0, 400, (23, 2)),
        "keypoint_confidence": (rng.uniform(size=23) > 0.3) * 1.0, "angular_velocity": rng.normal(size=(24, 3)),
        "linear_velocity": rng.normal(size=3),
    }  # fmt: skip
    f32 = {name: value.astype(np.float32) for name, value in f32.items()}
    uv = f32["keypoints_uv"]
    return Person(
        id=person_id, score=0.875, loss_before=0.5, loss_after=0.25, steps=4,
        reprojection_px=uv, reprojection_px_before=uv + np.float32([6, 8]), reprojection_px_after=uv + np.float32([3, 4]), **f32,
    )  # fmt: skip


class FakePipeline:
    body = FakeBody()
    resets = 0

    def __init__(self, config):
        self.config = config
        if config.model.bundle == "missing":
            raise ConfigError("bundle 'missing' not found; looked in /nowhere; give model.bundle a folder")

    def __call__(self, frame, deadline_s):
        command = int(frame.image[0, 0, 0])
        if command == CRASH:
            raise RuntimeError("told to crash")
        if command == SLOW:
            time.sleep(0.3)
        if command == LOSE:
            raise BackendError("CUDA failed: an illegal memory access was encountered")
        if command not in (OK, SLOW):
            return FrameResult((), None, {"detect": 0.1})
        loss = np.full(1, 0.5, np.float32)
        fit = FitReport(self.config.tto.max_steps, loss, loss / 2, "deadline" if deadline_s else "converged", 0.001)
        return FrameResult((person(),), fit, {"detect": 0.1, "tto": 0.2})

    def update(self, config):
        self.config = config

    def reset(self):
        self.resets += 1

    def describe(self):
        return {
            "backend": "fake",
            "shape_space": "fake",
            "bundle": "none",
            "mesh_calls": FakeBody.calls,
            "resets": self.resets,
        }


def build(config):
    time.sleep(float(os.environ.get("FAKE_BUILD_S", "0")))
    return FakePipeline(config)


if __name__ == "__main__":
    from hmr_ros.ros.node import main

    sys.exit(main(build=build))
