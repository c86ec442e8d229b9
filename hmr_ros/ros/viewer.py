"""A live view in the browser. Subscribes to the node's topics, like any other client.

`ros2 run hmr_ros viewer` (or `hmr_viewer`), then open the address that it logs. If the node or the
camera has another name: `--ros-args -p node:=hmr -r camera_info:=/camera/camera_info`.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import String

from hmr_ros.body_model import BodyModel
from hmr_ros.config import check, describe, setting
from hmr_ros.ros.camera_info import read_camera
from hmr_ros.ros.conversions import FrameError, image_to_rgb
from hmr_ros.ros.matched_subscription import MatchedSubscription
from hmr_ros.ros.parameters import declare_rows
from hmr_ros.ros.process import run
from hmr_ros.ros.smpl_cloud import cloud_to_records
from hmr_ros.ros.smpl_record import pose_of
from hmr_ros.ros.worker import MAX_AGE_S
from hmr_ros.smpl_file import load_body
from hmr_ros.web_view import History, WebView

_LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)

_LOOK_S = 0.5
"""Time between checks of the publishers, which may come, go and offer another quality of service."""
_NUMBERS_S = 0.5
"""Time between updates of text and curves: nobody reads them faster, and browsers draw them slowly."""


@dataclass(frozen=True)
class ViewerConfig:
    node: str = setting("hmr", "Name of the node to watch; with a leading slash: its full name.")
    host: str = setting("127.0.0.1", "Address to serve on; 0.0.0.0: the page can be opened from other machines.")
    port: int = setting(8080, "Port to serve on; the next free one if it is taken.", low=1, high=65535)
    body: str = setting("open", "Body model to draw, the same as the node's: 'open' or the path of your SMPL file.")
    rate_hz: float = setting(10.0, "How often the page is updated, in Hz.", low=0.5, high=60.0)

    def __post_init__(self):
        check(self)


class Viewer(Node):
    """Keeps the newest message of every topic, and shows it `rate_hz` times a second while a browser is connected."""

    def __init__(self):
        super().__init__("hmr_viewer")
        known = {name: (item, default) for name, item, default in describe(ViewerConfig())}
        self.config = ViewerConfig(**declare_rows(self, known))
        self._body: BodyModel = load_body(self.config.body)
        self.view = WebView(self.config.host, self.config.port, self._body.faces)
        self._history = History()
        self._people: PointCloud2 | None = None
        self._picture: Image | None = None
        self._camera_info: CameraInfo | None = None
        self._status, self._facts = "", {}
        self._listening: list[MatchedSubscription] = []
        self._last_text_s = float("-inf")
        self._people_frame = self._picture_frame = ""
        self.create_subscription(String, self._topic("body_model"), self._on_body_model, _LATCHED)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1 / self.config.rate_hz, self._refresh, clock=clock)
        self.create_timer(_LOOK_S, self._follow_publishers, clock=clock)
        self.get_logger().info(f"open {self.view.url} in a browser; watching {self._topic('smpl')}")

    def close(self) -> None:
        self.view.close()
        self.destroy_node()

    def _topic(self, name: str) -> str:
        return f"{self.config.node}/{name}"

    def _listen(self, wanted: bool) -> None:
        """Subscribe only while a browser is connected, because the node draws overlays only for subscribers."""
        if wanted and not self._listening:
            topics = (
                (PointCloud2, self._topic("smpl"), self._on_people),
                (Image, self._topic("overlay"), self._on_picture),
                (CameraInfo, "camera_info", self._on_camera_info),
            )
            self._listening = [
                MatchedSubscription(self, kind, self.resolve_topic_name(topic), "auto", callback)
                for kind, topic, callback in topics
            ]
        elif not wanted and self._listening:
            for subscription in self._listening:
                subscription.close()
            self._listening = []

    def _follow_publishers(self) -> None:
        for subscription in self._listening:
            subscription.refresh()

    def _on_people(self, msg: PointCloud2, info) -> None:
        self._people, self._people_frame = msg, msg.header.frame_id
        records = cloud_to_records(msg)
        stamp_ns = Time.from_msg(msg.header.stamp).nanoseconds
        latency = latency_ms(self, stamp_ns, info["source_timestamp"])
        self._history.add(stamp_ns * 1e-9, latency_ms=latency, **optimisation(records))

    def _on_picture(self, msg: Image) -> None:
        self._picture, self._picture_frame = msg, msg.header.frame_id

    def _on_camera_info(self, msg: CameraInfo) -> None:
        self._camera_info = msg

    def _on_body_model(self, msg: String) -> None:
        self._facts = json.loads(msg.data)
        theirs, ours = self._facts.get("shape_space"), self._body.shape_space
        if theirs != ours:
            self.get_logger().warning(
                f"the node's body has the shape space {theirs!r}, this viewer's {ours!r}: shapes are wrong; "
                "set the viewer's parameter body to the node's model.body"
            )

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        # Status names are '<node's full name>: human mesh recovery'.
        full_name = self.resolve_topic_name(self.config.node)
        for status in msg.status:
            if status.name.startswith(f"{full_name}:"):
                self._status = status.message

    def _refresh(self) -> None:
        self._listen(self.view.watched)
        picture, self._picture = self._picture, None
        people, self._people = self._people, None
        if picture is not None:
            self._show_picture(picture)
        if people is not None:
            records = cloud_to_records(people)
            self.view.show_people(records["id"].tolist(), vertices(self._body, records), self._in_camera_frame)
            self._show_numbers(len(records))

    @property
    def _in_camera_frame(self) -> bool:
        """Whether people are in the camera's frame, not in some output_frame. Assumed until the first overlay tells the camera's frame."""
        return self._people_frame == self._picture_frame or not self._picture_frame

    def _show_numbers(self, people: int) -> None:
        now_s = time.monotonic()
        if now_s - self._last_text_s < _NUMBERS_S:
            return
        self._last_text_s = now_s
        self.view.show_curves(self._history)
        self.view.show_text(summary(self._topic(""), self._people_frame, people, self._status, self._facts))

    def _show_picture(self, msg: Image) -> None:
        try:
            rgb = image_to_rgb(msg)
        except FrameError as error:
            self.get_logger().warning(f"overlay cannot be shown: {error}", once=True)
            return
        self.view.show_picture(rgb)
        camera = read_camera(self._camera_info, msg.width, msg.height).camera if self._in_camera_frame else None
        self.view.show_camera(camera, rgb)


def vertices(body: BodyModel, records: np.ndarray) -> np.ndarray:
    """The mesh vertices for records of ~/smpl: (N, V, 3) metres."""
    if not len(records):
        return np.zeros((0, len(body.v_template), 3), np.float32)
    return body.vertices(*pose_of(records))


def latency_ms(node: Node, stamp_ns: int, published_ns: int) -> float:
    """From capture to publication; NaN where the stamp is from another clock. published_ns: on the system's clock, 0 if unknown.

    In simulated time, which the middleware does not know, the time of arrival on the node's clock counts instead.
    """
    if not published_ns or node.get_parameter("use_sim_time").value:
        published_ns = node.get_clock().now().nanoseconds
    age_s = (published_ns - stamp_ns) * 1e-9
    return 1e3 * age_s if 0 <= age_s < MAX_AGE_S else float("nan")


def optimisation(records: np.ndarray) -> dict[str, float]:
    """Mean steps and losses over the people of a frame; NaN when there are none."""
    names = ("steps", "loss_before", "loss_after")
    return {name: float(records[name].mean()) if len(records) else float("nan") for name in names}


def summary(node: str, frame_id: str, people: int, status: str, facts: dict) -> str:
    """Markdown, a few lines."""
    lines = [f"**{node.rstrip('/')}**: {people} {'person' if people == 1 else 'people'} in frame `{frame_id or '?'}`"]
    lines += [status] if status else []
    lines += [f"{facts['bundle']}, {facts['shape_space']}, {facts['backend']}"] if facts else []
    return "  \n".join(lines)


def main(args: list[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM. Returns the exit status: 1 when it could not start."""
    return run("hmr_viewer", Viewer, args=args)


if __name__ == "__main__":
    sys.exit(main())
