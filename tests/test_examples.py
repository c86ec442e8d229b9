"""The maths of the control examples."""

from xml.etree import ElementTree

import numpy as np
import pytest

from hmr_ros.examples import retarget
from hmr_ros.examples.separation import BONE_RADII_M, closest_m, segment_distances, speed_scale
from hmr_ros.rotation import rotvec_to_rotmat
from hmr_ros.skeleton import BONES, JOINT_NAMES
from hmr_ros.smpl_file import load_body

RNG = np.random.default_rng(0)
AXES = dict(zip(("1 0 0", "0 1 0", "0 0 1"), np.eye(3)))


def sampled_distance(a, b, c, d, count=400):
    s = np.linspace(0, 1, count)[:, None]
    return np.linalg.norm((a + s * (b - a))[:, None] - (c + s * (d - c))[None], axis=-1).min()


@pytest.mark.parametrize("seed", range(8))
def test_distance_of_segments_is_that_of_their_points(seed):
    a, b, c, d = np.random.default_rng(seed).normal(size=(4, 3))
    assert np.isclose(segment_distances(a, b, c, d), sampled_distance(a, b, c, d), atol=5e-3)


def test_distance_of_odd_segments():
    o, x, y = np.zeros(3), np.array([1.0, 0, 0]), np.array([0, 1.0, 0])
    assert segment_distances(o, x, y, x + y) == pytest.approx(1), "parallel"
    assert segment_distances(o, x, 2 * x, 3 * x) == pytest.approx(1), "in one line"
    assert segment_distances(o, x, x / 2 - y, x / 2 + y) == pytest.approx(0), "crossing"
    assert segment_distances(o, o, y, y) == pytest.approx(1), "two points"


def standing(distance_m):
    rotmat = np.eye(3)[None, None].repeat(24, axis=1)
    return load_body("open").joints(rotmat, np.zeros((1, 10)), np.array([[0, 0, distance_m]]))[0]


def test_the_nearest_person_and_link_count():
    near, far = standing(2.0), standing(5.0)
    robot = np.array([[0, -1.0, 0], [0, 1.0, 0]])
    alone = closest_m(near, robot, 0.1)
    assert 2 - 0.6 < alone < 2 and closest_m(np.concatenate([far, near]), robot, 0.1) == pytest.approx(alone)
    assert closest_m(near, np.concatenate([[[0, -9.0, 0]], robot]), 0.1) == pytest.approx(alone)
    assert closest_m(near, robot, 0.3) == pytest.approx(alone - 0.2)
    assert closest_m(near, near[0, :1], 0.1) < 0, "a robot inside a person"
    assert closest_m(near[:0], robot, 0.1) == np.inf


@pytest.mark.parametrize("size", [0.0, 1.5])
def test_flesh_is_inside_the_capsules(size):
    body, betas = load_body("open"), np.array([[0, size] + [0] * 8])
    rotmat = rotvec_to_rotmat(RNG.normal(size=(1, 24, 3)) * 0.1)
    joints, vertices = body.joints(rotmat, betas)[0][0], body.vertices(rotmat, betas)[0][:, None]
    ends = joints[BONES]
    gaps = segment_distances(vertices, vertices, ends[None, :, 0], ends[None, :, 1]) - BONE_RADII_M
    assert gaps.min(axis=1).max() < 0.01


def test_speed_falls_from_full_to_none():
    distances = np.linspace(0, 3, 50)
    scales = np.array([speed_scale(d, 0.5, 1.5) for d in distances])
    assert (
        np.all(scales[distances <= 0.5] == 0) and np.all(scales[distances >= 1.5] == 1) and np.all(np.diff(scales) >= 0)
    )
    assert (
        speed_scale(np.inf, 0.5, 1.5) == 1
        and speed_scale(np.nan, 0.5, 1.5) == 0
        and speed_scale(-np.inf, 0.5, 1.5) == 0
    )


def robot_arms(angles):
    """Directions of upper arms and forearms by the URDF itself, (2, 2, 3)."""
    joints = {j.find("child").get("link"): j for j in ElementTree.parse(retarget.URDF).getroot().iter("joint")}
    values = dict(zip(retarget.JOINTS, angles))

    def place(link):
        if link not in joints:
            return np.eye(4)
        joint, T = joints[link], np.eye(4)
        T[:3, 3] = np.array(joint.find("origin").get("xyz").split(), float)
        if joint.get("name") in values:
            T[:3, :3] = rotvec_to_rotmat(values[joint.get("name")] * AXES[joint.find("axis").get("xyz")])
        return place(joint.find("parent").get("link")) @ T

    points = [[place(f"{s}_{n}")[:3, 3] for n in ("upper_arm", "forearm", "hand")] for s in ("left", "right")]
    bones = np.diff(np.array(points), axis=1)
    return bones / np.linalg.norm(bones, axis=-1, keepdims=True)


@pytest.mark.parametrize("seed", range(6))
def test_the_robots_arms_point_where_the_persons_do(seed):
    rng = np.random.default_rng(seed)
    rotmat = rotvec_to_rotmat(rng.normal(size=(1, 24, 3)) * 0.6)
    joints, orientation = load_body("open").joints(rotmat, rng.normal(size=(1, 10)))
    angles = retarget.arm_angles(joints[0], orientation[0, JOINT_NAMES.index("spine3")], np.zeros(8))
    assert np.all(angles[[3, 7]] <= 0)
    at = [[JOINT_NAMES.index(f"{s}_{n}") for n in ("shoulder", "elbow", "wrist")] for s in ("left", "right")]
    bones = np.diff(joints[0][np.array(at)], axis=1)
    bones = bones / np.linalg.norm(bones, axis=-1, keepdims=True)
    in_torso = bones @ (retarget.R_torso_chest @ orientation[0, JOINT_NAMES.index("spine3")].T).T
    assert np.allclose(robot_arms(angles), in_torso, atol=1e-5)


def test_arms_that_hang_are_zero_and_left_and_right_are_not_mixed_up():
    joints = np.zeros((24, 3))
    for side, x in (("left", 0.2), ("right", -0.2)):
        for part, y in (("shoulder", 0), ("elbow", -0.3), ("wrist", -0.55)):
            joints[JOINT_NAMES.index(f"{side}_{part}")] = x, y, 0
    kept = np.full(8, 0.3)
    assert np.allclose(retarget.arm_angles(joints, np.eye(3), kept)[[0, 1, 3]], 0), "y of SMPL is up"
    assert np.allclose(retarget.arm_angles(joints, np.eye(3), kept)[2], 0.3), "no yaw is to be seen of a straight arm"
    joints[JOINT_NAMES.index("left_wrist")] = 0.2, -0.3, 0.25
    angles = dict(zip(retarget.JOINTS, retarget.arm_angles(joints, np.eye(3), np.zeros(8))))
    assert angles["left_elbow"] == pytest.approx(-np.pi / 2) and angles["right_elbow"] == pytest.approx(0)


def test_steps_stay_within_speed_and_limits():
    bounds = retarget.limits()
    assert bounds.shape == (8, 2) and np.all(bounds[:, 0] < bounds[:, 1])
    angles = np.zeros(8)
    for _ in range(200):
        step = retarget.step_towards(angles, np.full(8, 9.0), 0.05)
        assert np.abs(step - angles).max() <= 0.05 + 1e-9
        angles = step
    assert np.allclose(angles, bounds[:, 1])
