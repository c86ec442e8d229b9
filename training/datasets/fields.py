"""Arrays of third-party files, checked before use."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from training.datasets.people import DatasetError


class Fields:
    """Arrays by key, of one file; every error names the file and the key.

    All arrays requested with a shape that starts with None must have the same first length: it counts the people or frames.
    """

    def __init__(self, where: Path | str, arrays: Mapping, what: str):
        self.where, self._arrays, self._what = where, arrays, what
        self.count: int | None = None

    def __contains__(self, key: str) -> bool:
        return key in self._arrays

    def need(self, key: str, *shape: int | None, kind: str = "number") -> np.ndarray:
        """The array under `key`, or DatasetError. shape: None stands for any length; kind: number or text."""
        array = np.asarray(self.value(key))
        kinds = {"number": "fiub", "text": "US"}[kind]
        if array.dtype.kind not in kinds:
            raise DatasetError(f"{self.where}: {key} holds {array.dtype}, not {kind}s; {self._what} does.")
        expected = tuple("N" if length is None else length for length in shape)
        lengths_fit = all(length in (None, found) for length, found in zip(shape, array.shape))
        if array.ndim != len(shape) or not lengths_fit:
            raise DatasetError(f"{self.where}: {key} has shape {array.shape}, {self._what} has {_text(expected)}.")
        if shape and shape[0] is None:
            self._same_count(key, len(array))
        return array.astype(np.str_) if kind == "text" else array

    def get(self, key: str, *shape: int | None, kind: str = "number") -> np.ndarray | None:
        """As `need`, but None where the key is absent."""
        return self.need(key, *shape, kind=kind) if key in self._arrays else None

    def value(self, key: str):
        """The content of `key`, unchecked."""
        if key not in self._arrays:
            raise DatasetError(f"{self.where}: no key {key!r}, so this is not {self._what}. It has {self._names()}.")
        return self._arrays[key]

    def part(self, key: str, what: str) -> Fields:
        """The dictionary under `key`."""
        content = self.value(key)
        if not isinstance(content, Mapping):
            raise DatasetError(
                f"{self.where}: {key} is a {type(content).__name__}, not a dictionary as in {self._what}."
            )
        return Fields(f"{self.where}, {key}", content, what)

    def _same_count(self, key: str, count: int) -> None:
        if self.count is None:
            self.count = count
        elif count != self.count:
            raise DatasetError(f"{self.where}: {key} has {count} rows, the keys before it have {self.count}.")

    def _names(self) -> str:
        names = sorted(map(str, self._arrays))
        return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "") if names else "no keys at all"


def _text(shape: tuple) -> str:
    return "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"


class LazyArrays(Mapping):
    """The arrays of an .npz, each read on first access, because such files reach gigabytes."""

    def __init__(self, path: Path):
        self._path, self._file = path, np.load(path, allow_pickle=False)
        self._read: dict[str, np.ndarray] = {}

    def __getitem__(self, key: str) -> np.ndarray:
        if key not in self._read:
            try:
                self._read[key] = self._file[key]
            except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                raise DatasetError(
                    f"{self._path}: {key} cannot be read ({error}). Objects are never unpickled; is the download complete?"
                ) from error
        return self._read[key]

    def __contains__(self, key) -> bool:
        return key in self._file.files

    def __iter__(self):
        return iter(self._file.files)

    def __len__(self) -> int:
        return len(self._file.files)


def open_npz(path: Path, what: str) -> Fields:
    """An .npz of plain arrays."""
    if not path.is_file():
        raise DatasetError(f"No file at {path.absolute()}, where {what} was expected.")
    try:
        return Fields(path, LazyArrays(path), what)
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path}: not a readable .npz ({error}). Is the download complete?") from error


def gender_of(value, where: Path | str, key: str) -> str:
    """A gender as data sets write it, as one of people.GENDERS."""
    text = value.decode("latin1") if isinstance(value, bytes) else str(np.asarray(value).reshape(-1)[0])
    text = text.strip().removeprefix("b'").removesuffix("'").lower()
    known = {"m": "male", "male": "male", "f": "female", "female": "female", "n": "neutral", "neutral": "neutral"}
    if text not in known:
        raise DatasetError(f"{where}: {key} is {text!r}, none of {', '.join(known)}.")
    return known[text]


def genders_of(values: np.ndarray, where: Path | str, key: str) -> np.ndarray:
    """(N,) str."""
    names, inverse = np.unique(values, return_inverse=True)
    return np.array([gender_of(name, where, key) for name in names])[inverse]
