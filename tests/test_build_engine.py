"""The command that builds engines: what it prints, what it leaves, how it fails."""

import pytest
from simulated_gpu import SimulatedGpu

from hmr_ros.backends.cuda import Cuda
from hmr_ros.backends.graph import BackendError
from hmr_ros.backends.tensorrt import PEOPLE
from hmr_ros.bundle import GRAPHS
from hmr_ros.tools import build_engine


@pytest.mark.parametrize("version", ["8.6.1", "10.3.0"])
def test_builds_once_and_shows_progress(monkeypatch, tmp_path, capsys, version):
    gpu = SimulatedGpu().install(monkeypatch, version)
    for builds in (len(PEOPLE) * len(GRAPHS), 0):
        before = gpu.builds
        assert build_engine.main(["--engine-cache", str(tmp_path)]) == 0
        assert gpu.builds - before == builds
        told = capsys.readouterr()
        assert f"TensorRT {version} (Simulated Orin" in told.out and "encode, regress, adapt, readout" in told.out
        assert told.err.count("100 %") >= (len(GRAPHS) if builds else 0)
    assert len(list(tmp_path.glob("*.plan"))) == len(PEOPLE) * len(GRAPHS)


def test_without_a_gpu_it_says_what_is_missing(capsys, tmp_path):
    try:
        Cuda()
    except BackendError as error:
        assert build_engine.main(["--engine-cache", str(tmp_path)]) == 1
        assert capsys.readouterr().err == f"build_engine: {error}\n"
    else:
        pytest.skip("this machine has a GPU")


def test_a_tensorrt_for_another_cuda_is_an_error_and_no_traceback(monkeypatch, capsys, tmp_path):
    SimulatedGpu().install(monkeypatch).refuses = {"builder"}
    assert build_engine.main(["--engine-cache", str(tmp_path)]) == 1
    assert "build_engine: TensorRT 10.3.0 cannot start CUDA" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, words", [(["--bundle", "nothing"], "no weights bundle"), (["--precision", "fp8"], "fp16, fp32")]
)
def test_mistakes(monkeypatch, capsys, arguments, words):
    SimulatedGpu().install(monkeypatch)
    assert build_engine.main(arguments) == 1
    assert words in capsys.readouterr().err
