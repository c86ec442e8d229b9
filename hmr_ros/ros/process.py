"""What a process with one node of ours does around it: start, spin, end on a signal, and tell what went wrong in between."""

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
"""Twice 8K. A few kilobytes of PNG can claim a gigapixel, and the memory for it."""
QUIET_S = 5.0
"""Between log lines of the same place in the code, from warnings on: a camera can be wrong 30 times a second."""


def run(
    name: str, make: Callable, start: Callable[..., bool] = lambda node: True, args: list[str] | None = None
) -> int:
    """One node from start to SIGINT or SIGTERM. Returns the exit status: 1 when it could not start.

    make() -> the node, which has `close`; raises ValueError or OSError with a message meant for people. start(node) -> False
    when it could not, and has said why. A callback that raises is logged, and the node goes on: nothing that arrives on a wire
    may end it.
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
    # A signal shuts the context down under whatever is running, which then fails in its own way.
    except Exception:
        if rclpy.ok():
            raise
    finally:
        _ignore_signals()
        # rclpy's thread that wakes executors after a signal may still be at it, whether they are gone or not: it ends here.
        uninstall_signal_handlers()
        # In this order: nothing may use what is already gone, not even the interpreter's own clearing up after us.
        if executor:
            executor.shutdown(timeout_sec=1.0)
        if node:
            node.close()
        rclpy.try_shutdown()
    return 0


def _init(name: str, args: list[str] | None) -> bool:
    try:
        rclpy.init(args=args)
    except RuntimeError as error:  # what rclpy's own errors are
        hint = "; set ROS_LOG_DIR to a folder that can be written to" if "log directory" in str(error) else ""
        print(f"{name}: cannot start ROS: {error}{hint}", file=sys.stderr)
        return False
    return True


def _prepare() -> None:
    keep_big_buffers()
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(_MAX_COMPRESSED_PIXELS))  # read when cv2 is imported
    one_thread_each()
    # rclpy's own handlers call these too: a signal then also interrupts a long configure.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def _interrupt(number, frame) -> None:
    # A terminal's Ctrl-C reaches us twice under ros2 launch: the second must not break the way out.
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

    Cuts the CPU time of receiving big images two to three times. Without glibc (musl, macOS) nothing happens.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, 32 << 20)
    mallopt(_M_TRIM_THRESHOLD, 512 << 20)


class RosLogHandler(logging.Handler):
    """Forwards records of the `hmr_ros` loggers to a ROS logger; a place that keeps warning is heard every few seconds."""

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
