"""A page in the browser: the camera's image, people in 3D, curves. The caller provides what is shown; no ROS here.

viser (Apache-2.0) serves the page from its wheel: it works without internet. It is imported only here, and only when used.
"""

from __future__ import annotations

import logging
from collections import deque

import numpy as np

from hmr_ros.camera import Camera
from hmr_ros.config import ConfigError
from hmr_ros.draw import track_colour
from hmr_ros.frames import ROTMAT_LINK_OPTICAL
from hmr_ros.rotation import rotmat_to_quat

WINDOW = 300
"""Frames in the curves."""
FRUSTUM_M = 0.5
"""Size of the camera's frustum, metres."""
PICTURE_WIDTH_PX = 640
"""Images are sent no wider than this: the page shows them smaller, and every browser gets every image."""


class History:
    """The last frames' values, for the curves."""

    NAMES = ("latency_ms", "steps", "loss_before", "loss_after")

    def __init__(self, window: int = WINDOW):
        self._rows: deque[tuple[float, ...]] = deque(maxlen=window)

    def add(self, time_s: float, *, latency_ms: float, steps: float, loss_before: float, loss_after: float) -> None:
        """NaN where a frame has no such value. A time before the last one (a bag that loops) starts over; the same time replaces it."""
        if self._rows and time_s < self._rows[-1][0]:
            self._rows.clear()
        if self._rows and time_s == self._rows[-1][0]:
            self._rows.pop()
        self._rows.append((time_s, latency_ms, steps, loss_before, loss_after))

    def columns(self) -> dict[str, np.ndarray]:
        """`age_s`, counted back from the last frame, and NAMES; each (T,) float64."""
        table = np.array(self._rows, float).reshape(-1, 1 + len(self.NAMES))
        age_s = table[:, 0] - table[-1, 0] if len(table) else table[:, 0]
        return {"age_s": age_s, **dict(zip(self.NAMES, table[:, 1:].T))}


class WebView:
    """One page, the same for every browser. Methods may be called from any one thread."""

    def __init__(self, host: str, port: int, faces: np.ndarray):
        """faces: (F, 3), the same for all bodies. If the port is taken, the next free one is used; see `url`."""
        viser = _import_viser()
        self._faces = faces
        self._server = viser.ViserServer(host=host, port=port, label="hmr", verbose=False)
        self.url = f"http://{'localhost' if host in ('0.0.0.0', '127.0.0.1') else host}:{self._server.get_port()}"
        self._bodies: dict[int, tuple] = {}
        self._frustum = None
        self._floor_m = None
        self._floor = None
        self._lay_out()

    @property
    def watched(self) -> bool:
        """Whether anyone has the page open."""
        return bool(self._server.get_clients())

    def close(self) -> None:
        self._server.stop()

    def show_people(self, ids, vertices: np.ndarray, optical: bool) -> None:
        """ids: of N people; vertices: (N, V, 3) metres. optical: they are in a camera's optical frame, not a robot's."""
        if optical:
            vertices = vertices @ ROTMAT_LINK_OPTICAL.T.astype(vertices.dtype)
        for left in self._bodies.keys() - set(ids):
            for handle in self._bodies.pop(left):
                handle.remove()
        for person_id, points in zip(ids, vertices):
            if person_id not in self._bodies:
                self._bodies[person_id] = self._add_body(person_id, points)
            mesh, label = self._bodies[person_id]
            mesh.vertices = points
            label.position = points[np.argmax(points[:, 2])] + [0, 0, 0.15]
        if len(vertices):
            self._lower_floor(float(vertices[..., 2].min()))

    def show_camera(self, camera: Camera | None, picture: np.ndarray | None) -> None:
        """Show the camera's frustum with its picture, (H, W, 3) RGB. camera None: hide it, because the camera's place is not known."""
        if camera is None:
            self._set_visible(self._frustum, False)
            return
        fov_rad = 2 * np.arctan2(camera.height / 2, camera.focal[1])
        if self._frustum is None:
            x, y, z, w = rotmat_to_quat(ROTMAT_LINK_OPTICAL)
            self._frustum = self._server.scene.add_camera_frustum(
                "/camera", fov_rad, camera.width / camera.height, scale=FRUSTUM_M, color=(70, 70, 70), wxyz=(w, x, y, z),
                format="jpeg", jpeg_quality=70,
            )  # fmt: skip
        self._frustum.fov, self._frustum.aspect = float(fov_rad), camera.width / camera.height
        self._set_visible(self._frustum, True)
        if picture is not None:
            self._frustum.image = _small(picture)

    def show_picture(self, picture: np.ndarray) -> None:
        """(H, W, 3) uint8, RGB."""
        self._picture.image = _small(picture)

    def show_curves(self, history: History) -> None:
        columns = history.columns()
        if len(columns["age_s"]) < 2:
            return
        for plot, names in zip(self._plots, _CURVES.values()):
            plot.data = (columns["age_s"], *(columns[name] for name in names))

    def show_text(self, markdown: str) -> None:
        self._text.content = markdown

    def _lay_out(self) -> None:
        gui, scene = self._server.gui, self._server.scene
        gui.configure_theme(control_layout="fixed", control_width="large", show_logo=False, show_share_button=False)
        scene.set_up_direction("+z")
        scene.add_frame("/origin", axes_length=0.3, axes_radius=0.01)
        self._server.initial_camera.position = (-1.2, -2.0, 0.8)
        self._server.initial_camera.look_at = (2.5, 0.0, -0.2)
        self._text = gui.add_markdown("Waiting for the node.")
        self._picture = gui.add_image(np.full((9, 16, 3), 60, np.uint8), format="jpeg", jpeg_quality=80)
        empty = np.array([-1.0, 0.0])
        self._plots = [
            gui.add_uplot(
                (empty, *(np.full(2, np.nan) for _ in names)),
                ({"label": "s"}, *({"label": n, "stroke": c, "width": 2} for n, c in zip(names, _COLOURS))),
                title=title, aspect=4.0, scales={"x": {"time": False}}, legend={"show": len(names) > 1},
            )
            for title, names in _CURVES.items()
        ]  # fmt: skip

    def _add_body(self, person_id: int, points: np.ndarray) -> tuple:
        colour = tuple(track_colour(person_id).tolist())
        scene = self._server.scene
        mesh = scene.add_mesh_simple(f"/people/{person_id}", points, self._faces, color=colour)
        return mesh, scene.add_label(f"/ids/{person_id}", str(person_id))

    def _lower_floor(self, lowest_m: float) -> None:
        """Keep the grid under the lowest foot seen so far; it only helps to judge distances."""
        if self._floor_m is not None and lowest_m >= self._floor_m:
            return
        self._floor_m = lowest_m
        if self._floor is None:
            self._floor = self._server.scene.add_grid("/floor", 12, 12, position=(4.0, 0.0, lowest_m))
        self._floor.position = (4.0, 0.0, lowest_m)

    @staticmethod
    def _set_visible(handle, visible: bool) -> None:
        if handle is not None:
            handle.visible = visible


_CURVES = {
    "Latency, capture to result (ms)": ("latency_ms",),
    "Optimisation steps": ("steps",),
    "Loss before and after optimisation": ("loss_before", "loss_after"),
}
"""By title, the columns drawn in one plot."""
_COLOURS = ("#d9622b", "#2b7bd9")


def _small(picture: np.ndarray) -> np.ndarray:
    import cv2

    height, width = picture.shape[:2]
    if width <= PICTURE_WIDTH_PX:
        return picture
    size = (PICTURE_WIDTH_PX, round(height * PICTURE_WIDTH_PX / width))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _import_viser():
    try:
        import viser
    except ImportError as error:
        raise ConfigError(f"the viewer needs viser, which cannot be imported ({error}): pip install viser") from error
    # Browsers open spare connections and close them unused: not an error that deserves a traceback.
    logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
    return viser
