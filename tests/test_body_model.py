"""Laws of the body model, on our open body and on a random body with pose blend shapes; `smplx` is the reference."""

import dataclasses

import numpy as np
import pytest

from hmr_ros import skeleton
from hmr_ros.body_model import NUM_POSE_FEATURES, BodyModel
from hmr_ros.rotation import rotvec_to_rotmat
from hmr_ros.smpl_file import load_body


def with_pose_blend_shapes(body: BodyModel) -> BodyModel:
    """The same body with random, smoothly small pose blend shapes."""
    rng = np.random.default_rng(7)
    posedirs = rng.normal(0, 2e-3, (len(body.v_template), 3, NUM_POSE_FEATURES)).astype(np.float32)
    return dataclasses.replace(body, posedirs=posedirs)


@pytest.fixture(scope="module", params=["open", "with pose blend shapes"])
def body(request) -> BodyModel:
    loaded = load_body("open")
    return loaded if request.param == "open" else with_pose_blend_shapes(loaded)


def random_people(people: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    rotmat = rotvec_to_rotmat(rng.normal(0, 0.5, (people, 24, 3)).astype(np.float32))
    betas = rng.normal(size=(people, 10)).astype(np.float32)
    return rotmat, betas, rng.normal(0, 2, (people, 3)).astype(np.float32)


def upright(people: int = 1) -> np.ndarray:
    return np.tile(np.eye(3, dtype=np.float32), (people, 24, 1, 1))


def test_agrees_with_smplx(body):
    smplx = pytest.importorskip("smplx", reason="smplx (non-commercial, reference only) is not installed")
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from smplx.utils import Struct

    rotmat, betas, transl = random_people(5)
    no_posedirs = np.zeros((len(body.v_template), 3, NUM_POSE_FEATURES), np.float32)
    struct = Struct(
        v_template=body.v_template,
        shapedirs=body.shapedirs,
        posedirs=no_posedirs if body.posedirs is None else body.posedirs,
        weights=body.weights,
        J_regressor=body.J_regressor,
        f=body.faces,
        kintree_table=np.array([skeleton.PARENTS, range(24)]),
    )
    reference = smplx.SMPL(model_path="", data_struct=struct, batch_size=5)
    with torch.no_grad():
        out = reference(
            betas=torch.from_numpy(betas),
            body_pose=torch.from_numpy(rotmat[:, 1:]),
            global_orient=torch.from_numpy(rotmat[:, :1]),
            transl=torch.from_numpy(transl),
            pose2rot=False,
        )
    np.testing.assert_allclose(body.vertices(rotmat, betas, transl), out.vertices.numpy(), atol=1e-5)
    np.testing.assert_allclose(body.joints(rotmat, betas, transl)[0], out.joints[:, :24].numpy(), atol=1e-5)


def test_zero_pose_is_the_template(body):
    vertices = body.vertices(upright(), np.zeros((1, 10), np.float32))
    np.testing.assert_allclose(vertices[0], body.v_template, atol=1e-6)
    joints, orientation = body.joints(upright(), np.zeros((1, 10), np.float32))
    np.testing.assert_allclose(joints[0], body.J_regressor @ body.v_template, atol=1e-6)
    np.testing.assert_allclose(orientation, upright(), atol=0)


def test_joints_of_a_shape_are_regressed_from_its_mesh(body):
    _, betas, _ = random_people(3)
    vertices = body.vertices(upright(3), betas)
    np.testing.assert_allclose(body.joints(upright(3), betas)[0], body.J_regressor @ vertices, atol=1e-5)


def test_keypoints_equal_those_taken_from_the_full_mesh(body):
    rotmat, betas, transl = random_people(4)
    joints, _ = body.joints(rotmat, betas, transl)
    landmarks = body.vertices(rotmat, betas, transl)[:, skeleton.landmark_vertices()]
    slow = skeleton.keypoints_from_joints() @ joints + skeleton.keypoints_from_landmarks() @ landmarks
    np.testing.assert_allclose(body.keypoints(rotmat, betas, transl), slow, atol=1e-5)


def test_root_turns_about_the_pelvis(body):
    rotmat, betas, transl = random_people(2)
    turned = rotmat.copy()
    R = rotvec_to_rotmat(np.array([0.3, -1.1, 2.0], np.float32))
    turned[:, 0] = R @ rotmat[:, 0]
    joints, orientation = body.joints(rotmat, betas, transl)
    pelvis = joints[:, :1]
    assert np.linalg.norm(body.J_template[0]) > 0.1, "a pelvis at the origin would hide the error this test is for"
    vertices = body.vertices(rotmat, betas, transl)
    np.testing.assert_allclose(
        body.vertices(turned, betas, transl), (vertices - pelvis) @ R.T + pelvis, atol=1e-5
    )  # fmt: skip
    np.testing.assert_allclose(body.joints(turned, betas, transl)[0], (joints - pelvis) @ R.T + pelvis, atol=1e-5)
    np.testing.assert_allclose(body.joints(turned, betas, transl)[1], R @ orientation, atol=1e-5)


def test_translation_is_added_last(body):
    rotmat, betas, transl = random_people(2)
    for method in (body.vertices, body.keypoints, lambda *args: body.joints(*args)[0]):
        np.testing.assert_allclose(method(rotmat, betas, transl), method(rotmat, betas) + transl[:, None], atol=1e-5)


def test_people_do_not_mix(body):
    rotmat, betas, transl = random_people(3)
    together = body.keypoints(rotmat, betas, transl)
    for i in range(3):
        alone = body.keypoints(rotmat[i : i + 1], betas[i : i + 1], transl[i : i + 1])
        np.testing.assert_allclose(alone[0], together[i], atol=1e-6)
    nobody = body.vertices(rotmat[:0], betas[:0], transl[:0])
    assert nobody.shape == (0, len(body.v_template), 3)
    assert body.keypoints(rotmat[:0], betas[:0], transl[:0]).shape == (0, 23, 3)


def test_graph_inputs_reproduce_the_landmarks(body):
    """Skinning from `graph_inputs` alone, one landmark at a time, as SMPL's equations are printed."""
    rotmat, betas, _ = random_people(1)
    arrays = body.graph_inputs()
    assert {k: (v.shape, v.dtype) for k, v in arrays.items()} == {
        "J_template": ((24, 3), np.float32),
        "J_shapedirs": ((24, 3, 10), np.float32),
        "landmark_template": ((11, 3), np.float32),
        "landmark_shapedirs": ((11, 3, 10), np.float32),
        "landmark_posedirs": ((NUM_POSE_FEATURES, 33), np.float32),
        "landmark_weights": ((11, 24), np.float32),
    }
    rest = arrays["J_template"] + arrays["J_shapedirs"] @ betas[0]
    feature = (rotmat[0, 1:] - np.eye(3)).ravel()
    points = arrays["landmark_template"] + arrays["landmark_shapedirs"] @ betas[0]
    points = points + (feature @ arrays["landmark_posedirs"]).reshape(11, 3)
    R, t = [rotmat[0, 0]], [rest[0]]
    for joint, parent in list(enumerate(skeleton.PARENTS))[1:]:
        R.append(R[parent] @ rotmat[0, joint])
        t.append(t[parent] + R[parent] @ (rest[joint] - rest[parent]))
    posed = [
        sum(w * (R[j] @ (p - rest[j]) + t[j]) for j, w in enumerate(row))
        for p, row in zip(points, arrays["landmark_weights"])
    ]
    expected = body.vertices(rotmat, betas)[0, skeleton.landmark_vertices()]
    np.testing.assert_allclose(posed, expected, atol=1e-5)


# --- The open body itself ------------------------------------------------------------------------------------------------

MIRROR = np.array([-1, 1, 1], np.float32)


@pytest.fixture(scope="module")
def open_body() -> BodyModel:
    return load_body("open")


def test_open_body_has_smpls_layout(open_body):
    assert open_body.v_template.shape == (6890, 3)
    assert open_body.faces.shape == (13776, 3)
    assert open_body.shape_space == "hmr_open_v1"
    assert ((open_body.weights > 0).sum(1) <= 4).all()
    assert (open_body.weights >= 0).all() and (open_body.J_regressor >= 0).all()
    np.testing.assert_allclose(open_body.weights.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(open_body.J_regressor.sum(1), 1, atol=1e-6)
    assert open_body.region.shape == (6890,) and open_body.region.max() < len(open_body.region_names)


def test_open_mesh_is_closed_and_faces_outwards(open_body):
    f = open_body.faces
    edges = np.concatenate([f[:, [0, 1]], f[:, [1, 2]], f[:, [2, 0]]])
    codes = edges[:, 0].astype(np.int64) * 6890 + edges[:, 1]
    back = edges[:, 1].astype(np.int64) * 6890 + edges[:, 0]
    assert len(np.unique(codes)) == len(codes), "each directed edge once"
    assert np.array_equal(np.sort(codes), np.sort(back)), "each edge once in either direction"
    a, b, c = (open_body.v_template[f[:, i]] for i in range(3))
    volume = np.sum(a * np.cross(b, c)) / 6
    assert 0.05 < volume < 0.11, "m^3: positive when triangles face outwards; people have about 0.07"


def test_open_body_is_symmetric(open_body):
    v = open_body.v_template
    mirrored = v * MIRROR
    image = np.array([np.argmin(np.sum((v - p) ** 2, 1)) for p in mirrored[::7]])
    np.testing.assert_allclose(v[image], mirrored[::7], atol=2e-5)
    swap = list(skeleton.MIRRORED_JOINTS)
    np.testing.assert_allclose(open_body.J_template[swap] * MIRROR, open_body.J_template, atol=1e-5)


def test_mirrored_pose_gives_mirrored_keypoints(open_body):
    rotmat, betas, _ = random_people(3)
    M = np.diag(MIRROR)
    mirrored = (M @ rotmat @ M)[:, list(skeleton.MIRRORED_JOINTS)]
    keypoints = open_body.keypoints(rotmat, betas)[:, list(skeleton.MIRRORED_KEYPOINTS)] * MIRROR
    # Shapes are stored in steps of 0.02 mm.
    np.testing.assert_allclose(open_body.keypoints(mirrored, betas), keypoints, atol=5e-4)


def test_open_body_stands_in_a_t_pose(open_body):
    J = dict(zip(skeleton.JOINT_NAMES, open_body.J_template))
    P = dict(zip(skeleton.KEYPOINT_NAMES, open_body.keypoints(upright(), np.zeros((1, 10), np.float32))[0]))
    assert J["left_hip"][0] > 0 > J["right_hip"][0], "left is +x"
    assert P["left_big_toe"][2] > P["left_heel"][2] + 0.15 and P["nose"][2] > P["left_ear"][2], "faces +z"
    assert J["head"][1] > J["neck"][1] > J["spine3"][1] > J["spine1"][1] > J["pelvis"][1] > J["left_knee"][1], "y up"
    for joint in ("left_elbow", "left_wrist", "left_hand"):
        assert abs(J[joint] - J["left_shoulder"])[1:].max() < 0.01, "arms straight and level"
    assert 1.55 < np.ptp(open_body.v_template[:, 1]) < 1.85, "an adult's stature in metres"
    for side in ("left_", "right_"):
        assert np.linalg.norm(P[side + "eye"] - P["nose"]) < 0.08
        assert P[side + "big_toe"][0] * J[side + "hip"][0] > 0
        assert abs(P[side + "small_toe"][0]) > abs(P[side + "big_toe"][0]), "small toe outside"


def test_joints_lie_inside_the_limbs(open_body):
    """Around each limb joint there is skin on all sides, at a limb's distance."""
    main = open_body.weights.argmax(1)
    for joint in ("left_knee", "left_ankle", "left_elbow", "left_wrist", "left_shoulder", "left_hip", "neck", "head"):
        index = skeleton.JOINT_NAMES.index(joint)
        near = np.isin(main, (index, skeleton.PARENTS[index]))
        around = open_body.v_template[near] - open_body.J_template[index]
        around = around[np.linalg.norm(around, axis=1) < 0.2]
        for axis in range(3):
            assert around[:, axis].min() < 0 < around[:, axis].max(), f"{joint} is outside the mesh"


def test_shape_changes_stature_but_not_the_pose(open_body):
    betas = np.zeros((2, 10), np.float32)
    betas[:, 0] = -2, 2
    joints, _ = open_body.joints(upright(2), betas)
    vertices = open_body.vertices(upright(2), betas)
    short, tall = np.ptp(vertices[..., 1], axis=1)
    assert tall - short > 0.2
    arm = joints[:, skeleton.JOINT_NAMES.index("left_wrist")] - joints[:, skeleton.JOINT_NAMES.index("left_shoulder")]
    assert (np.abs(arm[:, 1:]) < 0.02).all(), "arms stay level whatever the shape"
