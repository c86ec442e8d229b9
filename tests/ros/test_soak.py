"""The endurance checks, small: the full ones are in docs/robustness.md. Real node, real pipeline, real signals."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not importable: source a ROS 2, or pip install '.[ros]'")
if not os.path.isdir("/proc/self/fd"):
    pytest.skip("what a process holds is read from /proc, which is Linux'", allow_module_level=True)

import random

from ros_graph import ROOT

from hmr_ros.keypoints.blazepose_models import KeypointModelError, find_models
from hmr_ros.ros.soak import ALLOWED_MB, WARM_UP_S, Usage, crowd, grown, memory_chart


@pytest.mark.parametrize(
    "check", [("stops", "--count", "2"), ("cycles", "--count", "3"), ("people", "--minutes", "0.05")]
)
def test_the_node_lasts(check, tmp_path):
    try:
        find_models("")
    except KeypointModelError as missing:
        pytest.skip(f"no keypoint models: {missing}")
    command = [sys.executable, "-m", "hmr_ros.ros.soak", *check, "--out", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert ran.returncode == 0 and "no fault" in ran.stdout, ran.stdout
    figures = json.loads((tmp_path / f"{check[0]}.json").read_text())
    assert figures["faults"] == []
    if check[0] == "people":
        assert (tmp_path / "memory.png").stat().st_size > 1000 and figures["growth"] == "too short to tell"
        assert figures["frames"]["processed"] > 0 and figures["people_by_id"] > 0


def test_growth_is_seen_and_a_plateau_is_none():
    times_s = list(range(int(WARM_UP_S) + 200))
    flat = [Usage(300 + (30 if t > 20 else t), 18, 21) for t in times_s]
    assert grown(times_s, flat) == {"rss_mb": 0, "threads": 0, "files": 0}
    leak = [Usage(300 + 0.1 * t, 18 + (t > 150), 21 + t // 100) for t in times_s]
    growth = grown(times_s, leak)
    assert growth["rss_mb"] > ALLOWED_MB and growth["threads"] == 1 and growth["files"] > 0
    assert grown(times_s[:80], flat[:80]) is None, "too short to tell"


def test_usage_is_this_process():
    with open(os.devnull):
        before = Usage.of(os.getpid())
        files = [open(os.devnull) for _ in range(5)]
        assert Usage.of(os.getpid()).files == before.files + 5
        for file in files:
            file.close()
    assert before.rss_mb > 10 and before.threads >= 1


def test_the_crowd_comes_and_goes_and_the_chart_shows_the_curve():
    images = crowd(random.Random(0))
    pictures = [next(images) for _ in range(200)]
    assert {p.shape for p in pictures} == {(240, 640, 3)}
    left, right = (np.stack([p[:, part] for p in pictures[::20]]) for part in (slice(320), slice(320, 640)))
    for pane in (left, right):
        people = (np.abs(pane.astype(int) - np.median(pane, axis=0)) > 60).mean(axis=(1, 2, 3))
        assert people.min() < 0.002 < people.max()
    flat, rising = (memory_chart([0, 1, 2], [Usage(mb, 1, 1) for mb in curve]) for curve in ([9, 9, 9], [1, 5, 9]))
    assert flat.shape == rising.shape and not np.array_equal(flat, rising)
