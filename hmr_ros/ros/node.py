"""The lifecycle node, which connects the parts: inputs, worker, outputs, parameters, diagnostics. Each is in a file of its own.

Configure builds the pipeline and the publishers, activate subscribes and starts the worker; deactivate and cleanup undo them.
"""

from __future__ import annotations

import gc
import logging
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import Node, State, TransitionCallbackReturn

from hmr_ros.config import PipelineConfig
from hmr_ros.ros import parameters, services
from hmr_ros.ros.camera_info import read_camera
from hmr_ros.ros.conversions import decoder, header_stamp_ns
from hmr_ros.ros.diagnostics import Health, status
from hmr_ros.ros.image_input import ImageInput
from hmr_ros.ros.process import QUIET_S, RosLogHandler, run
from hmr_ros.ros.publishers import Publishers
from hmr_ros.ros.services import ServiceError
from hmr_ros.ros.side_inputs import SideInputs, require_messages
from hmr_ros.ros.statistics import Statistics
from hmr_ros.ros.worker import Worker, arrival, doubt_stamp
from hmr_ros.types import Frame, FrameResult

NAME = "hmr"
_REFRESH_S = 0.5
"""Time between checks of the publishers. Also keeps the executor awake: an idle one can sleep through SIGTERM."""


def build_pipeline(config: PipelineConfig):
    """The real pipeline; imported late, because it imports the heavy libraries."""
    from hmr_ros.factory import build_pipeline as build

    return build(config)


class HmrNode(Node):
    """build: makes the pipeline from a PipelineConfig; tests pass in their own."""

    def __init__(self, build: Callable = build_pipeline, **options):
        super().__init__(NAME, **options)
        self._build = build
        self._log_handler = RosLogHandler(self.get_logger())
        core = logging.getLogger("hmr_ros")
        core.addHandler(self._log_handler)
        core.setLevel(logging.DEBUG)  # the ROS logger decides which levels are shown
        self._settings = parameters.declare(self)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._statistics = Statistics()
        self._pipeline = self._outputs = self._input = self._sides = self._worker = None
        self._last: tuple[Frame, FrameResult] | None = None
        self._failure = ""
        self._camera_warning = self._stamp_warning = ""
        self._active_since_s = 0.0
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        services.offer(self, reset_tracks=self._reset_tracks, save_snapshot=self._save_snapshot)
        # Steady time: simulated time may stand still, diagnostics must not.
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._heartbeat = self.create_timer(
            self._settings.node.diagnostics_period_s, self._publish_diagnostics, clock=clock
        )
        self.create_timer(_REFRESH_S, self._refresh_input, clock=clock)

    # -- lifecycle ---------------------------------------------------------------------------------------------------

    def autostart(self) -> bool:
        """Configure and activate, if the parameter says so. False when that failed; the log says why."""
        if not self._settings.node.autostart:
            return True
        done = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == done and self.trigger_activate() == done

    def on_configure(self, state: State) -> TransitionCallbackReturn:
        if not self._try("cannot configure:", self._configure):
            self._release()
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: State) -> TransitionCallbackReturn:
        if not self._try("cannot activate:", self._activate):
            self._stop()
            return TransitionCallbackReturn.FAILURE
        return super().on_activate(state)

    def _try(self, complaint: str, transition: Callable[[], None]) -> bool:
        try:
            transition()
        # Whatever goes wrong, the log must have a clear line and the transition must fail.
        except Exception as error:
            self._failure = f"{complaint} {error or type(error).__name__}"
            self.get_logger().error(self._failure)
            self.get_logger().debug(traceback.format_exc())
            return False
        self._failure = ""
        return True

    def _configure(self) -> None:
        started_s = time.monotonic()
        require_messages(self._settings)
        self._heartbeat.timer_period_ns = int(self._settings.node.diagnostics_period_s * 1e9)
        self._pipeline = self._build(self._settings.core)
        self._outputs = Publishers(self, self._pipeline, self._settings.node)
        facts = ", ".join(f"{key} {value}" for key, value in self._pipeline.describe().items())
        self.get_logger().info(f"configured in {time.monotonic() - started_s:.1f} s: {facts}")

    def _activate(self) -> None:
        self._statistics = Statistics()
        self._active_since_s = time.monotonic()
        self._pipeline.update(self._settings.core)  # apply what was set while inactive
        self._decode = decoder(self._settings.node.image_transport)
        # A worker that hangs is left behind. Bound to its own outputs, it cannot publish on new ones if it wakes up later.
        publish = partial(self._publish, self._outputs)
        self._worker = Worker(self._pipeline, self._settings.core, self._to_frame, publish, self._statistics)
        self._sides = SideInputs(self, self._settings)
        self._input = ImageInput(self, self._settings.node, self._on_image)
        self._worker.start()
        # No object that exists now is garbage. Unless they are frozen, a collection takes 35 ms: a frame's time, in the middle of a frame.
        gc.collect()
        gc.freeze()
        self.get_logger().info(f"active: listening to {self._input.describe()}")

    def on_deactivate(self, state: State) -> TransitionCallbackReturn:
        if not self._stop():
            self._failure = (
                "cannot deactivate: the worker hangs in a frame and is left behind; configure starts another"
            )
            self.get_logger().error(self._failure)
            return TransitionCallbackReturn.ERROR
        self._pipeline.reset()
        self._outputs.clear()
        return super().on_deactivate(state)

    def on_cleanup(self, state: State) -> TransitionCallbackReturn:
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: State) -> TransitionCallbackReturn:
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state: State) -> TransitionCallbackReturn:
        """Back to unconfigured, from where configure can be tried again."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def close(self) -> None:
        """Release everything, from any state, so that the worker has ended before ROS shuts down."""
        self._release()
        logging.getLogger("hmr_ros").removeHandler(self._log_handler)
        self.destroy_node()

    def _stop(self) -> bool:
        """Stop the worker and the inputs. False when the worker hangs in a frame."""
        worker, self._worker = self._worker, None
        ended = not worker or worker.stop()  # first: a frame that began without the inputs would have no camera
        inputs = (self._input, self._sides)
        self._input = self._sides = None
        for source in inputs:
            if source:
                source.close()
        return ended

    def _release(self) -> None:
        self._stop()
        gc.unfreeze()
        publishers, self._outputs, self._pipeline, self._last = self._outputs, None, None, None
        if publishers:
            if self.context.ok():
                publishers.clear()
            publishers.close()

    # -- one image ---------------------------------------------------------------------------------------------------

    def _on_image(self, msg, lost: int, sent_ns: int) -> None:
        if self._worker:
            self._statistics.lost(lost)
            now_ns = self.get_clock().now().nanoseconds
            self._stamp_warning = doubt_stamp(header_stamp_ns(msg), now_ns)
            self._worker.put(arrival(msg, now_ns, sent_ns))

    def _to_frame(self, msg, stamp_ns: int) -> Frame | None:
        """Called by the worker. None while a first CameraInfo may still come."""
        node = self._settings.node
        info = source.camera_info if (source := self._input) else None
        if info is None and time.monotonic() - self._active_since_s < node.camera_info_timeout_s:
            return None
        image = self._decode(msg)
        height, width = image.shape[:2]
        reading = read_camera(
            info, width, height, rectified=node.image_rectified, vertical_fov_deg=node.default_vertical_fov_deg
        )
        if reading.warning and reading.warning != self._camera_warning:
            self.get_logger().warning(reading.warning, throttle_duration_sec=QUIET_S)
        self._camera_warning = reading.warning
        frame = Frame(image, reading.camera, stamp_ns, msg.header.frame_id)
        return sides.complete(frame) if (sides := self._sides) else frame

    def _publish(self, outputs: Publishers, frame: Frame, result, header) -> None:
        """Called by the worker."""
        for person in result.people:
            if not (np.isfinite(person.joints).all() and np.isfinite(person.rotmat).all()):
                if worker := self._worker:
                    worker.reset()  # the state of the smoothing filters is not finite either
                raise ValueError(f"person {person.id} is not finite: nothing is published, every person is forgotten")
        try:
            if outputs is self._outputs:
                self._last = frame, result
                outputs.publish(frame, result, header)
        # A signal may shut ROS down while the worker is at its last frame; nobody needs that result any more.
        except Exception:
            if self.context.ok():
                raise

    # -- services ----------------------------------------------------------------------------------------------------

    def _reset_tracks(self) -> str:
        if not self._worker:
            raise ServiceError("the node is not active: there are no tracks")
        self._worker.reset()
        return "every person is forgotten before the next image; ids start over"

    def _save_snapshot(self) -> str:
        from hmr_ros.snapshot import default_folder, write_snapshot

        if not self._last:
            raise ServiceError("there is no result yet: activate the node, and check that images arrive (/diagnostics)")
        folder = self._settings.node.snapshot_dir
        folder = Path(folder).expanduser() if folder else default_folder()
        try:
            written = write_snapshot(folder, *self._last, self._pipeline.body, self._pipeline.describe())
        except OSError as error:
            raise ServiceError(f"cannot write to {folder} ({error}): see the parameter snapshot_dir") from error
        return ", ".join(str(path) for path in written)

    # -- parameters, timers ------------------------------------------------------------------------------------------

    def _on_set_parameters(self, changes):
        self._settings, result = parameters.change(self._settings, changes, self._pipeline is not None)
        if result.successful and self._outputs:
            self._outputs.config = self._settings.node
        if result.successful and self._worker:
            self._worker.update(self._settings.core)
        return result

    def _refresh_input(self) -> None:
        if self._worker and self._worker.backend_lost and self._settings.node.autostart:
            self.get_logger().fatal(
                "the backend is lost, and only a new process can use it again: this one ends (respawn:=true starts another)"
            )
            raise SystemExit(1)
        for source in (self._input, self._sides):
            if source:
                source.refresh()

    def _publish_diagnostics(self) -> None:
        now_s = time.monotonic()
        snapshot = self._statistics.snapshot(now_s)
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        name = f"{self.get_fully_qualified_name()}: human mesh recovery"
        message.status = [status(name, self._health(now_s, snapshot), snapshot)]
        self._diagnostics.publish(message)

    def _health(self, now_s: float, snapshot) -> Health:
        concerns = [self._camera_warning, self._stamp_warning, self._outputs.warning if self._outputs else ""]
        concerns += self._sides.warnings() if self._sides else []
        return Health(
            active=self._worker is not None,
            failure=self._failure,
            stuck_s=self._worker.stuck_s(now_s) if self._worker else 0.0,
            idle_s=now_s - (snapshot.last_received_s or self._active_since_s),
            stale_after_s=self._settings.node.stale_after_s,
            input=self._input.describe() if self._input else "",
            concerns=tuple(filter(None, concerns)),
            facts=self._pipeline.describe() if self._pipeline else {},
        )


def main(args: list[str] | None = None, build: Callable = build_pipeline) -> int:
    """Run until SIGINT or SIGTERM. Returns the exit status: 1 when it could not start."""
    return run("hmr_node", lambda: HmrNode(build), HmrNode.autostart, args)


if __name__ == "__main__":
    sys.exit(main())
