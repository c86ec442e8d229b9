"""The live view: a real browser shows what a real node says, and nobody works for a page that nobody looks at."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not importable: source a ROS 2, or pip install '.[ros]'")

from ros_graph import FAKE_NODE
from test_node import Camera, picture

from hmr_ros.body_model import BodyModel
from hmr_ros.ros.smpl_cloud import RECORD, cloud_to_records, people_to_records, records_to_cloud
from hmr_ros.ros.viewer import optimisation, summary, vertices
from hmr_ros.smpl_file import load_body
from hmr_ros.web_view import History

VIEWER = ["-m", "hmr_ros.ros.viewer"]


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_body("open")


def test_what_is_drawn_is_what_was_published(body):
    from fake_node import person
    from std_msgs.msg import Header

    people = (person(3, 0), person(5, 1))
    records = cloud_to_records(records_to_cloud(Header(), people_to_records(people)))
    stacked = [np.stack([getattr(p, name) for p in people]) for name in ("rotmat", "betas", "transl")]
    np.testing.assert_allclose(vertices(body, records), body.vertices(*stacked), atol=1e-4)
    assert optimisation(records) == {"steps": 4.0, "loss_before": 0.5, "loss_after": 0.25}


def test_nobody_is_no_mesh_and_no_number(body):
    nobody = np.zeros(0, RECORD)
    assert vertices(body, nobody).shape == (0, len(body.v_template), 3)
    assert all(np.isnan(value) for value in optimisation(nobody).values())


def test_curves_end_now_and_forget(body):
    history = History(window=3)
    for time_s in range(5):
        history.add(time_s, latency_ms=10.0 * time_s, steps=1, loss_before=2, loss_after=1)
    columns = history.columns()
    assert columns["age_s"].tolist() == [-2, -1, 0] and columns["latency_ms"].tolist() == [20, 30, 40]
    history.add(0.5, latency_ms=5, steps=1, loss_before=2, loss_after=1)
    assert history.columns()["latency_ms"].tolist() == [5], "a bag that loops starts a new curve"


def test_a_second_answer_to_an_image_replaces_the_first(body):
    history = History()
    for time_s, latency_ms in ((0, 10), (1, 20), (1, 30)):
        history.add(time_s, latency_ms=latency_ms, steps=1, loss_before=2, loss_after=1)
    assert history.columns()["latency_ms"].tolist() == [10, 30]


def test_latency_is_told_by_one_clock_or_not_at_all(ros):
    from rclpy.parameter import Parameter
    from rclpy.time import Time

    from hmr_ros.ros.viewer import latency_ms

    node, second = ros.create_node("real_time"), 10**9
    now_ns = node.get_clock().now().nanoseconds
    assert latency_ms(node, now_ns, now_ns + second // 20) == pytest.approx(50)
    assert 0 <= latency_ms(node, now_ns, 0) < 9000, "without a time of publication that of arrival counts"
    for stamp_ns in (now_ns - 3600 * second, now_ns + second, 0):
        assert np.isnan(latency_ms(node, stamp_ns, now_ns))
    node.destroy_node()
    node = ros.create_node("simulated", parameter_overrides=[Parameter("use_sim_time", value=True)])
    node.get_clock().set_ros_time_override(Time(seconds=100, clock_type=node.get_clock().clock_type))
    assert latency_ms(node, 99 * second, now_ns) == pytest.approx(1000), "the middleware's time is not simulated"
    node.destroy_node()


def test_summary_says_who_where_and_how():
    facts = {"bundle": "b", "shape_space": "s", "backend": "onnxruntime"}
    text = summary("hmr/", "cam", 1, "30.0 Hz", facts)
    assert "hmr**: 1 person in frame `cam`" in text and "30.0 Hz" in text and "onnxruntime" in text
    assert "0 people" in summary("hmr/", "", 0, "", {})


@pytest.fixture(scope="module")
def page(start, tmp_path_factory):
    """(browser, camera, probe): a page of the viewer, watching a node that finds one person in every picture."""
    pytest.importorskip("viser", reason="viser is not importable: pip install '.[viewer]'")
    from browser import Browser, find_chromium

    if not find_chromium():
        pytest.skip("no Chromium here (Debian: apt install chromium)")
    node, probe = start(FAKE_NODE, "-p", "diagnostics_period_s:=0.2")
    viewer, _ = start(
        VIEWER, "-p", f"node:={probe.target}", "-p", "port:=18080", "-r", f"camera_info:={probe.node.get_namespace()}/camera_info"
    )  # fmt: skip
    node.wait_for_line("active: listening to")
    viewer.wait_for_line("open http://")
    camera = Camera(probe)
    assert overlay_listeners(probe) == 0, "nobody looks, so nothing is drawn"
    url = next(word for line in viewer.lines for word in line.split() if word.startswith("http://localhost"))
    browser = Browser(tmp_path_factory.mktemp("browser") / "profile", url)
    yield browser, camera, probe
    browser.close()


def overlay_listeners(probe) -> int:
    return probe.node.count_subscribers(f"{probe.target}/overlay")


def test_the_page_shows_people_picture_and_curves(page, tmp_path):
    import cv2

    browser, camera, _ = page

    def shown() -> bool:
        camera.tell_camera()
        camera.send(picture())
        text = browser.text()
        return "1 person in frame cam" in text and "fake" in text and "Hz, latency" in text

    camera._probe.until(shown, "the person on the page")
    text = browser.text()
    for title in ("Latency", "Optimisation steps", "Loss"):
        assert title in text
    scene = cv2.imread(str(browser.screenshot(tmp_path / "page.png")))[:, :900]
    assert len(np.unique(scene.reshape(-1, 3), axis=0)) > 200, "shaded bodies and a grid, not an empty page"
    assert all("//localhost" in url or url.startswith(("data:", "blob:")) for url in browser.requests()), "offline"


def test_a_closed_page_costs_the_node_nothing(page):
    browser, _, probe = page
    probe.until(lambda: overlay_listeners(probe) == 1, "the viewer's subscription")
    browser.call("Page.navigate", url="about:blank")
    probe.until(lambda: overlay_listeners(probe) == 0, "the end of the viewer's subscription")


def test_without_viser_the_viewer_says_what_to_install(monkeypatch):
    import sys

    from hmr_ros.config import ConfigError
    from hmr_ros.web_view import WebView

    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(ConfigError, match="pip install viser"):
        WebView("127.0.0.1", 18090, np.zeros((1, 3), int))
