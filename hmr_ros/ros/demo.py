"""Runs the whole system on a clip: a camera process plays it, the node process answers over real topics, this process records.

    python -m hmr_ros.ros.demo [SOURCE] --out demo_out

Writes overlay.mp4, overlay.png, summary.json, people.jsonl, person_<id>.npz and .bvh per track and the node's log, and accounts
for every frame.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rclpy

from hmr_ros.body_model import BodyModel
from hmr_ros.camera import Camera
from hmr_ros.export.files import keep_apart, write_results, written
from hmr_ros.media import DEMO_CLIP, Media, open_media
from hmr_ros.options import nearest, positive, vertical_fov
from hmr_ros.recording import FrameRecord, OverlayWriter, report, summarise
from hmr_ros.ros.camera_publisher import STILL_SECONDS
from hmr_ros.ros.parameters import rows
from hmr_ros.ros.recorder import Recorder, to_frames
from hmr_ros.smpl_file import load_body

START_TIMEOUT_S = 90.0
"""For the node to load, and for the camera to find it."""
DRAIN_S = 1.5
"""Wait after the last frame: longer than the node's diagnostics period, so that its last counts arrive."""
FASTDDS_CAMERA = Path(__file__).parents[1] / "assets" / "fastdds_camera.xml"
RAW_PIXELS = 640 * 480
"""Larger images are sent as JPEG: on a small machine, sending them raw takes more CPU time than finding people in them."""


class DemoError(ValueError):
    """The demo cannot go on. Says why and where to look."""


def main() -> int:
    options = parse()
    out = Path(options.out)
    try:
        media = open_media(options.source)
        if media.kind == "camera":
            raise DemoError("the demo plays files; for a live camera start hmr_node and camera_publisher")
        keep_apart(media, out)
        truth = load_truth(media)
        camera = clip_camera(media, truth, options.vertical_fov)
        body = load_body(options.body)
        out.mkdir(parents=True, exist_ok=True)
        stamps, recorder = play_and_record(media, camera, out, options)
        frames = to_frames(recorder.answers, stamps, body)
        if not frames:
            raise DemoError(f"the node answered none of {len(stamps)} frames; its log is {out / 'node.log'}")
        summary = write_all(out, media, camera, body, frames, stamps, recorder, truth, options)
    except (ValueError, OSError) as error:  # every error of ours is a ValueError with a message for the user
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130
    print(report(summary))
    print(f"  {'every frame':<20}{account(stamps, frames, recorder.counts)}")
    print(f"  {'written to':<20}{out}/: {', '.join(written(out))}")
    return 0


def write_all(
    out: Path, media: Media, camera: Camera, body: BodyModel, frames: list[FrameRecord], stamps: list[int], recorder: Recorder,
    truth: dict[str, np.ndarray] | None, options: argparse.Namespace,
) -> dict:  # fmt: skip
    """Every file of the demo; returns the summary."""
    answered_fps = media.fps * options.rate * len(frames) / len(stamps)
    with OverlayWriter(out, answered_fps, body, len(stamps)) as overlay:
        by_index = {frame.index: frame for frame in frames}
        for index, image in enumerate(media.playback(options.still_seconds)):
            if index in by_index:
                overlay.write(image, by_index[index], camera)
    write_results(out, frames, media.fps * options.rate, body)
    last_published_ns = max(published for _, published, _ in recorder.answers)
    summary = summarise(frames, (last_published_ns - stamps[0]) / 1e9, truth)
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def play_and_record(
    media: Media, camera: Camera, out: Path, options: argparse.Namespace, recorder_type: type[Recorder] = Recorder
) -> tuple[list[int], Recorder]:
    """Returns the stamps of all frames sent, nanoseconds, and the recorder with all the node's answers."""
    for setting in options.set:
        if (name := setting.partition("=")[0]) not in rows():
            raise DemoError(f"--set {setting}: the node has no parameter {name}; {nearest(name, rows())}")
    isolate(options.domain_id)
    rclpy.init()
    recorder, processes = recorder_type(), []
    with tempfile.TemporaryDirectory() as folder, open(out / "node.log", "w") as log:
        stamps_file = Path(folder) / "stamps.json"
        try:
            node = start("hmr_ros.ros.node", node_arguments(media, options), log)
            processes.append(node)
            watch = Watch(recorder, node, out / "node.log")
            watch.spin(lambda: recorder.node_is_up, START_TIMEOUT_S, "the node to come up")
            arguments = player_arguments(media, camera, stamps_file, options)
            player = start("hmr_ros.ros.camera_publisher", arguments, env=camera_environment())
            processes.append(player)
            clip_s = options.showings * ((media.frames or 0) / media.fps / options.rate + options.still_seconds)
            watch.spin(lambda: player.poll() is not None, START_TIMEOUT_S + 3 * clip_s, "the camera to finish")
            rested = after(DRAIN_S)
            watch.spin(lambda: rested() and recorder.node_is_idle, START_TIMEOUT_S, "the last answers")
        finally:
            for process in reversed(processes):
                stop(process)
            recorder.destroy_node()
            rclpy.try_shutdown()
        stamps = json.loads(stamps_file.read_text()) if stamps_file.exists() else []
    if not stamps:
        raise DemoError(f"the camera sent nothing; it ended with status {player.returncode}")
    return stamps, recorder


class Watch:
    """Receives messages until a condition is true, as long as the node runs."""

    def __init__(self, recorder: Recorder, node: subprocess.Popen, log: Path):
        self._recorder, self._node, self._log = recorder, node, log

    def spin(self, done: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Raises DemoError when the node ends or the time is up. what: what is waited for, for the message."""
        end = time.monotonic() + timeout_s
        while not done():
            rclpy.spin_once(self._recorder, timeout_sec=0.05)
            if self._node.poll() is not None:
                tail = "\n".join(self._log.read_text().splitlines()[-5:])
                raise DemoError(f"the node ended with status {self._node.returncode} ({self._log}):\n{tail}")
            if time.monotonic() > end:
                raise DemoError(f"waited {timeout_s:.0f} s for {what}; the node's log is {self._log}")


def after(seconds: float) -> Callable[[], bool]:
    """A condition that becomes true after this time."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def account(stamps: list[int], frames: list[FrameRecord], counts: dict[str, int]) -> str:
    """What became of every frame that was sent, as text."""
    fates = {
        "answered": len(frames),
        "dropped for a newer one": counts.get("dropped", 0),
        "bad": counts.get("bad", 0),
        "failed": counts.get("failed", 0),
        "before the first CameraInfo": counts.get("waiting", 0),
    }
    lost = len(stamps) - sum(fates.values())
    seen = ", ".join(
        f"{count} {fate}" for fate, count in fates.items() if count or fate.startswith(("answered", "dropped"))
    )
    return f"{len(stamps)} sent: {seen}, {lost} overtaken or lost before the node"


def load_truth(media: Media) -> dict[str, np.ndarray] | None:
    """The ground truth beside a video: the .npz of the same name, or None. Raises DemoError where that holds something else."""
    path = Path(media.source).with_suffix(".npz")
    if media.kind != "video" or not path.exists():
        return None
    with np.load(path, allow_pickle=False) as data:
        truth = {name: data[name] for name in ("joints", "K") if name in data.files}
    if (
        len(truth) < 2
        or truth["joints"].ndim != 3
        or truth["joints"].shape[1:] != (24, 3)
        or truth["K"].shape != (3, 3)
    ):
        raise DemoError(
            f"{path}: has the clip's name but does not hold ground truth (needs joints (T, 24, 3) and K (3, 3)); rename it"
        )
    return truth


def clip_camera(media: Media, truth: dict[str, np.ndarray] | None, vertical_fov_deg: float | None) -> Camera:
    if truth is not None:
        return Camera(truth["K"], media.width, media.height)
    return Camera.guess(media.width, media.height, vertical_fov_deg)


def isolate(domain_id: int | None) -> None:
    """Use a separate ROS domain, limited to this machine, in this process and those it starts."""
    os.environ["ROS_DOMAIN_ID"] = str(random.randint(1, 100) if domain_id is None else domain_id)
    # Humble knows only the older name of this variable; later releases warn about it.
    old = os.environ.get("ROS_DISTRO") == "humble"
    os.environ.update({"ROS_LOCALHOST_ONLY": "1"} if old else {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"})
    print(f"playing in ROS_DOMAIN_ID={os.environ['ROS_DOMAIN_ID']}", flush=True)


def node_arguments(media: Media, options: argparse.Namespace) -> list[str]:
    """Of two values of a parameter ROS takes the later, so the user's come last."""
    transport = "raw" if media.width * media.height <= RAW_PIXELS else "compressed"
    given = (text.replace("=", ":=", 1) for text in options.set)
    settings = [f"model.body:={options.body}", f"image_transport:={transport}", *given]
    return ["--ros-args", *(part for setting in settings for part in ("-p", setting))]


def player_arguments(media: Media, camera: Camera, stamps_file: Path, options: argparse.Namespace) -> list[str]:
    """The intrinsics are always passed, so that the node and the overlay use the same camera."""
    intrinsics = [repr(float(camera.K[i])) for i in ((0, 0), (1, 1), (0, 2), (1, 2))]
    return [
        media.source, "--rate", str(options.rate), "--still-seconds", str(options.still_seconds),
        "--showings", str(options.showings),
        "--intrinsics", *intrinsics, "--wait", str(START_TIMEOUT_S), "--log", str(stamps_file),
    ]  # fmt: skip


def camera_environment() -> dict[str, str]:
    """For a process that publishes images: Fast DDS sends whole images through shared memory, unless the user has set another profile."""
    # Later releases warn about the older name.
    brand = "FASTRTPS" if os.environ.get("ROS_DISTRO") in ("humble", "jazzy") else "FASTDDS"
    return {f"{brand}_DEFAULT_PROFILES_FILE": str(FASTDDS_CAMERA)} | os.environ


def start(module: str, arguments: list[str], log=None, env: dict[str, str] | None = None) -> subprocess.Popen:
    # In a session of its own: Ctrl-C in a terminal reaches only this process, which then stops the others in order.
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(command, env=env, stdout=log, stderr=log and subprocess.STDOUT, start_new_session=True)


def stop(process: subprocess.Popen) -> None:
    """Stop it as Ctrl-C would, and by force if that does not help."""
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        process.send_signal(signal_number)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            continue


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="hmr_demo", description=__doc__.split("\n")[0])
    parser.add_argument("source", nargs="?", default=str(DEMO_CLIP), help="video, image or folder of images")
    parser.add_argument("--out", default="demo_out", help="output folder (default: %(default)s)")
    parser.add_argument("--rate", type=positive, default=1.0, help="playback speed; 0.5 is half speed")
    parser.add_argument(
        "--still-seconds", type=positive, default=STILL_SECONDS, help="how long a single image is shown"
    )
    parser.add_argument(
        "--vertical-fov", type=vertical_fov, help="the camera's vertical field of view, degrees, if you know it"
    )
    parser.add_argument("--body", default="open", help="'open', or the path of your SMPL file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="any parameter of the node; repeatable"
    )
    parser.add_argument(
        "--domain-id", type=int, help="ROS_DOMAIN_ID to play in, to watch with RViz; default: a random one"
    )
    parser.set_defaults(showings=1)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
