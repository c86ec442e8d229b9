"""The file tool: its options, its files, and what it says of mistakes."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hmr_ros.config import ConfigError
from hmr_ros.media import Media, open_media, write_image
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
    summary, interrupted = run(NobodyThere(stop_at=2), images(tmp_path / "in"), tmp_path / "out")
    assert interrupted and summary["frames"] == 2
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


def test_bad_image_in_a_folder_keeps_what_came_before(tmp_path, capsys):
    source = images(tmp_path / "in")
    (tmp_path / "in/2.png").write_bytes(b"broken")
    summary, _ = run(NobodyThere(), source, tmp_path / "out")
    assert summary["frames"] == 2 and "2.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["no_such.mp4"], [str(CLIP), "--set", "no.such=1"], [str(CLIP), "--body", "no_such.npz"]]
)
def test_mistakes_end_with_one_line_and_status_1(arguments, tmp_path, capsys):
    assert tool.main([*arguments, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("hmr_run: ") and "no" in said and "Traceback" not in said


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
