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
    modules = set(re.findall(r"-m ((?:hmr_ros|training)[\w.]+)", text))
    assert {"hmr_ros.tools.build_engine", "training.benchmark_gpu"} <= modules
    for module in modules:
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), module
    for file in re.findall(r"tests/\w+\.py", text):
        assert "pytest.mark.gpu" in (ROOT / file).read_text(), file


@pytest.mark.parametrize("path", sorted(ROOT.glob("docker/*.Dockerfile")), ids=lambda path: path.name)
def test_containers_copy_and_run_what_is_there(path):
    text = path.read_text()
    assert 'CMD ["docker/prove.sh"' in text and os.access(SCRIPT, os.X_OK)
    for extra in re.findall(r"\.\[(\w+)\]", text):
        assert f'"{extra}": [' in (ROOT / "setup.py").read_text()
