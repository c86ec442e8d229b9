"""Data sets that come as pickles (3DPW, EMDB), through the unpickler that builds arrays and runs nothing (`hmr_ros.smpl_file`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hmr_ros.smpl_file import as_plain, unpickle
from training.datasets.fields import Fields
from training.datasets.people import DatasetError


class PickledArrays(Mapping):
    """A pickled dictionary whose values become arrays on access: values that are never read may be anything harmless."""

    def __init__(self, where: Path | str, content: dict):
        self._where, self._content = where, content

    def __getitem__(self, key):
        try:
            return as_plain(self._content[key])
        except KeyError:
            raise
        # A damaged value can raise any exception: the unpickler's stand-in classes define none of their own.
        except Exception as error:
            raise DatasetError(f"{self._where}: {key} cannot be read ({type(error).__name__}: {error}).") from error

    def __iter__(self):
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)


def open_pickle(path: Path, what: str) -> Fields:
    """A pickled dictionary of arrays."""
    if not path.is_file():
        raise DatasetError(f"No file at {path.absolute()}, where {what} was expected.")
    try:
        with path.open("rb") as file:
            content = unpickle(file)
    # As in hmr_ros.smpl_file: a damaged or hostile pickle can provoke anything in the unpickler.
    except Exception as error:
        raise DatasetError(
            f"{path}: not {what} ({type(error).__name__}: {error}). Is the download complete?"
        ) from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: holds a {type(content).__name__}, {what} is a dictionary.")
    return Fields(path, PickledArrays(path, content), what)
