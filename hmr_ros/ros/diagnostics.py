"""What /diagnostics says: a snapshot of the statistics and the reasons for concern, as one DiagnosticStatus."""

from __future__ import annotations

from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from hmr_ros.ros.statistics import Snapshot


@dataclass(frozen=True)
class Health:
    """The state of the node that is not in the statistics."""

    active: bool
    failure: str = ""
    """Why the last lifecycle transition failed; empty: it succeeded."""
    idle_s: float = 0.0
    """Time since the last image, or since activation if none has arrived."""
    stuck_s: float = 0.0
    """How long the worker has been processing its current frame."""
    stale_after_s: float = 2.0
    input: str = ""
    """The image topic, the number of its publishers and the reliability requested."""
    concerns: tuple[str, ...] = ()
    """Reasons why results are worse than they could be: assumed camera, missing messages..."""
    facts: dict[str, object] = field(default_factory=dict)
    """From `pipeline.describe()`: backend, bundle, body..."""


def status(name: str, health: Health, snapshot: Snapshot) -> DiagnosticStatus:
    level, message = judge(health, snapshot)
    values = {"input": health.input, **health.facts, **numbers(snapshot), "degraded": "; ".join(health.concerns)}
    pairs = [KeyValue(key=key, value=_text(value)) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=message, hardware_id="", values=pairs)


def judge(health: Health, snapshot: Snapshot) -> tuple[bytes, str]:
    """Level and a one-line message for the worst condition at this moment."""
    if health.failure:
        return DiagnosticStatus.ERROR, health.failure
    if not health.active:
        return DiagnosticStatus.OK, "not active"
    if snapshot.failing:
        return DiagnosticStatus.ERROR, f"the pipeline failed on the last frame: {snapshot.last_failure}"
    if health.stuck_s > health.stale_after_s:
        return (
            DiagnosticStatus.ERROR,
            f"at one frame for {health.stuck_s:.1f} s: does {health.facts.get('backend', 'the pipeline')} hang?",
        )
    if health.idle_s > health.stale_after_s:
        return DiagnosticStatus.STALE, f"no image for {health.idle_s:.1f} s on {health.input}"
    recently = snapshot.recently
    if recently["bad"]:
        return DiagnosticStatus.WARN, f"bad images: {snapshot.last_bad}"
    if (lost := recently["lost"]) > 0.1 * recently["received"]:
        return DiagnosticStatus.WARN, f"{lost} images lost on the way from the camera: see docs/real_time.md"
    if health.concerns:
        return DiagnosticStatus.WARN, "; ".join(health.concerns)
    if (late := recently["missed"]) > 0.1 * (late + recently["met"]):
        return DiagnosticStatus.WARN, f"{late} of {late + recently['met']} frames were published after their deadline"
    latency = snapshot.stages_ms.get("latency")
    if latency is None:
        return DiagnosticStatus.OK, "no frame yet"
    return DiagnosticStatus.OK, f"{snapshot.rate_hz:.1f} Hz, latency p50 {latency.p50:.0f} ms, p99 {latency.p99:.0f} ms"


def numbers(snapshot: Snapshot) -> dict[str, object]:
    """The key-value pairs as published. Latency is from capture stamp to publication; the stages are its parts."""
    stages = {
        f"{stage}_{part}_ms": getattr(summary, part)
        for stage, summary in reversed(snapshot.stages_ms.items())
        for part in ("p50", "p99", "max")
    }
    return {
        "rate_hz": snapshot.rate_hz,
        **stages,
        **{f"frames_{fate}": count for fate, count in snapshot.counts.items()},
        **{f"deadline_{outcome}": count for outcome, count in snapshot.deadline.items()},
        "people": snapshot.people,
        "tto_steps_mean": snapshot.mean_steps,
        "tto_loss_before_mean": f"{snapshot.mean_loss[0]:.4f}",
        "tto_loss_after_mean": f"{snapshot.mean_loss[1]:.4f}",
        "tto_stops": ", ".join(f"{stop} {count}" for stop, count in sorted(snapshot.stops.items())),
        "last_bad_frame": snapshot.last_bad,
        "last_failure": snapshot.last_failure,
    }


def _text(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
