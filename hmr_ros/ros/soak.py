"""Endurance tests of the real node: hours of people, many rounds of its lifecycle, and signals in mid-frame.

    python -m hmr_ros.ros.soak people --minutes 10     # people enter and leave: memory stays flat, nothing fails
    python -m hmr_ros.ros.soak cycles --count 100      # configure, activate, deactivate, clean up: nothing is left behind
    python -m hmr_ros.ros.soak stops --count 50        # SIGTERM while it works: it ends cleanly every time

Each writes its figures (and `people` a chart of memory use) into --out, and ends with status 1 when a check fails. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy

from hmr_ros.line_chart import line_chart
from hmr_ros.media import DEMO_CLIP, open_media, write_image
from hmr_ros.options import positive
from hmr_ros.ros.camera_publisher import CameraPublisher
from hmr_ros.ros.demo import DemoError, isolate, start, stop
from hmr_ros.ros.publishers import TOPIC_TYPES
from hmr_ros.ros.recorder import Recorder

TIMEOUT_S = 180.0
WARM_UP_S = 60.0
"""Memory grows to its working size in this time, and should stay there afterwards."""
WARM_UP_CYCLES = 8
"""The same for rounds of the lifecycle. Each starts new threads, so memory grows until every arena of the allocator is in use."""
ALLOWED_MB = 8.0
"""Growth of memory tolerated as noise: from the second quarter of a run to the last, or over the second half of the cycles."""
PANES = 2
RATE_HZ = 30.0


@dataclass(frozen=True)
class Usage:
    """The resources that a process holds."""

    rss_mb: float
    threads: int
    files: int

    @staticmethod
    def of(pid: int) -> Usage:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        rss_mb = int(fields["VmRSS"].split()[0]) / 1024
        return Usage(rss_mb, int(fields["Threads"]), len(os.listdir(f"/proc/{pid}/fd")))


class Session:
    """The real node in a process of its own, and in this process a camera and a subscriber to all outputs."""

    def __init__(self, folder: Path, *settings: str):
        self.log = folder / "node.log"
        with self.log.open("w") as log:
            self.process = start("hmr_ros.ros.node", ["--ros-args", *(p for s in settings for p in ("-p", s))], log)
        self.camera, self.listener = CameraPublisher(None, None), Recorder()
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        for name in ("joint_states", "poses", "markers", "mesh", "overlay"):
            self.listener.create_subscription(TOPIC_TYPES[name], f"/hmr/{name}", lambda data: None, qos, raw=True)
        self._change = self.listener.create_client(ChangeState, "/hmr/change_state")
        self._executor = SingleThreadedExecutor()
        for node in (self.camera, self.listener):
            self._executor.add_node(node)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error) -> None:
        stop(self.process)
        self._executor.shutdown()
        for node in (self.camera, self.listener):
            node.destroy_node()

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def until(self, done: Callable[[], bool], what: str, each: Callable[[], object] = lambda: None) -> None:
        """Receive until done(), calling each() between checks. Raises DemoError after TIMEOUT_S, or when the node has ended."""
        end = time.monotonic() + TIMEOUT_S
        while not done():
            if self.process.poll() is not None or time.monotonic() > end:
                raise DemoError(f"waited in vain for {what}; the node's log is {self.log}")
            each()
            self.spin(1 / RATE_HZ)

    def answered(self, images: Iterator[np.ndarray]) -> None:
        """Send images until one more answer has come."""
        before = len(self.listener.answers)
        self.until(lambda: len(self.listener.answers) > before, "an answer", lambda: self.camera.send(next(images)))

    def change(self, transition: int) -> None:
        self.until(self._change.service_is_ready, "the lifecycle service")
        future = self._change.call_async(ChangeState.Request(transition=Transition(id=transition)))
        self.until(future.done, f"transition {transition}")
        if not future.result().success:
            raise DemoError(f"transition {transition} failed; the node's log is {self.log}")

    def complaints(self) -> list[str]:
        """Lines of the log that should not be there: errors and tracebacks."""
        return [line for line in self.log.read_text().splitlines() if "[ERROR]" in line or "Traceback" in line]


def crowd(chance: random.Random) -> Iterator[np.ndarray]:
    """Images of the demo clip's room, PANES times side by side; in each pane the person comes and goes independently.

    At half the clip's size, which Fast DDS transports without loss and in which the detector still finds people.
    """
    frames = [np.ascontiguousarray(image[::2, ::2]) for image, _ in open_media(DEMO_CLIP)]
    empty = np.median(np.stack(frames[::5]), axis=0).astype(np.uint8)
    present, place, left = [False] * PANES, [0] * PANES, [0] * PANES
    while True:
        for pane in range(PANES):
            if left[pane] == 0:
                present[pane], left[pane] = not present[pane], chance.randint(15, 90)
                place[pane] = chance.randrange(len(frames))
            left[pane] -= 1
            place[pane] = (place[pane] + 1) % len(frames)
        yield np.concatenate([frames[i] if here else empty for i, here in zip(place, present)], axis=1)


# --- The three checks: figures and faults ---------------------------------------------------------------------------------


def people(options: argparse.Namespace) -> tuple[dict, list[str]]:
    samples, images, sent = [], crowd(random.Random(options.seed)), 0
    with Session(options.out, *options.set) as session:
        session.answered(images)
        began_s = time.monotonic()
        while (now_s := time.monotonic() - began_s) < 60 * options.minutes:
            if not samples or now_s - samples[-1][0] >= 1.0:
                samples.append((now_s, Usage.of(session.process.pid)))
            session.camera.send(next(images))
            sent += 1
            session.spin(max(0.0, began_s + sent / RATE_HZ - time.monotonic()))
        session.spin(1.5)  # for the last message on /diagnostics
        ended = _end(session, signal.SIGTERM)
        counts, complaints = session.listener.counts, session.complaints()
        ids = {int(i) for _, _, records in session.listener.answers for i in records["id"]}
    faults = [f"in the log: {line}" for line in complaints] + ended
    faults += [f"{counts[fate]} frames {fate}" for fate in ("bad", "failed") if counts.get(fate)]
    times_s, usage = [t for t, _ in samples], [u for _, u in samples]
    growth = grown(times_s, usage)
    if growth:
        faults += [
            f"grew by {value:g} {what}" for what, value in growth.items() if value > (ALLOWED_MB * (what == "rss_mb"))
        ]
    write_image(options.out / "memory.png", memory_chart(times_s, usage))
    figures = {
        "minutes": options.minutes, "frames_sent": sent, "frames": counts, "people_by_id": len(ids),
        "rss_mb": {"first": usage[0].rss_mb, "last": usage[-1].rss_mb, "most": max(u.rss_mb for u in usage)},
        "growth": growth or "too short to tell", "samples": [[round(t, 1), *asdict(u).values()] for t, u in samples],
    }  # fmt: skip
    return figures, faults


def grown(times_s: list[float], usage: list[Usage]) -> dict[str, float] | None:
    """Medians of the last quarter minus those of the second, after warm-up; None for a run too short to tell."""
    kept = [u for t, u in zip(times_s, usage) if t >= WARM_UP_S]
    quarter = len(kept) // 4
    if quarter < 10:
        return None
    table = np.array([list(asdict(u).values()) for u in kept])
    change = np.median(table[-quarter:], axis=0) - np.median(table[quarter : 2 * quarter], axis=0)
    return dict(zip(asdict(kept[0]), np.round(change, 2).tolist()))


def memory_chart(times_s: list[float], usage: list[Usage]) -> np.ndarray:
    title = f"Resident memory of the node, MB; {usage[-1].threads} threads, {usage[-1].files} open files at the end"
    return line_chart(title, "seconds of people entering and leaving", times_s, [u.rss_mb for u in usage])


def cycles(options: argparse.Namespace) -> tuple[dict, list[str]]:
    images, usage = crowd(random.Random(options.seed)), []
    with Session(options.out, "autostart:=false", *options.set) as session:
        for _ in range(WARM_UP_CYCLES + options.count):
            session.change(Transition.TRANSITION_CONFIGURE)
            session.change(Transition.TRANSITION_ACTIVATE)
            session.answered(images)
            session.change(Transition.TRANSITION_DEACTIVATE)
            session.change(Transition.TRANSITION_CLEANUP)
            usage.append(Usage.of(session.process.pid))
        faults = _end(session, signal.SIGTERM) + [f"in the log: {line}" for line in session.complaints()]
    usage = usage[WARM_UP_CYCLES:]
    settled = usage[len(usage) // 2]
    allowed = {"rss_mb": ALLOWED_MB, "threads": 0, "files": 0}
    for what, limit in allowed.items():
        growth = getattr(usage[-1], what) - getattr(settled, what)
        if growth > limit:
            faults.append(f"grew by {growth:g} {what} over the last {len(usage) // 2} cycles")
    return {"cycles": options.count, "usage": [asdict(u) for u in usage]}, faults


def stops(options: argparse.Namespace) -> tuple[dict, list[str]]:
    chance, faults, seconds = random.Random(options.seed), [], []
    images = crowd(chance)
    for attempt in range(options.count):
        number = signal.SIGTERM if attempt % 5 else signal.SIGINT
        with Session(options.out, *options.set) as session:
            session.answered(images)
            # Faster than the node can process, so that it is busy when the signal comes.
            for _ in range(chance.randint(1, 10)):
                session.camera.send(next(images))
                session.spin(chance.uniform(0, 0.02))
            began_s = time.monotonic()
            found = _end(session, number) + [f"in the log: {line}" for line in session.complaints()]
            seconds.append(time.monotonic() - began_s)
        faults += [f"stop {attempt + 1}: {fault}" for fault in found]
        print(f"\r{attempt + 1}/{options.count} stops, {len(faults)} faults", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    clean = options.count - len({fault.split(":")[0] for fault in faults})
    took = {"median": float(np.median(seconds)), "longest": max(seconds)}
    return {"stops": options.count, "clean": clean, "seconds": took}, faults


def _end(session: Session, number: int) -> list[str]:
    session.process.send_signal(number)
    try:
        status = session.process.wait(timeout=TIMEOUT_S)
    except Exception as error:  # noqa: BLE001 - TimeoutExpired: it hangs
        return [f"did not end on {signal.Signals(number).name}: {error}"]
    return [f"ended with status {status} on {signal.Signals(number).name}"] if status else []


def main() -> int:
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    isolate(options.domain_id)
    rclpy.init()
    try:
        figures, faults = options.check(options)
    except (ValueError, OSError) as error:  # every error of ours is a ValueError with a message for the user
        print(f"soak: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        rclpy.try_shutdown()
    (options.out / f"{options.check.__name__}.json").write_text(
        json.dumps({**figures, "faults": faults}, indent=1) + "\n"
    )
    for name, value in figures.items():
        if name not in ("samples", "usage"):
            print(f"  {name:<14}{value}")
    if "usage" in figures:
        print(f"  {'first, middle, last':<20}{[figures['usage'][i] for i in (0, len(figures['usage']) // 2, -1)]}")
    print("\n".join(f"  FAULT: {fault}" for fault in faults) if faults else "  no fault")
    return 1 if faults else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m hmr_ros.ros.soak", description=__doc__.split("\n")[0])
    checks = parser.add_subparsers(required=True, metavar="people | cycles | stops")
    for check, option, default, kind in (
        (people, "--minutes", 10.0, positive), (cycles, "--count", 100, int), (stops, "--count", 50, int)
    ):  # fmt: skip
        one = checks.add_parser(check.__name__)
        one.add_argument(option, type=kind, default=default, help="default: %(default)s")
        one.add_argument("--out", type=Path, default=Path("soak_out"), help="folder for figures (default: %(default)s)")
        one.add_argument("--seed", type=int, default=0)
        one.add_argument(
            "--set", action="append", default=[], metavar="NAME:=VALUE", help="any parameter of the node; repeatable"
        )
        one.add_argument("--domain-id", type=int, help="ROS_DOMAIN_ID to work in; default: a random one")
        one.set_defaults(check=check)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
