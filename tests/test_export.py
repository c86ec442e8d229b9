"""Motion files say what was recovered: read back by other people's readers, they give the same joints in the same places."""

import json
from dataclasses import replace

import numpy as np
import pytest

from hmr_ros.export.amass import R_up_camera as R_zup_camera
from hmr_ros.export.amass import write_amass
from hmr_ros.export.bvh import BVH_NAMES, CM_PER_M, rotmat_to_zxy, write_bvh
from hmr_ros.export.bvh import R_up_camera as R_yup_camera
from hmr_ros.export.files import write_results
from hmr_ros.export.tracks import tracks_of
from hmr_ros.recording import FrameRecord, PersonRecord
from hmr_ros.rotation import rotvec_to_rotmat
from hmr_ros.skeleton import JOINT_NAMES, PARENTS
from hmr_ros.smpl_file import load_body

FPS = 25.0
UPRIGHT = rotvec_to_rotmat(np.array([np.pi, 0, 0]))
"""Standing before a level camera: y of the rest pose is up, y of the optical frame down."""


@pytest.fixture(scope="module")
def body():
    return load_body("open")


def person(body, track_id=1, seed=0, upright=False):
    rng = np.random.default_rng(seed)
    rotmat = rotvec_to_rotmat(rng.normal(size=(24, 3)) * 0.8)
    rotmat[0] = UPRIGHT if upright else rotmat[0]
    betas, transl = np.full(10, 0.7), rng.normal(size=3) + (0, 0, 4)
    joints = body.joints(rotmat[None], betas[None], transl[None])[0][0]
    f32 = [value.astype(np.float32) for value in (rotmat, betas, transl, joints)]
    return PersonRecord(track_id, 0.9, *f32, 3, np.nan, 2.0, np.ones(24, np.float32), 0.5, 0.25)


def frame(index, *people):
    return FrameRecord(index, round(index * 1e9 / FPS), 10.0, people)


@pytest.fixture(scope="module")
def track(body):
    frames = [frame(i, person(body, seed=i)) for i in range(12)]
    return tracks_of(frames, FPS, body)[0]


def test_every_person_is_a_track_with_its_own_frames(body):
    frames = [
        frame(0, person(body, 7)),
        frame(1, person(body, 7), person(body, 8)),
        frame(2, person(body, 8)),
        frame(3),
    ]
    tracks = tracks_of(frames, FPS, body)
    assert [(t.id, t.frame.tolist()) for t in tracks] == [(7, [0, 1]), (8, [1, 2])]
    assert tracks_of([frame(0)], FPS, body) == []


def test_a_gap_is_filled_evenly_along_the_shortest_turn(body):
    a, b = person(body, seed=1), person(body, seed=2)
    (track,) = tracks_of([frame(0, a), frame(4, b)], FPS, body)
    assert track.observed.tolist() == [True, False, False, False, True] and track.frame.tolist() == [0, 1, 2, 3, 4]
    assert np.allclose(track.rotmat[[0, 4]], [a.rotmat, b.rotmat], atol=1e-6)
    assert np.allclose(track.rotmat @ np.swapaxes(track.rotmat, -1, -2), np.eye(3), atol=1e-5)
    turns = np.swapaxes(track.rotmat[:-1], -1, -2) @ track.rotmat[1:]
    assert np.allclose(turns, turns[:1], atol=1e-5), "the same turn in every step"
    assert np.allclose(np.diff(track.transl, axis=0, n=2), 0, atol=1e-6)


def test_stamps_decide_the_beat_and_index_where_they_cannot(body):
    late = [FrameRecord(i, int(stamp * 1e9 / FPS), 1.0, (person(body),)) for i, stamp in enumerate((5, 6.1, 7.9, 10))]
    assert tracks_of(late, FPS, body)[0].observed.tolist() == [True, True, False, True, False, True]
    swapped = [
        FrameRecord(i, int(s * 1e9 / FPS), 1.0, (person(body, seed=i),)) for i, s in enumerate((5, 6, 5.9, 9, 10))
    ]
    (track,) = tracks_of(swapped, FPS, body)
    assert track.observed.tolist() == [True, True, False, False, True, True] and np.all(np.diff(track.stamp_ns) > 0)
    stopped = [FrameRecord(i, 0, 1.0, (person(body),)) for i in range(3)]
    assert tracks_of(stopped, FPS, body)[0].observed.tolist() == [True] * 3


def test_motion_lasts_as_long_as_its_stamps_say_even_where_two_share_a_beat(body):
    """As cameras and recordings have them: stamps tremble, some frames are missing, and the rate is only nearly what is said."""
    rng = np.random.default_rng(0)
    seconds = np.sort(np.arange(200) / (1.02 * FPS) + rng.normal(0, 0.003, 200))[rng.random(200) < 0.7]
    stamps = (seconds * 1e9).astype(np.int64)
    assert (np.diff(np.round((stamps - stamps[0]) * FPS / 1e9)) == 0).any(), "nothing to see here"
    still = person(body)
    walk = [replace(still, transl=np.array([second, 0, 4])) for second in seconds]  # at 1 m/s
    frames = [FrameRecord(i, stamp, 1.0, (who,)) for i, (stamp, who) in enumerate(zip(stamps, walk))]
    (track,) = tracks_of(frames, FPS, body)
    assert (len(track.rotmat) - 1) / FPS == pytest.approx(seconds[-1] - seconds[0], abs=1 / FPS)
    assert np.abs(track.transl[:, 0] - seconds[0] - np.arange(len(track.rotmat)) / FPS).max() < 1 / FPS
    assert np.all(np.diff(track.frame) >= 0) and track.observed.sum() < len(frames)


def test_euler_angles_give_back_the_rotation_even_when_locked():
    rng = np.random.default_rng(0)
    rotmat = rotvec_to_rotmat(rng.normal(size=(500, 3)) * 2)
    locked = np.stack([about("z", 0.4) @ about("x", s * np.pi / 2) @ about("y", 0.3) for s in (-1, 1)])
    rotmat = np.concatenate([rotmat, locked, np.eye(3)[None]])
    for expected, (z, x, y) in zip(rotmat, rotmat_to_zxy(rotmat)):
        assert np.allclose(about("z", z) @ about("x", x) @ about("y", y), expected, atol=1e-6)


def about(axis, angle):
    return rotvec_to_rotmat(angle * np.eye(3)["xyz".index(axis)])


@pytest.fixture(scope="module")
def bvh_file(track, body, tmp_path_factory):
    path = tmp_path_factory.mktemp("bvh") / "person_1.bvh"
    write_bvh(path, track, body)
    return path


def test_bvh_puts_every_joint_within_a_millimetre(bvh_file, track, body):
    bvhio = pytest.importorskip("bvhio", reason="the other reader of BVH: pip install '.[test]'")
    root = bvhio.readAsHierarchy(str(bvh_file))
    betas = np.repeat(track.shape[None], len(track.rotmat), axis=0)
    joints = body.joints(track.rotmat, betas)[0]
    expected = (joints - joints[:, :1] + track.joints[:, :1]) @ R_yup_camera.T * CM_PER_M
    for index in range(len(track.rotmat)):
        root.loadPose(index)
        found = {joint.Name: np.array(joint.PositionWorld) for joint, _, _ in root.layout()}
        for name, position in zip(BVH_NAMES, expected[index]):
            assert np.linalg.norm(found[name] - position) < 0.1, f"{name} in frame {index}, cm"


def test_bvh_has_the_skeletons_hierarchy_and_the_sources_rate(bvh_file):
    bvhio = pytest.importorskip("bvhio", reason="the other reader of BVH: pip install '.[test]'")
    container = bvhio.readAsBvh(str(bvh_file))
    assert container.FrameCount == 12 and np.isclose(container.FrameTime, 1 / FPS)
    parents = {child.Name: joint.Name for joint, _, _ in container.Root.layout() for child in joint.Children}
    assert parents == {BVH_NAMES[j]: BVH_NAMES[PARENTS[j]] for j in range(1, len(BVH_NAMES))}


def test_someone_who_stands_stands_in_every_file(body, tmp_path):
    (track,) = tracks_of([frame(0, person(body, upright=True))], FPS, body)
    head, foot = JOINT_NAMES.index("neck"), JOINT_NAMES.index("left_hip")
    for R, up in ((R_yup_camera, 1), (R_zup_camera, 2)):
        assert np.isclose(np.linalg.det(R), 1)
        turned = track.joints[0] @ R.T
        assert turned[head, up] > turned[foot, up]


def test_amass_file_poses_a_body_where_the_person_was(track, body, tmp_path):
    """As readers of AMASS do it: SMPL from the first 22 joints and the wrists' children, z up."""
    write_amass(tmp_path / "a.npz", track, body)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as data:
        count = len(track.rotmat)
        shapes = {"poses": (count, 156), "trans": (count, 3), "betas": (16,), "dmpls": (count, 8)}
        assert {name: data[name].shape for name in shapes} == shapes
        assert str(data["gender"]) == "neutral" and float(data["mocap_framerate"]) == FPS
        rotvec = np.zeros((count, 24, 3))
        rotvec[:, :22] = data["poses"][:, :66].reshape(count, 22, 3)
        betas = np.repeat(data["betas"][None, :10], count, axis=0)
        joints = body.joints(rotvec_to_rotmat(rotvec), betas, data["trans"])[0]
        assert np.allclose(joints[:, :22], (track.joints @ R_zup_camera.T)[:, :22], atol=1e-3)
        optical = rotvec_to_rotmat(
            np.concatenate([data["global_orient"], data["body_pose"]], axis=1).reshape(-1, 24, 3)
        )
        assert np.allclose(optical, track.rotmat, atol=1e-5)
        assert data["observed"].all() and data["frame"].tolist() == list(range(count))


@pytest.mark.parametrize(
    "space, gender",
    [("smpl_female", "female"), ("smpl_male", "male"), ("smpl_neutral", "neutral"), ("open", "neutral")],
)
def test_amass_file_says_whose_body_its_betas_shape(track, body, tmp_path, space, gender):
    write_amass(tmp_path / "a.npz", track, replace(body, shape_space=space))
    with np.load(tmp_path / "a.npz", allow_pickle=False) as data:
        assert str(data["gender"]) == gender


def test_amass_file_opens_with_a_reader_of_amass(track, body, tmp_path):
    llamass = pytest.importorskip("llamass.core", reason="a reader of AMASS: pip install llamass (it brings torch)")
    (tmp_path / "set").mkdir()
    write_amass(tmp_path / "set" / "person_1.npz", track, body)
    keys = ("poses", "dmpls", "trans", "betas", "gender")
    data = next(iter(llamass.npz_contents(tmp_path / "set/person_1.npz", len(track.rotmat) // 2, False, keys=keys)))
    assert data["poses"].shape[-1] == 156


def test_json_lines_hold_every_frame_and_no_nan(body, tmp_path):
    frames = [frame(0, person(body, 4)), frame(1)]
    write_results(tmp_path, frames, FPS, body)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["people.jsonl", "person_4.bvh", "person_4.npz"]
    lines = [
        json.loads(line, parse_constant=pytest.fail) for line in (tmp_path / "people.jsonl").read_text().splitlines()
    ]
    assert [line["frame"] for line in lines] == [0, 1] and lines[1]["people"] == []
    (someone,) = lines[0]["people"]
    assert someone["reprojection_px_before"] is None and someone["id"] == 4
    assert np.allclose(someone["joints"], frames[0].people[0].joints, atol=1e-5)


def test_tracks_of_an_earlier_run_go_and_nothing_else(body, tmp_path):
    write_results(tmp_path, [frame(0, person(body, 4), person(body, 5))], FPS, body)
    (tmp_path / "person_of_mine.npz").touch()
    write_results(tmp_path, [frame(0, person(body, 5))], FPS, body)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["people.jsonl", "person_5.bvh", "person_5.npz", "person_of_mine.npz"]
