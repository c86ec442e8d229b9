"""A training run as one safetensors file: weights, optimiser state, and as metadata the step, the settings, the commit and the data.

model/<name>                   weights
optimizer/<parameter>/<name>   the optimiser's moments
metadata: step, run            `run` is JSON, by which `training.train.Run` describes itself
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor


class Checkpoint(NamedTuple):
    model: dict[str, Tensor]
    optimizer: dict[int, dict[str, Tensor]]
    """Moments by parameter, as in the `state` of an optimiser's `state_dict()`."""
    step: int
    run: dict
    """from_step, config, commit, torch, data, and `history`: one such entry for every time the run was started."""

    def save(self, path: Path) -> None:
        tensors = {f"model/{name}": value for name, value in self.model.items()}
        for index, moments in self.optimizer.items():
            tensors |= {f"optimizer/{index}/{name}": value for name, value in moments.items()}
        metadata = {"step": str(self.step), "run": json.dumps(self.run, default=str)}
        partial = path.with_suffix(".partial")
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, partial, metadata)
        partial.replace(path)  # an interrupted save never destroys the last good one


def load(path: Path) -> Checkpoint:
    """Read a file written by `save`."""
    if not path.is_file():
        raise FileNotFoundError(
            f"no checkpoint at {path.resolve()}: `python -m training.train` writes one into its --out"
        )
    model: dict[str, Tensor] = {}
    optimizer: dict[int, dict[str, Tensor]] = {}
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if "run" not in metadata:
            raise ValueError(f"{path} is no checkpoint of training.train: its metadata lacks 'run'")
        for key in file.keys():
            kind, _, name = key.partition("/")
            if kind == "model":
                model[name] = file.get_tensor(key)
            else:
                index, _, moment = name.partition("/")
                optimizer.setdefault(int(index), {})[moment] = file.get_tensor(key)
    return Checkpoint(model, optimizer, int(metadata["step"]), json.loads(metadata["run"]))


def digests(files: Iterable[Path]) -> dict[str, str]:
    """sha256 of every file, by name."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def commit() -> str:
    """The project's git commit, marked "-dirty" when files differ from it; "unknown" outside its repository."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        answer = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except OSError:  # no git
        return "unknown"
    return answer.stdout.strip() or "unknown"
