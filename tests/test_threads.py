"""One thread each, seen from outside: in a process of its own, the CPU time of work on matrices."""

import subprocess
import sys

import pytest

pytest.importorskip("threadpoolctl")

PROGRAM = """
import os, sys
import cv2, numpy as np
from threadpoolctl import threadpool_info
from hmr_ros.threads import one_thread_each
np.zeros((64, 64)) @ np.zeros((64, 64))
one_thread_each()
pools = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
assert pools and set(pools) == {1}, pools
assert cv2.getNumThreads() == 1
"""


def test_libraries_keep_to_one_thread():
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
