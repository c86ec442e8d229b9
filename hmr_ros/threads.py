"""Limits the threads of the libraries that we call. For our own processes (commands and nodes), not for programs that import hmr_ros."""

from __future__ import annotations

import logging


def one_thread_each() -> None:
    """Keep OpenCV and numpy's linear algebra on the calling thread.

    Nothing here is large enough to gain from more, and OpenBLAS's threads spin after each mesh: twice the CPU time, on cores that
    the rest of the robot needs. The graphs' threads are set by `model.threads`.
    """
    import cv2

    cv2.setNumThreads(1)
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        logging.getLogger(__name__).warning(
            "threadpoolctl is missing, so numpy's threads may keep every core busy: pip install threadpoolctl"
        )
    else:
        threadpool_limits(1, user_api="blas")
