"""Render the demo clip: our open body walking through a plain room, and the exact ground truth.

    python -m training.render_demo_clip            # about a minute; needs ../shared/data/mocap

Writes hmr_ros/assets/demo/walk.mp4 and walk.npz. The walk is a take of a subject who is in no training data. Everything else in
the picture is procedural, so nobody else holds rights in it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from hmr_ros.body_model import BodyModel
from hmr_ros.camera import Camera
from hmr_ros.draw import face_normals, paint_triangles
from hmr_ros.media import VideoWriter
from hmr_ros.rotation import rot6d_to_rotmat, rotmat_to_rot6d, rotmat_to_rotvec, rotvec_to_rotmat
from hmr_ros.skeleton import JOINT_NAMES
from hmr_ros.smpl_file import load_body

SEQUENCE, FIRST_SOURCE_FRAME, SOURCE_FPS = "09_12", 150, 120
"""CMU subject 9, trial 12: walks towards the camera, turns, walks away. Frames are counted at SOURCE_FPS."""
FPS, NUM_FRAMES = 30, 150
HEAD_LIFT_RAD = np.radians(28)
"""This subject looks at the floor; people who walk towards a camera look ahead."""
BETAS = np.array([0.5, -0.6, 0.4, 0.3, -0.2, 0.0, 0.2, 0.0, 0.0, 0.0], np.float32)
SUPERSAMPLING = 3

WIDTH, HEIGHT, HORIZONTAL_FOV_DEG = 640, 480, 60
CAMERA_POSITION, CAMERA_TARGET = np.array([1.2, 1.5, 5.2]), np.array([0.1, 0.85, 1.5])
"""World, metres: y up, floor at y = 0."""
WALL_Z, SIDE_WALL_X = -2.2, -2.6
LIGHT = np.array([0.45, 1.0, 0.6]) / np.linalg.norm([0.45, 1.0, 0.6])
"""World direction towards the light."""

REGION_RGB = {
    "skin": (205, 160, 135),
    "hair": (62, 44, 34),
    "shirt": (178, 60, 52),
    "trousers": (52, 66, 105),
    "shoes": (45, 42, 42),
}


@dataclass(frozen=True)
class View:
    """Where the camera stands. T_camera_world: x_camera = rotmat @ (x_world - position)."""

    camera: Camera
    rotmat: np.ndarray
    position: np.ndarray

    def from_world(self, points: np.ndarray) -> np.ndarray:
        return (points - self.position) @ self.rotmat.T

    def to_world(self, directions: np.ndarray) -> np.ndarray:
        return directions @ self.rotmat


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(__file__).resolve().parents[1]
    parser.add_argument(
        "--mocap", type=Path, default=root.parent / "shared/data/mocap", help="folder of the motion capture"
    )
    parser.add_argument("--out", type=Path, default=root / "hmr_ros/assets/demo")
    options = parser.parse_args()
    body, view = load_body("open"), look_at(CAMERA_POSITION, CAMERA_TARGET)
    truth = make_truth(body, view, *load_walk(options.mocap))
    options.out.mkdir(parents=True, exist_ok=True)
    render(body, view, truth, options.out / "walk.mp4")
    np.savez_compressed(options.out / "walk.npz", **truth)


def load_walk(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The take resampled to FPS. Returns rotmat (T, 24, 3, 3) and pelvis (T, 3), metres, world."""
    number = next(row["id"] for row in json.loads((folder / "sequences.json").read_text()) if row["name"] == SEQUENCE)
    with np.load(folder / "poses_cmu_trainval_60fps_continuous.npz") as data:
        mine = data["seq"] == number
        time, poses, pelvis = data["frame"][mine], data["poses"][mine].astype(np.float64), data["trans"][mine]
    wanted = FIRST_SOURCE_FRAME + np.arange(NUM_FRAMES) * SOURCE_FPS / FPS
    rot6d = interpolate(wanted, time, rotmat_to_rot6d(rotvec_to_rotmat(poses)).reshape(len(time), -1))
    rotmat = rot6d_to_rotmat(rot6d.reshape(NUM_FRAMES, 24, 6))
    for name in ("neck", "head"):
        rotmat[:, JOINT_NAMES.index(name)] @= rotvec_to_rotmat(np.array([-HEAD_LIFT_RAD / 2, 0, 0]))
    return rotmat, interpolate(wanted, time, pelvis)


def interpolate(wanted: np.ndarray, time: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Interpolate every column linearly; this also bridges the few dropped frames of a take."""
    return np.stack([np.interp(wanted, time, column) for column in values.T], axis=-1)


def make_truth(body: BodyModel, view: View, rotmat: np.ndarray, pelvis: np.ndarray) -> dict[str, np.ndarray]:
    """SMPL parameters and joints in the camera's optical frame, and everything needed to read them."""
    betas = np.repeat(BETAS[None], NUM_FRAMES, axis=0)
    # Feet on the floor: the captured subject's legs are not as long as our body's.
    rest = body.joints(np.repeat(np.eye(3, dtype=np.float32)[None, None], 24, axis=1), BETAS[None], None)[0][0, 0]
    standing = body.vertices(rotmat.astype(np.float32), betas, (pelvis - rest).astype(np.float32))
    pelvis = pelvis - [0, np.percentile(standing[..., 1].min(axis=1), 20), 0]

    rotmat = rotmat.copy()
    rotmat[:, 0] = view.rotmat @ rotmat[:, 0]
    transl = view.from_world(pelvis) - rest
    rotmat, transl = rotmat.astype(np.float32), transl.astype(np.float32)
    return {
        "poses": rotmat_to_rotvec(rotmat).reshape(NUM_FRAMES, 72),
        "betas": BETAS,
        "transl": transl,
        "joints": body.joints(rotmat, betas, transl)[0],
        "K": view.camera.K,
        "fps": np.float64(FPS),
        "stamp_ns": np.round(np.arange(NUM_FRAMES) * 1e9 / FPS).astype(np.int64),
        "shape_space": np.array(body.shape_space),
        "source": np.array(f"CMU motion capture {SEQUENCE} (mocap.cs.cmu.edu) on the open body, head raised"),
    }


def look_at(position: np.ndarray, target: np.ndarray) -> View:
    """A camera without roll: x right, y down, z forward."""
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, [0, 1, 0])
    right /= np.linalg.norm(right)
    focal = WIDTH / 2 / np.tan(np.radians(HORIZONTAL_FOV_DEG) / 2)
    K = np.array([[focal, 0, (WIDTH - 1) / 2], [0, focal, (HEIGHT - 1) / 2], [0, 0, 1]])
    return View(Camera(K, WIDTH, HEIGHT), np.stack([right, np.cross(forward, right), forward]), position)


def render(body: BodyModel, view: View, truth: dict[str, np.ndarray], path: Path) -> None:
    large = supersampled(view.camera)
    room, floor = paint_room(view, large)
    colours = vertex_colours(body)[body.faces].mean(axis=1)
    rotmat = rotvec_to_rotmat(truth["poses"].reshape(NUM_FRAMES, 24, 3))
    with VideoWriter(path, FPS) as video:
        for index in range(NUM_FRAMES):
            vertices = body.vertices(rotmat[index, None], BETAS[None], truth["transl"][index, None])[0]
            shaded = room * (1 - 0.55 * floor * shadow(view, large, vertices, body.faces))[..., None]
            layer = paint_body(view, large, vertices, body.faces, colours)
            opacity = layer[..., 3:].astype(np.float32) / 255
            picture = shrink(shaded * (1 - opacity) + layer[..., :3] * opacity)
            video.write(np.clip(np.round(picture), 0, 255).astype(np.uint8))


def supersampled(camera: Camera) -> Camera:
    """The same view in SUPERSAMPLING times the pixels; the first pixel's centre stays (0, 0)."""
    s = SUPERSAMPLING
    K = np.array([[s, 0, (s - 1) / 2], [0, s, (s - 1) / 2], [0, 0, 1]]) @ camera.K
    return Camera(K, camera.width * s, camera.height * s)


def shrink(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def paint_body(view: View, camera: Camera, vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Smoothly shaded mesh, (H, W, 4) uint8. vertices: (V, 3) optical frame; colours: (F, 3)."""
    triangles = vertices[faces]
    flat = face_normals(triangles)
    smooth = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(smooth, faces[:, corner], flat)
    smooth = smooth[faces].mean(axis=1)
    smooth = view.to_world(smooth / np.maximum(np.linalg.norm(smooth, axis=-1, keepdims=True), 1e-9))
    key, sky = np.clip(smooth @ LIGHT, 0, 1), 0.5 + 0.5 * smooth[:, 1]
    return paint_triangles(
        (camera.height, camera.width), triangles, flat, colours * (0.36 + 0.5 * key + 0.24 * sky)[:, None], camera
    )


def shadow(view: View, camera: Camera, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """How dark the body's shadow on the floor is, (H, W) in [0, 1]."""
    world = vertices @ view.rotmat + view.position
    on_floor = view.from_world(world - LIGHT * (world[:, 1:2] / LIGHT[1]))
    triangles = on_floor[faces].astype(np.float32)
    facing = -triangles.mean(axis=1)  # every triangle counts, whichever way it faces
    mask = paint_triangles((camera.height, camera.width), triangles, facing, np.zeros_like(facing), camera)[..., 3]
    return cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 4 * SUPERSAMPLING)


def paint_room(view: View, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Floor boards, two walls, a skirting board, a picture. Returns (H, W, 3) float32 RGB and the floor's mask (H, W) float32."""
    v, u = np.mgrid[: camera.height, : camera.width]
    x, y = np.moveaxis(camera.normalise(np.stack([u, v], axis=-1)), -1, 0)
    rays = view.to_world(np.stack([x, y, np.ones_like(x)], axis=-1))
    with np.errstate(divide="ignore"):
        distances = np.stack([-view.position[1] / rays[..., 1], (WALL_Z - view.position[2]) / rays[..., 2],
                              (SIDE_WALL_X - view.position[0]) / rays[..., 0]])  # fmt: skip
    distances[distances <= 0] = np.inf
    surface = distances.argmin(axis=0)
    points = view.position + rays * np.take_along_axis(distances, surface[None], 0)[0][..., None]
    room = np.where((surface == 0)[..., None], floor_boards(points), wall(points, surface))
    return room.astype(np.float32), (surface == 0).astype(np.float32)


def floor_boards(points: np.ndarray) -> np.ndarray:
    """Wooden boards along z, each of its own shade. points: (..., 3) metres, world. Returns (..., 3) RGB."""
    rng = np.random.default_rng(0)
    row = np.floor(points[..., 0] / 0.16).astype(int)
    along = points[..., 2] / 1.3 + rng.uniform(size=64)[row % 64]
    shade = rng.uniform(0.85, 1.08, (64, 16))[row % 64, np.floor(along).astype(int) % 16]
    gap = (points[..., 0] / 0.16 % 1 < 0.04) | (along % 1 < 0.006)
    grain = 1 + 0.03 * np.sin(points[..., 0] * 260 + 3 * np.sin(points[..., 2] * 9))
    return np.array([168, 132, 96]) * (shade * grain * np.where(gap, 0.6, 1))[..., None]


def wall(points: np.ndarray, surface: np.ndarray) -> np.ndarray:
    """Plaster, brighter towards the light, with a skirting board and one picture on the far wall. Returns (..., 3) RGB."""
    x, y = points[..., 0], points[..., 1]
    rgb = np.array([196, 200, 196]) * (np.where(surface == 2, 0.86, 0.96) + 0.05 * np.clip(y - 1, -1, 1.5))[..., None]
    rgb = np.where((y < 0.1)[..., None], np.array([228, 226, 220]), rgb)
    across, up = (x + 1.7) / 1.3, (y - 1.15) / 0.9
    framed = (surface == 1) & (np.abs(across - 0.5) < 0.54) & (np.abs(up - 0.5) < 0.56)
    inside = (np.abs(across - 0.5) < 0.5) & (np.abs(up - 0.5) < 0.5)
    hill = 0.35 + 0.12 * np.sin(across * 6) + 0.05 * np.sin(across * 17)
    painting = np.where((up < hill)[..., None], np.array([86, 120, 84]), np.array([150, 180, 205]))
    return np.where(framed[..., None], np.where(inside[..., None], painting, np.array([70, 58, 48])), rgb)


def vertex_colours(body: BodyModel) -> np.ndarray:
    """(V, 3) RGB: clothes, skin and hair by region."""
    return np.array([REGION_RGB[name] for name in body.region_names], np.float32)[body.region]


if __name__ == "__main__":
    main()
