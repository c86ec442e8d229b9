"""The benchmark command: every figure it promises, of the real pipeline, whatever their size."""

import json

import pytest

from hmr_ros.config import TtoConfig
from hmr_ros.keypoints.blazepose_models import KeypointModelError, find_models
from hmr_ros.media import DEMO_CLIP, VideoWriter, open_media, write_image
from hmr_ros.tools.benchmark import PEOPLE, _frames, main

try:
    find_models("")
except KeypointModelError as missing:
    pytest.skip(f"no keypoint models: {missing}", allow_module_level=True)


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("benchmark")
    with VideoWriter(folder / "clip.mp4", 30) as video:
        for (image, _), _ in zip(open_media(DEMO_CLIP), range(3)):
            video.write(image[::2, ::2])
    main(["--source", str(folder / "clip.mp4"), "--frames", "2", "--repeats", "3", "--json", str(folder / "out.json")])
    return json.loads((folder / "out.json").read_text())


def test_networks_are_timed_for_every_number_of_people(result):
    assert set(result["networks"]) == {str(n) for n in PEOPLE}
    for row in result["networks"].values():
        assert {"encode", "regress", "adapt step", "readout", "regression only", "regression + TTO"} == set(row)
        assert all(0 < r["median_ms"] <= r["p99_ms"] for r in row.values())
        assert row["regression + TTO"]["steps"] == TtoConfig.max_steps
    one = result["networks"]["1"]
    assert one["regression + TTO"]["ratio_to_one_person"] == 1
    assert one["regression + TTO"]["ratio_to_regression"] > 0  # of times, which a busy machine may turn round


def test_whole_frames_hold_as_many_people_as_they_say(result):
    for people, frames in result["whole_frame"].items():
        rows, columns = PEOPLE[int(people)]
        assert frames["size"] == [320 * columns, 240 * rows] and frames["frames"] == 2
        assert 1 <= frames["people_mean"] <= int(people)
        assert frames["fps"] > 0 and frames["cpu_ms_per_frame"] > 0
        assert sum(s["median_ms"] for s in frames["stages"].values()) <= 1.2 * frames["frame"]["p99_ms"]


@pytest.mark.parametrize(
    "options, says",
    [
        (["--source", "nowhere.mp4"], "nowhere.mp4"),
        (["--bundle", "nowhere"], "nowhere"),
        (["--steps", "99"], "max_steps"),
        (["--json", "/nowhere/figures.json"], "/nowhere/figures.json"),
    ],
)
def test_mistakes_are_one_line(options, says, capsys):
    assert main([*options, "--repeats", "1"]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("benchmark: ") and says in error


def test_a_picture_is_a_source_too(tmp_path):
    write_image(tmp_path / "one.png", next(iter(open_media(DEMO_CLIP)))[0])
    assert len(_frames(str(tmp_path / "one.png"), 5)) == 6


def test_what_it_ran_on_is_written_down(result):
    assert result["machine"]["cores"] >= 1 and result["machine"]["cpu"] and "onnxruntime" in result["backend"]
    assert result["peak_memory_mb"] > 50
