"""How many threads the libraries that we call may start. For processes of our own: commands and nodes, not for whoever imports us."""

from __future__ import annotations

import logging


def one_thread_each() -> None:
    """Keep OpenCV and numpy's linear algebra on the calling thread.

    Nothing here is large enough to gain from more, and OpenBLAS's threads spin after each mesh: twice the CPU time, on cores that
    the rest of the robot needs. Threads of the graphs are `model.threads`.
    """
    import cv2

    cv2.setNumThreads(1)
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        logging.getLogger(__name__).warning(
            "threadpoolctl is missing, so numpy may keep every core busy beside us: pip install threadpoolctl"
        )
    else:
        threadpool_limits(1, user_api="blas")
