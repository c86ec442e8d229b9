"""Measures whether the real node keeps its deadline on this machine, with CPU load beside it, and how much time ROS adds.

    python -m hmr_ros.ros.deadline_run --deadline-ms 100 --load 1 --json FILE --plot FILE.png

Plays the demo clip a few times from a camera process, and measures latency from outside the node: from each image's stamp to the
middleware's time of publication. Ends with status 1 when a frame is unaccounted for.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rclpy.qos import QoSProfile, ReliabilityPolicy

from hmr_ros.bar_chart import BAD, GOOD, bar_chart
from hmr_ros.media import DEMO_CLIP, open_media, write_image
from hmr_ros.options import check_writable, positive
from hmr_ros.ros.camera_publisher import STILL_SECONDS
from hmr_ros.ros.demo import DemoError, clip_camera, load_truth, play_and_record
from hmr_ros.ros.publishers import TOPIC_TYPES
from hmr_ros.ros.recorder import Recorder
from hmr_ros.tools.benchmark import cpu_name

ROS_STAGES = ("transport", "decode", "publish")
"""Receive, convert, publish: what ROS adds to a frame."""
FRAME_STAGES = ("decode", "detect", "track", "regress", "tto", "smooth", "readout", "publish")
"""The node's own stages for a frame, after the queue."""
FATES = ("processed", "dropped", "bad", "failed", "waiting", "lost")


class Witness(Recorder):
    """Also subscribes to joint states, poses and markers, so that the node has to publish them."""

    def __init__(self):
        super().__init__()
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        for name in ("joint_states", "poses", "markers"):
            self.create_subscription(TOPIC_TYPES[name], f"/hmr/{name}", lambda data: None, qos, raw=True)


def main() -> int:
    options = parse()
    try:
        check_writable(options.json)
        result = run(options)
    except (ValueError, OSError) as error:  # every error of ours is a ValueError with a message for the user
        print(f"deadline_run: {error}", file=sys.stderr)
        return 1
    print(report(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    if options.plot:
        write_image(options.plot, plot(result))
    return 1 if result["frames"]["unaccounted"] else 0


def run(options: argparse.Namespace) -> dict:
    # Diagnostics often, so that the last counts include the last frames. Of two values of a parameter ROS takes the later: the user's.
    options.set = ["diagnostics_period_s=0.2", f"tto.deadline_ms={options.deadline_ms}", *options.set]
    media = open_media(options.source)
    with tempfile.TemporaryDirectory() as folder, cpu_load(options.load):
        camera = clip_camera(media, load_truth(media), None)
        stamps, witness = play_and_record(media, camera, Path(folder), options, Witness)
    if not (witness.answers and witness.diagnostics):
        raise DemoError(f"the node answered none of {len(stamps)} frames; run `make demo`, which keeps the node's log")
    return {
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count()},
        "load": options.load,
        "source": {"name": Path(media.source).name, "size": [media.width, media.height], "fps": media.fps * options.rate},
        **assess(stamps, witness, options.deadline_ms),
    }  # fmt: skip


def assess(stamps: list[int], witness: Recorder, deadline_ms: float) -> dict:
    """stamps: of every frame sent, nanoseconds."""
    sent = set(stamps)
    answers = [answer for answer in witness.answers if answer[0] in sent]
    latency_ms = np.array([(published - stamp) / 1e6 for stamp, published, _ in answers])
    steps = Counter(int(records["steps"].max()) for _, _, records in answers if len(records))
    frames = {"sent": len(stamps), **{fate: witness.counts.get(fate, 0) for fate in FATES}}
    stages = {
        stage: {part: float(witness.diagnostics[f"{stage}_{part}_ms"]) for part in ("p50", "p99")}
        for stage in ("driver", "transport", "queue", *FRAME_STAGES)
        if f"{stage}_p50_ms" in witness.diagnostics
    }
    # Where nobody is ever found, the stages after tracking do not run.
    ros_ms, frame_ms = (
        sum(stages[s]["p50"] for s in names if s in stages) for names in (ROS_STAGES, ("transport", *FRAME_STAGES))
    )
    on_time = int((latency_ms <= deadline_ms).sum())
    return {
        "deadline_ms": deadline_ms,
        "frames": {**frames, "unaccounted": frames["sent"] - sum(frames[fate] for fate in FATES)},
        "on_time": on_time,
        "on_time_share": on_time / max(len(answers), 1),
        "latency_ms": {f"p{q}": float(np.percentile(latency_ms, q)) for q in (50, 90, 99, 100)},
        "steps": {"mean": sum(s * n for s, n in steps.items()) / max(steps.total(), 1), "frames": dict(sorted(steps.items()))},
        "node_says": {name: witness.count("deadline_")[name] for name in ("met", "missed", "cut_short", "regression_only")},
        "loss": [float(witness.diagnostics[f"tto_loss_{when}_mean"]) for when in ("before", "after")],
        "stages_ms": stages,
        "ros_overhead": {"ms": ros_ms, "share_of_frame": ros_ms / frame_ms},
        "answers_ms": [round(float(ms), 2) for ms in latency_ms],
    }  # fmt: skip


@contextmanager
def cpu_load(processes: int) -> Iterator[None]:
    """Run this many processes that each keep a core busy. They end with this process, however it ends."""
    code = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(10000))"
    busy = [subprocess.Popen([sys.executable, "-S", "-c", code]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def report(result: dict) -> str:
    frames, node, latency = result["frames"], result["node_says"], result["latency_ms"]
    fates = ", ".join(f"{frames[fate]} {fate}" for fate in (*FATES, "unaccounted"))
    stages = ", ".join(f"{stage} {ms['p50']:.1f}" for stage, ms in result["stages_ms"].items())
    overhead = result["ros_overhead"]
    rows = [
        ("frames", f"{frames['sent']} sent at {result['source']['fps']:g} Hz: {fates}"),
        ("on time", f"{100 * result['on_time_share']:.1f} % of those processed, within {result['deadline_ms']:g} ms"),
        ("latency", ", ".join(f"{name} {value:.1f}" for name, value in latency.items()) + " ms"),
        ("steps", f"{result['steps']['mean']:.2f} a frame; frames by steps: {result['steps']['frames']}"),
        ("counted by the node", ", ".join(f"{name} {count}" for name, count in node.items())),
        ("loss", f"{result['loss'][0]:.3g} before, {result['loss'][1]:.3g} after"),
        ("stages, median ms", stages),
        ("ROS overhead", f"{overhead['ms']:.2f} ms, {100 * overhead['share_of_frame']:.1f} % of the frame"),
    ]
    return "\n".join(f"  {name:<20}{value}" for name, value in rows)


def plot(result: dict) -> np.ndarray:
    """Histograms of latency and steps, one above the other."""
    latency_ms, deadline_ms = np.array(result["answers_ms"]), result["deadline_ms"]
    width_ms = deadline_ms / 20
    edges = np.arange(0, max(latency_ms.max(), deadline_ms) + 2 * width_ms, width_ms)
    counts = np.histogram(latency_ms, edges)[0]
    share = f"{100 * result['on_time_share']:.1f} % of {len(latency_ms)} frames on time, CPU load {result['load']}"
    upper = bar_chart(
        share, "from capture stamp to published, ms", counts.tolist(), [f"{edge + width_ms / 2:g}" for edge in edges[:-1]],
        [BAD if edge >= deadline_ms - 1e-9 else GOOD for edge in edges[:-1]], {20: f"deadline {deadline_ms:g} ms"},
    )  # fmt: skip
    frames = {int(steps): count for steps, count in result["steps"]["frames"].items()}
    most = max([*frames, 1])
    lower = bar_chart(
        f"{result['steps']['mean']:.1f} steps a frame", "steps of test-time optimisation",
        [frames.get(s, 0) for s in range(most + 1)], [str(s) for s in range(most + 1)], [GOOD] * (most + 1),
    )  # fmt: skip
    return np.concatenate([upper, lower])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m hmr_ros.ros.deadline_run", description=__doc__.split("\n")[0])
    parser.add_argument("--deadline-ms", type=positive, default=100.0, help="default: %(default)s")
    parser.add_argument("--load", type=int, default=1, help="busy processes beside the node (default: %(default)s)")
    parser.add_argument("--source", default=str(DEMO_CLIP), help="video or folder of images (default: the demo clip)")
    parser.add_argument("--rate", type=positive, default=1.0, help="playback speed")
    parser.add_argument("--showings", type=int, default=4, help="how many times to play it (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--plot", type=Path, help="write the histograms to this image file")
    parser.add_argument("--body", default="open", help="'open', or the path of your SMPL file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="any parameter of the node; repeatable"
    )
    parser.add_argument("--domain-id", type=int, help="ROS_DOMAIN_ID to play in; default: a random one")
    parser.set_defaults(still_seconds=STILL_SECONDS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
