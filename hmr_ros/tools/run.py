"""Run the pipeline on a video, an image, a folder of images, a camera or a rosbag2 recording, without ROS.

    python -m hmr_ros.tools.run SOURCE --out DIR

writes into DIR: overlay.mp4, overlay.png, summary.json, people.jsonl (everything, a line per frame), and per track
person_<id>.npz (AMASS) and person_<id>.bvh; with --write-bag also bag/, a recording of the results. Ctrl-C stops early and
leaves all of them valid; people.jsonl is written as frames come, and an earlier run's person_* files are removed first.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from hmr_ros.backends.graph import BackendError
from hmr_ros.camera import Camera
from hmr_ros.config import ConfigError, PipelineConfig, describe, replace
from hmr_ros.export.files import begin_lines, keep_apart, write_line, write_tracks, written
from hmr_ros.media import Media, MediaError, open_media
from hmr_ros.options import at_least_one, nearest, vertical_fov
from hmr_ros.recording import FrameRecord, OverlayWriter, PersonRecord, report, summarise
from hmr_ros.ros.bag_reader import BagError, BagImages, is_bag
from hmr_ros.ros.bag_writer import BagWriter, check_can_write
from hmr_ros.threads import one_thread_each
from hmr_ros.types import Frame

SHORTCUTS = {
    "max_people": "keypoints.max_people",
    "tto_steps": "tto.max_steps",
    "deadline_ms": "tto.deadline_ms",
    "bundle": "model.bundle",
    "body": "model.body",
}
"""Options that stand for a setting."""


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    one_thread_each()
    try:
        config = make_config(options)
        media = open_source(options)
        out = Path(options.out)
        out.mkdir(parents=True, exist_ok=True)
        if isinstance(media, Media):
            keep_apart(media, out)
        if options.write_bag:
            check_can_write(out / "bag")
        # Imported and built last: a mistyped path should not wait for the models to load.
        from hmr_ros.factory import build_pipeline

        pipeline = build_pipeline(config)
    except (ValueError, OSError, BackendError) as error:  # all errors of ours, with a message for the user
        print(f"hmr_run: {error}", file=sys.stderr)
        return 1
    try:
        summary, status = run(pipeline, media, out, config.tto.deadline_ms, options)
    except OSError as error:
        print(f"hmr_run: cannot write to {out.absolute()} ({error}): is the disk full?", file=sys.stderr)
        return 1
    print(report(summary))
    print(f"  written to          {out}/: {', '.join(written(out))}")
    return status


def open_source(options: argparse.Namespace) -> Media | BagImages:
    """Raises MediaError or BagError."""
    if is_bag(options.source):
        return BagImages(options.source, options.topic)
    if options.topic:
        raise BagError(
            f"--topic is for recordings, and {options.source} is not one (a folder with metadata.yaml, .mcap, .db3)"
        )
    return open_media(options.source)


def run(
    pipeline, media: Media | BagImages, out: Path, deadline_ms: float, options: argparse.Namespace
) -> tuple[dict, int]:
    """Process every frame. Returns the summary and the exit status: 130 if the user stopped it, 1 if the source failed."""
    frames: list[FrameRecord] = []
    status = 0
    started = time.monotonic()
    try:
        with ExitStack() as files:
            lines = files.enter_context(begin_lines(out))
            overlay = files.enter_context(OverlayWriter(out, media.fps, pipeline.body, media.frames))
            bag = files.enter_context(BagWriter(out / "bag", pipeline.body)) if options.write_bag else None
            for done, frame in enumerate(_frames(media, options)):
                record = process(pipeline, frame, done + media.skipped, deadline_ms)
                write_line(lines, record)
                picture = overlay.write(frame.image, record, frame.camera, frame.stamp_ns)
                if bag:
                    bag.write(frame, record, picture)
                frames.append(record)
    except KeyboardInterrupt:
        status = 130
    except (MediaError, BagError) as error:  # a camera that was unplugged: keep what was done before
        print(f"hmr_run: stopped at frame {len(frames)}: {error}", file=sys.stderr)
        status = 1
    summary = summarise(frames, time.monotonic() - started)
    write_tracks(out, frames, media.fps, pipeline.body)
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    if isinstance(media, BagImages):
        warn_of_bag(media)
    elif media.bad:
        print(f"hmr_run: {media.skipped} images were skipped: {media.bad[-1]}", file=sys.stderr)
    return summary, status


def warn_of_bag(bag: BagImages) -> None:
    if bag.skipped:
        print(f"hmr_run: {bag.skipped} images were skipped: {bag.warnings['images']}", file=sys.stderr)
    if "camera" in bag.warnings:
        print(f"hmr_run: {bag.topic}: {bag.warnings['camera']}", file=sys.stderr)


def process(pipeline, frame: Frame, index: int, deadline_ms: float) -> FrameRecord:
    """One frame through the pipeline; deadline_ms counts from now, 0 means none."""
    begun = time.monotonic()
    result = pipeline(frame, begun + deadline_ms / 1000 if deadline_ms > 0 else None)
    latency_ms = 1000 * (time.monotonic() - begun)
    return FrameRecord(index, frame.stamp_ns, latency_ms, tuple(PersonRecord.of(p) for p in result.people))


def make_config(options: argparse.Namespace) -> PipelineConfig:
    """The defaults with what the command line changes. Raises ConfigError."""
    changes = {name: getattr(options, key) for key, name in SHORTCUTS.items() if getattr(options, key) is not None}
    config = replace(PipelineConfig(), {**changes, **dict(parse_setting(text) for text in options.set)})
    if config.keypoints.source == "topic":
        raise ConfigError(
            "keypoints.source = 'topic' is for the ROS node only, because this tool reads no topics: use 'blazepose'"
        )
    return config


def parse_setting(text: str) -> tuple[str, object]:
    """ "tto.max_steps=3" to ("tto.max_steps", 3), typed as the setting's default is. Raises ConfigError."""
    name, equals, value = text.partition("=")
    defaults = {name: default for name, _, default in describe(PipelineConfig())}
    if not equals:
        raise ConfigError(f"--set {text}: write NAME=VALUE; --help lists the names")
    if name not in defaults:
        raise ConfigError(f"--set {text}: there is no setting {name}; {nearest(name, defaults)}")
    kind = type(defaults[name])
    if kind is bool:
        if value.lower() not in ("true", "false"):
            raise ConfigError(f"--set {text}: {name} must be true or false")
        return name, value.lower() == "true"
    try:
        return name, kind(value)
    except ValueError:
        raise ConfigError(f"--set {text}: {name} must be {'a whole number' if kind is int else 'a number'}") from None


def parse(arguments: list[str] | None) -> argparse.Namespace:
    settings = "\n".join(
        f"  {name}={default!r}\n      {item.metadata['doc']}" for name, item, default in describe(PipelineConfig())
    )
    parser = argparse.ArgumentParser(
        prog="hmr_run",
        description="Recover the bodies of people in a video, images, a camera or a rosbag2 recording, without ROS.",
        epilog=f"settings for --set, with their defaults:\n{settings}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source", help="video, image, folder of images, a camera's index such as 0, or a rosbag2 recording"
    )
    parser.add_argument("--topic", help="image topic of a recording, if it has several")
    parser.add_argument("--out", default="hmr_out", help="folder for the results (default: %(default)s)")
    parser.add_argument("--max-people", type=int, help="maximum number of people tracked at once")
    parser.add_argument("--tto-steps", type=int, help="maximum number of test-time optimisation steps")
    parser.add_argument(
        "--deadline-ms", type=float, help="time a frame may take before optimisation stops, ms; 0: no deadline"
    )
    parser.add_argument(
        "--vertical-fov", type=vertical_fov, help="the camera's vertical field of view, degrees, if you know it"
    )
    parser.add_argument("--bundle", help="folder of a weights bundle")
    parser.add_argument("--body", help="'open', or the path of your SMPL file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="any setting listed below; repeatable"
    )
    parser.add_argument("--max-frames", type=at_least_one, help="stop after this many frames")
    parser.add_argument("--write-bag", action="store_true", help="also write the results as a rosbag2 recording (MCAP)")
    return parser.parse_args(arguments)


def _frames(media: Media | BagImages, options: argparse.Namespace) -> Iterator[Frame]:
    """The source's frames with their cameras, under a progress bar."""
    from tqdm import tqdm

    limit = min((n for n in (media.frames, options.max_frames) if n is not None), default=None)
    frames = media.read(options.vertical_fov) if isinstance(media, BagImages) else _read(media, options.vertical_fov)
    for index, frame in enumerate(tqdm(frames, total=limit, unit="frame", disable=None)):
        if options.max_frames is not None and index >= options.max_frames:
            return
        yield frame


def _read(media: Media, vertical_fov_deg: float | None) -> Iterator[Frame]:
    """Frames of a source without a calibration: their intrinsics are guessed."""
    camera = None
    for image, stamp_ns in media:
        height, width = image.shape[:2]
        if camera is None or (camera.width, camera.height) != (width, height):
            camera = Camera.guess(width, height, vertical_fov_deg)
            if vertical_fov_deg is None:
                print(
                    f"hmr_run: no calibration: assuming a focal length of {camera.focal[0]:.0f} px, so distances may be wrong by a third or "
                    "more; give --vertical-fov DEGREES if you know it",
                    file=sys.stderr,
                )
        yield Frame(image, camera, stamp_ns, "camera")


if __name__ == "__main__":
    sys.exit(main())
