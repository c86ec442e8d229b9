"""Runs one of our nodes as a process: start, spin, end on a signal, and report what goes wrong in between."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.signals import uninstall_signal_handlers

from hmr_ros.threads import one_thread_each

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_MAX_COMPRESSED_PIXELS = 1 << 26
"""Twice 8K. A PNG of a few kilobytes can claim to hold a gigapixel, and make the decoder allocate memory for it."""
QUIET_S = 5.0
"""Minimum time between warnings or errors from the same line of code: a bad camera can cause 30 a second."""


def run(
    name: str, make: Callable, start: Callable[..., bool] = lambda node: True, args: list[str] | None = None
) -> int:
    """Run one node until SIGINT or SIGTERM. Returns the exit status: 1 when it could not start.

    make() -> the node, which has `close`; raises ValueError or OSError with a message for the user. start(node) -> False when
    the node could not start and has logged why. A callback that raises is logged, and the node goes on: no message received may
    end it.
    """
    _prepare()
    node = executor = None
    try:
        if not _init(name, args):
            return 1
        node = make()
        if not start(node):
            return 1 if rclpy.ok() else 0
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        _spin(executor, node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (ValueError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    # A signal shuts down the context that running code still uses; that code may then raise anything.
    except Exception:
        if rclpy.ok():
            raise
    finally:
        _ignore_signals()
        # rclpy's thread that wakes executors after a signal may still be running, and would use ones that are gone. This ends it.
        uninstall_signal_handlers()
        # In this order: nothing may use what is already gone, not even the interpreter's clean-up at exit.
        if executor:
            executor.shutdown(timeout_sec=1.0)
        if node:
            node.close()
        rclpy.try_shutdown()
    return 0


def _init(name: str, args: list[str] | None) -> bool:
    try:
        rclpy.init(args=args)
    except RuntimeError as error:  # the base of rclpy's own errors
        hint = "; set ROS_LOG_DIR to a folder that can be written to" if "log directory" in str(error) else ""
        print(f"{name}: cannot start ROS: {error}{hint}", file=sys.stderr)
        return False
    return True


def _prepare() -> None:
    keep_big_buffers()
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(_MAX_COMPRESSED_PIXELS))  # read when cv2 is imported
    one_thread_each()
    # rclpy's own handlers call these too, so that a signal also interrupts a long configure.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def _interrupt(number, frame) -> None:
    # Under ros2 launch, Ctrl-C in a terminal reaches this process twice: the second must not interrupt the shutdown.
    _ignore_signals()
    raise KeyboardInterrupt


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _spin(executor: SingleThreadedExecutor, node) -> None:
    while rclpy.ok():
        try:
            executor.spin()
        except (KeyboardInterrupt, ExternalShutdownException):
            return
        except Exception:
            if rclpy.ok():
                node.get_logger().error(
                    f"a callback failed; the node goes on\n{traceback.format_exc()}", throttle_duration_sec=QUIET_S
                )


def keep_big_buffers() -> None:
    """Let glibc reuse image-sized buffers instead of mapping fresh pages for every message.

    Cuts the CPU time of receiving large images by a factor of two to three. Does nothing without glibc (musl, macOS).
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, 32 << 20)
    mallopt(_M_TRIM_THRESHOLD, 512 << 20)


class RosLogHandler(logging.Handler):
    """Forwards records of the `hmr_ros` loggers to a ROS logger; warnings from the same line of code at most every QUIET_S."""

    def __init__(self, logger, clock: Callable[[], float] = time.monotonic):
        super().__init__()
        self._logger, self._clock = logger, clock
        self._last_s: dict[tuple[str, int], float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING and self._too_soon((record.pathname, record.lineno)):
            return
        # rclpy allows one severity per call site, so each severity has a line of its own.
        text = self.format(record)
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        elif record.levelno >= logging.INFO:
            self._logger.info(text)
        else:
            self._logger.debug(text)

    def _too_soon(self, place: tuple[str, int]) -> bool:
        now_s = self._clock()
        if now_s - self._last_s.get(place, float("-inf")) < QUIET_S:
            return True
        self._last_s[place] = now_s
        return False
