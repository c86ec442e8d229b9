"""From the study's cells to a summary, and from the summary to tables and a plot: `python -m training.study_report`.

`summarise` reads the cells' JSON files; `docs/study.json` keeps its result with the project, so that the tables of `training/STUDY.md`
and `docs/study.png` can be made again without training anything.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.stats
import tyro

COLUMNS = (0, 1, 2, 5, 14)
SOURCES = {
    "mocap": "held-out mocap, detector-like noise",
    "mocap-2d": "held-out mocap, detector-like noise, 2D alone",
    "detector-loop": "rendered people, BlazePose",
    "pose2sim-cam1": "real camera, BlazePose",
}
IN_DETAIL = ("mocap", "pose2sim-cam1")
"""Sources whose PA-MPJPE is on the page; that of the others is in the summary."""
BEGIN, END = "<!-- figures: made by training.study_report, do not edit -->", "<!-- end of figures -->"


@dataclass(frozen=True)
class ReportConfig:
    summary: Path = Path("docs/study.json")
    page: Path = Path("training/STUDY.md")
    plot: Path = Path("docs/study.png")
    shipped: Path = Path("docs/study_shipped.json")
    """Result of `training.study_shipped`."""


def summarise(folder: Path, few: int, names: list[str]) -> dict:
    """Means over people of every cell that exists: method (in the order of `names`) -> seed -> source -> {metric: 15 numbers, by
    steps}."""
    methods: dict[str, dict] = {}
    for file in (file for name in names for file in sorted((folder / "results").glob(f"{name}-[0-9]*.json"))):
        cell = json.loads(file.read_text())
        seed = {source: _means(cell[source]) for source in SOURCES if source in cell}
        seed["few"] = _means({metric: [row[:few] for row in rows] for metric, rows in cell["mocap"].items()})
        if cell["eft"]:
            seed["lr"] = cell["eft"]["lr"]
        methods.setdefault(cell["name"], {})[str(cell["seed"])] = seed
    return methods


def _means(errors: dict[str, list[list[float]]]) -> dict:
    table = {metric: [round(float(np.mean(row)), 2) for row in rows] for metric, rows in errors.items()}
    return table | {"people": len(errors["mpjpe"][0])}


def by_seed(methods: dict, name: str, source: str, metric: str = "mpjpe") -> np.ndarray | None:
    """(seeds, 15) means over people, or None where it was not measured."""
    seeds = [seed[source][metric] for seed in methods.get(name, {}).values() if source in seed]
    return np.array(seeds) if seeds else None


def spread(values: np.ndarray) -> str:
    """Mean over seeds, and their standard deviation."""
    deviation = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else ""
    return f"{values.mean():.1f}{deviation}"


def table_of_steps(methods: dict, source: str, metric: str) -> list[str]:
    lines = ["| method | " + " | ".join(map(str, COLUMNS)) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name in methods:
        errors = by_seed(methods, name, source, metric)
        if errors is not None:
            lines.append(f"| {name} | " + " | ".join(spread(errors[:, k]) for k in COLUMNS) + " |")
    return lines


def table_of_differences(methods: dict, step: int) -> list[str]:
    """Is each method better than the one that it is one switch away from? Paired by seed, on people whom both were measured on."""
    lines = [
        "| scope | comparison | people | difference, mm | 95 % interval | seeds in which it is better |",
        "|---|---|---|---|---|---|",
    ]
    for scope in ("latent", "context", "head", "full"):
        steps = (
            ("regression", "eft"),
            ("eft", "meta"),
            ("meta", "dual"),
            ("meta", "dual1"),
            ("first-order", "dual"),
            ("fixed-steps", "dual"),
        )
        for worse, better in steps:
            names = [name if name == "regression" else f"{name}-{scope}" for name in (worse, better)]
            before, after = (methods.get(name, {}) for name in names)
            if common := sorted(set(before) & set(after)):
                same_people = before[common[0]]["mocap"]["people"] == after[common[0]]["mocap"]["people"]
                source = "mocap" if same_people else "few"
                errors = [np.array([by[seed][source]["mpjpe"][step] for seed in common]) for by in (before, after)]
                people = after[common[0]][source]["people"]
                lines.append(f"| {scope} | {names[0]} → {names[1]} | {people} | {_difference(errors[1] - errors[0])} |")
    return lines


def _difference(difference: np.ndarray) -> str:
    """Mean over seeds, Student's interval around it, and how often it is negative."""
    count, mean, interval = len(difference), difference.mean(), "one seed"
    if count > 1:
        half = scipy.stats.t.ppf(0.975, count - 1) * difference.std(ddof=1) / math.sqrt(count)
        interval = f"{mean - half:+.1f} to {mean + half:+.1f}"
    return f"{mean:+.1f} | {interval} | {(difference < 0).sum()} of {count}"


def kept(methods: dict, name: str, full: str, step: int) -> np.ndarray | None:
    """(seeds,): the share of full adaptation's gain over the plain regressor that a method reaches after `step` steps."""
    common = set(methods.get(name, {})) & set(methods.get(full, {})) & set(methods.get("regression", {}))
    if not common:
        return None
    error = {
        n: np.array([methods[n][seed]["few"]["mpjpe"] for seed in sorted(common)]) for n in (name, full, "regression")
    }
    return (error["regression"][:, 0] - error[name][:, step]) / (error["regression"][:, 0] - error[full].min(axis=1))


def table_of_shares(methods: dict, times: dict) -> list[str]:
    """Every cheap method against the full adaptation of its family: the share of the gain that it keeps, and of the time that it takes."""
    lines = [
        "| method | steps | MPJPE, mm | gain kept | ms a person | of full's time |",
        "|---|---|---|---|---|---|",
    ]
    milliseconds = times["milliseconds"]
    for family, full in {"eft": "eft-full", "meta": "meta-full", "dual": "dual-full", "dual1": "dual-full"}.items():
        if full not in methods:
            continue
        errors, cost = by_seed(methods, full, "few"), milliseconds[f"torch {full}"]
        best = errors.mean(0).argmin()
        if family != "dual1":  # dual1 shares dual's row
            lines.append(f"| **{full}** | {best} | {spread(errors[:, best])} | 100 % | {cost:.1f} | 1 |")
        for scope in ("latent", "context", "head"):
            name = f"{family}-{scope}"
            for step in (1, 2, 5, 14):
                share = kept(methods, name, full, step)
                if share is None or (family == "eft" and step != 14):
                    continue
                compiled = f"graph {scope}, {step}"
                ms = milliseconds[compiled] if family != "eft" else milliseconds.get(f"torch {name}", math.nan)
                error = spread(by_seed(methods, name, "few")[:, step])
                lines.append(
                    f"| {name} | {step} | {error} | {100 * share.mean():.0f} % | {ms:.2f} | 1/{cost / ms:.0f} |"
                )
    return lines


def table_of_shipped(shipped: dict) -> list[str]:
    """`training.study_shipped`: the shipped bundle's own steps against full adaptation of the same network."""
    lines = ["| method | steps | MPJPE, mm | gain kept | ms a person | of full's time |", "|---|---|---|---|---|---|"]
    errors, milliseconds = shipped["mpjpe"], shipped["times"]["milliseconds"]
    own = next(name for name in errors if name.startswith("shipped"))
    best = min((name for name in errors if name != own), key=lambda name: min(errors[name]))
    regression, gain = errors[own][0], errors[own][0] - min(errors[best])
    for name, by_step in errors.items():
        for k in (np.argmin(by_step),) if name != own else COLUMNS[1:]:
            key = f"graph {own.split(', ')[1]}, {k}" if name == own else f"torch {name}"
            ms, kept_share = milliseconds[key], (regression - by_step[k]) / gain
            lines.append(
                f"| {name} | {k} | {by_step[k]:.1f} | {100 * kept_share:.0f} % | {ms:.2f} | "
                f"1/{milliseconds[f'torch {best}'] / ms:.0f} |"
            )
    return lines


def tables(summary: dict) -> str:
    """Everything between the markers of the page."""
    methods, parts = summary["methods"], []
    seeds = max(len(by) for by in methods.values())
    for source, title in SOURCES.items():
        first = next((by for by in methods.values() if source in next(iter(by.values()))), None)
        if first:
            people = max(seed[source]["people"] for by in methods.values() for seed in by.values() if source in seed)
            few = summary["settings"]["few"]
            note = f"{people} people or frames" + (
                f"; `eft-head` and `*-full`: the first {few}" if people > few else ""
            )
            metrics = {"mpjpe": "MPJPE", "pa_mpjpe": "PA-MPJPE"}
            for metric, what in metrics.items():
                if metric == "pa_mpjpe" and source not in IN_DETAIL:
                    continue
                parts += [f"### {what}, {title}", "", f"mm by number of test-time steps; {note}.", ""]
                parts += [*table_of_steps(methods, source, metric), ""]
    parts += [
        f"### {summary['settings']['few']} people, every method",
        "",
        "MPJPE, mm, held-out mocap: the people whom full adaptation was tried on.",
        "",
    ]
    parts += [*table_of_steps(methods, "few", "mpjpe"), ""]
    parts += ["### Differences at 5 steps", "", f"Paired by seed ({seeds} seeds), Student's t; held-out mocap.", ""]
    parts += [*table_of_differences(methods, 5), ""]
    if times := summary.get("times"):
        parts += ["### What the cheap scopes keep of full adaptation, and at what cost", ""]
        parts += [
            f"Batch 1, medians over {times['people']} people, measured in turn in one run; {times['machine']}.",
            "",
        ]
        parts += [*table_of_shares(methods, times), ""]
    if shipped := summary.get("shipped"):
        scope = shipped["checkpoint"]["config"]["scope"]
        parts += ["### The shipped weights against full adaptation of the same network", ""]
        parts += [
            f"The training run behind the shipped bundle (scope {scope}), {shipped['people']} held-out people, detector-like "
            f"noise. Learning rates of Adam: {', '.join(f'{name} {lr:g}' for name, lr in shipped['lr'].items())}. Times: medians over "
            f"{shipped['times']['people']} people in the same run; {shipped['times']['machine']}.",
            "",
        ]
        parts += [*table_of_shipped(shipped), ""]
    return "\n".join(parts)


def draw(summary: dict, path: Path) -> None:
    """Plot the error against steps for each scope, and against milliseconds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    methods, times = summary["methods"], summary.get("times", {}).get("milliseconds", {})
    colours = {"regression": "#555555", "eft": "#d95f02", "meta": "#1b9e77", "dual": "#3b5bdb", "dual1": "#a04fc0"}
    names = {"regression": "regression", "eft": "+ EFT (Adam)", "meta": "meta", "dual": "meta + dual"}
    names["dual1"] = "meta + dual in first step"
    figure, axes = plt.subplots(2, 3, figsize=(11, 6.6), sharey=True, constrained_layout=True)
    panels = dict(zip(("latent", "context", "head", "full"), axes.flat))
    for scope, axis in panels.items():
        for family in names:
            errors = by_seed(methods, family if family == "regression" else f"{family}-{scope}", "few")
            if errors is not None:
                mean, low, high = errors.mean(0), errors.min(0), errors.max(0)
                axis.plot(range(15), mean, color=colours[family], label=names[family])
                axis.fill_between(range(15), low, high, color=colours[family], alpha=0.15, lw=0)
        axis.set(title=f"scope: {scope}", xlabel="test-time steps")
        axis.grid(alpha=0.3)
    clock = axes[1, 1]
    for scope, marker in (("latent", "o"), ("context", "s"), ("head", "^")):
        errors = by_seed(methods, f"dual1-{scope}", "few")
        if errors is not None and times:
            at = [times[f"graph {scope}, {k}"] for k in COLUMNS]
            clock.plot(
                at,
                errors.mean(0)[list(COLUMNS)],
                marker=marker,
                color=colours["dual1"],
                label=f"meta + dual in first step, {scope}",
            )
    for family in ("eft", "meta", "dual"):
        errors = by_seed(methods, f"{family}-full", "few")
        if errors is not None and times:
            clock.plot(
                times[f"torch {family}-full"],
                errors.mean(0).min(),
                "*",
                ms=12,
                color=colours[family],
                label=f"{names[family]}, full",
            )
    clock.set(title="against time, one person, one CPU thread", xlabel="milliseconds", xscale="log")
    clock.grid(alpha=0.3)
    clock.legend(frameon=False, fontsize=8)
    axes[1, 2].axis("off")
    note = (
        f"MPJPE in mm of {summary['settings']['few']} held-out people,\nkeypoints with detector-like noise, batch 1.\n\n"
        "Lines: mean over seeds; bands: their range.\nA small network: training/STUDY.md says\nhow it was made and what follows."
    )
    axes[1, 2].text(0.03, 0.45, note, va="top", fontsize=9, transform=axes[1, 2].transAxes)
    axes[1, 2].legend(*panels["latent"].get_legend_handles_labels(), loc="upper left", frameon=False)
    for axis in axes[:, 0]:
        axis.set_ylabel("MPJPE, mm")
    figure.savefig(path, dpi=80)
    plt.close(figure)


def write(summary: dict, config: ReportConfig) -> None:
    """Write the page's figures and the plot."""
    if config.shipped.is_file():
        summary = {**summary, "shipped": json.loads(config.shipped.read_text())}
    text = config.page.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f"{config.page} has no place for figures: add the marker lines {BEGIN!r} and {END!r}")
    before, rest = text.split(BEGIN)
    config.page.write_text(before + BEGIN + "\n\n" + tables(summary) + "\n" + END + rest.split(END)[1])
    draw(summary, config.plot)


if __name__ == "__main__":
    settings = tyro.cli(ReportConfig)
    write(json.loads(settings.summary.read_text()), settings)
    print(f"figures written to {settings.page} and {settings.plot}")
