"""Motion capture of other skeletons as SMPL's: bones point where the captured ones do, whatever the source's rest pose and axes."""

import dataclasses
import re

import numpy as np
import pytest

from hmr_ros.export.amass import write_amass
from hmr_ros.export.bvh import write_bvh
from hmr_ros.export.tracks import Track
from hmr_ros.rotation import rotmat_to_rotvec, rotvec_to_rotmat
from hmr_ros.skeleton import JOINT_NAMES, PARENTS
from hmr_ros.smpl_file import load_body
from training.datasets.amass import read_amass
from training.datasets.asf_amc import read_amc
from training.datasets.bvh import read_bvh
from training.datasets.motion import Motion, euler_to_rotmat
from training.datasets.people import DatasetError
from training.datasets.retarget import BONES, match, to_smpl
from training.datasets.thin import moved

FLIP = np.diag([1.0, -1.0, -1.0])
ENDS = {"left_hand": "lhand_end", "right_hand": "rhand_end", "left_foot": "ltoes", "right_foot": "rtoes"}


@pytest.fixture(scope="module")
def body():
    return load_body("open")


@pytest.fixture(scope="module")
def track(body):
    """Somebody before a level camera."""
    rotmat = rotvec_to_rotmat(np.random.default_rng(3).normal(size=(9, 24, 3)) * 0.6)
    rotmat[:, 0] = FLIP @ rotmat[:, 0]
    betas, transl = np.zeros((9, 10)), np.random.default_rng(4).normal(size=(9, 3))
    joints, count = body.joints(rotmat, betas, transl)[0], np.arange(9)
    return Track(1, 30.0, rotmat, betas, transl, joints, np.ones(9), count, count * 33, np.ones(9, bool))


def posed(people, body):
    rotmat = rotvec_to_rotmat(people.poses.astype(np.float64))
    return body.joints(rotmat, np.zeros((len(people), 10)))[0]


def angles_deg(a, b):
    cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def assert_limbs_point_alike(people, motion, body):
    """Every bone of arms and legs, within a hundredth of a degree."""
    source, _ = match(motion, "test")
    (_, captured), ours = motion.world(), posed(people, body)
    checked = [(start, end) for start, end in BONES.items() if start in source and end in source]
    assert len(checked) >= 8
    for start, end in checked:
        bone = ours[:, JOINT_NAMES.index(end)] - ours[:, JOINT_NAMES.index(start)]
        there = captured[:, source[end]] - captured[:, source[start]]
        assert angles_deg(bone, there).max() < 0.01, start


# --- A skeleton of our own making ------------------------------------------------------------------------------------------


def named(name):
    side = {"left_": "Left", "right_": "Right"}
    parts = {
        "hip": "UpLeg", "knee": "Leg", "ankle": "Foot", "foot": "ToeBase", "collar": "Shoulder", "shoulder": "Arm",
        "elbow": "ForeArm", "wrist": "Hand",
    }  # fmt: skip
    for prefix, word in side.items():
        if name.startswith(prefix) and name.removeprefix(prefix) in parts:
            return f"mixamorig:{word}{parts[name.removeprefix(prefix)]}"
    trunk = {
        "pelvis": "Hips",
        "spine1": "Spine",
        "spine2": "Spine1",
        "spine3": "Spine2",
        "neck": "Neck",
        "head": "Head",
    }
    return (
        f"mixamorig:{trunk[name]}"
        if name in trunk
        else {"left_hand": "LeftHand_end", "right_hand": "RightHand_end"}[name]
    )


def motion_like(rest, rotmat):
    """A motion of SMPL's tree with other bones. rest: (24, 3); rotmat: (T, 24, 3, 3), local."""
    offsets = rest - np.where(np.array(PARENTS)[:, None] >= 0, rest[list(PARENTS)], rest)
    names = tuple(named(name) for name in JOINT_NAMES)
    return Motion(names, PARENTS, offsets, rotmat, np.zeros((len(rotmat), 3)), 60.0)


@pytest.fixture(scope="module")
def source(body):
    """Arms that hang by half and legs apart in the rest pose, other lengths, people who move at random."""
    rest = body.J_template.astype(np.float64)
    bent = np.tile(np.eye(3), (1, 24, 1, 1))
    for name, angle in (("left_shoulder", -0.8), ("right_shoulder", 0.8), ("left_hip", 0.3), ("right_hip", -0.3)):
        bent[0, JOINT_NAMES.index(name)] = euler_to_rotmat(np.array([angle]), "z")
    stands = body.joints(bent, np.zeros((1, 10)))[0][0] * 90
    stands[[JOINT_NAMES.index("left_elbow"), JOINT_NAMES.index("right_elbow")]] += (0, 0.5, 0.7)
    rotmat = rotvec_to_rotmat(np.random.default_rng(0).normal(size=(20, 24, 3)) * 0.7)
    assert np.abs(stands / 90 - rest).max() > 0.2
    return motion_like(stands, rotmat)


def test_arms_and_legs_point_where_the_captured_ones_do(source, body):
    people = to_smpl(source, body)
    assert people.axes == "y_up" and people.poses_known[:, :22].all()
    assert_limbs_point_alike(people, source, body)


def test_the_trunk_turns_as_the_captured_one(source, body):
    local = rotvec_to_rotmat(to_smpl(source, body).poses.astype(np.float64))
    for name in ("pelvis", "spine1", "spine2", "spine3", "neck", "head"):
        joint = JOINT_NAMES.index(name)
        np.testing.assert_allclose(local[:, joint], source.rotmat[:, joint], atol=1e-5, err_msg=name)


def test_the_same_skeleton_keeps_its_rotations(body):
    rotmat = rotvec_to_rotmat(np.random.default_rng(1).normal(size=(10, 24, 3)) * 0.7)
    local = rotvec_to_rotmat(to_smpl(motion_like(body.J_template * 100.0, rotmat), body).poses.astype(np.float64))
    np.testing.assert_allclose(local[:, :22], rotmat[:, :22], atol=1e-5)


def test_other_axes_say_the_same(source, body):
    """z up, and facing -y: what some programs write."""
    turn = euler_to_rotmat(np.array([np.pi / 2]), "x")
    turned = dataclasses.replace(source, offsets=source.offsets @ turn.T, rotmat=turn @ source.rotmat @ turn.T)
    np.testing.assert_allclose(to_smpl(turned, body).poses, to_smpl(source, body).poses, atol=1e-4)


def test_a_rest_pose_that_nobody_stood_in_needs_the_first_frame(source, body):
    """The same motion in other local axes: at rest, all bones point anywhere."""
    rotmat = np.concatenate([np.tile(np.eye(3), (1, 24, 1, 1)), source.rotmat])
    first = dataclasses.replace(source, rotmat=rotmat, root=np.zeros((21, 3)))
    orientation, position = first.world()
    axes = rotvec_to_rotmat(np.random.default_rng(5).normal(size=(24, 3)) * 2)
    world = orientation @ axes
    local, offsets = world.copy(), source.offsets.copy()
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            local[:, joint] = np.swapaxes(world[:, parent], -1, -2) @ world[:, joint]
            offsets[joint] = axes[parent].T @ source.offsets[joint]
    odd = dataclasses.replace(first, rotmat=local, offsets=offsets)
    np.testing.assert_allclose(odd.world()[1], position, atol=1e-9)
    with pytest.raises(DatasetError, match="reference pose.*first-frame"):
        to_smpl(odd, body, "odd.bvh")
    np.testing.assert_allclose(
        to_smpl(odd, body, reference="first-frame").poses[1:], to_smpl(source, body).poses, atol=1e-4
    )


def test_joints_between_those_that_smpl_knows_bend_its_bones(source, body):
    """A second joint along the upper arm, which bends although no arm can: the elbow is still in its direction."""
    arm = source.names.index("mixamorig:LeftForeArm")
    names = (*source.names, "LeftArmRoll")
    parents = list(source.parents)
    extra = len(names) - 1
    order = [*range(arm), extra, *range(arm, extra)]
    parents = [*parents, parents[arm]]
    parents[arm] = extra
    place = {old: new for new, old in enumerate(order)}
    offsets = np.concatenate([source.offsets, source.offsets[arm][None] / 2])
    offsets[arm] /= 2
    bend = rotvec_to_rotmat(np.random.default_rng(6).normal(size=(len(source), 1, 3)) * 0.3)
    motion = Motion(
        tuple(names[i] for i in order), tuple(place[parents[i]] if parents[i] >= 0 else -1 for i in order), offsets[order],
        np.concatenate([source.rotmat, bend], axis=1)[:, order], source.root, source.fps,
    )  # fmt: skip
    assert_limbs_point_alike(to_smpl(motion, body), motion, body)


def test_a_skeleton_without_knees_is_refused_by_name(source, body):
    names = tuple(name.replace("LeftLeg", "Something") for name in source.names)
    with pytest.raises(DatasetError, match="a.bvh: no joint for SMPL's left_knee; the skeleton has mixamorig:Hips"):
        to_smpl(dataclasses.replace(source, names=names), body, "a.bvh")


@pytest.mark.parametrize(
    "left",
    [
        "lfemur ltibia lfoot lclavicle lhumerus lradius lwrist",
        "LeftUpLeg LeftLeg LeftFoot LeftShoulder LeftArm LeftForeArm LeftHand",
        "L_Thigh L_Shin L_Foot L_Collar L_UpperArm L_ForeArm L_Hand",
        "LeftHip LeftKnee LeftAnkle LeftCollar LeftShoulder LeftElbow LeftWrist",
        "lThigh lCalf lFoot lCollar lShldr lForeArm lHand",
        "thigh_l calf_l foot_l clavicle_l upperarm_l lowerarm_l hand_l",
        "thigh.L shin.L foot.L shoulder.L upper_arm.L forearm.L hand.L",
    ],
)
def test_usual_names_are_understood(left):
    left = left.split()
    side = r"(_l|\.L)$" if left[0][-2:] in RIGHT else "^(Left|L_|l)"
    right = [re.sub(side, lambda found: RIGHT[found[0]], name) for name in left]
    names = ("Root", "Hips", "Spine", "Neck", *left, *right)
    motion = Motion(names, (-1, 0, 1, 2, *[1] * 14), np.zeros((18, 3)), np.zeros((1, 18, 3, 3)), np.zeros((1, 3)), 1)
    source, _ = match(motion, "x")
    assert names[source["pelvis"]] == "Hips"
    parts = ("hip", "knee", "ankle", "collar", "shoulder", "elbow", "wrist")
    for side, own in (("left", left), ("right", right)):
        assert [names[source[f"{side}_{part}"]] for part in parts] == own


def test_a_head_without_a_neck_turns_as_the_neck(source, body):
    names = tuple(name.replace("Neck", "Bump") for name in source.names)
    found, _ = match(dataclasses.replace(source, names=names), "x")
    assert names[found["neck"]] == "mixamorig:Head" and "head" not in found
    assert not to_smpl(dataclasses.replace(source, names=names), body).poses_known[:, JOINT_NAMES.index("head")].any()


RIGHT = {"Left": "Right", "L_": "R_", "l": "r", "_l": "_r", ".L": ".R"}


# --- BVH ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def bvh_file(track, body, tmp_path):
    write_bvh(tmp_path / "a.bvh", track, body)
    return tmp_path / "a.bvh"


def test_what_we_export_comes_back(bvh_file, track, body):
    motion = read_bvh(bvh_file)
    people = to_smpl(motion, body)
    expected = track.rotmat.copy()
    expected[:, 0] = FLIP @ expected[:, 0]
    np.testing.assert_allclose(rotvec_to_rotmat(people.poses)[:, :22], expected[:, :22], atol=1e-4)
    assert motion.fps == pytest.approx(30) and not people.poses_known[:, 22:].any()


def test_our_reader_agrees_with_another(bvh_file):
    bvhio = pytest.importorskip("bvhio", reason="the other reader of BVH: pip install '.[test]'")
    motion = read_bvh(bvh_file)
    root, (_, positions) = bvhio.readAsHierarchy(str(bvh_file)), motion.world()
    for frame in (0, 5):
        root.loadPose(frame)
        for joint, _, _ in root.layout():
            ours = positions[frame, motion.names.index(joint.Name)]
            assert np.abs(np.array(joint.PositionWorld) - ours).max() < 0.01, joint.Name


def test_channels_turn_in_the_order_that_the_file_gives(tmp_path):
    text = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Yposition Xposition ZPosition Xrotation Zrotation Yrotation
  JOINT Arm
  { OFFSET 1 0 0
    CHANNELS 1 Zrotation
    End Site
    { OFFSET 1 0 0 }
  }
}
MOTION
Frames: 1
Frame Time: 0.05
2 1 3 0 90 90 90
"""
    (tmp_path / "a.bvh").write_text(text)
    motion = read_bvh(tmp_path / "a.bvh")
    assert motion.names == ("Hips", "Arm", "Arm_end") and motion.fps == 20
    # Rx(0) Rz(90) Ry(90) takes x to -z and z to y... so: x -> Ry -> -z -> Rz -> -z.
    np.testing.assert_allclose(motion.world()[1][0], [[1, 2, 3], [1, 2, 2], [0, 2, 2]], atol=1e-9)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda text: text[: len(text) // 2], "MOTION"),
        (lambda text: text[:-200], "values after MOTION.*cut off"),
        (lambda text: text.replace("MOTION", "NOTHING"), "no HIERARCHY or no MOTION"),
        (lambda text: text.replace("OFFSET 0", "OFFSET x", 1), "HIERARCHY cannot be read"),
        (lambda text: text.replace("Zrotation", "Wrotation"), "wrotation.* not known"),
        (lambda text: text.replace("}", "", 1), "HIERARCHY cannot be read"),
        (lambda text: text.replace("Frames: 9", "Frames: nine"), "MOTION cannot be read"),
        (lambda text: text[: text.index("Frame Time:")] + "Frame Time: 0.1" + " nan" * 9 * 69, "NaN"),
    ],
)
def test_broken_bvh_is_refused_and_never_waited_for(bvh_file, change, message):
    bvh_file.write_text(change(bvh_file.read_text()))
    with pytest.raises(DatasetError, match=f"a.bvh.*{message}"):
        read_bvh(bvh_file)


# --- ASF and AMC -------------------------------------------------------------------------------------------------------------

CMU = {
    "lhipjoint": ("root", (0.6, -0.7, 0.2), 2.5, (0, 0, 0), ""),
    "lfemur": ("lhipjoint", (0.34, -0.94, 0), 7.6, (0, 0, 20), "rx ry rz"),
    "ltibia": ("lfemur", (0.34, -0.94, 0), 7.3, (0, 0, 20), "rx"),
    "lfoot": ("ltibia", (0.09, -0.24, 0.97), 2.2, (-90, 0, 20), "rx rz"),
    "ltoes": ("lfoot", (0, 0, 1), 1.1, (-90, 0, 20), "rx"),
    "lowerback": ("root", (0, 1, -0.1), 2.0, (0, 0, 0), "rx ry rz"),
    "upperback": ("lowerback", (0, 1, 0), 2.0, (0, 0, 0), "rx ry rz"),
    "thorax": ("upperback", (0, 1, 0), 2.0, (0, 0, 0), "rx ry rz"),
    "lowerneck": ("thorax", (0, 1, 0.1), 1.6, (0, 0, 0), "rx ry rz"),
    "upperneck": ("lowerneck", (0, 1, 0.1), 1.6, (0, 0, 0), "rx ry rz"),
    "head": ("upperneck", (0, 1, 0), 1.7, (0, 0, 0), "rx ry rz"),
    "lclavicle": ("thorax", (0.95, 0.3, 0), 3.6, (0, 0, 17), "ry rz"),
    "lhumerus": ("lclavicle", (1, 0, 0), 5.0, (180, 30, 90), "rx ry rz"),
    "lradius": ("lhumerus", (1, 0, 0), 3.2, (180, 30, 90), "rx"),
    "lwrist": ("lradius", (1, 0, 0), 1.6, (0, -90, 180), "ry"),
    "lhand": ("lwrist", (1, 0, 0), 0.7, (0, -90, 180), "rx rz"),
    "lfingers": ("lhand", (1, 0, 0), 0.6, (0, -90, 180), "rx"),
}
"""CMU's bones: parent, direction, length, axes in degrees, channels. The right side is the left's mirror image."""


def cmu_skeleton():
    bones = dict(CMU)
    for name, (parent, (x, y, z), length, (a, b, c), dof) in CMU.items():
        if name[0] == "l" and name not in ("lowerback", "lowerneck"):
            parent = f"r{parent[1:]}" if parent[0] == "l" and parent != "lowerback" else parent
            bones[f"r{name[1:]}"] = (parent, (-x, y, z), length, (a, -b, -c), dof)
    return bones


def write_asf(path, bones, units="deg"):
    unit = 1 if units == "deg" else np.pi / 180
    text = f":version 1.10\n:name T\n:units\n  mass 1.0\n  length 0.45\n  angle {units}\n:documentation\n  begin end\n:root\n"
    text += "  order TX TY TZ RX RY RZ\n  axis XYZ\n  position 0 0 0\n  orientation 0 0 0\n:bonedata\n"
    for number, (name, (_, direction, length, axes, dof)) in enumerate(bones.items()):
        angles = " ".join(str(angle * unit) for angle in axes)
        text += f"  begin\n   id {number + 1}\n   name {name}\n   direction {' '.join(map(str, direction))}\n"
        text += f"   length {length}\n   axis {angles} XYZ\n"
        if dof:
            text += f"   dof {dof}\n   limits (-10 20)\n" + "          (-1 1)\n" * dof.count(" ")
        text += "  end\n"
    children = {}
    for name, (parent, *_) in bones.items():
        children.setdefault(parent, []).append(name)
    text += ":hierarchy\n  begin\n" + "".join(f"    {p} {' '.join(c)}\n" for p, c in children.items()) + "  end\n"
    path.write_text(text)


def write_amc(path, bones, frames, unit=1.0):
    """frames: list of {bone: degrees}; who is not named stays at rest."""
    lines = ["#!OML:ASF x.asf", ":FULLY-SPECIFIED", ":DEGREES"]
    for number, frame in enumerate(frames, 1):
        lines += [str(number), "root " + " ".join(str(v) for v in frame.get("root", [0] * 6))]
        for name, (*_, dof) in bones.items():
            if dof:
                values = frame.get(name, [0] * len(dof.split()))
                lines.append(f"{name} " + " ".join(f"{value * unit:.9f}" for value in values))
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def cmu(tmp_path):
    bones, rng = cmu_skeleton(), np.random.default_rng(0)
    write_asf(tmp_path / "01.asf", bones)
    frames = [
        {"root": [*rng.normal(size=3), *rng.normal(size=3) * 30], **{n: rng.normal(size=len(b[4].split())) * 25 for n, b in bones.items()}}
        for _ in range(12)
    ]  # fmt: skip
    write_amc(tmp_path / "01_02.amc", bones, frames)
    return tmp_path / "01_02.amc"


def test_cmu_arms_and_legs_point_where_the_captured_ones_do(cmu, body):
    motion = read_amc(cmu)
    people = to_smpl(motion, body)
    assert_limbs_point_alike(people, motion, body)
    assert motion.fps == 120 and len(motion.every(30)) == 3
    assert people.poses_known[0].sum() == 22


def test_cmu_at_rest_stands_like_smpl(tmp_path, body):
    write_asf(tmp_path / "01.asf", cmu_skeleton())
    write_amc(tmp_path / "01_01.amc", cmu_skeleton(), [{}])
    people = to_smpl(read_amc(tmp_path / "01_01.amc"), body)
    assert np.degrees(np.linalg.norm(people.poses[0], axis=-1)).max() < 30
    joints = posed(people, body)[0]
    assert (
        angles_deg(joints[JOINT_NAMES.index("left_wrist")] - joints[JOINT_NAMES.index("left_shoulder")], [1, 0, 0]) < 5
    )


def test_an_asf_bone_turns_about_its_own_axes(tmp_path):
    """A thigh at 20 degrees whose rx is 90 points backward: its x axis is tilted by the same 20 degrees."""
    write_asf(tmp_path / "01.asf", cmu_skeleton())
    frames = [{"lfemur": [90, 0, 0]}, {"lowerback": [90, 0, 90]}]
    write_amc(tmp_path / "01_01.amc", cmu_skeleton(), frames)
    motion = read_amc(tmp_path / "01_01.amc")
    position, at = motion.world()[1], motion.names.index
    thigh = position[0, at("ltibia")] - position[0, at("lfemur")]
    np.testing.assert_allclose(thigh / np.linalg.norm(thigh), [0, 0, -1], atol=0.01)
    # rx turns first: y goes to z, which rz leaves alone.
    back = position[1, at("upperback")] - position[1, at("lowerback")]
    np.testing.assert_allclose(back / np.linalg.norm(back), [-0.0, 0.1, 1], atol=0.11)


def test_radians_are_read_as_radians(tmp_path, cmu):
    folder = tmp_path / "radians"
    folder.mkdir()
    bones = cmu_skeleton()
    write_asf(folder / "01.asf", bones, "rad")
    write_asf(tmp_path / "01.asf", bones, "deg")
    frame = {"lfemur": [20, 30, 40], "rradius": [50]}
    write_amc(folder / "01_01.amc", bones, [frame], unit=np.pi / 180)
    write_amc(tmp_path / "01_01.amc", bones, [frame])
    np.testing.assert_allclose(
        read_amc(folder / "01_01.amc").rotmat, read_amc(tmp_path / "01_01.amc").rotmat, atol=1e-6
    )


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda text: text.replace("lfemur ", "lthigh ", 1), "line 6.*does not fit the skeleton"),
        (lambda text: text.replace("ltibia ", "ltibia 1.0 ", 1), "2 values for ltibia"),
        (lambda text: text[: text.rindex("rhand")], "a frame without rhand.*cut off"),
        (lambda text: ":DEGREES\n", "not a single frame"),
    ],
)
def test_broken_amc_is_refused(cmu, change, message):
    cmu.write_text(change(cmu.read_text()))
    with pytest.raises(DatasetError, match=f"01_02.amc.*{message}"):
        read_amc(cmu)


def test_broken_or_missing_skeletons_are_refused(cmu):
    asf = cmu.with_name("01.asf")
    text = asf.read_text()
    for change in (
        text.replace("name ltibia", "name tibia"),
        text.replace("axis 0 0 20 XYZ", "axis 0 x 20 XYZ"),
        ":root\n",
    ):
        asf.write_text(change)
        with pytest.raises(DatasetError, match="01.asf: not a readable ASF"):
            read_amc(cmu)
    asf.unlink()
    with pytest.raises(DatasetError, match="01_02.amc: no 01.asf beside it"):
        read_amc(cmu)


# --- AMASS -------------------------------------------------------------------------------------------------------------------


def amass_arrays(frames=40, joints=52):
    rng = np.random.default_rng(0)
    return {
        "poses": rng.normal(size=(frames, 3 * joints)) * 0.3, "trans": rng.normal(size=(frames, 3)), "gender": np.array("male"),
        "betas": rng.normal(size=16), "mocap_framerate": np.array(120.0), "dmpls": np.zeros((frames, 8)),
    }  # fmt: skip


def test_amass_poses_are_turned_from_z_up_to_y_up(tmp_path, body):
    arrays = amass_arrays()
    np.savez(tmp_path / "walk_poses.npz", **arrays)
    people = read_amass(tmp_path / "walk_poses.npz")
    assert len(people) == 10 and people.frame.tolist() == list(range(0, 40, 4)) and people.axes == "y_up"
    assert people.poses_known[0].tolist() == [True] * 22 + [False] * 2 and not people.poses[:, 22:].any()
    rotvec = np.zeros((10, 24, 3))
    rotvec[:, :22] = arrays["poses"][::4, :66].reshape(10, 22, 3)
    z_up = body.joints(rotvec_to_rotmat(rotvec), np.zeros((10, 10)))[0]
    y_up = posed(people, body)
    was, now = (points - points[:, :1] for points in (z_up, y_up))
    np.testing.assert_allclose(now, np.stack([was[..., 0], was[..., 2], -was[..., 1]], axis=-1), atol=1e-5)
    assert people.shape_space[0] == "smplh_male" and not people.betas_fit("smpl_male").any()


def test_amass_as_we_write_it_comes_back(track, body, tmp_path):
    write_amass(tmp_path / "a.npz", track, body)
    people = read_amass(tmp_path / "a.npz")
    expected = track.rotmat[:, :22].copy()
    expected[:, 0] = FLIP @ expected[:, 0]
    np.testing.assert_allclose(rotvec_to_rotmat(people.poses.astype(np.float64))[:, :22], expected, atol=1e-5)


def test_amass_of_smplx_and_bedlams_animations(tmp_path):
    arrays = amass_arrays(joints=55)
    arrays["mocap_frame_rate"] = arrays.pop("mocap_framerate")
    np.savez(tmp_path / "a.npz", **{**arrays, "gender": np.array(b"female")})
    people = read_amass(tmp_path / "a.npz", fps=60)
    assert len(people) == 20 and people.shape_space[0] == "smplx_female"
    del arrays["mocap_frame_rate"]
    np.savez(tmp_path / "motion_seq.npz", **arrays, motion_info=np.array("x"))
    bedlam = read_amass(tmp_path / "motion_seq.npz")
    assert len(bedlam) == 40
    np.testing.assert_allclose(bedlam.poses[:, 0], arrays["poses"][:, :3], atol=1e-5, err_msg="y is up already")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"poses": np.zeros((40, 60))}, r"poses has shape \(40, 60\)"),
        ({"mocap_framerate": np.array(0.0)}, "mocap_framerate is 0"),
        ({"gender": np.array("other")}, "gender is 'other'"),
        ({"mocap_framerate": None}, "no key 'mocap_framerate'"),
        ({"poses": None}, "no key 'poses'"),
    ],
)
def test_what_is_wrong_with_an_amass_file_is_named(tmp_path, changes, message):
    arrays = {**amass_arrays(), **changes}
    np.savez(tmp_path / "a.npz", **{key: value for key, value in arrays.items() if value is not None})
    with pytest.raises(DatasetError, match=f"a.npz.*{message}"):
        read_amass(tmp_path / "a.npz")


def test_standing_still_is_thinned_out_and_moving_is_not(source, body):
    people = to_smpl(source, body)
    assert moved(people, body, 0.015).all()
    still = people[np.repeat(np.arange(4), 5)]
    assert np.flatnonzero(moved(still, body, 0.015)).tolist() == [0, 5, 10, 15]


def test_rotations_survive_being_axis_angle(source, body):
    poses = to_smpl(source, body).poses
    np.testing.assert_allclose(rotmat_to_rotvec(rotvec_to_rotmat(poses)), poses, atol=1e-3)
