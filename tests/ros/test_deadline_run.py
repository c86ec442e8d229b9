"""The deadline run: a real camera, the real node, load beside them; every frame has a fate, and the figures agree."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not importable: source a ROS 2, or pip install '.[ros]'")

from ros_graph import ROOT

from hmr_ros.media import DEMO_CLIP, VideoWriter, open_media
from hmr_ros.ros.deadline_run import assess, cpu_load, plot
from hmr_ros.ros.diagnostics import numbers
from hmr_ros.ros.smpl_cloud import RECORD
from hmr_ros.ros.statistics import Statistics

FRAMES = 15


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    from hmr_ros.keypoints.blazepose_models import find_models

    try:
        find_models()
    except ValueError as error:
        pytest.skip(f"the real pipeline cannot run here: {error}")
    folder = tmp_path_factory.mktemp("deadline")
    with VideoWriter(folder / "clip.mp4", 30) as video:
        for (image, _), _ in zip(open_media(DEMO_CLIP), range(FRAMES)):
            video.write(image)
    command = [sys.executable, "-m", "hmr_ros.ros.deadline_run", "--source", str(folder / "clip.mp4"), "--rate", "0.3"]
    outputs = ["--json", str(folder / "run.json"), "--plot", str(folder / "run.png")]
    limits = ["--showings", "2", "--load", "1", "--deadline-ms", "10000"]
    done = subprocess.run(
        [*command, *limits, *outputs], check=False, capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert (folder / "run.json").exists(), done.stdout + done.stderr
    return json.loads((folder / "run.json").read_text()), folder


def test_every_frame_is_accounted_for(run):
    frames = run[0]["frames"]
    assert frames["sent"] == 2 * FRAMES and frames["processed"] > 0
    # A camera that ends takes along what a starved node has not fetched yet.
    assert 0 <= frames["unaccounted"] <= 2


def test_a_deadline_that_anything_can_meet_is_met(run):
    result = run[0]
    assert result["on_time_share"] == 1 and result["node_says"]["missed"] == 0
    assert result["node_says"]["met"] == result["frames"]["processed"]
    assert result["steps"]["mean"] > 0 and result["loss"][1] < result["loss"][0]


def test_the_share_of_ros_is_that_of_its_stages(run):
    stages = run[0]["stages_ms"]
    ros_ms = sum(stages[stage]["p50"] for stage in ("transport", "decode", "publish"))
    assert run[0]["ros_overhead"]["ms"] == pytest.approx(ros_ms)
    assert 0 < run[0]["ros_overhead"]["share_of_frame"] < 1


def test_there_is_a_picture_of_it(run):
    assert open_media(run[1] / "run.png").width == 900


def test_late_frames_are_told_apart():
    """From figures made up: 3 answers of 5 frames, one of them late, one frame dropped, one lost on the way."""
    records = np.zeros(1, RECORD)
    records["steps"] = 4
    answers = [(stamp, stamp + int(ms * 1e6), records) for stamp, ms in ((1, 40), (2, 60), (4, 49))]
    counts = {"processed": 3, "dropped": 1, "lost": 1}
    deadline = {"met": 2, "missed": 1, "cut_short": 1, "regression_only": 0}
    stages = dict.fromkeys(
        ("transport", "decode", "detect", "track", "regress", "tto", "smooth", "readout", "publish"), "1"
    )
    diagnostics = {f"{stage}_{part}_ms": ms for stage, ms in stages.items() for part in ("p50", "p99")}
    diagnostics |= {"tto_loss_before_mean": "2", "tto_loss_after_mean": "1"}
    witness = SimpleNamespace(
        answers=answers, counts=counts, diagnostics=diagnostics, count=lambda prefix: deadline
    )  # fmt: skip
    result = assess([1, 2, 3, 4, 5], witness, deadline_ms=50)
    assert result["frames"]["unaccounted"] == 0 and result["on_time_share"] == pytest.approx(2 / 3)
    assert result["steps"] == {"mean": 4, "frames": {4: 3}} and result["ros_overhead"][
        "share_of_frame"
    ] == pytest.approx(1 / 3)
    assert plot({**result, "load": 0}).shape == (660, 900, 3)


def test_a_run_in_which_nobody_is_found_has_figures():
    statistics = Statistics()
    statistics.received(0.0)
    stages = ("transport", "decode", "detect", "track", "publish", "latency")
    statistics.processed(0.0, dict.fromkeys(stages, 2.0), 0, None, limit_ms=50)
    told = {key: str(value) for key, value in numbers(statistics.snapshot(0.0)).items()}
    witness = SimpleNamespace(
        answers=[(1, 10**7, np.zeros(0, RECORD))], counts={"processed": 1}, diagnostics=told,
        count=lambda prefix: Counter(),
    )  # fmt: skip
    result = assess([1], witness, deadline_ms=50)
    assert result["ros_overhead"] == {"ms": 6, "share_of_frame": pytest.approx(0.6)}
    assert plot({**result, "load": 0}).shape == (660, 900, 3)


def test_load_ends_with_us():
    others = children()
    with cpu_load(1) as _:
        (ours,) = children() - others
    end = time.monotonic() + 10
    while ours in children():
        assert time.monotonic() < end
        time.sleep(0.01)


def children() -> set[str]:
    task = f"/proc/{os.getpid()}/task/{os.getpid()}/children"
    if not os.path.exists(task):
        pytest.skip("no list of children here")
    with open(task) as file:
        return set(file.read().split())


def test_failure_says_why_and_ends():
    command = [sys.executable, "-m", "hmr_ros.ros.deadline_run", "--source", "no_such.mp4", "--load", "0"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 1 and "no_such.mp4" in done.stderr and "Traceback" not in done.stderr
