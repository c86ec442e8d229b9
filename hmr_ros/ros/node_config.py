"""Settings that only the ROS node has; those of the core are in `hmr_ros.config`, and both become parameters the same way."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hmr_ros.config import ConfigError, check, setting

TRANSPORTS = ("raw", "compressed")
RELIABILITIES = ("auto", "reliable", "best_effort")


@dataclass(frozen=True)
class NodeConfig:
    autostart: bool = setting(
        True,
        "Configure and activate at start; false: wait for a lifecycle manager. Read once, at start.",
        read_only=True,
    )
    image_transport: str = setting(
        "raw", "Image transport: raw subscribes to 'image', compressed to 'image/compressed'.", choices=TRANSPORTS
    )
    image_reliability: str = setting(
        "auto", "QoS reliability of the image subscription; 'auto' follows the publisher.", choices=RELIABILITIES
    )
    image_rectified: bool = setting(
        False, "Images are rectified: use CameraInfo's P and no distortion instead of K and D."
    )
    camera_info_timeout_s: float = setting(
        2.0, "How long to wait for a first CameraInfo before assuming a camera, in s.", low=0.0, high=60.0
    )
    default_vertical_fov_deg: float = setting(
        0.0, "Vertical field of view assumed without a usable CameraInfo, in degrees; 0: focal length = image diagonal.",
        low=0.0, high=170.0,
    )  # fmt: skip
    use_depth: bool = setting(
        False, "Take people's distance from 'depth': 16UC1 (mm) or 32FC1 (m), registered to the colour image."
    )
    use_detections: bool = setting(
        False,
        "Look for people only inside the boxes on 'detections' (vision_msgs/Detection2DArray), instead of searching the image.",
    )
    detections_class: str = setting("", "class_id that means a person in 'detections'; empty: every detection is one.")
    side_input_max_gap_s: float = setting(
        0.1,
        "Largest time difference between an image and the depth or detections used with it, in s.",
        low=0.0,
        high=10.0,
    )
    publish_tf: bool = setting(False, "Publish person_<id>/<joint> on /tf (needs tf2_msgs).")
    publish_hri: bool = setting(False, "Publish the REP-155 topics /humans/bodies/... (needs hri_msgs).")
    frame_prefix: str = setting(
        "", "Prefix of people's frame names and REP-155 body names; give each node its own where several share /tf."
    )
    output_frame: str = setting(
        "",
        "tf frame of the 3D outputs, e.g. base_link, looked up at the image's stamp (needs tf2_ros); empty: the camera's frame.",
    )
    output_frame_timeout_s: float = setting(
        0.05, "How long to wait for a late transform to output_frame, in s; after that the result is published in the camera's frame.",
        low=0.0, high=1.0,
    )  # fmt: skip
    snapshot_dir: str = setting(
        "", "Folder that ~/save_snapshot writes to; empty: hmr_snapshots in $ROS_HOME or ~/.ros.", dynamic=True
    )
    mesh_rate_hz: float = setting(
        5.0, "How often ~/markers includes meshes (1 MB per person), in Hz; 0: never.",
        low=0.0, high=60.0, dynamic=True,
    )  # fmt: skip
    diagnostics_period_s: float = setting(1.0, "Time between messages on /diagnostics, in s.", low=0.1, high=10.0)
    stale_after_s: float = setting(
        2.0,
        "Diagnostics report STALE when no image has arrived for this long, in s.",
        low=0.1,
        high=3600.0,
        dynamic=True,
    )

    def __post_init__(self):
        check(self)
        if not re.fullmatch(r"([A-Za-z]\w*)?", self.frame_prefix, re.ASCII):
            raise ConfigError(
                f"frame_prefix = {self.frame_prefix!r}: must begin with a letter and hold letters, digits and _ only, for it is part of "
                "topic names"
            )
        if 0 < self.default_vertical_fov_deg < 1:
            raise ConfigError(f"default_vertical_fov_deg = {self.default_vertical_fov_deg!r}: must be 0, or at least 1")
