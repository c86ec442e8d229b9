"""Recordings: read by topic with their cameras and stamps, and written so that others can read them."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed: pip install '.[bags]'")

from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from hmr_ros.recording import FrameRecord, PersonRecord
from hmr_ros.ros.bag_reader import BagError, BagImages, is_bag
from hmr_ros.ros.bag_writer import TOPICS, BagWriter, check_can_write
from hmr_ros.ros.smpl_record import RECORD
from hmr_ros.rotation import rotvec_to_rotmat
from hmr_ros.smpl_file import load_body
from hmr_ros.tools import run as tool
from hmr_ros.types import Frame, FrameResult

STORE = get_typestore(Stores.ROS2_HUMBLE)
T0 = 1_700_000_000 * 10**9
PERIOD_NS = 50_000_000
WIDTH, HEIGHT, FOCAL = 64, 48, 77.0
IMAGE, COMPRESSED, INFO = (f"sensor_msgs/msg/{n}" for n in ("Image", "CompressedImage", "CameraInfo"))


def new(kind, **fields):
    return STORE.types[kind](**fields)


def header(stamp_ns):
    stamp = new("builtin_interfaces/msg/Time", sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return new("std_msgs/msg/Header", stamp=stamp, frame_id="cam")


def image(value, stamp_ns, rows=HEIGHT):
    data = np.full(WIDTH * rows * 3, value, np.uint8)
    return new(
        IMAGE,
        header=header(stamp_ns),
        height=HEIGHT,
        width=WIDTH,
        encoding="rgb8",
        is_bigendian=0,
        step=WIDTH * 3,
        data=data,
    )


def compressed(value, stamp_ns):
    import cv2

    jpeg = cv2.imencode(".jpg", np.full((HEIGHT, WIDTH, 3), value, np.uint8))[1].ravel()
    return new(COMPRESSED, header=header(stamp_ns), format="jpeg", data=jpeg)


def camera_info(stamp_ns):
    K = np.array([FOCAL, 0, 30, 0, FOCAL, 20, 0, 0, 1])
    roi = new("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return new(
        INFO, header=header(stamp_ns), height=HEIGHT, width=WIDTH, distortion_model="plumb_bob", d=np.zeros(5), k=K,
        r=np.eye(3).ravel(), p=np.zeros(12), binning_x=0, binning_y=0, roi=roi,
    )  # fmt: skip


def write(folder, rows, storage=StoragePlugin.MCAP):
    """rows: (topic, type, recorded_ns, message)."""
    with Writer(folder, version=8, storage_plugin=storage) as writer:
        connections = {}
        for topic, kind, recorded_ns, message in rows:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
            writer.write(connections[topic], recorded_ns, STORE.serialize_cdr(message, kind))
    return folder


def camera_rows(count=4, topic="/camera/image_raw", make=image, kind=IMAGE, header_stamp=True):
    """The camera is told after the first image, as drivers do."""
    rows = []
    for i in range(count):
        stamp = T0 + i * PERIOD_NS
        rows.append((topic, kind, stamp + 10**6, make(10 * i, stamp if header_stamp else 0)))
        rows.append(("/camera/camera_info", INFO, stamp + 2 * 10**6, camera_info(stamp)))
    return rows


@pytest.mark.parametrize("storage", list(StoragePlugin), ids=lambda s: s.name)
@pytest.mark.parametrize(("make", "kind", "suffix"), [(image, IMAGE, ""), (compressed, COMPRESSED, "/compressed")])
def test_images_come_with_the_bags_stamps_and_camera(tmp_path, storage, make, kind, suffix):
    topic = f"/camera/image_raw{suffix}"
    bag = BagImages(str(write(tmp_path / "bag", camera_rows(4, topic, make, kind), storage)))
    frames = list(bag.read())
    assert (bag.topic, bag.frames, len(frames)) == (topic, 4, 4) and np.isclose(bag.fps, 20)
    assert [f.stamp_ns for f in frames] == [T0 + i * PERIOD_NS for i in range(4)]
    assert [round(float(f.image.mean()) / 10) for f in frames] == [0, 1, 2, 3]
    for frame in frames:
        assert frame.frame_id == "cam" and not frame.camera.assumed and np.isclose(frame.camera.focal[0], FOCAL)
    assert not bag.skipped and not bag.warnings


def test_the_file_alone_is_enough(tmp_path):
    write(tmp_path / "bag", camera_rows())
    (file,) = (tmp_path / "bag").glob("*.mcap")
    assert is_bag(str(file)) and is_bag(str(tmp_path / "bag")) and not is_bag(str(tmp_path)) and not is_bag("a.mp4")
    assert len(list(BagImages(str(file)).read())) == 4


def test_images_without_a_stamp_take_the_time_of_recording(tmp_path):
    bag = BagImages(str(write(tmp_path / "bag", camera_rows(header_stamp=False))))
    assert [f.stamp_ns for f in bag.read()] == [T0 + i * PERIOD_NS + 10**6 for i in range(4)]


def test_without_a_camera_one_is_assumed_and_said(tmp_path):
    rows = [row for row in camera_rows() if row[1] == IMAGE]
    bag = BagImages(str(write(tmp_path / "bag", rows)))
    assert all(f.camera.assumed for f in bag.read(90.0)) and "CameraInfo" in bag.warnings["camera"]
    assert np.isclose(next(bag.read(90.0)).camera.focal[1], HEIGHT / 2)


def test_bad_images_are_skipped_and_counted(tmp_path):
    rows = camera_rows()
    rows[2] = (*rows[2][:3], image(0, T0 + PERIOD_NS, rows=HEIGHT // 2))
    bag = BagImages(str(write(tmp_path / "bag", rows)))
    assert len(list(bag.read())) == 3 and bag.skipped == 1 and "bytes" in bag.warnings["images"]


def test_several_topics_are_listed_and_one_can_be_chosen(tmp_path):
    folder = str(write(tmp_path / "bag", camera_rows() + camera_rows(2, "/other/image_raw")))
    with pytest.raises(BagError, match="--topic") as error:
        BagImages(folder)
    assert "/camera/image_raw" in str(error.value) and "/other/image_raw" in str(error.value)
    assert "2 messages" in str(error.value)
    with pytest.raises(BagError, match="'/none'"):
        BagImages(folder, "/none")
    assert len(list(BagImages(folder, "/other/image_raw").read())) == 2


def test_what_is_no_bag_is_refused_with_a_reason(tmp_path):
    (tmp_path / "cut.mcap").write_bytes(b"\x89MCAP0\r\n")
    rows = [("/camera/camera_info", INFO, T0, camera_info(T0))]
    for source, says in (
        (tmp_path / "cut.mcap", "complete"),
        (tmp_path / "none.mcap", "no such bag"),
        (write(tmp_path / "blind", rows), "/camera/camera_info"),
    ):
        with pytest.raises(BagError, match=says):
            BagImages(str(source))


def test_a_recording_that_was_cut_off_gives_what_it_has_or_a_reason(tmp_path):
    write(tmp_path / "bag", camera_rows(12))
    (file,) = (tmp_path / "bag").glob("*.mcap")
    whole = file.read_bytes()
    for share in (0.2, 0.5, 0.9):
        (tmp_path / "cut.mcap").write_bytes(whole[: int(share * len(whole))])
        frames = []
        try:
            frames += BagImages(str(tmp_path / "cut.mcap")).read()
        except BagError as error:
            assert "cut.mcap" in str(error)
        assert len(frames) < 12


def someone(body, track_id=3):
    rotmat = rotvec_to_rotmat(np.random.default_rng(0).normal(size=(24, 3)) * 0.5).astype(np.float32)
    betas, transl = np.full(10, 0.5, np.float32), np.float32([0.1, 0.2, 3])
    joints = body.joints(rotmat[None], betas[None], transl[None])[0][0]
    return PersonRecord(track_id, 0.75, rotmat, betas, transl, joints, 4, 5.0, 2.0, np.ones(24, np.float32), 0.5, 0.25)


def test_results_read_back_as_the_nodes_topics(tmp_path):
    body = load_body("open")
    person = someone(body)
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    with BagWriter(tmp_path / "bag", body) as bag:
        for i, people in enumerate([(person,), ()]):
            frame = Frame(picture, None, T0 + i * PERIOD_NS, "cam")
            bag.write(frame, FrameRecord(i, frame.stamp_ns, 1.0, people), picture)
    with AnyReader([tmp_path / "bag"]) as reader:
        assert {name: info.msgtype for name, info in reader.topics.items()} == TOPICS
        heard = {name: [] for name in TOPICS}
        for connection, stamp_ns, raw in reader.messages():
            message = reader.deserialize(raw, connection.msgtype)
            heard[connection.topic].append(message)
            part = message.markers[0] if hasattr(message, "markers") else message
            assert part.header.frame_id == "cam" and part.header.stamp.sec == stamp_ns // 10**9
    cloud, empty = heard["/hmr/smpl"]
    (record,) = np.frombuffer(cloud.data.tobytes(), RECORD)
    assert (cloud.width, empty.width, len(empty.data)) == (1, 0, 0)
    assert record["id"] == 3 and np.allclose(record["betas"], 0.5) and np.isclose(record["loss_after"], 0.25)
    assert [(f.name, f.offset) for f in cloud.fields] == [(n, RECORD.fields[n][1]) for n in RECORD.names]
    poses, _ = heard["/hmr/poses"]
    assert np.allclose([(p.position.x, p.position.y, p.position.z) for p in poses.poses], person.joints, atol=1e-6)
    shown, cleared = heard["/hmr/markers"]
    assert [m.ns for m in shown.markers] == ["", "skeleton", "id"] and len(cleared.markers) == 1
    assert len(shown.markers[1].points) == 46 and shown.markers[2].text == "3"


def test_results_are_also_plain_mcap(tmp_path):
    """By the readers that Foxglove's own libraries are."""
    make_reader = pytest.importorskip(
        "mcap.reader", reason="the other reader of MCAP: pip install '.[test]'"
    ).make_reader
    DecoderFactory = pytest.importorskip("mcap_ros2.decoder", reason="pip install '.[test]'").DecoderFactory
    body = load_body("open")
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    with BagWriter(tmp_path / "bag", body) as bag:
        bag.write(Frame(picture, None, T0, "cam"), FrameRecord(0, T0, 1.0, (someone(body),)), picture)
    (file,) = (tmp_path / "bag").glob("*.mcap")
    with file.open("rb") as stream:
        decoded = list(make_reader(stream, decoder_factories=[DecoderFactory()]).iter_decoded_messages())
    assert {channel.topic: schema.name for schema, channel, _, _ in decoded} == TOPICS
    (poses,) = [message for _, channel, _, message in decoded if channel.topic == "/hmr/poses"]
    assert len(poses.poses) == 24


def test_a_bag_is_never_written_over(tmp_path):
    with pytest.raises(BagError, match="already exists"):
        check_can_write(tmp_path)


def test_the_file_tool_plays_a_bag(tmp_path, capsys):
    folder = str(write(tmp_path / "bag", camera_rows()))
    seen = []

    def pipeline(frame, deadline_s):
        seen.append(frame)
        return FrameResult((), None)

    pipeline.body = load_body("open")
    options = tool.parse([folder, "--topic", "/camera/image_raw", "--write-bag", "--max-frames", "3"])
    (tmp_path / "out").mkdir()
    summary, _ = tool.run(pipeline, tool.open_source(options), tmp_path / "out", 0.0, options)
    assert summary["frames"] == 3 and np.isclose(seen[0].camera.focal[0], FOCAL)
    lines = (tmp_path / "out/people.jsonl").read_text().splitlines()
    assert [json.loads(line)["stamp_ns"] for line in lines] == [T0 + i * PERIOD_NS for i in range(3)]
    assert is_bag(str(tmp_path / "out/bag"))
    with pytest.raises(BagError, match="--topic"):
        tool.open_source(SimpleNamespace(source="clip.mp4", topic="/x"))


def test_frames_keep_their_place_in_a_bag_after_one_that_cannot_be_decoded(tmp_path):
    rows = camera_rows()
    rows[2] = (*rows[2][:3], image(0, T0 + PERIOD_NS, rows=HEIGHT // 2))
    options = tool.parse([str(write(tmp_path / "bag", rows))])

    def pipeline(frame, deadline_s):
        return FrameResult((), None)

    pipeline.body = load_body("open")
    (tmp_path / "out").mkdir()
    tool.run(pipeline, tool.open_source(options), tmp_path / "out", 0.0, options)
    lines = map(json.loads, (tmp_path / "out/people.jsonl").read_text().splitlines())
    assert [(line["frame"], (line["stamp_ns"] - T0) // PERIOD_NS) for line in lines] == [(0, 0), (2, 2), (3, 3)]
