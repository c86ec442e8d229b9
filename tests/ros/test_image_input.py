"""Images that were sent and never arrived are counted, whoever sent them."""

import pytest

pytest.importorskip("rclpy", reason="rclpy is not importable: source a ROS 2, or pip install '.[ros]'")

from hmr_ros.ros.image_input import Gaps


def info(number: int, gid: bytes = b"a") -> dict:
    return {"publication_sequence_number": number, "publisher_gid": {"data": gid}}


def test_gaps_in_one_publishers_numbers():
    gaps = Gaps()
    assert [gaps(info(n)) for n in (5, 6, 9, 10)] == [0, 0, 2, 0]


def test_publishers_count_for_themselves_and_may_start_over():
    gaps = Gaps()
    assert [gaps(info(*i)) for i in ((5, b"a"), (100, b"b"), (6, b"a"), (102, b"b"), (1, b"a"), (2, b"a"))] == [
        0, 0, 0, 1, 0, 0
    ]  # fmt: skip


def test_where_ros_does_not_tell_nothing_is_counted():
    gaps = Gaps()
    assert [gaps(i) for i in ({}, {"publication_sequence_number": 7}, {"publication_sequence_number": 9})] == [0, 0, 0]
