"""Errors of the real detector, from the pairs that training.detector_loop makes: the figures that a noise model needs.

2D errors are fractions of the person's size: the longer side of the true keypoints' extent. 3D is in metres unless it says mm.
"""

from __future__ import annotations

import numpy as np

from hmr_ros import skeleton
from hmr_ros.body_model import BodyModel
from hmr_ros.metrics import mpjpe, pa_mpjpe, similarity
from hmr_ros.regressor import axis_to_ray
from training.detector_bones import measure
from training.render_person import SIDE_PX

NAMES = skeleton.KEYPOINT_NAMES
DETECTED = tuple(i for i, name in enumerate(NAMES) if name in skeleton.BLAZEPOSE_TO_KEYPOINTS)
ARMS, LEGS = ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")
BONE_OF = {
    "nose": "head", "eye": "head", "ear": "head", "shoulder": "spine3", "elbow": "shoulder", "wrist": "elbow",
    "hip": "pelvis", "knee": "hip", "ankle": "knee", "big_toe": "ankle", "heel": "ankle",
}  # fmt: skip
"""The joint in whose frame the bias of each kind of keypoint is expressed: the bone that the keypoint lies on."""
CONFIDENT = 0.5
FEWEST = 20
"""People that must be found for statistics."""
RAYLEIGH_MEDIAN = np.sqrt(2 * np.log(2))
"""Median length of a vector of two normal coordinates, over the standard deviation of one."""
GONE = 0.15
"""An error above this fraction of the person's size is not inaccuracy but an outlier."""
CONFIDENCE_BINS = (0.0, 0.1, 0.5, 0.8, 0.95, 0.99, 1.0)


def rows_of(*kinds: str) -> list[int]:
    """Canonical keypoints of these kinds, on both sides."""
    return [i for i, name in enumerate(NAMES) if name.removeprefix("left_").removeprefix("right_") in kinds]


def person_size(xy: np.ndarray) -> np.ndarray:
    """(N, 23, 2) to (N,): longer side of the keypoints' extent, in their unit."""
    return np.ptp(xy, axis=1).max(axis=-1)


def errors_2d(uv: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """(N, 23) as fractions of the person's size. uv detected, xy true: (N, 23, 2)."""
    return np.linalg.norm(uv - xy, axis=-1) / person_size(xy)[:, None]


def exchanged(uv: np.ndarray, xy: np.ndarray, kinds: tuple[str, ...]) -> np.ndarray:
    """(N,) bool: whether these keypoints fit much better with left and right exchanged."""
    rows = rows_of(*kinds)
    straight = errors_2d(uv, xy)[:, rows].mean(axis=1)
    mirrored = errors_2d(uv[:, list(skeleton.MIRRORED_KEYPOINTS)], xy)[:, rows].mean(axis=1)
    return mirrored < 0.6 * straight


def inside_picture(xy: np.ndarray, K: np.ndarray) -> np.ndarray:
    """(N, 23) bool: whether true keypoints, normalised coordinates, lie in the square picture of K (N, 3, 3)."""
    focal, principal = K[:, 0, 0], K[:, :2, 2]
    uv = xy * focal[:, None, None] + principal[:, None]
    return ((uv >= -0.5) & (uv < SIDE_PX - 0.5)).all(axis=-1)


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's, of two (N,) arrays; NaN with fewer than three values."""
    if len(a) < 3:
        return float("nan")
    ranks = [np.argsort(np.argsort(x)).astype(float) for x in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def projection_jacobian(xyz: np.ndarray) -> np.ndarray:
    """Jacobian of (x/z, y/z) with respect to the point. (..., 3) to (..., 2, 3)."""
    x, y, z = np.moveaxis(xyz, -1, 0)
    zero, one = np.zeros_like(z), np.ones_like(z)
    return np.stack([np.stack([one, zero, -x / z], -1), np.stack([zero, one, -y / z], -1)], -2) / z[..., None, None]


def fit_offset(moves: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """The constant d for which moves @ d is closest to the residuals, by least distance (not its square, because of outliers).

    moves: (N, 2, D), residual: (N, 2). Returns (D,).
    """
    weight = np.ones(len(residual))
    for _ in range(30):  # iteratively reweighted least squares
        scaled = moves * weight[:, None, None]
        normal = np.einsum("nij,nik->jk", scaled, moves) + 1e-9 * np.eye(moves.shape[-1])
        offset = np.linalg.solve(normal, np.einsum("nij,ni->j", scaled, residual))
        weight = 1 / np.maximum(np.linalg.norm(moves @ offset - residual, axis=-1), 0.003)
    return offset


def bias(kind: str, data: dict, orientation: np.ndarray, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where on the body the detector puts a kind of keypoint, relative to our definition of it.

    orientation: (N, 24, 3, 3) of every joint in the optical frame; keep: (N, 23) which detections count.
    Returns the offset (3,) metres along the bone's rest axes, for the left side (outwards, up, forward), and the 2D errors
    before and after adding it, (M, 2) fractions of size.
    """
    moves, residual = [], []
    size = person_size(data["keypoints_2d"])
    for row in rows_of(kind):
        side = NAMES[row].split("_")[0] if "_" in NAMES[row] else "left"
        bone = BONE_OF[kind] if BONE_OF[kind] in skeleton.JOINT_NAMES else f"{side}_{BONE_OF[kind]}"
        # The nose is on the midline: its bias has no sideways part.
        flip = np.array([{"left": 1, "right": -1}[side] if kind != "nose" else 0, 1, 1])
        frame = orientation[keep[:, row], skeleton.JOINT_NAMES.index(bone)] * flip
        scale = size[keep[:, row], None]
        moves.append(projection_jacobian(data["keypoints_3d"][keep[:, row], row]) @ frame / scale[..., None])
        residual.append((data["uv"] - data["keypoints_2d"])[keep[:, row], row] / scale)
    moves, residual = np.concatenate(moves), np.concatenate(residual)
    offset = fit_offset(moves, residual)
    return offset, residual, residual - moves @ offset


def fit_hip_widening(data: dict, joints: np.ndarray, keep: np.ndarray) -> dict[float, float]:
    """Median 2D error of the hips, by how far each is moved outwards, as a fraction of the hip joints' distance.

    The canonical keypoints use 0: the joints themselves. joints: (N, 24, 3) optical frame.
    """
    size = person_size(data["keypoints_2d"])
    medians = {}
    for widening in np.round(np.arange(-0.3, 1.01, 0.05), 2):
        found = []
        for side, other in (("left", "right"), ("right", "left")):
            hip, opposite = (joints[:, skeleton.JOINT_NAMES.index(f"{s}_hip")] for s in (side, other))
            point = hip + widening * (hip - opposite)
            row = NAMES.index(f"{side}_hip")
            error = np.linalg.norm(data["uv"][:, row] - point[:, :2] / point[:, 2:], axis=-1) / size
            found.append(error[keep[:, row]])
        medians[float(widening)] = float(np.median(np.concatenate(found)))
    return medians


def angle_deg(rotmat: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos(np.clip((np.trace(rotmat, axis1=-2, axis2=-1) - 1) / 2, -1, 1)))


def view_rotation(ray: np.ndarray) -> np.ndarray:
    """The smallest rotation that turns the optical axis towards each ray. (N, 3) to (N, 3, 3)."""
    ray = ray / np.linalg.norm(ray, axis=-1, keepdims=True)
    x, y, z = ray.T
    cross = np.zeros((len(ray), 3, 3))
    cross[:, 0, 2], cross[:, 1, 2], cross[:, 2, 0], cross[:, 2, 1] = x, y, -x, -y
    return np.eye(3) + cross + cross @ cross / (1 + z)[:, None, None]


def world_section(world: np.ndarray, joints: np.ndarray) -> list[str]:
    """BlazePose's world landmarks (N, 23, 3) against the body's joints (N, 24, 3), optical frame.

    Joints, not keypoints, because the detector's hips are nearer to the joints.
    """
    limbs = [NAMES[row] for row in rows_of(*ARMS, *LEGS)]
    truth = joints[:, [skeleton.JOINT_NAMES.index(name) for name in limbs]]
    world = world[:, [NAMES.index(name) for name in limbs]]
    hips = [limbs.index(f"{side}_hip") for side in ("left", "right")]
    middle = truth[:, hips].mean(axis=1, keepdims=True)
    truth, world = truth - middle, world - world[:, hips].mean(axis=1, keepdims=True)
    lines = ["WORLD LANDMARKS (12 limb joints, mid hips at the origin)"]
    seen = truth @ view_rotation(middle[:, 0])  # each row: R^T x, the person as seen along the ray to the hips
    for label, target in (("camera's axes", truth), ("axes of the ray to the hips", seen)):
        rotmat, scale = similarity(world, target)
        angle, error = angle_deg(rotmat), mpjpe(world, target, root=None)
        slope = (world * target).sum(axis=(0, 1)) / (target**2).sum(axis=(0, 1))
        linear = [np.corrcoef(world[..., i].ravel(), target[..., i].ravel())[0, 1] for i in range(3)]
        lines.append(
            f"  {label}: MPJPE {error.mean():.0f} mm (median {np.median(error):.0f}), PA-MPJPE "
            f"{pa_mpjpe(world, target).mean():.0f} (median {np.median(pa_mpjpe(world, target)):.0f}), rotation error "
            f"{percentiles(angle, '.0f', (50, 90, 99))} deg, true/world scale {percentiles(scale, '.2f', (10, 50, 90))}"
        )
        lines.append(f"    world on true, slope x y z {slope.round(2)}, correlation {np.round(linear, 2)}")
        yaw = np.degrees(np.arctan2(rotmat[:, 0, 2], rotmat[:, 2, 2]))
        lines.append(
            f"    rotation about the vertical beyond 90 deg (front taken for back): {np.mean(np.abs(yaw) > 90):.3f}"
        )
    return lines


def bones_section(world: np.ndarray, xyz: np.ndarray) -> list[str]:
    """What `training.detector_bones.BONES` is rounded from. world, xyz: (N, 23, 3) detected and true, optical axes, metres."""
    seen, true = (x - x[:, rows_of("hip")].mean(axis=1, keepdims=True) for x in (world, xyz))
    center = xyz[:, rows_of("hip")].mean(axis=1)
    true = true @ axis_to_ray(
        center[:, :2] / center[:, 2:]
    )  # the detector's axes are those of its crop: z towards the person
    lines = [
        "BONES in the detector's 3D, as fractions of the true ones: length across the view, along it; standard deviations in mm"
    ]
    for kind, bone in measure(seen, true).items():
        sigmas = f"{1000 * bone.sigma_across_m:.0f} {1000 * bone.sigma_along_m:.0f}"
        lines.append(f"  {kind:9s} {bone.across:.2f} {bone.along:.2f}   {sigmas}")
    return lines


def percentiles(values: np.ndarray, form: str = ".3f", at: tuple[int, ...] = (50, 90, 99)) -> str:
    if not len(values):
        return "none"
    return " / ".join(f"{v:{form}}" for v in np.percentile(values, at)) + " (p" + " p".join(map(str, at)) + ")"


def noise_section(residual: np.ndarray, keep: np.ndarray) -> list[str]:
    """The values for `training.config.NoiseConfig`. residual: (N, 23, 2) debiased 2D errors; keep: (N, 23) which of them count."""
    error = np.linalg.norm(residual, axis=-1)
    core = keep & (error < GONE)
    typical = np.array([np.median(error[core[:, i], i]) if core[:, i].any() else 1.0 for i in range(len(NAMES))])
    sigma = {kind: np.mean(typical[rows_of(kind)]) / RAYLEIGH_MEDIAN for kind in BONE_OF}
    usable = core.sum(axis=1) >= 8
    core, error, residual = core[usable], error[usable], residual[usable]
    count = core.sum(axis=1)
    log_factor = np.where(core, np.log(np.maximum(error, 1e-4) / np.maximum(typical, 1e-4)), 0)
    person = log_factor.sum(axis=1) / count
    # The log of a Rayleigh variable scatters by itself; the rest is the person's own factor.
    chance = (np.where(core, log_factor - person[:, None], 0) ** 2).sum(axis=1) / (count - 1) / count
    common = (residual * core[..., None]).sum(axis=1) / count[:, None]
    expected = (
        (np.where(core[..., None], residual - common[:, None], 0) ** 2).sum(axis=1)
        / (count - 1)[:, None]
        / count[:, None]
    )
    return [
        "NOISE MODEL (bodies the right way round, bias removed)",
        "  sigma of each coordinate (median error / 1.177): " + ", ".join(f"{k} {v:.4f}" for k, v in sigma.items()),
        f"  spread (log of each person's factor, std) {np.sqrt(max(person.var() - chance.mean(), 0)):.2f}",
        f"  shift of the whole body, std of each coordinate {np.sqrt(np.maximum(common.var(axis=0) - expected.mean(axis=0), 0)).round(4)}",
        f"  outliers (error > {GONE} of size): "
        + ", ".join(f"{k} {outlier_share(residual, keep[usable], k):.3f}" for k in BONE_OF),
    ]


def outlier_share(residual: np.ndarray, keep: np.ndarray, kind: str) -> float:
    rows = rows_of(kind)
    return float(np.mean(np.linalg.norm(residual[:, rows][keep[:, rows]], axis=-1) > GONE))


def dropout_section(confidence: np.ndarray, inside: np.ndarray, xyz: np.ndarray) -> list[str]:
    """How often keypoints in the picture have low confidence, by depth behind the trunk; and how many of one person have."""
    depth = xyz[..., 2] - xyz[:, rows_of("shoulder", "hip"), 2].mean(axis=1, keepdims=True)
    lines = [
        "DROPOUT (confidence < 0.5, keypoint in the picture) by depth: over 10 cm before the trunk, beside it, over 10 cm behind"
    ]
    for kind in ("elbow", "wrist", "knee", "ankle", "heel", "big_toe"):
        rows = rows_of(kind)
        there, gone, where = (x[:, rows] for x in (inside, confidence < CONFIDENT, depth))
        parts = (where < -0.1, np.abs(where) <= 0.1, where > 0.1)
        shares = " ".join(f"{gone[there & part].mean() if (there & part).any() else np.nan:.3f}" for part in parts)
        both = gone.all(axis=1)[there.all(axis=1)].mean()
        lines.append(f"  {kind:8s} {shares}; all {gone[there].mean():.3f}, both sides at once {both:.3f}")
    whole = inside.all(axis=1)
    missing = (confidence[whole][:, DETECTED] < CONFIDENT).sum(axis=1)
    return [
        *lines,
        f"  of 21 keypoints of a person wholly in the picture {percentiles(missing, '.0f', (25, 50, 75, 90, 99))} are missing",
    ]


def bias_section(
    data: dict, joints: np.ndarray, orientation: np.ndarray, keep: np.ndarray
) -> tuple[list[str], np.ndarray]:
    """Report lines, and the 2D errors that remain without the bias, (N, 23, 2) fractions of size; zero where not `keep`."""
    residual = np.zeros((*keep.shape, 2))
    lines = [
        "BIAS of the detector's point, metres, along the bone's rest axes (outwards, up, forward); median 2D error before, after"
    ]
    for kind, bone in BONE_OF.items():
        offset, before, after = bias(kind, data, orientation, keep)
        medians = [np.median(np.linalg.norm(error, axis=-1)) for error in (before, after)]
        lines.append(f"  {kind:9s} {np.round(offset, 3)}  {medians[0]:.4f} -> {medians[1]:.4f}   in {bone}")
        for row in rows_of(kind):
            count = keep[:, row].sum()
            residual[keep[:, row], row], after = after[:count], after[count:]
    medians = fit_hip_widening(data, joints, keep)
    best = min(medians, key=medians.get)
    lines.append(
        f"HIPS farther out by {best + 0.0} of the joints' distance would be best (median error {medians[best]:.4f}); the joints "
        f"themselves: {medians[0.0]:.4f}"
    )
    return lines, residual


def report(data: dict[str, np.ndarray], body: BodyModel) -> str:
    """All figures as text. data: as `training.detector_loop.load` returns it."""
    found = data["found"]
    whole = inside_picture(data["keypoints_2d"], data["K"]).all(axis=1)
    lines = [f"{len(found)} people, found {found.mean():.3f}"]
    for label, some in (("wholly in the picture", whole), ("cut by its border", ~whole)):
        lines.append(f"  {some.sum()} {label}: found {found[some].mean() if some.any() else np.nan:.3f}")
    if found.sum() < FEWEST:
        return "\n".join([*lines, f"fewer than {FEWEST} people found: too few for statistics"])
    data = {name: values[found].astype(float) for name, values in data.items()}
    pose = [data[name].astype(np.float32) for name in ("rotmat", "betas", "transl")]
    joints, orientation = (array.astype(float) for array in body.joints(*pose))
    # Computed again, so that the report follows a change of the keypoints' definition.
    data["keypoints_3d"] = xyz = body.keypoints(*pose).astype(float)
    data["keypoints_2d"] = xy = xyz[..., :2] / xyz[..., 2:]
    inside, confidence = inside_picture(xy, data["K"]), data["confidence"]

    whole_body, arms, legs = (exchanged(data["uv"], xy, kinds) for kinds in (ARMS + LEGS, ARMS, LEGS))
    lines.append(
        f"left and right exchanged: body {whole_body.mean():.3f}, arms alone {(arms & ~whole_body).mean():.3f}, "
        f"legs alone {(legs & ~whole_body).mean():.3f}"
    )
    lines += keypoint_section(errors_2d(data["uv"], xy), confidence, inside)
    lines += dropout_section(confidence, inside, xyz)
    keep = (confidence >= CONFIDENT) & inside & ~(whole_body | arms | legs)[:, None]
    biases, residual = bias_section(data, joints, orientation, keep)
    return "\n".join([*lines, *biases, *noise_section(residual, keep), *world_section(data["world"], joints),
                      *bones_section(data["world"], xyz)])  # fmt: skip


def keypoint_section(error: np.ndarray, confidence: np.ndarray, inside: np.ndarray) -> list[str]:
    """2D error by keypoint and by confidence, of everyone found, where the true keypoint is in the picture."""
    lines = [
        "2D ERROR by keypoint: median p90 p99 | of those with confidence >= 0.5 | their share | rank correlation with confidence"
    ]
    for row in DETECTED:
        there = inside[:, row]
        e, c = error[there, row], confidence[there, row]
        cells = [
            " ".join(f"{v:.3f}" for v in np.percentile(x, (50, 90, 99))) if len(x) else "none"
            for x in (e, e[c >= CONFIDENT])
        ]
        lines.append(
            f"  {NAMES[row]:15s} {cells[0]} | {cells[1]} | {np.mean(c >= CONFIDENT):.3f} | {rank_correlation(c, e):+.2f}"
        )
    there = inside[:, DETECTED]
    e, c = error[:, DETECTED][there], confidence[:, DETECTED][there]
    lines.append(
        f"  {'all':15s} {percentiles(e)}; confidence >= 0.5: {percentiles(e[c >= CONFIDENT])}; correlation {rank_correlation(c, e):+.2f}"
    )
    for low, high in zip(CONFIDENCE_BINS, CONFIDENCE_BINS[1:]):
        part = (c >= low) & ((c < high) | (high == 1.0))
        lines.append(f"    confidence {low} to {high}: share {part.mean():.3f}, error {percentiles(e[part])}")
    outside = ~inside[:, DETECTED]
    lines.append(
        f"  keypoints beyond the border: {outside.mean():.3f} of all, {np.mean(confidence[:, DETECTED][outside] >= CONFIDENT):.3f} of them confident"
    )
    return lines
