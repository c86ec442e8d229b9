"""Writes docs/reference.md from the code:  python docs/generate_reference.py

Run it after changing a parameter or a topic; tests/ros/test_docs.py compares.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hmr_ros.config import PipelineConfig, describe
from hmr_ros.ros.node_config import NodeConfig
from hmr_ros.ros.publishers import TOPIC_DOCS, TOPIC_TYPES
from hmr_ros.ros.smpl_cloud import RECORD, fields_of
from hmr_ros.ros.viewer import ViewerConfig

PAGE = Path(__file__).with_name("reference.md")
HEAD = """# Topics, services and parameters

<!-- Made by docs/generate_reference.py from the code. Change that, not this. -->

Names that begin with `~/` are below the node: `/hmr/smpl` for a node named `hmr` in no namespace. All can be remapped.
"""
INPUTS = [
    (
        "image",
        "sensor_msgs/Image",
        "The camera; with `image_transport` `compressed`: `image/compressed`, a CompressedImage.",
    ),
    (
        "camera_info",
        "sensor_msgs/CameraInfo",
        "Its intrinsics. Without them a focal length is assumed, and diagnostics warn.",
    ),
    ("depth", "sensor_msgs/Image", "With `use_depth`: depth registered to the image, people's measured distance."),
    ("detections", "vision_msgs/Detection2DArray", "With `use_detections`: where to look for people."),
    ("/humans/bodies/...", "hri_msgs", "With `keypoints.source` `topic`: `tracked`, and of each body `skeleton2d` (REP-155)."),
]
OTHER_OUTPUTS = [
    ("~/body_model", "std_msgs/String", "JSON, latched: shape space, joint names, parents, number of faces, bundle and its sha256."),
    ("/tf", "tf2_msgs/TFMessage", "`person_<id>/<joint>` with `publish_tf`, `body_<id>` and the links of its URDF with `publish_hri`; from the camera's frame."),
    ("/diagnostics", "diagnostic_msgs/DiagnosticArray", "Rate, latency p50/p99/max of every stage, dropped and bad frames, why degraded."),
    ("/humans/bodies/...", "hri_msgs", "With `publish_hri`: `tracked`, and of each body `roi`, `skeleton2d`, `joint_states`, `urdf` (REP-155)."),
]  # fmt: skip
SERVICES = [
    ("~/reset_tracks", "std_srvs/Trigger", "Forget every person; ids start over."),
    (
        "~/save_snapshot",
        "std_srvs/Trigger",
        "Write the last result to `snapshot_dir`: the overlay as PNG, all numbers as JSON.",
    ),
]


def page() -> str:
    if TOPIC_TYPES.keys() != TOPIC_DOCS.keys():
        raise SystemExit(f"publishers.TOPIC_DOCS and the topics differ: {TOPIC_TYPES.keys() ^ TOPIC_DOCS.keys()}")
    outputs = [(f"~/{name}", ros_type(kind), TOPIC_DOCS[name]) for name, kind in TOPIC_TYPES.items()]
    fields = [(f.name, str(RECORD[f.name].base), f.count) for f in fields_of(RECORD)]
    sections = [
        HEAD,
        "## Inputs\n\n" + table(("topic", "type", "content"), INPUTS),
        "## Outputs\n\nNothing is computed for a topic that nobody subscribes to. Their reliability, history and depth can be set in a "
        "parameter file, as `qos_overrides.<topic>.publisher.reliability` and so on.\n\n"
        + table(("topic", "type", "content"), [*outputs, *OTHER_OUTPUTS]),
        "### Fields of `~/smpl`\n\nVectors are fields with a count; lengths in metres, rotations as axis-angle in radians.\n\n"
        + table(("field", "type", "numbers"), fields),
        "## Services\n\nWhere std_srvs is installed.\n\n" + table(("service", "type", "what it does"), SERVICES),
        "## Parameters\n\n*live*: can be set while the node runs. The others take effect at configure: deactivate and clean up the "
        "node, set, configure again.\n\n" + parameters(NodeConfig()) + "\n" + parameters(PipelineConfig()),
        "## Parameters of the viewer\n\n" + parameters(ViewerConfig()),
    ]  # fmt: skip
    return "\n".join(sections)


def ros_type(kind: type) -> str:
    return f"{kind.__module__.split('.')[0]}/{kind.__name__}"


def parameters(config) -> str:
    rows = [
        (
            f"`{name}`",
            f"`{value!r}`" if value != "" else "empty",
            allowed(item.metadata),
            item.metadata["doc"].replace("<", "&lt;"),
        )
        for name, item, value in describe(config)
    ]
    return table(("parameter", "default", "allowed", "meaning"), rows)


def allowed(meta) -> str:
    low, high, choices = meta["low"], meta["high"], meta["choices"]
    parts = [", ".join(choices)] if choices else [f"{low} to {high}"] if low is not None else []
    return "; ".join(parts + (["*live*"] if meta["dynamic"] else []))


def table(head: tuple, rows: list[tuple]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"wrote {PAGE}")
