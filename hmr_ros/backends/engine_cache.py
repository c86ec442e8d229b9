"""Compiled engines on disk: found again by everything that they depend on, written whole or not at all.

A file holds one line of JSON (the key, and the plan's sha256) and the plan. A file that is cut short, altered or of another key
is as good as none. Two processes that want the same engine don't build it twice: the second waits.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from hmr_ros.backends.graph import BackendError

_log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class EngineKey:
    """What a plan depends on."""

    graph: str
    """Name of the graph; only for people who look into the folder."""
    graph_sha256: str
    gpu: str
    """Name and compute capability."""
    tensorrt: str
    precision: str
    people: tuple[int, int, int]
    pictures: tuple[tuple[int, int], ...] = ()
    """Numbers of people and sizes of pictures that kernels are chosen for."""

    @property
    def file_name(self) -> str:
        return f"{self.graph}-{hashlib.sha256(_canonical(self)).hexdigest()[:16]}.plan"


class EngineCache:
    """folder: where plans lie; empty for `hmr_ros/engines` in the user's cache ($XDG_CACHE_HOME, or ~/.cache)."""

    def __init__(self, folder: str = ""):
        default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hmr_ros" / "engines"
        self.folder = Path(folder).expanduser() if folder else default

    def engine(self, key: EngineKey, build: Callable[[], bytes], load: Callable[[bytes], T]) -> T:
        """What `load` makes of the plan for `key`: the one in the folder, or, where `load` does not take it, a new one."""
        found = self._find(key, load)  # without the lock: a robot's folder may be read-only
        if found is not None:
            return found
        with self._lock(key):
            found = self._find(key, load)  # whoever had the lock before has built it
            if found is None:
                plan = build()
                self._write(key, plan)
                found = load(plan)
            return found

    def _find(self, key: EngineKey, load: Callable[[bytes], T]) -> T | None:
        plan = self._read(key)
        try:
            return None if plan is None else load(plan)
        except BackendError as error:
            _log.warning("%s is built anew: %s", self.folder / key.file_name, error)
            return None

    def _read(self, key: EngineKey) -> bytes | None:
        path = self.folder / key.file_name
        try:
            header, _, plan = path.read_bytes().partition(b"\n")
        except OSError:  # none, or none that we may read
            return None
        if header != _header(key, plan):
            _log.warning("%s is damaged: it is built anew", path)
            return None
        return plan

    def _write(self, key: EngineKey, plan: bytes) -> None:
        """Under another name first: whoever reads finds all of it or nothing, even after a power cut."""
        handle, name = tempfile.mkstemp(dir=self.folder, prefix=key.file_name, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_header(key, plan) + b"\n" + plan)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self.folder / key.file_name)
        except OSError as error:
            raise BackendError(
                f"the engine cannot be kept in {self.folder} ({error}): see `model.engine_cache`"
            ) from error
        finally:
            Path(name).unlink(missing_ok=True)

    @contextmanager
    def _lock(self, key: EngineKey) -> Iterator[None]:
        """One process at a time; the kernel lets go when a process ends, however it ends."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = open(self.folder / f"{key.file_name}.lock", "w")
        except OSError as error:
            raise BackendError(
                f"engines cannot be kept in {self.folder} ({error}): see `model.engine_cache`"
            ) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _log.info("another process builds the engine of '%s': waiting for it", key.graph)
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _header(key: EngineKey, plan: bytes) -> bytes:
    return json.dumps({**asdict(key), "sha256": hashlib.sha256(plan).hexdigest()}, sort_keys=True).encode()


def _canonical(key: EngineKey) -> bytes:
    return json.dumps(asdict(key), sort_keys=True).encode()
