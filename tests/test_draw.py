"""Laws of drawing: what is painted lies where the camera sees it, nearer covers farther, nothing else changes."""

from types import SimpleNamespace

import numpy as np
import pytest

from hmr_ros.camera import Camera
from hmr_ros.draw import (
    CENTRE_COLOUR,
    LEFT_COLOUR,
    RIGHT_COLOUR,
    draw_mesh,
    draw_overlay,
    draw_skeleton,
    edge_colour,
    paint_text,
)
from hmr_ros.skeleton import KEYPOINT_EDGES, KEYPOINT_NAMES, NUM_KEYPOINTS

CAMERA = Camera(np.array([[300.0, 0, 159.5], [0, 300, 119.5], [0, 0, 1]]), 320, 240)
GREY = np.full((240, 320, 3), 128, np.uint8)
RED, GREEN = np.array([[255, 0, 0]]), np.array([[0, 255, 0]])


def sphere(centre, radius=0.3, n=24):
    """Vertices (1, V, 3) and faces (F, 3), counter-clockwise from outside."""
    theta, phi = np.meshgrid(np.linspace(0, np.pi, n), np.linspace(0, 2 * np.pi, 2 * n), indexing="ij")
    points = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], -1).reshape(-1, 3)
    a = (np.arange(n - 1)[:, None] * 2 * n + np.arange(2 * n - 1)).ravel()
    faces = np.concatenate([np.stack([a, a + 2 * n, a + 1], -1), np.stack([a + 1, a + 2 * n, a + 2 * n + 1], -1)])
    return (points * radius + centre)[None].astype(np.float32), faces


def changed(image, before=GREY):
    return (image != before).any(-1)


def test_sphere_covers_its_silhouette_and_nothing_else():
    image = draw_mesh(GREY, *sphere([0.1, -0.2, 2.0]), CAMERA, RED, opacity=1)
    v, u = np.mgrid[:240, :320]
    rays = np.stack([*np.moveaxis(CAMERA.normalise(np.stack([u, v], -1)), -1, 0), np.ones((240, 320))], -1)
    along = rays @ [0.1, -0.2, 2.0] / np.linalg.norm(rays, axis=-1)
    hit = np.sqrt(0.1**2 + 0.2**2 + 2.0**2 - along**2) < 0.3
    assert (changed(image) ^ hit).sum() < 0.04 * hit.sum()


def test_input_is_left_alone_and_opacity_blends():
    before = GREY.copy()
    image = draw_mesh(GREY, *sphere([0, 0, 2.0]), CAMERA, RED, opacity=0.0)
    assert np.array_equal(image, GREY) and np.array_equal(before, GREY)
    half = draw_mesh(GREY, *sphere([0, 0, 2.0]), CAMERA, RED, opacity=0.5).astype(int)
    full = draw_mesh(GREY, *sphere([0, 0, 2.0]), CAMERA, RED, opacity=1.0).astype(int)
    assert np.abs(half - (full + 128) / 2)[changed(full)].max() <= 1


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_nearer_person_covers_the_farther_whatever_their_order(order):
    near, faces = sphere([0, 0, 1.5])
    far, _ = sphere([0, 0, 3.0], radius=0.7)
    image = draw_mesh(GREY, np.concatenate([near, far])[order], faces, CAMERA, np.concatenate([RED, GREEN])[order], 1.0)
    assert image[120, 160, 0] > 0 and image[120, 160, 1] == 0, "the middle is the near, red one"
    assert image[120, 95, 1] > 0 and image[120, 95, 0] == 0, "the rim is the far, green one"


def test_back_faces_are_not_painted():
    triangle = np.array([[[-0.5, -0.5, 2], [0.5, -0.5, 2], [0, 0.5, 2]]], np.float32)
    fronts = [changed(draw_mesh(GREY, triangle, np.array([f]), CAMERA, RED)).any() for f in ([0, 1, 2], [0, 2, 1])]
    assert sorted(fronts) == [False, True]


def test_behind_or_around_the_camera_is_harmless():
    for z in (-2.0, 0.0, 0.1):
        image = draw_mesh(GREY, *sphere([0, 0, z]), CAMERA, RED)
        assert image.shape == GREY.shape
    assert not changed(draw_mesh(GREY, *sphere([0, 0, -2.0]), CAMERA, RED)).any()


def test_lens_distortion_moves_the_mesh_with_the_points():
    lens = Camera(CAMERA.K, 320, 240, D=np.array([-0.3, 0.1, 0, 0, 0]))
    centre = np.array([0.7, 0.3, 2.0])
    rows, columns = np.nonzero(changed(draw_mesh(GREY, *sphere(centre, radius=0.05), lens, RED)))
    assert np.allclose([columns.mean(), rows.mean()], lens.project(centre), atol=1.5)


def test_skeleton_colours_tell_left_from_right():
    sides = {edge_colour(a, b) for a, b in KEYPOINT_EDGES}
    assert sides == {LEFT_COLOUR, RIGHT_COLOUR, CENTRE_COLOUR}
    uv = np.full((NUM_KEYPOINTS, 2), -50.0)
    uv[KEYPOINT_NAMES.index("left_knee")], uv[KEYPOINT_NAMES.index("right_knee")] = (250, 120), (70, 120)
    image = draw_skeleton(GREY, uv, confidence=(uv[:, 0] > 0).astype(np.float32))
    assert tuple(image[120, 250]) == LEFT_COLOUR and tuple(image[120, 70]) == RIGHT_COLOUR


def test_unseen_keypoints_and_points_far_outside_are_harmless():
    uv = np.full((NUM_KEYPOINTS, 2), 1e9)
    assert np.array_equal(draw_skeleton(GREY, uv), GREY)
    assert np.array_equal(draw_skeleton(GREY, np.full((NUM_KEYPOINTS, 2), 100.0), np.zeros(NUM_KEYPOINTS)), GREY)


def test_text_stays_inside_the_image():
    for uv in ([-100, -100], [1000, 1000]):
        image = GREY.copy()
        paint_text(image, "12", np.array(uv), RED[0])
        assert changed(image).any()


def test_nobody_changes_nothing():
    image = draw_overlay(GREY, SimpleNamespace(people=()), None, CAMERA)
    assert np.array_equal(image, GREY) and image is not GREY
