"""The benchmarks' protocols: a perfect answer costs nothing, alignment forgives what it should, users' files are checked."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from hmr_ros.rotation import rotmat_to_rotvec, rotvec_to_rotmat
from hmr_ros.skeleton import JOINT_NAMES, PARENTS
from hmr_ros.smpl_file import load_body
from training.datasets import joint_orders
from training.datasets.people import DatasetError, load, people_of, save
from training.datasets.protocols import PROTOCOLS, Points, Ruler, acceleration_error, errors, load_regressor

ASSETS = Path(__file__).resolve().parents[2] / "hmr_ros/assets"
DEMO, DEFAULT_BUNDLE = ASSETS / "demo/walk.npz", ASSETS / "bundles/default"


@pytest.fixture(scope="module")
def smpl(tmp_path_factory):
    """A folder as a user has it: files named as SMPL's. What is in them is our open body, thicker for one gender."""
    folder, body = tmp_path_factory.mktemp("smpl"), load_body("open")
    for gender, thicker in (("FEMALE", 1.0), ("MALE", 1.1), ("NEUTRAL", 1.0)):
        np.savez(
            folder / f"SMPL_{gender}.npz", v_template=body.v_template * (1, 1, thicker), shapedirs=body.shapedirs,
            weights=body.weights, J_regressor=body.J_regressor, f=body.faces,
            kintree_table=np.array([[-1, *PARENTS[1:]], range(24)]),
        )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def regressor(tmp_path_factory):
    """H36M's joints as blends of vertices: here, of the vertices around the body's own joints."""
    body = load_body("open")
    names = {"spine_h36m": "spine2", "neck_lsp": "neck", "jaw_h36m": "head", "head_h36m": "head"}
    rows = [body.J_regressor[JOINT_NAMES.index(names.get(name, name))] for name in joint_orders.H36M_17]
    path = tmp_path_factory.mktemp("regressor") / "J_regressor_h36m.npy"
    np.save(path, np.array(rows))
    return path


def bodies(count=4, space="smpl_male", gender="male", seed=0):
    rng = np.random.default_rng(seed)
    return people_of(
        count,
        poses=rng.normal(size=(count, 24, 3)) * 0.3,
        betas=rng.normal(size=(count, 10)),
        shape_space=space,
        gender=gender,
    )


def ruler(name, regressor, smpl):
    return Ruler(PROTOCOLS[name], regressor, smpl)


@pytest.mark.parametrize("name", ["3dpw-test", "emdb-1"])
def test_the_truth_itself_has_no_error(name, regressor, smpl):
    measure, people = ruler(name, regressor, smpl), bodies()
    body = load_body(smpl / "SMPL_MALE.npz")
    found = measure.of_body(body, rotvec_to_rotmat(people.poses), people.betas)
    error = errors(measure.protocol, found, measure.of_truth(people))
    assert max(values.max() for values in error.values()) < 0.01
    count = 14 if name == "3dpw-test" else 24
    assert error["joints"].shape == (4, count) and len(measure.protocol.joint_names) == count


def test_truth_is_posed_with_the_body_of_its_gender_in_its_place(regressor, smpl):
    measure = ruler("3dpw-test", regressor, smpl)
    people = people_of(
        4,
        poses=bodies().poses,
        betas=bodies().betas,
        gender=np.array(["male", "female", "male", "female"]),
        shape_space="smpl",
    )
    true = measure.of_truth(people)
    for row, name in enumerate(("MALE", "FEMALE", "MALE", "FEMALE")):
        one = people[[row]]
        alone = measure.of_body(load_body(smpl / f"SMPL_{name}.npz"), rotvec_to_rotmat(one.poses), one.betas)
        np.testing.assert_allclose(true.vertices[row], alone.vertices[0], atol=1e-6)
        np.testing.assert_allclose(true.joints[row], alone.joints[0], atol=1e-6)


def test_what_alignment_forgives():
    rng = np.random.default_rng(0)
    joints, vertices = rng.normal(size=(3, 24, 3)), rng.normal(size=(3, 6890, 3))
    true = Points(joints, joints[:, 1:3].mean(1), vertices)
    moved = Points(joints + 1, true.root + 1, vertices + 1)
    error = errors(PROTOCOLS["emdb-1"], moved, true)
    assert max(values.max() for values in error.values()) < 1e-3, "a body elsewhere is the same body"
    unaligned = errors(PROTOCOLS["emdb-1"], moved, true, pve_unaligned=True)
    np.testing.assert_allclose(unaligned["pve_unaligned"], 1000 * np.sqrt(3), rtol=1e-6)
    larger = Points(1.2 * joints, 1.2 * true.root, 1.2 * vertices)
    error = errors(PROTOCOLS["emdb-1"], larger, true)
    assert error["pa_mpjpe"].max() < 1e-3 < error["mpjpe"].min()


def test_captured_joints_are_compared_in_their_own_order(regressor, smpl):
    measure = ruler("h36m-p2", regressor, smpl)
    rng = np.random.default_rng(0)
    joints = rng.normal(size=(5, 17, 3))
    known = np.ones((5, 17), bool)
    known[1, joint_orders.H36M_17.index("jaw_h36m")] = False  # not one of the 14
    known[2, joint_orders.H36M_17.index("left_knee")] = False
    people = people_of(5, joints_h36m=joints, joints_h36m_known=known)
    assert measure.measurable(people).tolist() == [True, True, False, True, True]
    assert ruler("3dhp-test", regressor, smpl).measurable(people).tolist() == [True, False, False, True, True]
    true = measure.of_truth(people)
    ankle = joint_orders.H36M_17.index("right_ankle")
    np.testing.assert_allclose(true.joints[0, 0], joints[0, ankle], rtol=1e-5)
    np.testing.assert_allclose(true.root, joints[:, 0], rtol=1e-5)


def test_correct_keypoints_are_counted_within_150_mm(regressor, smpl):
    protocol = PROTOCOLS["3dhp-test"]
    truth = np.random.default_rng(0).normal(size=(1, 17, 3))
    off = truth.copy()
    off[0, 1] += (0.151, 0, 0)
    off[0, 2] += (0.0, 0.149, 0)
    for name in ("pelvis", "spine_h36m", "jaw_h36m"):
        off[0, joint_orders.H36M_17.index(name)] += 1
    root = np.zeros((1, 3))
    error = errors(protocol, Points(off, root), Points(truth, root))
    assert error["pck"][0] == pytest.approx(100 * 13 / 14), "pelvis, spine and head are not among them"
    assert error["auc"][0] == pytest.approx(100 * (12 * 30 + 1) / 31 / 14), (
        "nothing is nearer than the first threshold, 0"
    )
    assert error["mpjpe"][0] == pytest.approx((3 * 1000 * np.sqrt(3) + 151 + 149) / 17), "these are of all 17"
    perfect = errors(protocol, Points(truth, root), Points(truth, root))
    assert perfect["pck"][0] == perfect["pa_pck"][0] == 100 and perfect["auc"][0] == pytest.approx(100 * 30 / 31)


def test_every_body_can_be_measured_on_joints_and_only_smpl_on_meshes(regressor, smpl):
    body, people = load_body("open"), bodies()
    joints = body.joints(rotvec_to_rotmat(people.poses), people.betas)[0]
    seen = people_of(4, joints=joints + (0, 0, 5))
    measure = Ruler(PROTOCOLS["3dpw-joints"])
    found = measure.of_body(body, rotvec_to_rotmat(people.poses), people.betas)
    assert errors(measure.protocol, found, measure.of_truth(seen))["mpjpe"].max() < 0.01
    for name in ("3dpw-test", "h36m-p2", "emdb-1"):
        with pytest.raises(DatasetError, match="SMPL's own mesh, and body 'hmr_open_v1'.*3dpw-joints"):
            ruler(name, regressor, smpl).of_body(body, rotvec_to_rotmat(people.poses), people.betas)


def test_files_of_the_user_are_asked_for_by_name(regressor, tmp_path):
    with pytest.raises(DatasetError, match="no joint regressor at None.*--h36m-regressor.*SPIN"):
        Ruler(PROTOCOLS["3dpw-test"])
    np.save(tmp_path / "r.npy", np.zeros((24, 6890)))
    with pytest.raises(DatasetError, match=r"r.npy: has shape \(24, 6890\)"):
        load_regressor(tmp_path / "r.npy")
    (tmp_path / "r.npy").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match="r.npy: not a readable .npy"):
        load_regressor(tmp_path / "r.npy")
    for folder in (None, tmp_path):
        with pytest.raises(DatasetError, match="no SMPL_MALE.npz or SMPL_MALE.pkl in .*--smpl"):
            Ruler(PROTOCOLS["3dpw-test"], regressor, folder).of_truth(bodies())


def test_protocols_name_sets_and_splits_that_there_are():
    pytest.importorskip("torch", reason="needs torch")
    from training.datasets.catalog import SOURCES

    for protocol in PROTOCOLS.values():
        name, split = protocol.data.split(", ")
        assert split in SOURCES[name].splits and protocol.source and protocol.frames


def test_acceleration_is_of_frames_that_follow_each_other():
    joints, jump = np.zeros((8, 24, 3)), np.zeros((8, 24, 3))
    jump[6] = 0.001  # one frame that is off by the diagonal of 1 mm
    people = people_of(8, sequence=np.array(["a"] * 4 + ["b"] * 4), frame=np.array([0, 1, 2, 3, 0, 1, 2, 3]))
    root = np.zeros((8, 3))
    # Second differences of b see it as -2 in the middle and 1 beside; a's are 0.
    expected = np.sqrt(3) * (1 + 2) / 4
    assert acceleration_error(Points(joints + jump, root), Points(joints, root), people) == pytest.approx(expected)
    assert acceleration_error(Points(joints, root), Points(joints, root), people[[0, 2, 3, 4]]) is None
    assert acceleration_error(Points(joints, root), Points(joints, root), people_of(8)) is None


# --- From a prepared file to a table ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """The demo clip's exact truth in the form of a prepared benchmark."""
    body = load_body("open")
    with np.load(DEMO) as truth:
        rows = np.arange(0, 60, 5)
        rotmat = rotvec_to_rotmat(truth["poses"][rows].reshape(-1, 24, 3))
        betas, transl, K = np.tile(truth["betas"], (len(rows), 1)), truth["transl"][rows], truth["K"]
    keypoints = body.keypoints(rotmat, betas, transl)
    uv = keypoints[..., :2] / keypoints[..., 2:] * [K[0, 0], K[1, 1]] + K[:2, 2]
    confidence = np.ones((len(rows), 23))
    confidence[[3, 7], 4:] = 0  # too few: nobody would be asked about
    low, high = uv.min(axis=1), uv.max(axis=1)
    people = people_of(
        len(rows), K=K, box=np.column_stack([(low + high) / 2, 1.2 * (high - low).max(axis=1)]), box_known=rows != rows[7],
        keypoints_2d=uv, confidence_2d=confidence, joints=body.joints(rotmat, betas, transl)[0],
        sequence="walk", frame=np.arange(len(rows)), poses=rotmat_to_rotvec(rotmat), betas=betas,
        shape_space="smpl_neutral", gender="neutral", joints_h36m=np.zeros((len(rows), 17, 3)),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("walk") / "3dpw_test.npz"
    save(path, people)
    return path


def test_a_bundle_is_measured_on_a_prepared_file(walk, tmp_path, capsys):
    pytest.importorskip("torch", reason="needs torch")
    from training.evaluate import EvaluateConfig, main

    files = {"json": tmp_path / "figures.json"}
    result = main(EvaluateConfig(data="3dpw-joints", root=walk, keypoints="exact", **files))
    assert json.loads(files["json"].read_text()) == json.loads(json.dumps(result))
    assert result["frames"] == 11 and result["frames_with_truth"] == 12 and result["answered_from_the_box_alone"] == 1
    printed = capsys.readouterr().out
    assert (
        "11 of 12 frames with ground truth, 1 of them answered from the box" in printed
        and "exact" in result["source_2d"]
    )
    assert "| 5, those with keypoints |" in printed
    assert result["with_keypoints"]["mpjpe_mm"] < result["steps"]["5"]["mpjpe_mm"]
    assert list(result["steps"]) == ["0", "1", "2", "5", "14"] and result["protocol"]["source"] == "this project"
    for row in (*result["steps"].values(), result["auxiliary"]):
        assert 10 < row["pa_mpjpe_mm"] < row["mpjpe_mm"] < 200 and row["acceleration_mm_per_frame2"] > 0
    assert set(result["per_joint"]) == set(joint_orders.SMPL_24) and set(result["milliseconds"]) == set(result["steps"])


def test_nobody_is_left_out_for_want_of_keypoints_and_answers_hang_on_nobody_else(walk, tmp_path):
    """Who has none is answered from the annotated box, takes no steps, and changes the others' figures by nothing."""
    pytest.importorskip("torch", reason="needs torch")
    from training.evaluate import EvaluateConfig, main
    from training.evaluate_benchmark import uniform_chunks

    assert uniform_chunks(np.array([1, 1, 1, 0, 0, 1], bool), 2) == [
        slice(0, 2),
        slice(2, 3),
        slice(3, 4),
        slice(4, 5),
        slice(5, 6),
    ]
    assert uniform_chunks(np.array([1, 1, 0], bool), 64) == [slice(0, 2), slice(2, 3)]

    def figures(rows):
        save(tmp_path / "some.npz", load(walk)[rows])
        return main(EvaluateConfig(data="3dpw-joints", root=tmp_path / "some.npz", keypoints="exact"))["steps"]

    others, all_four = figures([1, 2, 4]), figures([1, 2, 3, 4])
    of_the_fourth = {step: 4 * all_four[step]["mpjpe_mm"] - 3 * others[step]["mpjpe_mm"] for step in others}
    assert 20 < of_the_fourth["0"] < 500
    assert list(of_the_fourth.values()) == pytest.approx([of_the_fourth["0"]] * 5, abs=0.1)


def test_a_bundle_for_smpl_is_measured_on_its_mesh(walk, tmp_path, regressor, smpl):
    """The shipped bundle, taken for one of SMPL: what these files hold under SMPL's names is its own body."""
    pytest.importorskip("torch", reason="needs torch")
    from training.evaluate import EvaluateConfig, main

    bundle = tmp_path / "bundle"
    shutil.copytree(DEFAULT_BUNDLE, bundle)
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps({**manifest, "shape_space": "smpl_neutral"}))
    mine = {"bundle": str(bundle), "body": str(smpl / "SMPL_NEUTRAL.npz"), "smpl": smpl, "h36m_regressor": regressor}
    result = main(EvaluateConfig(data="3dpw-test", root=walk, keypoints="exact", pve_unaligned=True, limit=4, **mine))
    for row in result["steps"].values():
        assert 5 < row["pa_mpjpe_mm"] < row["mpjpe_mm"] < 200 and 5 < row["pve_mm"] < 200
        assert row["pve_unaligned_mm"] > 0
    assert len(result["per_joint"]) == 14 and result["protocol"]["root"] == "h36m-pelvis"


def test_what_a_benchmark_lacks_is_said(walk, tmp_path, regressor):
    pytest.importorskip("torch", reason="needs torch")
    from training.evaluate import EvaluateConfig, main

    with pytest.raises(DatasetError, match="3DPW.*prepare with --detect"):
        main(EvaluateConfig(data="3dpw-joints", root=walk))
    with pytest.raises(DatasetError, match="training.prepare 3dpw --split test"):
        main(EvaluateConfig(data="3dpw-test", root=tmp_path / "none.npz", h36m_regressor=regressor))
    without = tmp_path / "without.npz"
    save(without, people_of(2, confidence_2d=np.ones((2, 23)), keypoints_2d=np.ones((2, 23, 2))))
    with pytest.raises(DatasetError, match="nobody of .*the truth that this protocol is measured on"):
        main(EvaluateConfig(data="3dpw-test", root=without, h36m_regressor=regressor, keypoints="exact"))
    with pytest.raises(DatasetError, match="bundle trained for SMPL"):
        main(EvaluateConfig(data="h36m-p2", root=walk, h36m_regressor=regressor, keypoints="exact"))
