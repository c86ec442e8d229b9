"""The square box around a person, from keypoints."""

from __future__ import annotations

import numpy as np

BOX_MARGIN = 1.2
"""Box side over the longer side of the keypoints' own extent. Keypoints stop at wrists, ankles and eyes; a fifth more
holds hands, feet and the crown of the head. Training and runtime must agree on it, so it is no setting."""


def keypoint_box(uv: np.ndarray, confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Square box around the keypoints whose confidence is above 0.

    uv: (..., J, 2), pixels or normalised image coordinates; confidence: (..., J).
    Returns centre (..., 2) and side (...,), in the unit and type of uv. Rows without any such keypoint give zeros.
    """
    seen = (confidence > 0)[..., None]
    low = np.where(seen, uv, np.inf).min(axis=-2)
    high = np.where(seen, uv, -np.inf).max(axis=-2)
    nobody = ~seen.any(axis=-2)
    low, high = np.where(nobody, 0, low), np.where(nobody, 0, high)
    center = (low + high) / 2
    size = BOX_MARGIN * (high - low).max(axis=-1)
    return center.astype(uv.dtype), size.astype(uv.dtype)
