"""Laws of the engines on disk: never half of one, never one of another key, never built twice at once."""

import dataclasses
import errno
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from hmr_ros.backends.engine_cache import EngineCache, EngineKey, StalePlan
from hmr_ros.backends.graph import BackendError

KEY = EngineKey("adapt", "a" * 64, "Orin, compute capability 8.7", "10.3.0", "fp32", ((1, 1, 1), (2, 4, 8)))


def engine(cache, key=KEY, plan=b"a plan\nof two lines"):
    """(plan, whether it was built)"""
    built = []
    return cache.engine(key, lambda: built.append(1) or plan, lambda found: found), bool(built)


@pytest.fixture
def cache(tmp_path):
    return EngineCache(str(tmp_path / "engines"))


def test_built_once(cache):
    assert engine(cache) == (b"a plan\nof two lines", True)
    assert engine(cache) == (b"a plan\nof two lines", False)


@pytest.mark.parametrize(
    "change",
    [
        {"graph_sha256": "b" * 64},
        {"gpu": "Orin, compute capability 8.9"},
        {"tensorrt": "10.16.0"},
        {"precision": "fp16"},
        {"people": (1, 1, 2)},
        {"recipe": 2},
    ],
)
def test_everything_in_the_key_counts(cache, change):
    engine(cache)
    other = dataclasses.replace(KEY, **change)
    assert engine(cache, other, b"another") == (b"another", True)
    assert engine(cache) == (b"a plan\nof two lines", False)
    assert engine(cache, other) == (b"another", False)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:10],
        lambda data: b"",
        lambda data: data[:-3] + b"X" + data[-2:],
        lambda data: data.replace(b"10.3.0", b"10.4.0"),
        lambda data: b"\x00" * len(data),
    ],
)
def test_a_damaged_file_is_built_anew(cache, damage, caplog):
    engine(cache)
    (file,) = cache.folder.glob("*.plan")
    file.write_bytes(damage(file.read_bytes()))
    assert engine(cache) == (b"a plan\nof two lines", True)
    assert "is damaged" in caplog.text
    assert engine(cache)[1] is False


def test_a_file_under_the_name_of_another_key_is_not_taken(cache):
    other = dataclasses.replace(KEY, tensorrt="10.16.0")
    engine(cache, other, b"another")
    os.rename(cache.folder / other.file_name, cache.folder / KEY.file_name)
    assert engine(cache) == (b"a plan\nof two lines", True)


def test_what_the_library_does_not_load_is_built_anew(cache):
    engine(cache, plan=b"old")

    def load(plan):
        if plan == b"old":
            raise StalePlan("of another version")
        return plan

    assert cache.engine(KEY, lambda: b"new", load) == b"new"
    assert engine(cache) == (b"new", False)


def test_whatever_else_goes_wrong_with_a_plan_leaves_it_as_it_is(cache):
    engine(cache)

    def load(plan):
        raise BackendError("out of memory")

    with pytest.raises(BackendError, match="out of memory"):
        cache.engine(KEY, lambda: pytest.fail("built anew"), load)
    assert engine(cache) == (b"a plan\nof two lines", False)


def test_a_plan_that_is_no_good_even_when_new_is_an_error(cache):
    def load(plan):
        raise StalePlan("no good")

    with pytest.raises(BackendError, match="no good"):
        cache.engine(KEY, lambda: b"new", load)


def test_failing_to_build_leaves_nothing_behind(cache):
    with pytest.raises(BackendError, match="unsupported"):
        cache.engine(KEY, lambda: (_ for _ in ()).throw(BackendError("unsupported")), lambda plan: plan)
    assert not [file for file in cache.folder.iterdir() if file.suffix != ".lock"]
    assert engine(cache)[1]


@pytest.mark.parametrize("call", ["tempfile.mkstemp", "os.fsync", "os.replace"])
def test_a_plan_that_cannot_be_kept_is_used_all_the_same(cache, monkeypatch, caplog, call):
    def fail(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"hmr_ros.backends.engine_cache.{call}", fail)
        assert engine(cache) == (b"a plan\nof two lines", True)
    assert "cannot be kept" in caplog.text and "No space left" in caplog.text
    assert not [file for file in cache.folder.iterdir() if file.suffix != ".lock"]
    assert engine(cache)[1]


def test_timings_are_kept_for_a_gpu_and_a_version(cache):
    engine(cache)
    cache.keep_timings(KEY, b"measured\nby hand")
    assert cache.timings(dataclasses.replace(KEY, graph="encode", precision="fp16")) == b"measured\nby hand"
    for change in ({"gpu": "Thor"}, {"tensorrt": "10.16.0"}):
        assert cache.timings(dataclasses.replace(KEY, **change)) == b""
    (file,) = cache.folder.glob("*.timings")
    file.write_bytes(file.read_bytes()[:-1])
    assert cache.timings(KEY) == b""


def test_reading_needs_no_right_to_write(cache):
    engine(cache)
    for file in cache.folder.glob("*.lock"):
        file.unlink()
    cache.folder.chmod(0o555)
    try:
        assert engine(cache) == (b"a plan\nof two lines", False)
        assert not list(cache.folder.glob("*.lock"))
    finally:
        cache.folder.chmod(0o755)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BackendError, match="model.engine_cache"):
        engine(EngineCache(str(tmp_path / "file" / "engines")))


def test_default_folder_is_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert EngineCache().folder == tmp_path / "hmr_ros" / "engines"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert EngineCache().folder == tmp_path / ".cache" / "hmr_ros" / "engines"


PROCESS = textwrap.dedent("""
    import sys
    from test_engine_cache import EngineCache, KEY
    def build():
        print("building", flush=True)
        sys.stdin.readline()
        return b"built by " + sys.argv[2].encode()
    print(EngineCache(sys.argv[1]).engine(KEY, build, lambda plan: plan.decode()), flush=True)
""")


def process(cache, name):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", PROCESS, str(cache.folder), name]
    return subprocess.Popen(command, cwd=os.path.dirname(__file__), **pipes)


def test_of_two_processes_one_builds_and_the_other_waits(cache):
    first = process(cache, "first")
    assert first.stdout.readline() == "building\n"
    second = process(cache, "second")
    told, _ = first.communicate("go on\n", timeout=60)
    assert told == "built by first\n"
    assert second.communicate(timeout=60)[0] == "built by first\n"


def test_a_builder_that_is_killed_holds_nobody_up(cache):
    first = process(cache, "first")
    assert first.stdout.readline() == "building\n"
    second = process(cache, "second")
    first.send_signal(signal.SIGKILL)
    first.wait(timeout=60)
    assert second.communicate("go on\n", timeout=60)[0] == "building\nbuilt by second\n"
    first.stdin.close(), first.stdout.close()
