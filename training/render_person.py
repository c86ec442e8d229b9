"""Quick pictures of our body for a keypoint detector: random clothes, light and background, in about 20 ms on one core.

Not pretty: just enough for a detector trained on photographs to behave as it does on them. All randomness comes from the numpy
generator handed in.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from hmr_ros import skeleton
from hmr_ros.body_model import BodyModel
from hmr_ros.camera import Camera
from hmr_ros.draw import face_normals, paint_triangles

SIDE_PX = 384
"""Side of the square pictures."""
CUT_FRACTION = 0.15
"""Fraction of the people who are cut by the picture's border."""
SKIN_RGB = np.array([(240, 196, 170), (205, 160, 135), (150, 102, 74), (78, 52, 40)], np.float32)
"""From light to dark; tones between neighbours are mixed."""
HAIR_RGB = np.array([(28, 22, 20), (62, 44, 34), (120, 84, 50), (200, 170, 120), (150, 150, 150)], np.float32)
EYE_RGB, MOUTH_RGB = np.array((34, 28, 26), np.float32), np.array((150, 70, 70), np.float32)
EYE_RADIUS_M, MOUTH_BELOW_NOSE_M, MOUTH_HALF_SIZE_M = 0.011, 0.036, np.array([0.024, 0.007, 0.03])


def read_picture(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"{path} is not a picture that OpenCV can read: remove it, or copy it again")
    return picture[..., ::-1]


class Backgrounds:
    """Photographs in one folder; each is read when it is needed."""

    def __init__(self, folder: Path):
        self.paths = sorted(p for p in folder.glob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
        if not self.paths:
            raise FileNotFoundError(
                f"no .jpg or .png pictures in {folder.resolve()}: give --backgrounds a folder of them"
            )

    def draw(self, side: int, rng: np.random.Generator) -> np.ndarray:
        """A random square of a random picture, (side, side, 3) uint8 RGB."""
        path = self.paths[rng.integers(len(self.paths))]
        picture = read_picture(path)
        size = int(min(picture.shape[:2]) * rng.uniform(0.5, 1))
        row, column = (rng.integers(length - size + 1) for length in picture.shape[:2])
        square = cv2.resize(picture[row : row + size, column : column + size], (side, side))
        return np.ascontiguousarray(square[:, :: rng.choice((1, -1))])


def crop_camera(xy: np.ndarray, rng: np.random.Generator, side: int = SIDE_PX) -> Camera:
    """A square picture around one person, as a camera at the same place looking the same way (only K differs).

    xy: (23, 2) the true keypoints, normalised image coordinates.
    """
    low, high = xy.min(axis=0), xy.max(axis=0)
    extent, middle = high - low, (low + high) / 2
    fill = rng.uniform(0.4, 0.8)
    width = extent.max() / fill  # of the picture, in normalised coordinates
    center = middle + rng.uniform(-1, 1, 2) * np.maximum(width - 1.15 * extent, 0) / 2
    if rng.uniform() < CUT_FRACTION:
        axis, sign = ((1, 1), (0, 1), (0, -1), (1, -1))[rng.choice(4, p=(0.6, 0.15, 0.15, 0.1))]
        beyond = rng.uniform(0.08, 0.5 if axis else 0.35) * extent[axis]  # how much of the person is outside
        center[axis] = middle[axis] + sign * (extent[axis] / 2 - beyond - width / 2)
    focal = side / width
    K = np.array([[focal, 0, (side - 1) / 2], [0, focal, (side - 1) / 2], [0, 0, 1]])
    K[:2, 2] -= focal * center
    return Camera(K, side, side)


class PersonRenderer:
    """Paints one body at a time."""

    def __init__(self, body: BodyModel, backgrounds: Backgrounds):
        if body.region is None:
            raise ValueError("this body has no clothes regions to colour: render with body 'open'")
        self.body, self.backgrounds = body, backgrounds
        part = np.array(skeleton.JOINT_NAMES)[body.weights.argmax(axis=1)]
        region = np.array(body.region_names)[body.region]
        self._masks = {name: region == name for name in body.region_names}
        self._masks["sleeves"] = self._masks["skin"] & np.isin(part, both_sides("shoulder", "elbow"))
        self._masks["shins"] = self._masks["trousers"] & np.isin(part, both_sides("knee", "ankle"))
        at = {name: body.v_template[index] for name, index in skeleton.KEYPOINT_VERTICES.items()}
        self._masks["eyes"] = np.minimum(
            *(np.linalg.norm(body.v_template - at[f"{side}_eye"], axis=1) for side in ("left", "right"))
        ) < EYE_RADIUS_M  # fmt: skip
        mouth = at["nose"] - [0, MOUTH_BELOW_NOSE_M, 0.01]
        self._masks["mouth"] = (((body.v_template - mouth) / MOUTH_HALF_SIZE_M) ** 2).sum(axis=1) < 1

    def __call__(self, rotmat, betas, transl, camera: Camera, rng: np.random.Generator) -> np.ndarray:
        """One person, (24, 3, 3), (10,), (3,), seen by `camera`. Returns (H, W, 3) uint8 RGB."""
        vertices = self.body.vertices(rotmat[None], betas[None], transl[None])[0]
        triangles = vertices[self.body.faces]
        normals = face_normals(triangles)
        rgb = self._colours(rng)[self.body.faces].mean(axis=1) * lighting(normals, rng)[:, None]
        layer = paint_triangles((camera.height, camera.width), triangles, normals, rgb, camera)
        # Soft edges: colours and coverage blurred alike.
        layer = cv2.GaussianBlur(layer, (0, 0), rng.uniform(0.5, 0.9)).astype(np.float32)
        background = self.backgrounds.draw(camera.width, rng).astype(np.float32)
        background *= rng.uniform(0.6, 1.2)
        if rng.uniform() < 0.5:
            background = cv2.GaussianBlur(background, (0, 0), rng.uniform(0.5, 4))
        return develop(background * (1 - layer[..., 3:] / 255) + layer[..., :3], rng)

    def _colours(self, rng: np.random.Generator) -> np.ndarray:
        """(V, 3) float32 RGB: random skin, hair and clothes."""
        tone = rng.uniform(0, len(SKIN_RGB) - 1)
        skin = SKIN_RGB[int(tone)] + tone % 1 * (SKIN_RGB[int(tone) + 1] - SKIN_RGB[int(tone)])
        shirt, trousers, shoes = (random_cloth(rng) for _ in range(3))
        rgb = np.empty_like(self.body.v_template)
        rgb[:] = skin
        worn = {"hair": HAIR_RGB[rng.integers(len(HAIR_RGB))], "shirt": shirt, "trousers": trousers, "shoes": shoes}
        worn |= {"sleeves": shirt} if rng.uniform() < 0.4 else {}
        worn |= {"shins": skin} if rng.uniform() < 0.3 else {}
        for name, colour in worn.items():
            rgb[self._masks[name]] = colour
        for name in ("shirt", "trousers"):
            if rng.uniform() < 0.3:  # stripes
                wave = rng.normal(0, 40, 3) @ self.body.v_template[self._masks[name]].T
                rgb[self._masks[name]] *= (1 - rng.uniform(0, 0.5) * (np.sin(wave) > 0))[:, None]
        rgb[self._masks["eyes"]] = EYE_RGB
        rgb[self._masks["mouth"]] = 0.5 * MOUTH_RGB + 0.5 * skin * (0.8, 0.6, 0.6)
        return rgb


def both_sides(*parts: str) -> list[str]:
    """Names of both sides' joints."""
    return [f"{side}_{part}" for part in parts for side in ("left", "right")]


def random_cloth(rng: np.random.Generator) -> np.ndarray:
    """(3,) float32 RGB: any hue, mostly not too bright a colour."""
    hue, saturation, value = rng.uniform(0, 6), 0.8 * rng.uniform() ** 1.5, rng.uniform(0.1, 0.95)
    ramp = np.abs((hue + np.array([0, 4, 2])) % 6 - 3) - 1
    return (255 * value * (1 - saturation * (1 - np.clip(ramp, 0, 1)))).astype(np.float32)


def lighting(normals: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brightness of each face: one lamp from above and the camera's side, the sky, the floor. normals: (F, 3). Returns (F,)."""
    lamp = rng.normal(0, 1, 3) + (0, -1, -0.7)  # y points down, z away from the camera
    key = np.clip(normals @ (lamp / np.linalg.norm(lamp)).astype(np.float32), 0, 1)
    ambient, contrast = rng.uniform(0.4, 0.8), rng.uniform(0.3, 0.7)
    return ambient * (1 - 0.3 * normals[:, 1]) + contrast * key


def develop(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a cheap camera adds: exposure, white balance, blur, noise, compression. (H, W, 3) float32 to uint8."""
    image = image * (rng.uniform(0.65, 1.2) * rng.uniform(0.93, 1.07, 3)).astype(np.float32)
    if rng.uniform() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.6))
    grain = rng.standard_normal(image.shape[:2], np.float32)[..., None] * np.float32(8 * rng.uniform() ** 2)
    image = np.clip(image + grain, 0, 255).astype(np.uint8)
    if rng.uniform() < 0.5:
        quality = int(rng.integers(35, 95))
        image = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    return image
