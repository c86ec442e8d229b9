"""People of image sets as the pictures that image training augments and crops (`training.image.augment.Picture`)."""

from __future__ import annotations

from copy import copy
from pathlib import Path, PurePath

import numpy as np
import torch

from hmr_ros.body_model import BodyModel
from hmr_ros.regressor import axis_to_ray
from hmr_ros.rotation import rotvec_to_rotmat
from training.datasets.cameras import camera_of
from training.datasets.detect import load_image
from training.datasets.keypoint_pairs import whole
from training.datasets.people import DatasetError, load
from training.image.augment import Picture

HELD_OUT = 20
"""One in this many pictures, or folders of pictures, is held out for validation where nothing is drawn."""


class Photographs:
    """All people of a prepared file who were detected, and whose pose and betas of this body are known."""

    def __init__(self, file: Path, folder: Path, body: BodyModel):
        self.people, self.folder, self.body = whole(load(file), body), folder, body

    def parted(self) -> tuple[Photographs, Photographs]:
        """Split into people to train on, and one in HELD_OUT to validate on. Whole folders are held out if there are enough of them, because
        neighbouring frames of a clip are nearly the same picture."""
        names = self.people.image
        folders = np.array([str(PurePath(name).parent) for name in names])
        enough = len(np.unique(folders)) >= HELD_OUT
        held_out = np.unique(folders if enough else names, return_inverse=True)[1] % HELD_OUT == 0
        if held_out.all():
            raise DatasetError(
                "all photographs are one picture: none are left to train on beside the held-out ones. Prepare more pictures."
            )
        return self._some(~held_out), self._some(held_out)

    def _some(self, chosen: np.ndarray) -> Photographs:
        some = copy(self)
        some.people = self.people[chosen]
        return some

    def __len__(self) -> int:
        return len(self.people)

    def __call__(self, count: int, rng: torch.Generator) -> list[Picture]:
        """Drawn at random."""
        return [self[int(row)] for row in torch.randint(len(self), (count,), generator=rng)]

    def __getitem__(self, row: int) -> Picture:
        people, camera = self.people, camera_of(self.people, row)
        rotmat = rotvec_to_rotmat(people.poses[row])
        xy = camera.normalise(people.detected_2d[row])
        confidence, known = people.confidence_detected[row], people.detected_3d_known[row]
        low, high = xy[confidence > 0].min(axis=0), xy[confidence > 0].max(axis=0)
        # The detector's 3D is in axes along the ray to the person, that of a `Picture` in the camera's axes.
        world = people.detected_3d[row] @ axis_to_ray((low + high) / 2).T
        pelvis = self.body.joints(rotmat[None], people.betas[row][None], people.transl[row][None])[0][0, 0]
        return Picture(
            load_image(people, row, self.folder), camera, rotmat, people.betas[row], pelvis, xy, confidence,
            world.astype(np.float32), known.astype(np.float32),
        )  # fmt: skip
