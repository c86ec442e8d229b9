"""Data sets as users have them, in tiny files of each format: what is in them arrives, what is not is masked, what is wrong is named."""

import json
import os
import pickle

import numpy as np
import pytest

from hmr_ros.camera import Camera
from hmr_ros.media import write_image
from hmr_ros.rotation import rotvec_to_rotmat
from hmr_ros.skeleton import KEYPOINT_NAMES
from hmr_ros.smpl_file import load_body
from training.datasets import emdb, joint_orders, pw3d
from training.datasets import people as records
from training.datasets.bedlam import read_bedlam
from training.datasets.detect import load_image
from training.datasets.eft import read_eft
from training.datasets.people import DatasetError, join, people_of
from training.datasets.spin import read_spin

K = np.array([[1000.0, 0, 640], [0, 1000.0, 360], [0, 0, 1]])
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def body():
    return load_body("open")


def poses(count, scale=0.4, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 24, 3)) * scale


def project(points):
    return points[..., :2] / points[..., 2:] * 1000 + (640, 360)


# --- The record --------------------------------------------------------------------------------------------------------------


def test_what_is_not_known_is_masked_and_never_a_zero_target(tmp_path):
    people = people_of(3, image=np.array(["a", "b", "c"]), poses=poses(3), poses_known=[[True], [False], [True]])
    assert people.poses_known.all(axis=1).tolist() == [True, False, True]
    assert not people.poses[1].any() and not people.betas_known.any() and not people.confidence_2d.any()
    records.save(tmp_path / "x.npz", people)
    again = records.load(tmp_path / "x.npz")
    for name in records.SHAPES:
        np.testing.assert_array_equal(getattr(again, name), getattr(people, name), err_msg=name)


def test_values_that_are_not_finite_are_not_known():
    keypoints = np.zeros((2, 23, 2))
    keypoints[0, 5] = np.nan
    people = people_of(2, keypoints_2d=keypoints, confidence_2d=np.ones((2, 23)))
    assert (
        people.confidence_2d[0, 5] == 0 and people.confidence_2d.sum() == 45 and np.isfinite(people.keypoints_2d).all()
    )


def test_people_are_a_data_set_of_rows_and_can_be_chosen_and_joined():
    torch_data = pytest.importorskip("torch.utils.data", reason="needs torch")
    people = people_of(5, image=np.array(list("abcde")), betas=np.arange(50).reshape(5, 10), shape_space="smpl_neutral")
    assert people[3]["image"] == "d" and people[3]["betas"][0] == 30
    assert join([people[:2], people[np.array([4])]]).image.tolist() == ["a", "b", "e"]
    assert people[np.arange(5) % 2 == 0].betas[:, 0].tolist() == [0, 20, 40]
    batch = next(iter(torch_data.DataLoader(people, batch_size=5)))
    assert batch["betas"].shape == (5, 10) and batch["betas_known"].all() and not batch["K_known"].any()


def test_betas_belong_to_one_body():
    people = people_of(2, betas=np.ones((2, 10)), shape_space=np.array(["smpl_male", "smpl_neutral"]))
    assert people.betas_fit("smpl_neutral").tolist() == [False, True]


def test_axes_are_never_mixed():
    with pytest.raises(DatasetError, match="optical.*y_up"):
        join([people_of(1, poses=poses(1)), people_of(1, "y_up")])


def test_a_foreign_npz_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", poses=poses(2))
    with pytest.raises(DatasetError, match="x.npz.*training.prepare"):
        records.load(tmp_path / "x.npz")


# --- Orders of joints --------------------------------------------------------------------------------------------------------


def test_orders_agree_with_the_indices_that_are_published():
    """nkolot/SPIN: constants.py and datasets/preprocess."""
    spin, h36m = joint_orders.SPIN_24, joint_orders.H36M_17
    spin_of = [spin.index("pelvis_mpii" if name == "pelvis" else name) for name in h36m]
    assert spin_of == [14, 3, 4, 5, 2, 1, 0, 16, 12, 17, 18, 9, 10, 11, 8, 7, 6]
    assert joint_orders.H36M_14 == (6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10)
    lengths = {"OPENPOSE_25": 25, "OPENPOSE_18": 18, "SPIN_24": 24, "SMPL_24": 24, "SMPLX_BODY_22": 22}
    for name, length in lengths.items():
        assert len(set(getattr(joint_orders, name))) == len(getattr(joint_orders, name)) == length, name


@pytest.mark.parametrize("name", ["OPENPOSE_25", "OPENPOSE_18", "SPIN_24"])
def test_every_point_arrives_under_its_own_name_or_not_at_all(name):
    order = getattr(joint_orders, name)
    points = np.arange(len(order), dtype=np.float32)[None, :, None] + 1
    keypoints, confidence = joint_orders.onto_keypoints(points, order)
    for row, keypoint in enumerate(KEYPOINT_NAMES):
        expected = order.index(keypoint) + 1 if keypoint in order else 0
        assert keypoints[0, row, 0] == expected and confidence[0, row] == (expected > 0)


def test_smpl_joints_become_the_keypoints_of_our_body(body):
    rotmat, betas = rotvec_to_rotmat(poses(3)), RNG.normal(size=(3, 10))
    keypoints, known = joint_orders.smpl_onto_keypoints(body.joints(rotmat, betas)[0], joint_orders.SMPL_24)
    limbs = known[0] > 0
    np.testing.assert_allclose(keypoints[:, limbs], body.keypoints(rotmat, betas)[:, limbs], atol=1e-5)
    assert limbs.sum() == 12


# --- SPIN, CLIFF, EFT --------------------------------------------------------------------------------------------------------


def spin_arrays(count=4):
    seen = np.tile(np.arange(24) % 3 > 0, (count, 1)).astype(float)
    return {
        "imgname": np.array([f"images/{i}.jpg" for i in range(count)]),
        "center": RNG.uniform(100, 400, (count, 2)),
        "scale": RNG.uniform(0.5, 2, count),
        "part": np.concatenate([RNG.uniform(0, 500, (count, 24, 2)), seen[..., None]], axis=-1),
    }


def spin_file(tmp_path, **changes):
    """A SPIN-format file; a change of None leaves the key out."""
    arrays = {**spin_arrays(), **changes}
    np.savez(tmp_path / "spin.npz", **{key: value for key, value in arrays.items() if value is not None})
    return tmp_path / "spin.npz"


def test_spin_with_2d_alone_knows_2d_alone(tmp_path):
    arrays = spin_arrays()
    people = read_spin(spin_file(tmp_path, **arrays))
    np.testing.assert_allclose(people.box[:, 2], 200 * arrays["scale"], rtol=1e-6)
    nose = KEYPOINT_NAMES.index("nose")
    np.testing.assert_allclose(people.keypoints_2d[:, nose], arrays["part"][:, 19, :2], rtol=1e-6)
    ankle = KEYPOINT_NAMES.index("right_ankle")  # its row in `part` is 0, which is not seen
    assert (people.confidence_2d[:, nose] == 1).all() and not people.confidence_2d[:, ankle].any()
    for mask in (
        "poses_known",
        "betas_known",
        "confidence_3d",
        "joints_h36m_known",
        "confidence_detected",
        "transl_known",
    ):
        assert not getattr(people, mask).any(), mask


def test_spin_with_everything(tmp_path):
    rotvec, has = poses(4).reshape(4, 72), np.array([1, 0, 1, 1])
    points = np.concatenate([RNG.normal(size=(4, 24, 3)), np.ones((4, 24, 1))], axis=-1)
    openpose = np.concatenate([RNG.uniform(0, 500, (4, 25, 2)), RNG.uniform(0.1, 1, (4, 25, 1))], axis=-1)
    path = spin_file(tmp_path, pose=rotvec, shape=np.ones((4, 10)), has_smpl=has, S=points, openpose=openpose)
    people = read_spin(path)
    assert people.poses_known.all(axis=1).tolist() == [True, False, True, True] == people.betas_known.tolist()
    assert people.betas_fit("smpl_neutral").sum() == 3
    np.testing.assert_allclose(people.joints_h36m[:, 0], points[:, 14, :3], rtol=1e-5)
    heel = KEYPOINT_NAMES.index("left_heel")
    np.testing.assert_allclose(people.confidence_detected[:, heel], openpose[:, 21, 2], rtol=1e-6)
    assert not people.confidence_2d[:, heel].any(), "annotations have no feet"


def test_genders_name_the_body_that_betas_are_of(tmp_path):
    pose = {"pose": np.zeros((4, 72)), "shape": np.ones((4, 10))}
    people = read_spin(spin_file(tmp_path, gender=np.array(["m", "f", "male", "n"]), **pose))
    assert people.gender.tolist() == ["male", "female", "male", "neutral"]
    assert people.shape_space.tolist() == ["smpl_male", "smpl_female", "smpl_male", "smpl_neutral"]


def test_cliff_tells_where_people_are(tmp_path):
    transl = np.tile([0.1, 0.2, 5.0], (4, 1))
    arrays = {"pose": np.zeros((4, 72)), "shape": np.zeros((4, 10)), "global_t": transl, "focal_l": np.full(4, 900.0)}
    people = read_spin(spin_file(tmp_path, **arrays))
    assert people.transl_known.all() and np.allclose(people.transl, transl)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"part": np.zeros((4, 17, 3))}, r"spin.npz: part has shape \(4, 17, 3\), a SPIN-format npz has \(N, 24, 3\)"),
        ({"pose": np.zeros((4, 24, 3))}, r"pose has shape \(4, 24, 3\).*\(N, 72\)"),
        ({"S": np.zeros((3, 24, 4))}, "S has 3 rows, the keys before it have 4"),
        ({"center": None}, "no key 'center'.*It has imgname"),
        ({"pose": np.zeros((4, 72)), "gender": np.array(["m", "x", "f", "f"])}, "spin.npz: gender is 'x'"),
        ({"scale": np.array(list("abcd"))}, "scale holds <U1, not numbers"),
        ({"imgname": np.array([{}, {}, {}, {}])}, "imgname cannot be read"),
    ],
)
def test_what_is_wrong_with_a_spin_file_is_named(tmp_path, changes, message):
    with pytest.raises(DatasetError, match=message):
        read_spin(spin_file(tmp_path, **changes))


def test_files_that_are_no_npz_are_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK nothing")
    with pytest.raises(DatasetError, match="a.npz.*not a readable"):
        read_spin(tmp_path / "a.npz")
    with pytest.raises(DatasetError, match="No file at .*b.npz"):
        read_spin(tmp_path / "b.npz")
    whole = spin_file(tmp_path).read_bytes()
    (tmp_path / "c.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match="c.npz"):
        read_spin(tmp_path / "c.npz")


def eft_entry(**changes):
    rotmat = rotvec_to_rotmat(poses(1))[0]
    entry = {
        "parm_pose": rotmat.tolist(), "parm_shape": [0.5] * 10, "parm_cam": [1, 0, 0], "bbox_scale": 1.5,
        "bbox_center": [100.0, 200.0], "imageName": "COCO_train2014_1.jpg", "smpltype": "smpl", "annotId": 3,
        "joint_validity_openpose18": [True] * 18,
    }  # fmt: skip
    return {**entry, **changes}


def eft_file(tmp_path, *entries):
    (tmp_path / "eft.json").write_text(json.dumps({"ver": 0.1, "data": list(entries)}))
    return tmp_path / "eft.json"


def test_eft_fits_arrive_as_axis_angle(tmp_path):
    people = read_eft(eft_file(tmp_path, eft_entry(), eft_entry(imageName="b.jpg")))
    np.testing.assert_allclose(people.poses[0], poses(1)[0], atol=1e-5)
    assert people.box.tolist()[0] == [100, 200, 300] and people.image.tolist() == ["COCO_train2014_1.jpg", "b.jpg"]
    assert people.betas_fit("smpl_neutral").all() and not people.confidence_2d.any()


@pytest.mark.parametrize(
    "entry, message",
    [
        (eft_entry(parm_pose=[1.0] * 216), r"data\[1\].parm_pose holds matrices that are no rotations"),
        (eft_entry(parm_shape=[1.0] * 9), r"data\[1\].parm_shape has shape \(9,\)"),
        (eft_entry(smpltype="smplx"), "smpltype is .*smplx"),
        ({"imageName": "a"}, r"data\[1\] has no parm_pose"),
        (eft_entry(imageName=None), r"data\[1\].imageName is None"),
    ],
)
def test_what_is_wrong_with_an_eft_file_is_named(tmp_path, entry, message):
    with pytest.raises(DatasetError, match=f"eft.json: {message}"):
        read_eft(eft_file(tmp_path, eft_entry(), entry))


def test_json_that_is_not_efts_is_refused(tmp_path):
    for text in ("[1, 2]", "{}", '{"data": []}', "{"):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(DatasetError, match="x.json"):
            read_eft(tmp_path / "x.json")


# --- 3DPW, EMDB --------------------------------------------------------------------------------------------------------------


def camera_path(frames):
    """World to camera, (F, 4, 4): somebody walks around with it."""
    cam = np.tile(np.eye(4), (frames, 1, 1))
    cam[:, :3, :3] = rotvec_to_rotmat(np.linspace([np.pi, 0, 0], [2.8, 0.2, 0.1], frames))
    cam[:, :3, 3] = np.linspace([0, 0, 4], [0.3, 0.2, 5], frames)
    return cam


def pw3d_content(body, frames=6, people=2):
    content = {
        "sequence": "street_00",
        "cam_poses": camera_path(frames),
        "cam_intrinsics": K,
        "genders": ["m", "f"][:people],
    }
    lists = {"poses": [], "trans": [], "betas": [], "jointPositions": [], "poses2d": [], "campose_valid": []}
    for person in range(people):
        pose, trans = poses(frames, seed=person), np.random.default_rng(person).normal(size=(frames, 3)) * 0.3
        betas = np.random.default_rng(person).normal(size=10)
        joints = body.joints(rotvec_to_rotmat(pose), np.tile(betas, (frames, 1)), trans)[0]
        seen = np.random.default_rng(person).uniform(0, 700, (frames, 3, 18))
        seen[:, 2] = np.arange(18) % 2
        rows = (pose.reshape(frames, 72), trans, betas, joints.reshape(frames, 72), seen, np.arange(frames) != 2)
        for values, row in zip(lists.values(), rows):
            values.append(row)
    content["v_template_clothed"] = [object_array() for _ in range(people)]
    return {**content, **lists}


def object_array():
    """Something harmless that we never ask for, and that does not become numbers."""
    return np.array([{"a": 1}, None], object)


def pickled(path, content, protocol=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 4])
def test_3dpw_people_stand_in_the_camera_where_their_joints_are(tmp_path, body, protocol):
    content = pw3d_content(body)
    del content["v_template_clothed"]  # object arrays are beyond even the stand-ins
    people = pw3d.read_pw3d(pickled(tmp_path / "street_00.pkl", content, protocol))
    assert len(people) == 2 * 5 and people.gender.tolist() == ["male"] * 5 + ["female"] * 5
    assert people.image[2] == "imageFiles/street_00/image_00003.jpg" and people.frame[:5].tolist() == [0, 1, 3, 4, 5]
    cam, world = content["cam_poses"][3], content["jointPositions"][1][3].reshape(24, 3)
    expected = world @ cam[:3, :3].T + cam[:3, 3]
    np.testing.assert_allclose(people.joints[7], expected, atol=1e-5)
    posed = body.joints(rotvec_to_rotmat(people.poses), people.betas, people.transl)[0]
    np.testing.assert_allclose(posed, people.joints, atol=2e-4, err_msg="pose, shape and place put the joints there")
    knee = KEYPOINT_NAMES.index("left_knee")
    np.testing.assert_allclose(people.keypoints_2d[7, knee], project(expected)[4], atol=0.1)
    assert people.K_known.all() and people.betas_fit("smpl_male").sum() == 5
    nose, wrist = KEYPOINT_NAMES.index("nose"), KEYPOINT_NAMES.index("left_wrist")  # 0 and 7 of OpenPose's 18
    np.testing.assert_allclose(people.detected_2d[7, wrist], content["poses2d"][1][3][:2, 7], rtol=1e-5)
    assert not people.confidence_detected[:, nose].any() and people.confidence_detected[:, wrist].all()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"poses": [np.zeros((6, 66))] * 2}, r"person 0: poses has shape \(6, 66\), a 3DPW sequence has \(6, 72\)"),
        ({"genders": ["m"]}, "genders has 1 people, poses has more"),
        ({"poses": [[[0.0]], [[0.0]]]}, "poses cannot be read"),
        ({"genders": ["m", "?"]}, "genders is '\\?'"),
        ({"cam_poses": np.zeros((6, 3, 3))}, "cam_poses has shape"),
        ({"jointPositions": None}, "jointPositions"),
        ({"trans": [np.zeros((5, 3))] * 2}, r"trans has shape \(5, 3\)"),
    ],
)
def test_what_is_wrong_with_a_3dpw_file_is_named(tmp_path, body, change, message):
    content = {**pw3d_content(body), **change}
    del content["v_template_clothed"]
    with pytest.raises(DatasetError, match=f"s.pkl.*{message}"):
        pw3d.read_pw3d(pickled(tmp_path / "s.pkl", content))


class Hostile:
    def __reduce__(self):
        return os.system, ("touch pwned",)


@pytest.mark.parametrize("read", [pw3d.read_pw3d, emdb.read_emdb])
def test_pickles_run_nothing(tmp_path, monkeypatch, read):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatasetError, match="s.pkl.*system"):
        read(pickled(tmp_path / "s.pkl", {"poses": Hostile()}))
    for content in (b"", b"nonsense", pickle.dumps([1, 2]), pickle.dumps({"sequence": "x"})):
        (tmp_path / "s.pkl").write_bytes(content)
        with pytest.raises(DatasetError, match="s.pkl"):
            read(tmp_path / "s.pkl")
    assert not (tmp_path / "pwned").exists()


def emdb_content(body, frames=5):
    pose, betas, cam = poses(frames), np.random.default_rng(1).normal(size=10), camera_path(frames)
    joints = body.joints(rotvec_to_rotmat(pose), np.tile(betas, (frames, 1)))[0]
    seen = joints @ np.swapaxes(cam[:, :3, :3], 1, 2) + cam[:, None, :3, 3]
    good = np.arange(frames) != 1
    return {
        "gender": "female", "name": "P1_14_walk", "emdb1": True, "emdb2": np.bool_(False), "n_frames": np.int64(frames),
        "good_frames_mask": good, "kp2d": project(seen),
        "camera": {"intrinsics": K, "extrinsics": cam, "width": 1280, "height": np.int32(720)},
        "smpl": {"poses_root": pose[:, 0], "poses_body": pose[:, 1:].reshape(frames, 69), "trans": np.zeros((frames, 3)), "betas": betas},
        "bboxes": {"bboxes": np.tile([10.0, 20, 110, 320], (frames, 1)), "invalid_idxs": np.array([1, 3])},
    }, seen  # fmt: skip


def test_emdb_people_in_the_camera(tmp_path, body):
    content, seen = emdb_content(body)
    path = pickled(tmp_path / "P1" / "14_walk" / "P1_14_walk_data.pkl", content)
    people = emdb.read_emdb(path, "emdb1")
    assert people.frame.tolist() == [0, 2, 3, 4] and people.image[1] == "P1/14_walk/images/00002.jpg"
    assert people.image_size[0].tolist() == [1280, 720] and people.box[0].tolist() == [60, 170, 360]
    assert people.box_known.tolist() == [True, True, False, True]
    joints = body.joints(rotvec_to_rotmat(people.poses), people.betas)[0]
    true = seen[people.frame]
    np.testing.assert_allclose(joints - joints[:, :1], true - true[:, :1], atol=1e-4)
    elbow = KEYPOINT_NAMES.index("right_elbow")
    np.testing.assert_allclose(people.keypoints_2d[:, elbow], project(true)[:, 19], atol=0.1)
    assert not people.transl_known.any(), "the file does not tell"
    assert len(emdb.read_emdb(path, "emdb2")) == 0 and emdb.sequence_files(tmp_path, "emdb1") == [path]


def test_what_is_wrong_with_an_emdb_file_is_named(tmp_path, body):
    content, _ = emdb_content(body)
    content["smpl"]["poses_body"] = np.zeros((5, 63))
    with pytest.raises(DatasetError, match=r"s_data.pkl, smpl: poses_body has shape \(5, 63\)"):
        emdb.read_emdb(pickled(tmp_path / "s_data.pkl", content))
    content, _ = emdb_content(body)
    content["camera"] = 3
    with pytest.raises(DatasetError, match="camera is a .*not a dictionary"):
        emdb.read_emdb(pickled(tmp_path / "s_data.pkl", content))


# --- BEDLAM ------------------------------------------------------------------------------------------------------------------


def bedlam_arrays(body, length, count=3):
    """As its data_processing makes them: the body before a camera, placed by the sum of two translations."""
    pose = np.zeros((count, length))
    pose[:, :66] = poses(count)[:, :22].reshape(count, 66)
    rotvec = np.zeros((count, 24, 3))
    rotvec[:, :22] = pose[:, :66].reshape(count, 22, 3)
    betas, trans, ext = (
        RNG.normal(size=(count, 11)),
        RNG.normal(size=(count, 3)) * 0.2,
        np.tile(np.eye(4), (count, 1, 1)),
    )
    ext[:, :3, 3] = (0.1, 0.0, 4.0)
    joints = body.joints(rotvec_to_rotmat(rotvec), betas[:, :10], trans + ext[:, :3, 3])[0]
    points = np.zeros((count, 127 if length == 165 else 45, 3))
    points[:, :22] = joints[:, :22]
    points[:, 55 if length == 165 else 24] = (0.0, -0.5, 4)  # the nose comes first of what follows the joints
    return {
        "imgname": np.array([f"seq_{i}/seq_{i}_0000.png" for i in range(count)]), "center": np.ones((count, 2)),
        "scale": np.ones(count), "pose_cam": pose, "shape": betas, "trans_cam": trans, "cam_ext": ext,
        "cam_int": np.tile(K, (count, 1, 1)), "gtkps": project(np.where(points[..., 2:] > 0, points, 1)),
        "gender": np.array(["male", "female", "neutral"]), "motion_info": np.array([{"a": 1}] * count),
    }  # fmt: skip


@pytest.mark.parametrize("length", [165, 72])
def test_bedlam_people_stand_where_their_keypoints_are(tmp_path, body, length):
    np.savez(tmp_path / "scene_6fps.npz", **bedlam_arrays(body, length))
    people = read_bedlam(tmp_path / "scene_6fps.npz")
    assert people.image[0] == "scene_6fps/png/seq_0/seq_0_0000.png"
    assert people.poses_known[0].sum() == (22 if length == 165 else 24)
    keypoints = body.keypoints(rotvec_to_rotmat(people.poses), people.betas, people.transl)
    uv = Camera(K, 1280, 720).project(keypoints)
    limbs = [
        KEYPOINT_NAMES.index(f"{side}_{part}")
        for side in ("left", "right")
        for part in ("shoulder", "elbow", "knee", "ankle")
    ]
    np.testing.assert_allclose(people.keypoints_2d[:, limbs], uv[:, limbs], atol=1.0)
    nose = KEYPOINT_NAMES.index("nose")
    np.testing.assert_allclose(
        people.keypoints_2d[:, nose], np.tile(project(np.array([0.0, -0.5, 4])), (3, 1)), rtol=1e-5
    )
    assert people.betas_fit("smplx_neutral").all() == (length == 165) and not people.betas_fit("smpl_neutral").any()


def test_labels_of_16_betas_have_their_joints_behind_openposes(tmp_path, body):
    arrays = bedlam_arrays(body, 165)
    np.savez(tmp_path / "of_11.npz", **arrays)
    before = RNG.uniform(0, 700, (3, 25 + 19, 2))  # OpenPose's and SPIN's others: SMPL-X's left hand is at 69 to 84
    more = {"shape": np.pad(arrays["shape"], ((0, 0), (0, 5))), "gtkps": np.append(before, arrays["gtkps"], axis=1)}
    np.savez(tmp_path / "of_16.npz", **{**arrays, **more})
    expected, people = (read_bedlam(tmp_path / name) for name in ("of_11.npz", "of_16.npz"))
    np.testing.assert_array_equal(people.keypoints_2d, expected.keypoints_2d)
    assert expected.confidence_2d.any()


def test_portraits_lie_on_their_side_and_nothing_else_does(tmp_path, body):
    """The principal point tells, whatever the scene is called."""
    (tmp_path / "a_closeup_b/png/seq_0").mkdir(parents=True)
    write_image(tmp_path / "a_closeup_b/png/seq_0/seq_0_0000.png", np.zeros((72, 128, 3), np.uint8))
    arrays = bedlam_arrays(body, 165, count=1)
    arrays["gender"] = arrays["gender"][:1]
    for K, size in ((arrays["cam_int"], (72, 128)), (arrays["cam_int"][:, [1, 0, 2]][..., [1, 0, 2]], (128, 72))):
        np.savez(tmp_path / "a_closeup_b.npz", **{**arrays, "cam_int": K})
        assert load_image(read_bedlam(tmp_path / "a_closeup_b.npz"), 0, tmp_path).shape[:2] == size
    elsewhere = people_of(1, image=np.array(["a_closeup_b/png/seq_0/seq_0_0000.png"]))
    assert load_image(elsewhere, 0, tmp_path).shape[:2] == (72, 128)


def test_what_is_wrong_with_a_bedlam_file_is_named(tmp_path, body):
    np.savez(tmp_path / "x.npz", **{**bedlam_arrays(body, 165), "pose_cam": np.zeros((3, 99))})
    with pytest.raises(DatasetError, match=r"x.npz: pose_cam has shape \(3, 99\)"):
        read_bedlam(tmp_path / "x.npz")
    for length, count in ((165, 144), (72, 127), (72, 24)):
        np.savez(tmp_path / "x.npz", **{**bedlam_arrays(body, length), "gtkps": np.zeros((3, count, 2))})
        with pytest.raises(DatasetError, match=f"x.npz: gtkps has {count} points a person"):
            read_bedlam(tmp_path / "x.npz")
