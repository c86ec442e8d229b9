"""The file tool: its options, its files, and what it says of mistakes."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hmr_ros.backends.graph import BackendError
from hmr_ros.config import ConfigError
from hmr_ros.export.files import written
from hmr_ros.media import Media, MediaError, open_media, write_image
from hmr_ros.smpl_file import load_body
from hmr_ros.tools import run as tool
from hmr_ros.types import FrameResult

CLIP = Path(__file__).resolve().parents[1] / "hmr_ros/assets/demo/walk.mp4"
SUMMARY_KEYS = {"frames", "people", "fps", "latency_ms", "tto_steps", "reprojection_px"}


class NobodyThere:
    """A pipeline that finds nobody; `stop_at` stands for the user's Ctrl-C in the middle of that frame."""

    def __init__(self, stop_at=None):
        self.body, self.seen, self._stop_at = load_body("open"), [], stop_at

    def __call__(self, frame, deadline_s):
        if len(self.seen) == self._stop_at:
            raise KeyboardInterrupt
        self.seen.append((frame, deadline_s))
        return FrameResult((), None)


def images(folder, count=4):
    folder.mkdir()
    for index in range(count):
        write_image(folder / f"{index}.png", np.full((48, 64, 3), index, np.uint8))
    return str(folder)


def run(pipeline, source, out, *arguments):
    out.mkdir()
    return tool.run(pipeline, open_media(source), out, 0.0, tool.parse([source, *arguments]))


def test_settings_take_the_type_of_their_default():
    assert tool.parse_setting("tto.max_steps=3") == ("tto.max_steps", 3)
    assert tool.parse_setting("smoothing.enabled=False") == ("smoothing.enabled", False)
    assert tool.parse_setting("model.bundle=a=b") == ("model.bundle", "a=b")


@pytest.mark.parametrize(
    "text", ["tto.max_steps", "tto.max_steps=many", "smoothing.enabled=1", "no.such=1", "tto.max_steps=1.5"]
)
def test_bad_settings_are_refused_by_name(text):
    with pytest.raises(ConfigError, match=text.split("=")[0]):
        tool.make_config(tool.parse(["x", "--set", text]))


def test_bounds_hold_on_the_command_line():
    with pytest.raises(ConfigError, match="max_steps"):
        tool.make_config(tool.parse(["x", "--tto-steps", "-1"]))


def test_shortcuts_are_settings():
    config = tool.make_config(
        tool.parse(["x", "--tto-steps", "2", "--max-people", "3", "--deadline-ms", "40", "--set", "tracker.min_hits=2"])
    )
    assert (config.tto.max_steps, config.keypoints.max_people, config.tto.deadline_ms, config.tracker.min_hits) == (
        2,
        3,
        40,
        2,
    )


def test_every_frame_is_processed_and_its_camera_known(tmp_path):
    pipeline = NobodyThere()
    summary, interrupted = run(pipeline, images(tmp_path / "in"), tmp_path / "out", "--vertical-fov", "90")
    assert not interrupted and summary["frames"] == 4 and summary["people"] == 0
    assert [int(frame.image[0, 0, 0]) for frame, _ in pipeline.seen] == [0, 1, 2, 3]
    frame, deadline_s = pipeline.seen[0]
    assert np.isclose(frame.camera.focal[1], 24) and deadline_s is None
    assert json.loads((tmp_path / "out/summary.json").read_text()).keys() == SUMMARY_KEYS


def test_interrupted_run_leaves_valid_files(tmp_path):
    summary, status = run(NobodyThere(stop_at=2), images(tmp_path / "in"), tmp_path / "out")
    assert status == 130 and summary["frames"] == 2
    assert len(list(open_media(tmp_path / "out/overlay.mp4"))) == 2
    assert json.loads((tmp_path / "out/summary.json").read_text())["frames"] == 2


def test_what_was_found_is_on_disk_before_the_next_frame(tmp_path):
    class Killed(NobodyThere):
        def __call__(self, frame, deadline_s):
            lines = (tmp_path / "out/people.jsonl").read_text().splitlines()
            assert [json.loads(line)["frame"] for line in lines] == list(range(len(self.seen)))
            if len(self.seen) == 3:
                raise SystemError
            return super().__call__(frame, deadline_s)

    with pytest.raises(SystemError):
        run(Killed(), images(tmp_path / "in"), tmp_path / "out")


def test_tracks_of_an_earlier_run_are_gone_even_if_this_one_is_killed(tmp_path):
    source, out = images(tmp_path / "in"), tmp_path / "out"
    out.mkdir()
    for name in ("person_3.npz", "person_3.bvh"):
        (out / name).touch()

    class Killed(NobodyThere):
        def __call__(self, frame, deadline_s):
            raise SystemError

    with pytest.raises(SystemError):
        tool.run(Killed(), open_media(source), out, 0.0, tool.parse([source]))
    assert not list(out.glob("person_*"))


def test_the_overlay_of_a_camera_that_is_not_kept_up_with_lasts_as_long_as_it_ran(tmp_path, monkeypatch):
    stamps = [0, 100_000_000, 400_000_000, 500_000_000]
    stuttering = [(np.full((48, 64, 3), 90, np.uint8), stamp) for stamp in stamps]
    monkeypatch.setattr(Media, "__iter__", lambda self: iter(stuttering))
    (tmp_path / "out").mkdir()
    tool.run(NobodyThere(), Media("0", "camera", 10.0, None, 64, 48), tmp_path / "out", 0.0, tool.parse(["0"]))
    monkeypatch.undo()
    assert len(list(open_media(tmp_path / "out/overlay.mp4"))) == 6


def test_bad_images_in_a_folder_are_skipped_counted_and_reported(tmp_path, capsys):
    source = images(tmp_path / "in", 5)
    for index in (0, 2):
        (tmp_path / f"in/{index}.png").write_bytes(b"broken")
    summary, status = run(NobodyThere(), source, tmp_path / "out")
    said = capsys.readouterr().err
    assert summary["frames"] == 3 and status == 0
    assert "2 images were skipped" in said and "2.png" in said


def test_frames_keep_their_place_in_the_source_after_one_that_cannot_be_read(tmp_path):
    source = images(tmp_path / "in", 5)
    for index in (0, 2):
        (tmp_path / f"in/{index}.png").write_bytes(b"broken")
    run(NobodyThere(), source, tmp_path / "out")
    lines = map(json.loads, (tmp_path / "out/people.jsonl").read_text().splitlines())
    assert [(line["frame"], round(line["stamp_ns"] * 30e-9)) for line in lines] == [(1, 1), (3, 3), (4, 4)]


def test_a_camera_that_is_unplugged_ends_the_run_with_status_1(tmp_path, monkeypatch, capsys):
    def unplugged(self):
        yield np.zeros((48, 64, 3), np.uint8), 0
        raise MediaError("camera 0: gives no more pictures")

    monkeypatch.setattr(Media, "__iter__", unplugged)
    (tmp_path / "out").mkdir()
    camera = Media("0", "camera", 10.0, None, 64, 48)
    summary, status = tool.run(NobodyThere(), camera, tmp_path / "out", 0.0, tool.parse(["0"]))
    assert summary["frames"] == 1 and status == 1 and "stopped at frame 1" in capsys.readouterr().err


@pytest.mark.parametrize("size", [(1, 1), (9000, 40)])
def test_pictures_of_any_size_have_an_overlay(tmp_path, size):
    source = tmp_path / "in.png"
    write_image(source, np.full((*size[::-1], 3), 90, np.uint8))
    _, status = run(NobodyThere(), str(source), tmp_path / "out")
    assert status == 0 and len(list(open_media(tmp_path / "out/overlay.mp4"))) == 1


@pytest.mark.parametrize("source", ["overlay.mp4", "person_3.npz", "."])
def test_a_run_does_not_write_over_what_it_reads(tmp_path, source, capsys):
    (tmp_path / "overlay.mp4").write_bytes(CLIP.read_bytes())
    write_image(tmp_path / "0.png", np.zeros((48, 64, 3), np.uint8))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert tool.main([str(tmp_path / source), "--out", str(tmp_path)]) == 1
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    said = capsys.readouterr().err
    assert "would be written over" in said or source == "person_3.npz" and "no such file" in said


def test_only_what_was_written_is_listed(tmp_path):
    for name in ("thesis.pdf", "person_of_interest.npz"):
        (tmp_path / name).touch()
    tool.run(NobodyThere(), open_media(images(tmp_path / "in")), tmp_path, 0.0, tool.parse(["x"]))
    assert written(tmp_path) == ["overlay.mp4", "overlay.png", "people.jsonl", "summary.json"]


@pytest.mark.parametrize("text", ["-5", "200", "nan", "180", "0"])
def test_a_field_of_view_that_no_camera_has_is_refused(text, capsys):
    with pytest.raises(SystemExit):
        tool.parse(["x", "--vertical-fov", text])
    assert "between 1 and 170 degrees" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["no_such.mp4"],
        [""],
        [str(CLIP), "--set", "no.such=1"],
        [str(CLIP), "--body", "no_such.npz"],
        [str(CLIP), "--set", "keypoints.source=topic"],
    ],
)
def test_mistakes_end_with_one_line_and_status_1(arguments, tmp_path, capsys):
    assert tool.main([*arguments, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("hmr_run: ") and "no" in said and "Traceback" not in said


def test_a_backend_that_is_not_here_is_a_line_too(tmp_path, monkeypatch, capsys):
    def no_driver(config):
        raise BackendError("there is no NVIDIA driver")

    monkeypatch.setattr("hmr_ros.factory.build_pipeline", no_driver)
    assert tool.main([str(CLIP), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == "hmr_run: there is no NVIDIA driver\n"


@pytest.fixture(scope="module")
def real_run(tmp_path_factory):
    from hmr_ros.bundle import load_bundle
    from hmr_ros.keypoints.blazepose_models import find_models

    try:
        find_models()
        load_bundle("default")
    except ValueError as error:
        pytest.skip(f"the real pipeline cannot run here: {error}")
    out = tmp_path_factory.mktemp("real")
    command = [sys.executable, "-m", "hmr_ros.tools.run", str(CLIP), "--out", str(out), "--max-frames", "20"]
    command += ["--set", "smoothing.enabled=false"]  # which follows the picture less closely than the fit does
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)
    return SimpleNamespace(out=out, done=done)


def test_real_run_finds_the_walker(real_run):
    assert real_run.done.returncode == 0, real_run.done.stderr
    summary = json.loads((real_run.out / "summary.json").read_text())
    assert summary.keys() == SUMMARY_KEYS
    assert (summary["frames"], summary["people"]) == (20, 1)
    assert summary["reprojection_px"]["after"] <= summary["reprojection_px"]["before"]
    assert len(list(open_media(real_run.out / "overlay.mp4"))) == 20
    (track,) = real_run.out.glob("person_*.npz")
    with np.load(track, allow_pickle=False) as data:
        assert data["body_pose"].shape == (20, 69) and np.isfinite(data["joints"]).all()
        assert np.all(data["transl"][:, 2] > 1), "in front of the camera"
