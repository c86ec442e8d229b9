"""The rasteriser shows what a look at every triangle in every pixel shows, and what OpenCV paints."""

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from hmr_ros.camera import Camera  # noqa: E402
from hmr_ros.draw import face_normals, paint_triangles  # noqa: E402
from hmr_ros.rotation import rotvec_to_rotmat  # noqa: E402
from hmr_ros.smpl_file import load_body  # noqa: E402
from training.image.rasterise import (  # noqa: E402
    NEAR_M,
    fragments,
    interpolate,
    paint,
    project_triangles,
    rasterise,
)

SIZE = (40, 30)


def random_mesh(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two people of 60 triangles each, small and large, in and out of the picture, before and behind the camera."""
    rng = np.random.default_rng(seed)
    middle = rng.uniform([-10, -10, 0.5], [40, 50, 4], (2, 60, 1, 3))
    corners = middle + rng.normal(0, 1, (2, 60, 3, 3)) * rng.choice([1, 4, 30], (2, 60, 1, 1)) * [1, 1, 0.01]
    corners[:, ::9, :, 2] -= 3
    return torch.from_numpy(corners.reshape(2, 180, 3)).float(), torch.arange(180).reshape(60, 3)


def naive(uvz: np.ndarray, faces: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Triangle seen in each pixel, and whether that is beyond doubt. uvz: (V, 3) float64."""
    v, u = np.mgrid[: size[0], : size[1]]
    nearest, best = np.zeros(size), np.full(size, -1)
    sure = np.ones(size, bool)
    for index, face in enumerate(faces):
        (u0, v0, z0), (u1, v1, z1), (u2, v2, z2) = uvz[face]
        area = (u1 - u0) * (v2 - v0) - (u2 - u0) * (v1 - v0)
        if area >= 0 or min(z0, z1, z2) <= NEAR_M:
            continue
        first = ((u1 - u) * (v2 - v) - (u2 - u) * (v1 - v)) / area
        second = ((u2 - u) * (v0 - v) - (u0 - u) * (v2 - v)) / area
        rim = np.minimum(np.minimum(first, second), 1 - first - second)
        inverse = first / z0 + second / z1 + (1 - first - second) / z2
        sure &= ~((np.abs(rim) < 5e-3) & (inverse > nearest - 1e-4)) & ~((rim > 0) & (np.abs(inverse - nearest) < 1e-4))
        won = (rim >= 0) & (inverse > nearest)
        nearest, best = np.where(won, inverse, nearest), np.where(won, index, best)
    return best, sure


@pytest.mark.parametrize("seed", range(5))
def test_equals_a_look_at_every_triangle_in_every_pixel(seed):
    uvz, faces = random_mesh(seed)
    shown = rasterise(project_triangles(uvz, faces, SIZE), SIZE).numpy()
    for person in range(2):
        expected, sure = naive(uvz[person].double().numpy(), faces.numpy(), SIZE)
        assert sure.mean() > 0.7 and (expected >= 0).mean() > 0.3
        np.testing.assert_array_equal(shown[person][sure], expected[sure])


def test_people_do_not_mind_each_other():
    uvz, faces = random_mesh(7)
    together = rasterise(project_triangles(uvz, faces, SIZE), SIZE)
    for person in range(2):
        alone = rasterise(project_triangles(uvz[person : person + 1], faces, SIZE), SIZE)
        torch.testing.assert_close(alone[0], together[person])


def test_nobody_in_the_picture():
    uvz, faces = random_mesh(0)
    triangles = project_triangles(uvz + torch.tensor([1000.0, 0, 0]), faces, SIZE)
    shown = rasterise(triangles, SIZE)
    assert (shown == -1).all() and len(fragments(triangles, shown).pixel) == 0


@pytest.fixture(scope="module")
def seen_bodies():
    """Somebody far away, near, and very near, on 256x192 pixels: vertices before the camera, (3, V, 3), and cameras."""
    body = load_body("open")
    rng = np.random.default_rng(1)
    rotvec = rng.normal(0, 0.3, (3, 24, 3))
    rotvec[:, 0] = [np.pi - 0.2, 0.3, 0.2]
    transl = np.array([[0.1, 0.2, 3.0], [0, 0, 1.6], [0, 0.4, 1.1]])
    arrays = (np.asarray(a, np.float32) for a in (rotvec_to_rotmat(rotvec), rng.normal(0, 1, (3, 10)), transl))
    cameras = [Camera(np.array([[f, 0, 95.5], [0, f, 127.5], [0, 0, 1]]), 192, 256) for f in (330.0, 250.0, 900.0)]
    return body, body.vertices(*arrays), cameras


def test_covers_what_opencv_paints_and_has_no_holes(seen_bodies):
    body, vertices, cameras = seen_bodies
    faces, size = torch.from_numpy(body.faces).long(), (256, 192)
    for xyz, camera in zip(vertices, cameras):
        uvz = torch.from_numpy(np.concatenate([camera.project(xyz), xyz[:, 2:]], axis=-1)).float()[None]
        ours = (rasterise(project_triangles(uvz, faces, size), size)[0] >= 0).numpy()
        normals = face_normals(xyz[body.faces])
        theirs = paint_triangles(size, xyz[body.faces], normals, np.ones((len(normals), 3)), camera)[..., 3]
        # OpenCV paints every pixel that an edge touches: up to one more all around, and what is between two fingers.
        assert ours.mean() > 0.05
        assert not (ours & (theirs == 0)).any()
        assert ours[cv2.erode(theirs, np.ones((7, 7))) > 0].all()


def test_interpolation_is_exact_in_perspective(seen_bodies):
    """The point of the surface that a pixel shows projects into the middle of that pixel."""
    body, vertices, cameras = seen_bodies
    faces, size = torch.from_numpy(body.faces).long(), (256, 192)
    uv = np.stack([camera.project(xyz) for camera, xyz in zip(cameras, vertices)])
    uvz = torch.from_numpy(np.concatenate([uv, vertices[..., 2:]], axis=-1)).float()
    triangles = project_triangles(uvz, faces, size)
    seen = fragments(triangles, rasterise(triangles, size))
    picture = paint(interpolate(torch.from_numpy(vertices).float(), faces, seen), seen, (3, *size))
    rows, columns = np.mgrid[: size[0], : size[1]]
    for points, camera in zip(picture.permute(0, 2, 3, 1).numpy(), cameras):
        shown = points[..., 2] > 0
        expected = np.stack([columns, rows], axis=-1)[shown]
        np.testing.assert_allclose(camera.project(points[shown].astype(np.float64)), expected, atol=0.02)
