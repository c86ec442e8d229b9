"""Read images from a video, an image file, a folder of images or a camera, and write a video.

media = open_media("clip.mp4")
for image, stamp_ns in media: ...
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from hmr_ros.types import BACK_S

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
DEFAULT_FPS = 30.0
"""Frame rate of sources that do not state one: folders of images, and some cameras and files."""

VIDEO_SIDE_PX = (16, 4096)
"""Shortest and longest side that MPEG-4 can hold; smaller and larger images are scaled."""
MAX_PAUSE_S = 5.0
"""Longest pause between two images in a written video: a larger jump of stamps is another recording, not a pause to sit through."""

DEMO_CLIP = Path(__file__).resolve().parent / "assets/demo/walk.mp4"
"""Ships with the package; its ground truth is the .npz beside it."""


class MediaError(ValueError):
    """A source that cannot be read, or a file that cannot be written. Says what, where and what to do."""


@dataclass(frozen=True)
class Media:
    """A source of frames. Iterating opens it anew and yields (image, stamp_ns).

    image: (H, W, 3) uint8, RGB. stamp_ns: from 0 at the source's frame rate; wall time for a camera.
    """

    source: str
    kind: str
    """One of "video", "images", "camera"."""
    fps: float
    frames: int | None
    """How many frames the source announces; None when it does not know (a camera, some files)."""
    width: int
    height: int
    """Pixels of the first frame."""
    paths: tuple[Path, ...] = ()
    """The files of "images", in order."""
    bad: list[str] = field(default_factory=list, compare=False)
    """Error messages for the files of "images" that were skipped so far."""

    @property
    def skipped(self) -> int:
        return len(self.bad)

    @property
    def is_still(self) -> bool:
        return len(self.paths) == 1

    def playback(self, still_s: float) -> Iterator[np.ndarray]:
        """Each image once; a single still image is repeated for `still_s` seconds at `fps`."""
        if self.is_still:
            yield from itertools.repeat(read_image(self.paths[0]), max(1, round(still_s * self.fps)))
        else:
            for image, _ in self:
                yield image

    def __iter__(self) -> Iterator[tuple[np.ndarray, int]]:
        images = map(self._try_image, self.paths) if self.kind == "images" else _capture(self.source, self.kind)
        for index, image in enumerate(images):
            if image is not None:
                yield image, time.time_ns() if self.kind == "camera" else round(index * 1e9 / self.fps)

    def _try_image(self, path: Path) -> np.ndarray | None:
        try:
            return read_image(path)
        except MediaError as error:
            self.bad.append(str(error))
            return None


def open_media(source: str | Path) -> Media:
    """Find out what `source` is, and check it by decoding its first frame. Raises MediaError.

    source: a video file, an image, a folder of images, or a camera's index ("0").
    """
    source = str(source)
    if not source:
        raise MediaError(
            "no source is given. Give a video, an image, a folder of images, or a camera's index such as 0"
        )
    if source.isdigit():
        return _open_video(source, "camera")
    path = Path(source).expanduser()
    if not path.exists():
        raise MediaError(
            f"no such file or folder: {path} (looked in {path.absolute().parent}). Give a video, an image, a folder of images, "
            "or a camera's index such as 0"
        )
    if path.is_dir():
        return _open_images(sorted((p for p in path.iterdir() if _is_image(p)), key=_natural), path)
    return _open_images([path], path) if _is_image(path) else _open_video(str(path), "video")


def read_image(path: Path) -> np.ndarray:
    """(H, W, 3) uint8, RGB, turned upright as its EXIF says. Raises MediaError."""
    import cv2

    # Decode from memory: cv2.imread cannot open every path on every system, and gives no reason when it fails.
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({error.strerror})") from error
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise MediaError(f"{path}: not an image that can be decoded ({data.size} bytes). Is the file complete?")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def write_image(path: Path, image: np.ndarray) -> None:
    """image: (H, W, 3) uint8, RGB. The suffix sets the format. Raises MediaError."""
    import cv2

    done, data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        raise MediaError(f"{path}: this OpenCV cannot encode {path.suffix}; use .png or .jpg")
    path.write_bytes(data.tobytes())


class VideoWriter:
    """An MP4 file that is playable even if writing was interrupted. A context manager; images are RGB uint8.

    The video has the size of its first image, within MPEG-4's limits; other images are scaled to it.
    """

    def __init__(self, path: Path, fps: float):
        self.path, self.fps = Path(path), fps
        self._writer: Any = None
        self._size: tuple[int, int] | None = None
        self._written, self._elapsed_ns, self._stamp_ns = 0, 0, 0
        self._last: np.ndarray

    def __enter__(self):
        return self

    def write(self, image: np.ndarray, stamp_ns: int | None = None) -> None:
        """stamp_ns: when the image was taken; the previous one is shown until then. None: right after the previous one."""
        import cv2

        if self._writer is None:
            self._size = _video_size(image.shape[1], image.shape[0])
            # MPEG-4 Part 2: the one codec that every build of OpenCV can both write and read.
            self._writer = cv2.VideoWriter(str(self.path), cv2.VideoWriter_fourcc(*"mp4v"), self.fps, self._size)
            if not self._writer.isOpened():
                width, height = self._size
                raise MediaError(
                    f"{self.path}: cannot write a video of {width}x{height} there (is the folder writable, the disk full?)"
                )
        if (image.shape[1], image.shape[0]) != self._size:
            image = cv2.resize(image, self._size, interpolation=cv2.INTER_AREA)
        if stamp_ns is not None:
            self._hold_until(stamp_ns)
        self._last = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        self._put()

    def _hold_until(self, stamp_ns: int) -> None:
        if self._written:
            if 0 < self._stamp_ns - stamp_ns <= BACK_S * 1e9:
                stamp_ns = self._stamp_ns  # overtaken on its way: no time has passed, and none passes twice
            self._elapsed_ns += min(max(stamp_ns - self._stamp_ns, 0), round(MAX_PAUSE_S * 1e9))
        self._stamp_ns = stamp_ns
        while self._written < round(self._elapsed_ns * self.fps / 1e9):
            self._put()

    def _put(self) -> None:
        self._writer.write(self._last)
        self._written += 1

    def __exit__(self, *_) -> None:
        if self._writer is not None:
            self._writer.release()


def _video_size(width: int, height: int) -> tuple[int, int]:
    """The size of a video of images of this size, within MPEG-4's limits."""
    least, most = VIDEO_SIDE_PX
    scale = min(1.0, most / max(width, height))
    return max(least, round(width * scale)), max(least, round(height * scale))


def _is_image(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _natural(path: Path) -> list:
    """Sort key under which frame_2 comes before frame_10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", path.name)]


def _open_images(paths: list[Path], looked: Path) -> Media:
    if not paths:
        raise MediaError(f"{looked}: no images in this folder (looked for {', '.join(IMAGE_SUFFIXES)})")
    media = Media(str(looked), "images", DEFAULT_FPS, len(paths), 0, 0, tuple(paths))
    first = next(iter(media), None)
    if first is None:
        raise MediaError(
            media.bad[0] if len(paths) == 1 else f"{looked}: none of {len(paths)} images can be read; {media.bad[0]}"
        )
    height, width = first[0].shape[:2]
    return replace(media, width=width, height=height, bad=[])


def _open_video(source: str, kind: str) -> Media:
    import cv2

    capture = _open_capture(source, kind)
    try:
        fps, count = capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        done, image = capture.read()
    finally:
        capture.release()
    if not done:
        raise MediaError(
            f"{_named(source, kind)}: opened, but gives no picture (empty, truncated, or in use elsewhere?)"
        )
    # Some files and cameras announce 0, NaN or 1000 (a time base, not a rate).
    fps = fps if 1 <= fps <= 480 else DEFAULT_FPS
    frames = count if kind == "video" and count > 0 else None
    return Media(source, kind, fps, frames, image.shape[1], image.shape[0])


def _capture(source: str, kind: str) -> Iterator[np.ndarray]:
    import cv2

    capture = _open_capture(source, kind)
    try:
        while True:
            done, image = capture.read()
            if not done and kind == "camera":
                raise MediaError(f"{_named(source, kind)}: gives no more pictures; is it still plugged in?")
            if not done:
                return
            yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    finally:
        capture.release()


def _open_capture(source: str, kind: str):
    import cv2

    capture = cv2.VideoCapture(int(source) if kind == "camera" else source)
    if not capture.isOpened():
        capture.release()
        advice = (
            "is it plugged in, free, and readable by you (group video)?"
            if kind == "camera"
            else f"is it a video ({', '.join(VIDEO_SUFFIXES)}) and complete?"
        )
        raise MediaError(f"{_named(source, kind)}: cannot be opened; {advice}")
    return capture


def _named(source: str, kind: str) -> str:
    return f"camera {source}" if kind == "camera" else source
