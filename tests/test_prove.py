"""The script that proves things on a GPU machine: what it runs exists, and without a GPU it stops at once and says why."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hmr_ros.backends.cuda import Cuda
from hmr_ros.backends.graph import BackendError

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "docker" / "prove.sh"


def test_stops_without_a_gpu(tmp_path):
    try:
        Cuda()
    except BackendError as error:
        done = subprocess.run(
            [SCRIPT, tmp_path / "results"], env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True
        )
        assert done.returncode == 1 and f"build_engine: {error}" in done.stderr
        assert "2/4" not in done.stdout
    else:
        pytest.skip("this machine has a GPU")


def test_what_it_runs_exists():
    text = SCRIPT.read_text()
    modules = set(re.findall(r"(?:-m|try \w+) ((?:hmr_ros|training)[\w.]+)", text))
    assert {"hmr_ros.tools.build_engine", "training.benchmark_gpu"} <= modules
    for module in modules:
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), module
    for file in re.findall(r"tests/\w+\.py", text):
        assert "pytest.mark.gpu" in (ROOT / file).read_text(), file


def test_what_fails_after_the_engines_is_listed_and_the_rest_still_runs(tmp_path):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$@"\ncase "$*" in *hmr_ros.tools.benchmark*|*--backbone*) exit 3;; esac\n')
    python.chmod(0o755)
    env = {**os.environ, "PYTHON": str(python)}
    done = subprocess.run([SCRIPT, tmp_path / "results"], env=env, capture_output=True, text=True)
    assert done.returncode == 1 and "failed: node resnet50 node_keypoints;" in done.stdout
    assert "hmr_ros.ros.demo" in (tmp_path / "results" / "demo.txt").read_text()


@pytest.mark.parametrize("path", sorted(ROOT.glob("docker/*.Dockerfile")), ids=lambda path: path.name)
def test_containers_copy_and_run_what_is_there(path):
    text = path.read_text()
    assert 'CMD ["docker/prove.sh"' in text and os.access(SCRIPT, os.X_OK)
    for extra in re.findall(r"\.\[(\w+)\]", text):
        assert f'"{extra}": [' in (ROOT / "setup.py").read_text()
