"""The demo: a real camera process, the real node, real topics; every frame accounted for."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not importable: source a ROS 2, or pip install '.[ros]'")

from hmr_ros.media import DEMO_CLIP, VideoWriter, open_media
from hmr_ros.recording import FrameRecord
from hmr_ros.ros.demo import account, node_arguments
from hmr_ros.ros.recorder import to_frames
from hmr_ros.ros.smpl_cloud import RECORD
from hmr_ros.smpl_file import load_body

FRAMES = 45
COMMAND = [sys.executable, "-m", "hmr_ros.ros.demo"]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def short_clip(tmp_path_factory):
    """The beginning of the demo clip, with its truth."""
    folder = tmp_path_factory.mktemp("clip")
    with VideoWriter(folder / "short.mp4", 30) as video:
        for (image, _), _ in zip(open_media(DEMO_CLIP), range(FRAMES)):
            video.write(image)
    with np.load(DEMO_CLIP.with_suffix(".npz"), allow_pickle=False) as truth:
        np.savez(folder / "short.npz", joints=truth["joints"][:FRAMES], K=truth["K"])
    return folder / "short.mp4"


@pytest.fixture(scope="module")
def demo(short_clip, tmp_path_factory):
    from hmr_ros.bundle import load_bundle
    from hmr_ros.keypoints.blazepose_models import find_models

    try:
        find_models()
        load_bundle("default")
    except ValueError as error:
        pytest.skip(f"the real pipeline cannot run here: {error}")
    out = tmp_path_factory.mktemp("out")
    done = subprocess.run(
        [*COMMAND, str(short_clip), "--out", str(out)],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out, done.stdout


def test_summary_of_a_clip_with_truth(demo):
    out, said = demo
    summary = json.loads((out / "summary.json").read_text())
    keys = {"frames", "people", "fps", "latency_ms", "tto_steps", "reprojection_px", "mpjpe_mm", "pa_mpjpe_mm"}
    assert set(summary) == keys
    assert 0 < summary["frames"] <= FRAMES and summary["people"] == 1
    assert all(0 < error < 100 for error in summary["reprojection_px"].values()) and summary["tto_steps"] > 0
    assert 0 < summary["pa_mpjpe_mm"] <= summary["mpjpe_mm"] < 300
    assert f"{FRAMES} sent: {summary['frames']} answered" in said


def test_overlay_shows_the_frames_answered(demo):
    out, _ = demo
    answered = json.loads((out / "summary.json").read_text())["frames"]
    assert len(list(open_media(out / "overlay.mp4"))) == answered
    assert open_media(out / "overlay.png").width == 640
    assert any(out.glob("person_*.npz"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["no_such.mp4"], "no_such.mp4"),
        (["--set", "model.bundle=/no/such/bundle"], "/no/such/bundle"),
        (["0"], "camera"),
        (["--set", "tto.max_step=3"], "did you mean tto.max_steps?"),
    ],
)
def test_failure_says_why_and_ends(arguments, says, tmp_path):
    done = subprocess.run(
        [*COMMAND, *arguments, "--out", str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == 1
    assert says in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(("size", "transport"), [((640, 480), "raw"), ((1280, 720), "compressed")])
def test_big_pictures_travel_as_jpeg(size, transport):
    """Unless the user says otherwise: of two, ROS takes the later."""
    media = SimpleNamespace(width=size[0], height=size[1])
    said = node_arguments(media, SimpleNamespace(body="open", set=["image_transport=raw"]))
    settings = [text.split(":=") for text in said if text.startswith("image_transport")]
    assert settings == [["image_transport", transport], ["image_transport", "raw"]]


def test_answers_find_their_frames_whatever_their_order():
    body = load_body("open")
    records = np.zeros(1, RECORD)
    records["z"], records["id"], records["body_pose"] = 3, 5, 0.1
    answers = [(300, 310_000_300, records), (100, 2_000_100, records[:0]), (999, 1000, records)]
    frames = to_frames(answers, [100, 200, 300], body)
    assert [(f.index, f.stamp_ns, f.latency_ms, len(f.people)) for f in frames] == [
        (0, 100, 2.0, 0),
        (2, 300, 310.0, 1),
    ]
    person = frames[1].people[0]
    assert person.id == 5 and np.allclose(person.rotmat @ np.swapaxes(person.rotmat, -1, -2), np.eye(3), atol=1e-5)
    joints, _ = body.joints(person.rotmat[None], person.betas[None], person.transl[None])
    assert np.allclose(joints[0], person.joints)


def test_account_names_every_frame_once():
    frames = [FrameRecord(i, i, 1.0, ()) for i in range(7)]
    said = account(list(range(12)), frames, {"dropped": 3, "bad": 1, "failed": 0, "waiting": 0, "processed": 7})
    assert said == "12 sent: 7 answered, 3 dropped for a newer one, 1 bad, 1 overtaken or lost before the node"
