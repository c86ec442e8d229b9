"""People in a robot's frames: the body model agrees, nothing is lost on the way, and nobody lies flat."""

import dataclasses

import numpy as np
import pytest

from hmr_ros.body_model import BodyModel
from hmr_ros.frames import ROTMAT_LINK_OPTICAL, RigidTransform, move_person
from hmr_ros.media import DEMO_CLIP
from hmr_ros.rotation import rotmat_to_quat, rotvec_to_rotmat
from hmr_ros.skeleton import JOINT_NAMES
from hmr_ros.smpl_file import load_body
from hmr_ros.types import Person


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_body("open")


def transform(seed: int) -> RigidTransform:
    rng = np.random.default_rng(seed)
    return RigidTransform(rotvec_to_rotmat(rng.normal(size=3)), rng.normal(size=3))


def person(body: BodyModel, rotmat, betas, transl) -> Person:
    rotmat, betas, transl = (np.asarray(value, np.float32) for value in (rotmat, betas, transl))
    joints, turns = body.joints(rotmat[None], betas[None], transl[None])
    rng = np.random.default_rng(3)
    zeros = {
        name: np.zeros((23, 2), np.float32)
        for name in ("reprojection_px", "reprojection_px_before", "reprojection_px_after")
    }
    return Person(
        id=1, score=1.0, rotmat=rotmat, betas=betas, transl=transl, joints=joints[0], joint_rotmat=turns[0],
        joint_confidence=np.ones(24, np.float32), keypoints_uv=rng.normal(size=(23, 2)).astype(np.float32),
        keypoint_confidence=np.ones(23, np.float32), angular_velocity=rng.normal(size=(24, 3)).astype(np.float32),
        linear_velocity=rng.normal(size=3).astype(np.float32), loss_before=1.0, loss_after=0.5, steps=3, **zeros,
    )  # fmt: skip


@pytest.fixture
def somebody(body) -> Person:
    rng = np.random.default_rng(0)
    return person(body, rotvec_to_rotmat(0.5 * rng.normal(size=(24, 3))), rng.normal(size=10), rng.normal(size=3))


def mesh(body: BodyModel, who: Person) -> np.ndarray:
    return body.vertices(who.rotmat[None], who.betas[None], who.transl[None])[0]


def test_moved_parameters_pose_the_moved_body(body, somebody):
    """What a subscriber computes from ~/smpl in the new frame is the old body, moved: joints, orientations and mesh."""
    T = transform(1)
    moved = move_person(T, somebody)
    joints, turns = body.joints(moved.rotmat[None], moved.betas[None], moved.transl[None])
    np.testing.assert_allclose(joints[0], T.points(somebody.joints), atol=1e-5)
    np.testing.assert_allclose(moved.joints, joints[0], atol=1e-5)
    np.testing.assert_allclose(moved.joint_rotmat, turns[0], atol=1e-5)
    np.testing.assert_allclose(mesh(body, moved), T.points(mesh(body, somebody)), atol=1e-5)


def test_there_and_back_changes_nothing(somebody):
    T = transform(2)
    back = move_person(T.inverse(), move_person(T, somebody))
    for item in dataclasses.fields(Person):
        np.testing.assert_allclose(getattr(back, item.name), getattr(somebody, item.name), atol=1e-5, err_msg=item.name)


def test_velocities_are_the_derivatives_of_what_is_published(body, somebody):
    """A body moving and turning for a moment: the moved velocities predict the moved pose."""
    T, dt = transform(5), 1e-2
    omega = somebody.angular_velocity
    later = person(
        body, rotvec_to_rotmat(omega * dt) @ somebody.rotmat, somebody.betas, somebody.transl + somebody.linear_velocity * dt
    )  # fmt: skip
    moved, moved_later = move_person(T, somebody), move_person(T, later)
    turned = rotvec_to_rotmat(moved.angular_velocity * dt) @ moved.rotmat
    np.testing.assert_allclose(turned, moved_later.rotmat, atol=1e-5)
    travelled = moved.joints[0] + moved.linear_velocity * dt
    np.testing.assert_allclose(travelled, moved_later.joints[0], atol=1e-5)


def test_transforms_compose():
    a, b, points = transform(3), transform(4), np.random.default_rng(0).normal(size=(7, 3))
    np.testing.assert_allclose((a @ b).points(points), a.points(b.points(points)), atol=1e-12)
    np.testing.assert_allclose(a.inverse().points(a.points(points)), points, atol=1e-12)
    again = RigidTransform.from_quat(rotmat_to_quat(a.rotmat), a.transl)
    np.testing.assert_allclose(again.points(points), a.points(points), atol=1e-12)


def test_optical_axes_are_those_of_rep_103():
    right, down, forward = np.eye(3)
    np.testing.assert_array_equal(ROTMAT_LINK_OPTICAL @ forward, [1, 0, 0])
    np.testing.assert_array_equal(ROTMAT_LINK_OPTICAL @ -right, [0, 1, 0])
    np.testing.assert_array_equal(ROTMAT_LINK_OPTICAL @ -down, [0, 0, 1])
    assert np.linalg.det(ROTMAT_LINK_OPTICAL) == 1


def test_a_person_before_a_level_camera_stands_in_the_robots_frame(body):
    """The mistake to rule out: optical coordinates taken for a base frame's, so that people lie flat."""
    truth = DEMO_CLIP.with_suffix(".npz")
    if not truth.is_file():
        pytest.skip(f"{truth} is not here")
    with np.load(truth) as data:
        rotmat, betas, transl = rotvec_to_rotmat(data["poses"][0].reshape(24, 3)), data["betas"], data["transl"][0]
    camera_height_m = 1.0
    T_base_camera = RigidTransform(ROTMAT_LINK_OPTICAL, np.array([0.0, 0.0, camera_height_m]))
    who = move_person(T_base_camera, person(body, rotmat, betas, transl))
    at = {name: who.joints[index] for index, name in enumerate(JOINT_NAMES)}
    feet = (at["left_ankle"] + at["right_ankle"]) / 2
    assert at["head"][2] - feet[2] > 1.0, "the head is above the feet"
    assert np.linalg.norm((at["head"] - feet)[:2]) < 0.5, "upright, not lying"
    assert who.joints[:, 0].min() > 0.5, "in front of the robot"
    assert mesh(body, who)[:, 2].max() > 1.2
    up = who.joint_rotmat[JOINT_NAMES.index("spine2")] @ [0, 1, 0]
    assert up[2] > 0.8, "the trunk's orientation says the same as the positions"
