"""Evaluation results for people to read: Markdown tables, a plot, and a sheet of the worst cases."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hmr_ros import skeleton

NAMES = {"mpjpe_mm": "MPJPE", "pa_mpjpe_mm": "PA-MPJPE", "pve_mm": "PVE", "pve_unaligned_mm": "PVE, unaligned"}


@dataclass(frozen=True)
class Case:
    """One person as seen and as fitted. Axes: x right, y down, z away from the camera."""

    title: str
    error_mm: float
    seen: np.ndarray
    """(23, 2) detected keypoints: pixels of `image`, or box units without one."""
    confidence: np.ndarray
    """(23,); 0 where nothing was detected."""
    fitted: np.ndarray
    """(23, 2) the fitted body's keypoints, in the same units."""
    fitted_3d: np.ndarray
    """(J, 3) metres, from the root."""
    true_3d: np.ndarray
    """(J, 3)."""
    names: tuple[str, ...] = skeleton.KEYPOINT_NAMES
    """Names of the J points."""
    image: np.ndarray | None = None
    """(H, W, 3) uint8, RGB."""


def frames(result: dict) -> str:
    """How many frames were measured; of a benchmark also how many have ground truth, and how many had no keypoints."""
    if "frames_with_truth" not in result:
        return f"{result['frames']:,} frames"
    return (
        f"{result['frames']:,} of {result['frames_with_truth']:,} frames with ground truth, {result['answered_from_the_box_alone']:,} of "
        f"them answered from the box alone for lack of keypoints ({result['frames_without_truth']:,} frames have no ground truth)"
    )


def markdown(result: dict) -> str:
    """The figures: a row per number of steps, means with medians in brackets; then a row per joint, if there are any."""
    first = next(iter(result["steps"].values()))
    metrics = [c.removesuffix("_mm") for c in first if c.endswith("_mm") and not c.endswith("_median_mm")]
    clock = result.get("milliseconds", {})
    titles = metrics + ["milliseconds"] * bool(clock)
    lines = [f"| TTO steps | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    rows = dict(result["steps"]) | {k: result[k] for k in ("auxiliary", "peer") if k in result}
    if result.get("answered_from_the_box_alone"):
        rows["5, those with keypoints"] = result["with_keypoints"]
    for name, row in rows.items():
        cells = [f"{row[f'{m}_mm']:.1f} ({row[f'{m}_median_mm']:.1f})" for m in metrics]
        cells += [f"{clock[name]:.2f}" if name in clock else ""] * bool(clock)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    if joints := result.get("per_joint"):
        steps = list(next(iter(joints.values())))
        lines += ["", f"| joint, mm after steps | {' | '.join(steps)} |", "|---" * (len(steps) + 1) + "|"]
        lines += [f"| {joint} | {' | '.join(f'{mm:.1f}' for mm in row.values())} |" for joint, row in joints.items()]
    return "\n".join(lines)


def draw_plot(result: dict, path: Path) -> None:
    """Error against steps, against time, and joint by joint."""
    plt = _pyplot()
    joints = result["per_joint"]
    figure, (by_step, by_time, by_joint) = plt.subplots(1, 3, figsize=(13, 4.2), constrained_layout=True)
    steps = list(result["steps"])
    for metric, name in NAMES.items():
        if metric in result["steps"][steps[0]]:
            errors = [result["steps"][s][metric] for s in steps]
            by_step.plot([int(s) for s in steps], errors, "o-", label=name)
            by_time.plot([result["milliseconds"][s] for s in steps], errors, "o-", label=name)
    for s in steps:
        at = (result["milliseconds"][s], result["steps"][s]["mpjpe_mm"])
        by_time.annotate(s, at, textcoords="offset points", xytext=(0, 6), ha="center", fontsize=8)
    by_step.set(title="error against steps", xlabel="test-time steps", ylabel="mm, mean over people")
    by_time.set(title="error against time (steps as labels)", xlabel="ms per person, batch 1, without detection")
    for axis in (by_step, by_time):
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    by_step.legend(frameon=False)
    rows, shown = np.arange(len(joints)), (steps[0], "5")
    for offset, step in zip((-0.2, 0.2), shown):
        by_joint.barh(rows + offset, [row[step] for row in joints.values()], height=0.4, label=f"{step} steps")
    by_joint.set(title="joint by joint", xlabel="mm, mean over people")
    by_joint.set_yticks(rows, joints, fontsize=7)
    by_joint.invert_yaxis()
    by_joint.legend(frameon=False)
    figure.suptitle(
        f"{result['data']}, 2D: {result['source_2d']}, {result['frames']} frames, bundle {result['bundle']}"
    )
    figure.savefig(path, dpi=90)
    plt.close(figure)


def draw_worst(cases: list[Case], path: Path, columns: int = 4) -> None:
    """Draw each case twice: as the camera saw it, and the fitted with the true body, seen from their left."""
    plt = _pyplot()
    rows = -(-len(cases) // columns)
    figure, axes = plt.subplots(
        rows, 2 * columns, figsize=(3.6 * columns, 2.5 * rows), squeeze=False, constrained_layout=True
    )
    for axis in axes.flat:
        axis.axis("off")
    for i, case in enumerate(cases):
        view, side = axes[i // columns, 2 * (i % columns) : 2 * (i % columns) + 2]
        if case.image is not None:
            view.imshow(case.image)
        _bones(view, case.fitted, skeleton.KEYPOINT_NAMES, "#d95f02")
        known = case.confidence > 0
        view.scatter(*case.seen[known].T, s=7, c="#3b5bdb", zorder=3)
        view.set_title(f"{case.title}: {case.error_mm:.0f} mm", fontsize=8)
        for points, colour in ((case.true_3d, "#888888"), (case.fitted_3d, "#d95f02")):
            _bones(side, points[:, [2, 1]], case.names, colour)
        for axis in (view, side):
            axis.set_aspect("equal")
        side.invert_yaxis()
        if case.image is None:
            view.invert_yaxis()
    figure.suptitle(
        "Left: detected keypoints (blue), fitted body (orange). Right, from the side: fitted (orange), true (grey).",
        fontsize=10,
    )
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _bones(axis, points: np.ndarray, names: tuple[str, ...], colour: str) -> None:
    """points: (J, 2)."""
    for start, end in skeleton.KEYPOINT_EDGES:
        pair = [skeleton.KEYPOINT_NAMES[i] for i in (start, end)]
        if all(name in names for name in pair):
            axis.plot(*points[[names.index(name) for name in pair]].T, color=colour, lw=1.6)


def _pyplot():
    """Matplotlib without a display. Imported only when a picture is wanted, because that takes a second."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt
