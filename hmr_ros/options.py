"""Argument types for argparse that say what is wrong with a value."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable
from pathlib import Path


def at_least_one(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be at least 1")
    return value


def positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: must be above 0")
    return value


def check_writable(path: Path | None) -> None:
    """Raise OSError before long work if its results could not be saved to `path`. None: no file is wanted."""
    if path:
        path.open("a").close()


def vertical_fov(text: str) -> float:
    """Degrees."""
    if not 1 <= (value := float(text)) <= 170:
        raise argparse.ArgumentTypeError(f"{text}: must be between 1 and 170 degrees")
    return value


def nearest(name: str, known: Iterable[str]) -> str:
    """A suggestion for a misspelt name: the most similar known one."""
    return f"did you mean {difflib.get_close_matches(name, known, 1, 0.0)[0]}?"
