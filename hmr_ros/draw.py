"""Draw people over the image they were found in: mesh, skeleton, label. Uses only OpenCV's 2D drawing, no OpenGL.

Images are (H, W, 3) uint8, RGB; every function returns a new image, except `paint_skeleton` and `paint_text`, which draw into theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hmr_ros.camera import Camera
from hmr_ros.skeleton import KEYPOINT_EDGES, KEYPOINT_NAMES
from hmr_ros.types import FrameResult

if TYPE_CHECKING:
    from hmr_ros.body_model import BodyModel

PALETTE = np.array(
    [
        (102, 178, 255), (255, 170, 90), (130, 210, 130), (225, 140, 200), (240, 215, 95),
        (150, 150, 240), (120, 215, 210), (240, 130, 120), (190, 190, 190), (200, 165, 125),
    ],
    np.uint8,
)  # fmt: skip
"""Mesh colours, RGB; a track's id selects its colour."""
LEFT_COLOUR, RIGHT_COLOUR, CENTRE_COLOUR = (40, 90, 255), (255, 60, 40), (240, 240, 240)
MARKER_LIFETIME_S = 2
"""How long RViz shows people without an update: a node that is killed cannot delete its markers."""
MESH_OPACITY = 0.65
NEAR_M = 0.1
"""Faces nearer than this to the camera's plane are not drawn, metres."""

_SUBPIXEL_BITS = 4
_LIGHT = np.array([-0.4, -0.7, -0.6]) / np.linalg.norm(
    [-0.4, -0.7, -0.6]
)  # towards the light: left, up, behind the camera


def draw_overlay(image: np.ndarray, result: FrameResult, body: BodyModel, camera: Camera) -> np.ndarray:
    """Mesh, skeleton and id of everyone in `result`. Skeletons show where the *fitted* body's keypoints project to."""
    people = sorted(result.people, key=lambda p: -p.transl[2])
    if not people:
        return image.copy()
    pose = [np.stack([getattr(p, name) for p in people]) for name in ("rotmat", "betas", "transl")]
    image = draw_mesh(image, body.vertices(*pose), body.faces, camera, np.stack([track_colour(p.id) for p in people]))
    for person, uv in zip(people, camera.project(body.keypoints(*pose))):
        paint_skeleton(image, uv)
        above_head = uv[np.argmin(uv[:, 1])] - [0, image.shape[0] / 16]
        paint_text(image, f"{person.id}", above_head, track_colour(person.id))
    return image


def track_colour(track_id: int) -> np.ndarray:
    """(3,) uint8, RGB."""
    return PALETTE[track_id % len(PALETTE)]


def draw_mesh(
    image: np.ndarray,
    vertices: np.ndarray,
    faces: np.ndarray,
    camera: Camera,
    colours: np.ndarray,
    opacity: float = MESH_OPACITY,
) -> np.ndarray:
    """Shaded meshes over the image; where faces overlap, the nearer one is visible.

    vertices: (N, V, 3) metres, optical frame; faces: (F, 3), counter-clockwise from outside; colours: (N, 3) RGB.
    """
    triangles = vertices[:, faces].astype(np.float32)
    normals = face_normals(triangles)
    brightness = 0.35 + 0.65 * np.clip(normals @ _LIGHT.astype(np.float32), 0, 1)
    rgb = brightness[..., None] * colours[:, None].astype(np.float32)
    layer = paint_triangles(
        image.shape[:2], triangles.reshape(-1, 3, 3), normals.reshape(-1, 3), rgb.reshape(-1, 3), camera
    )
    return blend(image, layer[..., :3], layer[..., 3] * opacity / 255)


def face_normals(triangles: np.ndarray) -> np.ndarray:
    """Unit normals, outwards. triangles: (..., 3, 3), corners by coordinates. Returns (..., 3)."""
    normals = np.cross(triangles[..., 1, :] - triangles[..., 0, :], triangles[..., 2, :] - triangles[..., 0, :])
    return normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)


def paint_triangles(
    size: tuple[int, int], triangles: np.ndarray, normals: np.ndarray, rgb: np.ndarray, camera: Camera
) -> np.ndarray:
    """Painter's algorithm: triangles that face the camera, far to near.

    size: (height, width) pixels; triangles: (F, 3, 3) metres, optical frame; normals, rgb: (F, 3), rgb in 0 to 255.
    Returns (H, W, 4) uint8: RGB and coverage (0 or 255).
    """
    import cv2

    layer = np.zeros((*size, 4), np.uint8)
    centre = (triangles[:, 0] + triangles[:, 1] + triangles[:, 2]) / 3
    shown = np.flatnonzero(np.einsum("fi,fi->f", normals, centre) < 0)
    shown = shown[triangles[shown, :, 2].min(axis=1) > NEAR_M]
    uv = camera.project(triangles[shown])
    inside = ((uv.max(axis=1) >= 0) & (uv.min(axis=1) <= [size[1], size[0]])).all(axis=-1)
    # A triangle much larger than the image can only be a failed projection, at the rim of a distorted lens.
    inside &= np.ptp(uv, axis=1).max(axis=-1) < 2 * max(size)
    shown, uv = shown[inside], uv[inside]
    order = np.argsort(-np.linalg.norm(centre[shown], axis=-1))
    corners = np.round(uv[order] * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    colours = np.concatenate([np.clip(rgb[shown[order]], 0, 255), np.full((len(order), 1), 255.0)], axis=1).tolist()
    fill = cv2.fillConvexPoly
    for polygon, colour in zip(corners, colours):
        fill(layer, polygon, colour, cv2.LINE_8, _SUBPIXEL_BITS)
    return layer


def blend(image: np.ndarray, over: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """`over` on `image`. opacity: (H, W) in [0, 1]. Only the window in which it is not zero is computed."""
    out = image.copy()
    rows, columns = np.flatnonzero(opacity.any(axis=1)), np.flatnonzero(opacity.any(axis=0))
    if not len(rows):
        return out
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    weight = opacity[window][..., None].astype(np.float32)
    out[window] = np.round(image[window] * (1 - weight) + over[window] * weight).astype(np.uint8)
    return out


def draw_skeleton(image: np.ndarray, uv: np.ndarray, confidence: np.ndarray | None = None) -> np.ndarray:
    """As `paint_skeleton`, on a copy of the image."""
    out = image.copy()
    paint_skeleton(out, uv, confidence)
    return out


def paint_skeleton(image: np.ndarray, uv: np.ndarray, confidence: np.ndarray | None = None) -> None:
    """Bones between canonical keypoints: left blue, right red, the rest white.

    uv: (23, 2) pixels; confidence: (23,), keypoints at 0 are left out; None: draw all.
    """
    import cv2

    shift = 1 << _SUBPIXEL_BITS
    thickness = max(1, round(image.shape[0] / 240))
    limit = 4 * max(image.shape)
    points = [tuple(p) for p in np.round(np.clip(uv, -limit, limit) * shift).astype(int).tolist()]
    seen = np.ones(len(uv), bool) if confidence is None else np.asarray(confidence) > 0
    for a, b in KEYPOINT_EDGES:
        if seen[a] and seen[b]:
            cv2.line(image, points[a], points[b], edge_colour(a, b), thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
    for index in np.flatnonzero(seen):
        cv2.circle(
            image, points[index], (thickness + 1) * shift, edge_colour(index, index), -1, cv2.LINE_AA, _SUBPIXEL_BITS
        )


def edge_colour(a: int, b: int) -> tuple[int, int, int]:
    """RGB of the bone between two canonical keypoints: by the side that both are on."""
    sides = {KEYPOINT_NAMES[index].split("_")[0] for index in (a, b)}
    return {"left": LEFT_COLOUR, "right": RIGHT_COLOUR}.get(sides.pop() if len(sides) == 1 else "", CENTRE_COLOUR)


def paint_text(image: np.ndarray, text: str, uv: np.ndarray, colour: np.ndarray) -> None:
    """Outlined text, centred on `uv` (pixels) and kept inside the image."""
    import cv2

    font = cv2.FONT_HERSHEY_SIMPLEX
    scale = max(0.4, image.shape[0] / 800)
    (width, height), _ = cv2.getTextSize(text, font, scale, 2)
    u = int(np.clip(uv[0] - width / 2, 2, max(2, image.shape[1] - width - 2)))
    v = int(np.clip(uv[1], height + 2, max(height + 2, image.shape[0] - 4)))
    cv2.putText(image, text, (u, v), font, scale, (20, 20, 20), 4, cv2.LINE_AA)
    cv2.putText(image, text, (u, v), font, scale, tuple(int(c) for c in colour), 2, cv2.LINE_AA)
