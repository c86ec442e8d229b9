"""Synthetic training samples: motion-capture poses on random bodies in front of random cameras, seen by a simulated detector with errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hmr_ros import skeleton
from training.body import BodyArrays, ForwardKinematics
from training.boxes import keypoint_box
from training.config import NoiseConfig
from training.constants import constant
from training.detector_bones import BoneErrors
from training.draws import Draw, drawing
from training.losses import Target, truth_of
from training.nested import mapped
from training.rotation import axis_to_ray, rotvec_to_rotmat

KEYPOINT_SIGMA = {
    "nose": 1.0, "eye": 0.9, "ear": 1.1, "shoulder": 1.1, "elbow": 1.0, "wrist": 1.0, "hip": 1.1, "knee": 0.9,
    "ankle": 0.9, "toe": 1.4, "heel": 1.1,
}  # fmt: skip
"""Factor on NoiseConfig.sigma for each kind of keypoint."""
KEYPOINT_OUTLIERS = {
    "nose": 0.1, "eye": 0.1, "ear": 0.1, "shoulder": 0.3, "elbow": 0.8, "wrist": 1.2, "hip": 0.3, "knee": 0.8, "ankle": 1.0,
    "toe": 1.2, "heel": 1.1,
}  # fmt: skip
"""Factor on NoiseConfig.outliers for each kind of keypoint."""
ARMS, LEGS = ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle", "toe", "heel")


LIMB_JOINTS = tuple(
    tuple(skeleton.JOINT_NAMES.index(f"{side}_{part}") for part in parts)
    for side in ("left", "right")
    for parts in (("collar", "shoulder", "elbow", "wrist", "hand"), ("hip", "knee", "ankle", "foot"))
)
"""Joints of each arm and leg."""
SPINE_JOINTS = tuple(skeleton.JOINT_NAMES.index(f"spine{i}") for i in (1, 2, 3))


class Sample(NamedTuple):
    """A batch as the network sees it, with its ground truth."""

    keypoints: Tensor
    """(B, 23, 2) box units, as detected; zero where not detected."""
    confidence: Tensor
    """(B, 23)."""
    keypoints_3d: Tensor
    """(B, 23, 3) metres, from the hips' centre: the detector's own rough 3D."""
    confidence_3d: Tensor
    """(B, 23): 1 where there is such 3D."""
    bbox_info: Tensor
    """(B, 3) normalised image coordinates: centre x, y, size."""
    truth: Target
    transl: Tensor
    """(B, 3) metres, true."""

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What `MetaHmr.encode` takes."""
        return self.keypoints, self.confidence, self.keypoints_3d, self.confidence_3d, self.bbox_info

    @property
    def observed(self) -> tuple[Tensor, ...]:
        """What test-time optimisation compares a prediction with."""
        return self.keypoints, self.confidence, self.keypoints_3d, self.confidence_3d

    def to(self, device: torch.device) -> Sample:
        return mapped(lambda value: value.to(device), self)


class Detection(NamedTuple):
    """B people as a detector sees them."""

    true_xy: Tensor
    """(B, 23, 2) normalised image coordinates: where their keypoints really are."""
    xy: Tensor
    """(B, 23, 2): where they are detected; means nothing without confidence."""
    confidence: Tensor
    """(B, 23)."""
    xyz: Tensor
    """(B, 23, 3) metres from the hips' centre, optical axes: the detector's own rough 3D."""
    confidence_3d: Tensor
    """(B, 23): 1 where there is such 3D."""
    center: Tensor
    """(B, 2) of the box around what was detected."""
    size: Tensor
    """(B,)."""


class Poses:
    """SMPL local rotations of many frames, (N, 24, 3) axis-angle."""

    def __init__(self, *paths: Path):
        self.rotvec = torch.from_numpy(np.concatenate([self._read(path) for path in paths]))

    @staticmethod
    def _read(path: Path) -> np.ndarray:
        if not path.is_file():
            raise FileNotFoundError(
                f"no motion capture at {path.resolve()}: training takes the folder with {path.name} as --data, evaluation the folder above it, "
                "with mocap/ in it, as --root; `python -m training.prepare cmu` says how to make the files"
            )
        with np.load(path) as file:
            if "axes" in file and str(file["axes"]) != "y_up":
                raise ValueError(
                    f"{path}: its poses are relative to a camera, so this is not motion capture: use a pose set of `training.prepare`"
                )
            return file["poses"].astype(np.float32)

    @staticmethod
    def files(folder: Path, split: str) -> list[Path]:
        """Every pose set of a folder: ours, and those that `training.prepare` wrote there."""
        return sorted(folder.glob(f"poses_*_{split}.npz")) or [folder / f"poses_cmu_{split}.npz"]

    def __len__(self) -> int:
        return len(self.rotvec)


class Synthesis:
    """Draws samples. Everything random comes from the generator handed in, so a seed determines the data set.

    Samples are made on the device of `body`'s arrays; poses and generator must be on it too.
    """

    def __init__(self, body: BodyArrays, noise: NoiseConfig):
        self.body, self.noise = body, noise
        device = body.J_template.device
        self.kinematics = ForwardKinematics().to(device)
        kinds = [name.split("_")[-1] for name in skeleton.KEYPOINT_NAMES]

        def of_kinds(value: Callable[[str], float | bool]) -> Tensor:
            return torch.tensor([value(kind) for kind in kinds], device=device)

        self.sigma, self.outliers = of_kinds(KEYPOINT_SIGMA.__getitem__), of_kinds(KEYPOINT_OUTLIERS.__getitem__)
        self.hideable = of_kinds(lambda kind: kind in ("elbow", "wrist"))
        self.arms, self.legs = of_kinds(lambda kind: kind in ARMS), of_kinds(lambda kind: kind in LEGS)
        names = skeleton.KEYPOINT_NAMES
        hips = [names.index("left_hip"), names.index("right_hip")]
        trunk = [*hips, names.index("left_shoulder"), names.index("right_shoulder")]
        limbs = [
            [names.index(f"{side}_{part}") for part in parts]
            for side in ("left", "right")
            for parts in (ARMS, ("hip", "knee", "ankle", "heel", "big_toe", "small_toe"))
        ]
        down = torch.eye(23)
        for limb in limbs:  # an error at the elbow moves the wrist as well
            for i, point in enumerate(limb):
                down[point, limb[1 : min(i, 3)]] = 0.8
        self.down_the_limbs = down.to(device)
        # Lists would be copied to the device whenever they are used.
        self.hips, self.trunk, self.mirrored, *self.limbs = (
            torch.tensor(places, device=device) for places in (hips, trunk, skeleton.MIRRORED_KEYPOINTS, *limbs)
        )
        self.detected = torch.tensor(["small_toe" not in name for name in skeleton.KEYPOINT_NAMES], device=device)
        self.bone_errors = BoneErrors(device)
        self.more_in_depth = torch.tensor([1.0, 1.0, 1.8], device=device)

    @torch.no_grad()
    def __call__(self, rotvec: Tensor, rng: torch.Generator, augment: bool = True) -> Sample:
        """rotvec: (B, 24, 3) axis-angle in a y-up world facing +z. `augment` varies the poses and proportions themselves too."""
        rotmat, betas, pelvis = random_bodies(rotvec, rng, augment)
        posed = self.kinematics(rotmat, betas, vary_proportions(self.body, rng) if augment else self.body)
        seen = self.look(posed.keypoints, pelvis, rng)
        center, half = seen.center[:, None], seen.size[:, None, None] / 2
        truth = truth_of((seen.true_xy - center) / half, rotmat, betas, posed)
        keypoints = torch.where((seen.confidence > 0).unsqueeze(-1), (seen.xy - center) / half, 0)
        bbox_info = torch.cat([seen.center, seen.size[:, None]], -1)
        transl = pelvis - posed.pelvis
        return Sample(keypoints, seen.confidence, seen.xyz, seen.confidence_3d, bbox_info, truth, transl)

    def look(self, keypoints: Tensor, pelvis: Tensor, rng: torch.Generator) -> Detection:
        """What a detector makes of people. keypoints: (B, 23, 3) metres from the pelvis; pelvis: (B, 3) metres; both along the optical axes."""
        points = keypoints + pelvis[:, None]
        true_xy = points[..., :2] / points[..., 2:].clamp_min(0.1)
        xy, confidence = self.detect(true_xy, keypoints[..., 2], rng)
        center, size = keypoint_box(xy, confidence)
        xyz, confidence_3d = self.detect_3d(keypoints, (xy - true_xy) * pelvis[:, None, 2:], center, rng)
        return Detection(true_xy, xy, confidence, xyz, confidence_3d, center, size)

    def draws(self, rng: torch.Generator) -> tuple[Draw, Draw]:
        """Sources of the detector's errors: random numbers uniform in [0, 1), and standard normal, of any shape (B, ...)."""
        return drawing(torch.rand, rng), drawing(torch.randn, rng)

    def detect(self, clean: Tensor, depth: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Simulate detections of true 2D keypoints (B, 23, 2) at depth (B, 23) metres: positions and confidences (B, 23)."""
        batch, noise = len(clean), self.noise
        uniform, normal = self.draws(rng)
        size = (clean.amax(1) - clean.amin(1)).amax(-1)[:, None, None]

        factor = torch.exp(noise.spread * normal(batch, 1)) * torch.exp(0.4 * normal(batch, 23)) * self.sigma
        noisy = clean + noise.sigma * size * factor[..., None] * normal(batch, 23, 2)
        noisy = noisy + 0.3 * noise.sigma * size * normal(batch, 1, 2)  # the whole body, a little off

        swapped = noisy[:, self.mirrored]
        draw = uniform(batch, 1)
        which = (draw < noise.swaps / 3) | (self.arms & (draw > 1 - noise.swaps / 3))
        which = which | (self.legs & (draw > 0.5) & (draw < 0.5 + noise.swaps / 3))
        noisy = torch.where(which[..., None], swapped, noisy)

        lost = uniform(batch, 23) < noise.outliers * self.outliers
        noisy = torch.where(lost[..., None], noisy + 0.25 * size * normal(batch, 23, 2), noisy)
        if noise.precise:
            noisy = torch.where(uniform(batch, 1, 1) < noise.precise, clean, noisy)

        confidence = 1 - 0.25 * uniform(batch, 23) ** 2
        confidence = confidence - 0.4 * uniform(batch, 23) * (lost & (uniform(batch, 23) < 0.5))
        missing = (uniform(batch, 23) < noise.dropout * 2 * uniform(batch, 1)) | ~self.detected
        behind = depth - depth[:, self.trunk].mean(1, keepdim=True)  # the trunk hides what is behind it
        hidden = self.hideable & (uniform(batch, 23) < noise.occlusion * torch.sigmoid((behind - 0.05) / 0.06))
        missing = missing | hidden | self.truncated(clean, uniform)
        # Never fewer than six: the pipeline skips people with fewer.
        keep = missing.sum(1, keepdim=True) <= 23 - 6
        return noisy, torch.where((missing & keep) | ~self.detected, 0.0, confidence)

    def detect_3d(self, true: Tensor, shift: Tensor, center: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Simulate the detector's own 3D of true 3D keypoints (B, 23, 3): positions from the hips' centre, and confidences (B, 23).

        It sees a person of average size, turned a little, flattened in depth, with errors that grow along the limbs, and
        with the same mistakes in x and y as its 2D: `shift` (B, 23, 2), metres. It looks along the ray to the person, through
        `center` (B, 2), normalised image coordinates, so depth is along that ray. Truth and result are in optical axes.
        """
        batch, noise = len(true), self.noise
        uniform, normal = self.draws(rng)

        to_optical = axis_to_ray(center)
        points = (true - true[:, self.hips].mean(1, keepdim=True)) @ to_optical
        # Some people are seen well and some badly, as a whole; a network can tell by how well the 3D fits the 2D.
        badly = torch.exp(noise.spread_3d * normal(batch, 1))
        turn = rotvec_to_rotmat(math.radians(noise.turn_deg) * badly * normal(batch, 3))
        points = points @ turn.transpose(1, 2)
        for limb in self.limbs:  # depth mirrored about the limb's root
            chain = points[:, limb]
            flipped = torch.cat([chain[..., :2], 2 * chain[:, :1, 2:] - chain[..., 2:]], -1)
            points[:, limb] = torch.where(uniform(batch, 1, 1) < noise.flips_3d, flipped, chain)
        points = points * torch.exp(0.08 * normal(batch, 1, 1))
        flat = 1.05 - 0.4 * uniform(batch)
        depth = torch.stack([torch.ones_like(flat), torch.ones_like(flat), flat], -1)
        error = normal(batch, 23, 3) * self.more_in_depth * badly[:, None]
        flattened = points * depth[:, None] + noise.sigma_3d_m * (self.down_the_limbs @ error)
        if noise.bones_3d:
            shortened = self.bone_errors(points, uniform, normal)
            flattened = torch.where(uniform(batch, 1, 1) < noise.bones_3d, shortened, flattened)
        points = flattened
        points = torch.cat([points[..., :2] + 0.5 * shift, points[..., 2:]], -1)
        points = (points - points[:, self.hips].mean(1, keepdim=True)) @ to_optical.transpose(1, 2)
        known = self.detected & (uniform(batch, 1) >= noise.without_3d)
        return torch.where(known[..., None], points, 0), known.float()

    def truncated(self, clean: Tensor, uniform) -> Tensor:
        """(B, 23) bool: keypoints beyond an image border that cuts some people, from below more often than not."""
        low, high = clean.amin(1, keepdim=True), clean.amax(1, keepdim=True)
        where = (clean - low) / (high - low).clamp_min(1e-6)  # 0 to 1 over the person
        cut = uniform(len(clean), 1)
        side = uniform(len(clean), 1)
        beyond = torch.where(side < 0.7, where[..., 1] > 0.4 + 0.55 * cut, where[..., 0] > 0.5 + 0.45 * cut)
        beyond = torch.where(side > 0.9, where[..., 0] < 0.5 - 0.45 * cut, beyond)
        return beyond & (uniform(len(clean), 1) < self.noise.truncation)


def vary_proportions(body: BodyArrays, rng: torch.Generator, amount: float = 0.05) -> BodyArrays:
    """The body with every bone a little longer or shorter, the same on both sides.

    Real limbs vary more than ten betas can express; a network that expects the model's proportions of everyone would read a long
    thigh as one that points sideways. amount: standard deviation of the log of the length.
    """
    factor = torch.exp(amount * drawing(torch.randn, rng)(skeleton.NUM_JOINTS))
    # Left and right share the factor of the first of them, not the smaller one, so that people do not become shorter on average.
    first = tuple(map(min, enumerate(skeleton.MIRRORED_JOINTS)))
    factor = factor[constant(first, factor.device, torch.int64)]
    joints = [body.J_template[0]]
    for child in range(1, skeleton.NUM_JOINTS):
        parent = skeleton.PARENTS[child]
        joints.append(joints[parent] + factor[child] * (body.J_template[child] - body.J_template[parent]))
    moved = torch.stack(joints)
    landmarks = body.landmark_template + body.landmark_weights @ (moved - body.J_template)
    return body._replace(J_template=moved, landmark_template=landmarks)


def random_bodies(rotvec: Tensor, rng: torch.Generator, augment: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """A random body in each of these poses, at a random place in front of a camera.

    rotvec: (B, 24, 3), as `Synthesis` takes it. Returns rotmat (B, 24, 3, 3) in the optical frame, betas (B, 10), and where the
    pelvis is, (B, 3) metres, optical frame.
    """
    rotvec = augment_pose(rotvec, rng) if augment else rotvec
    rotmat = rotvec_to_rotmat(rotvec)
    rotmat[:, 0] = random_view(len(rotvec), rng) @ rotmat[:, 0]
    betas = drawing(torch.randn, rng)(len(rotvec), skeleton.NUM_BETAS)
    return rotmat, betas, random_position(len(rotvec), rng)


def augment_pose(rotvec: Tensor, rng: torch.Generator) -> Tensor:
    """More poses than were captured: limbs exchanged between people, bodies mirrored half of the time, joints perturbed, and in half
    of them the collars take a part of the arms' elevation (in the data they never do)."""
    batch, uniform, normal = len(rotvec), drawing(torch.rand, rng), drawing(torch.randn, rng)
    rotvec = exchange_limbs(rotvec, rng)
    order = constant(skeleton.MIRRORED_JOINTS, rotvec.device, torch.int64)
    mirrored = rotvec[:, order] * constant((1, -1, -1), rotvec.device)
    rotvec = torch.where(uniform(batch, 1, 1) < 0.5, mirrored, rotvec)
    amount = 0.35 * uniform(batch, 1, 1) ** 2
    rotvec = rotvec + amount * normal(*rotvec.shape)
    bend = 0.12 * uniform(batch, 1) * normal(batch, 3)
    for joint in SPINE_JOINTS:  # the trunk bends and twists as a whole, on top of its joints' own noise
        rotvec[:, joint] += bend
    for collar, shoulder in (("left_collar", "left_shoulder"), ("right_collar", "right_shoulder")):
        c, s = skeleton.JOINT_NAMES.index(collar), skeleton.JOINT_NAMES.index(shoulder)
        driven = uniform(batch) < 0.5
        share = driven * (0.05 + 0.15 * uniform(batch)) * rotvec[:, s, 2]
        rotvec[:, c, 2] += share
        rotvec[:, s, 2] -= share
    return rotvec


def exchange_limbs(rotvec: Tensor, rng: torch.Generator, share: float = 0.3) -> Tensor:
    """Replace each arm and each leg, with probability `share`, by another person's: limb poses then meet in combinations never captured."""
    for joints in LIMB_JOINTS:
        limb = constant(joints, rotvec.device, torch.int64)
        other = rotvec[drawing(torch.randperm, rng)(len(rotvec))][:, limb]
        chosen = drawing(torch.rand, rng)(len(rotvec), 1, 1) < share
        rotvec = rotvec.index_copy(1, limb, torch.where(chosen, other, rotvec[:, limb]))
    return rotvec


def random_view(batch: int, rng: torch.Generator) -> Tensor:
    """(B, 3, 3): from the y-up world of the data to the optical frame (y down) of a camera looking from anywhere."""
    uniform, normal = drawing(torch.rand, rng), drawing(torch.randn, rng)
    axes = torch.eye(3, device=rng.device)

    def about(axis: int, angle: Tensor) -> Tensor:
        return rotvec_to_rotmat(axes[axis] * angle[:, None])

    yaw = 2 * math.pi * uniform(batch)
    pitch = torch.deg2rad(8 + 18 * normal(batch))
    roll = torch.deg2rad(9 * normal(batch))
    lean = [torch.deg2rad(10 * normal(batch)) for _ in range(2)]
    # One in twenty lies, hangs or stands on the hands.
    tumbled = uniform(batch) < 0.05
    pitch = torch.where(tumbled, math.pi * normal(batch), pitch)
    roll = torch.where(tumbled, math.pi / 2 * normal(batch), roll)
    flip = about(0, torch.full((batch,), math.pi, device=rng.device))
    return about(2, roll) @ about(0, pitch) @ flip @ about(0, lean[0]) @ about(2, lean[1]) @ about(1, yaw)


def random_position(batch: int, rng: torch.Generator) -> Tensor:
    """(B, 3) metres: pelvis in the optical frame, 1.3 to 12 m away, up to about 35 degrees off the axis."""
    normal = drawing(torch.randn, rng)
    near, far = math.log(1.3), math.log(12.0)
    z = torch.exp(near + (far - near) * drawing(torch.rand, rng)(batch))
    x = 0.35 * normal(batch).clamp(-2, 2)
    y = 0.2 * normal(batch).clamp(-2, 2)
    return torch.stack([x * z, y * z, z], dim=-1)
