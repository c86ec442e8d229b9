"""Read a body model from a file: our open body, or the SMPL file of a user who has a licence for it.

SMPL is distributed as a pickle, and a pickle is a program. It is read here by an unpickler that knows a dozen names, imports
nothing, and builds plain arrays from stand-ins; a file that asks for anything else is refused. So neither chumpy nor scipy is
needed, and an untrusted file cannot run code.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from hmr_ros import skeleton
from hmr_ros.body_model import NUM_POSE_FEATURES, BodyModel

OPEN_BODY = Path(__file__).parent / "assets" / "body" / "open_body.npz"
NUM_VERTICES, NUM_FACES = 6890, 13776

WHERE_TO_GET = "use body 'open', or SMPL_NEUTRAL (.pkl or .npz) from smpl.is.tue.mpg.de"
MAX_BYTES = 1 << 30
"""Limit for all arrays of a file together, unpacked; SMPL with 300 betas has 85 MB. A file of a few kilobytes can claim terabytes."""
OTHER_BODIES = {10475: "SMPL-X", 778: "MANO", 5023: "FLAME", 3889: "SMAL"}
"""By number of vertices, what a file that is not SMPL probably is."""


class BodyModelError(ValueError):
    """A body file that cannot be used. The message says what is wrong, with which file, and what to do."""


def load_body(path_or_name: str | Path) -> BodyModel:
    """A body model: 'open' is ours; anything else is the path of an SMPL file, .npz or .pkl.

    Raises BodyModelError when there is no such file or it is not a usable 24-joint SMPL body.
    """
    path = OPEN_BODY if str(path_or_name) == "open" else Path(path_or_name).expanduser()
    if not path.is_file():
        raise BodyModelError(f"No body model at {path.absolute()}: {WHERE_TO_GET}.")
    readers = {".npz": _read_npz, ".pkl": _read_pickle}
    if path.suffix.lower() not in readers:
        raise BodyModelError(f"{path}: body model files end in .npz or .pkl, not {path.suffix!r}: {WHERE_TO_GET}.")
    arrays = readers[path.suffix.lower()](path)
    if "weights_255" in arrays:
        arrays = _expand(arrays, path)
    return _check(arrays, path)


# --- Formats -------------------------------------------------------------------------------------------------------------

REQUIRED = ("v_template", "shapedirs", "weights", "J_regressor", "f", "kintree_table")
COMPACT = (
    "v_template", "shapedirs", "shapedirs_step", "weights_joint", "weights_255", "J_regressor_row",
    "J_regressor_column", "J_regressor_value", "f", "kintree_table",
)  # fmt: skip
OPTIONAL = ("posedirs", "shape_space", "region", "region_names")


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays we know in an .npz; others are not touched."""
    try:
        with zipfile.ZipFile(path) as file:
            unpacked = sum(member.file_size for member in file.infolist())
        if unpacked > MAX_BYTES:
            raise BodyModelError(f"{path}: unpacks to {unpacked >> 20} MB, which no body model does: {WHERE_TO_GET}.")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in {*REQUIRED, *COMPACT, *OPTIONAL} if name in file.files}
    except BodyModelError:
        raise
    # On a damaged file, zipfile, zlib and numpy's header parser each raise errors of their own.
    except Exception as error:
        raise BodyModelError(
            f"{path}: not a readable .npz of plain arrays ({error}). Copy it again, or use the original .pkl."
        ) from error


def _read_pickle(path: Path) -> dict[str, np.ndarray]:
    """The arrays we know in an official SMPL .pkl."""
    try:
        with path.open("rb") as file:
            content = unpickle(file)
        if not isinstance(content, dict):
            raise BodyModelError(f"holds a {type(content).__name__}, not SMPL's dictionary: {WHERE_TO_GET}.")
        return {name: _to_array(content[name]) for name in (*REQUIRED, "posedirs") if name in content}
    except BodyModelError as error:
        raise BodyModelError(f"{path}: {error}") from error
    # A damaged or hostile pickle can make the unpickler raise any kind of error.
    except Exception as error:
        raise BodyModelError(
            f"{path}: not a readable SMPL pickle ({type(error).__name__}: {error}). Is the download complete?"
        ) from error


def _expand(arrays: dict[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    """Convert the open body's compact form to SMPL's: see `training.build_body.pack`."""
    _need(arrays, COMPACT, path)
    vertices = len(arrays["v_template"])
    weights = np.zeros((vertices, skeleton.NUM_JOINTS), np.float32)
    regressor = np.zeros((skeleton.NUM_JOINTS, vertices), np.float32)
    try:
        # A joint may be listed twice with weight 0, so add rather than assign.
        np.add.at(
            weights, (np.arange(vertices)[:, None], arrays["weights_joint"]), arrays["weights_255"] / np.float32(255)
        )
        regressor[arrays["J_regressor_row"], arrays["J_regressor_column"]] = arrays["J_regressor_value"]
    except (IndexError, ValueError) as error:
        raise BodyModelError(f"{path}: weights or joint regressor point outside the body ({error}).") from error
    shapedirs = arrays["shapedirs"].astype(np.float32) * arrays["shapedirs_step"]
    return {**arrays, "shapedirs": shapedirs, "weights": weights, "J_regressor": regressor}


# --- Checks --------------------------------------------------------------------------------------------------------------


def _need(arrays: dict[str, np.ndarray], names: tuple[str, ...], path: Path) -> None:
    missing = [name for name in names if name not in arrays]
    if missing:
        raise BodyModelError(f"{path}: {', '.join(missing)} missing, so this is not an SMPL body: {WHERE_TO_GET}.")


def _check(arrays: dict[str, np.ndarray], path: Path) -> BodyModel:
    """Make a BodyModel of arrays named as in SMPL files. Raises BodyModelError."""
    _need(arrays, REQUIRED, path)
    _check_kind(arrays, path)
    shapes = {
        "v_template": (NUM_VERTICES, 3), "shapedirs": (NUM_VERTICES, 3, skeleton.NUM_BETAS),
        "posedirs": (NUM_VERTICES, 3, NUM_POSE_FEATURES), "weights": (NUM_VERTICES, skeleton.NUM_JOINTS),
        "J_regressor": (skeleton.NUM_JOINTS, NUM_VERTICES),
    }  # fmt: skip
    # SMPL comes with 10 or 300 betas, in order of importance.
    arrays = {**arrays, "shapedirs": arrays["shapedirs"][..., : skeleton.NUM_BETAS]}
    clean = {}
    for name, shape in shapes.items():
        if name not in arrays:
            continue
        array = np.ascontiguousarray(arrays[name], np.float32)
        if array.shape != shape:
            raise BodyModelError(f"{path}: {name} has shape {array.shape}, SMPL's is {shape}: {WHERE_TO_GET}.")
        if not np.isfinite(array).all():
            raise BodyModelError(f"{path}: {name} holds NaN or infinite values: the file is damaged, copy it again.")
        clean[name] = array
    for name in ("weights", "J_regressor"):
        if not np.allclose(clean[name].sum(1), 1, atol=1e-2):
            raise BodyModelError(f"{path}: rows of {name} do not sum to 1: the file is damaged, copy it again.")
    return BodyModel(
        v_template=clean["v_template"],
        shapedirs=clean["shapedirs"],
        posedirs=clean.get("posedirs"),
        weights=clean["weights"],
        J_regressor=clean["J_regressor"],
        faces=_check_faces(arrays["f"], path),
        shape_space=str(arrays["shape_space"]) if "shape_space" in arrays else shape_space_of(path.name),
        region=arrays.get("region"),
        region_names=tuple(str(name) for name in arrays.get("region_names", ())),
    )


def _check_kind(arrays: dict[str, np.ndarray], path: Path) -> None:
    """Is this a 24-joint SMPL body at all, or a relative of it?"""
    for name, array in arrays.items():
        if name not in ("shape_space", "region_names") and array.dtype.kind not in "fiu":
            raise BodyModelError(f"{path}: {name} holds {array.dtype}, not numbers: {WHERE_TO_GET}.")
    vertices, joints = len(np.atleast_1d(arrays["v_template"])), len(np.atleast_1d(arrays["J_regressor"]))
    if vertices != NUM_VERTICES:
        kind = OTHER_BODIES.get(vertices, "another body")
        raise BodyModelError(f"{path}: {vertices} vertices, which is {kind}; SMPL has {NUM_VERTICES}: {WHERE_TO_GET}.")
    if joints != skeleton.NUM_JOINTS:
        kind = "SMPL-H" if joints == 52 else "not SMPL"
        raise BodyModelError(
            f"{path}: {joints} joints, which is {kind}; SMPL has {skeleton.NUM_JOINTS}: {WHERE_TO_GET}."
        )
    tree = np.atleast_2d(arrays["kintree_table"])
    # Row 0 is each joint's parent; the root's is -1, which some files store as unsigned.
    if tree.shape[1] != skeleton.NUM_JOINTS or tuple(tree[0, 1:].astype(np.int64)) != skeleton.PARENTS[1:]:
        raise BodyModelError(f"{path}: its kinematic tree (kintree_table) is not SMPL's: {WHERE_TO_GET}.")
    if arrays["shapedirs"].ndim != 3 or arrays["shapedirs"].shape[-1] < skeleton.NUM_BETAS:
        raise BodyModelError(
            f"{path}: shapedirs has shape {arrays['shapedirs'].shape}; {skeleton.NUM_BETAS} betas needed: {WHERE_TO_GET}."
        )


def _check_faces(faces: np.ndarray, path: Path) -> np.ndarray:
    """(13776, 3) int32."""
    if faces.shape != (NUM_FACES, 3):
        raise BodyModelError(
            f"{path}: faces (f) have shape {faces.shape}, SMPL's are {(NUM_FACES, 3)}: {WHERE_TO_GET}."
        )
    if not ((faces >= 0) & (faces < NUM_VERTICES)).all():
        raise BodyModelError(
            f"{path}: faces (f) refer to vertices that do not exist: the file is damaged, copy it again."
        )
    return np.ascontiguousarray(faces, np.int32)


def shape_space_of(file_name: str) -> str:
    """The shape space of a user's SMPL file, as far as its name tells.

    >>> [shape_space_of(name) for name in ("SMPL_NEUTRAL.pkl", "basicModel_f_lbs_10_207_0_v1.0.0.pkl", "mine.npz")]
    ['smpl_neutral', 'smpl_female', 'smpl']
    """
    words = re.split(r"[^a-z]+", file_name.lower())
    for gender, names in (("neutral", ("neutral", "n")), ("female", ("female", "f")), ("male", ("male", "m"))):
        if any(name in words for name in names):
            return f"smpl_{gender}"
    return "smpl"


# --- The unpickler -------------------------------------------------------------------------------------------------------


def unpickle(file: BinaryIO) -> Any:
    """Load a pickle without running any code in it; `as_plain` turns any part into numpy arrays. Data sets' pickles are read with it too."""
    return _SmplUnpickler(file, encoding="latin1").load()


def as_plain(value: Any) -> Any:
    """Turn the stand-ins in a part of what `unpickle` returned into arrays: gives an array, text, a number, or one list or dictionary of those."""
    if isinstance(value, dict):
        return {key: _as_leaf(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_leaf(item) for item in value]
    return _as_leaf(value)


def _as_leaf(value: Any) -> Any:
    # Nested containers may be small in the file but endless to walk through.
    return value if isinstance(value, (str, bytes, type(None))) else _to_array(value)


class _Inert:
    """Stands in for any object of the file: keeps its arguments and state, but does nothing."""

    args: tuple
    state: Any

    def __new__(cls, *args):
        self = super().__new__(cls)
        self.args, self.state = args, {}
        return self

    def __init__(self, *args):
        pass

    def __setstate__(self, state):
        self.state = state


class _Dtype(_Inert):
    """numpy.dtype, of plain numbers only."""

    def value(self) -> np.dtype:
        code, order = self.args[0], self.state[1] if self.state else "="
        # Only text is quoted: any other object may be small in the file but endless when printed.
        if not isinstance(code, str) or not re.fullmatch(r"[fiub][1248]", code) or order not in ("<", ">", "|", "="):
            what = repr(code[:20]) if isinstance(code, str) else type(code).__name__
            raise BodyModelError(f"an array of {what} where numbers were expected.")
        return np.dtype(code).newbyteorder(order)


class _Array(_Inert):
    """numpy.ndarray, as made by numpy's `_reconstruct`: its content is in the state."""

    def value(self) -> np.ndarray:
        _, shape, dtype, is_fortran, data = self.state
        return _from_bytes(data, dtype, shape, "F" if is_fortran else "C")


class _Buffer(_Inert):
    """numpy.ndarray, as pickle protocol 5 stores it."""

    def value(self) -> np.ndarray:
        data, dtype, shape, order = self.args
        return _from_bytes(data, dtype, shape, order)


class _Scalar(_Inert):
    """numpy's scalars: a type and the bytes."""

    def value(self) -> np.ndarray:
        dtype, data = self.args
        return _from_bytes(data, dtype, (), "C")


class _Sparse(_Inert):
    """scipy.sparse's csc_matrix and csr_matrix."""

    by_column = True

    def value(self) -> np.ndarray:
        rows, columns = self.state["_shape"] if "_shape" in self.state else self.state["shape"]
        if rows * columns * 8 > MAX_BYTES:
            raise BodyModelError(f"a sparse matrix of {rows} x {columns}, which no body model has.")
        major, minor = (columns, rows) if self.by_column else (rows, columns)
        data, indices, starts = (_to_array(self.state[name]) for name in ("data", "indices", "indptr"))
        # `starts` takes few bytes in the file but may claim more entries than any memory holds.
        rises = len(starts) == major + 1 and starts[0] == 0 and np.all(starts[1:] >= starts[:-1])
        if not rises or not starts[-1] == len(data) == len(indices):
            raise BodyModelError("a sparse matrix whose parts do not fit together.")
        dense = np.zeros((major, minor))
        np.add.at(dense, (np.repeat(np.arange(major), np.diff(starts)), indices), data)
        return dense.T if self.by_column else dense


class _SparseByRow(_Sparse):
    by_column = False


class _Chumpy(_Inert):
    """A chumpy array: its value is the attribute `x`, or a selection (`idxs`) from another array (`a`)."""

    def value(self) -> np.ndarray:
        if "x" in self.state:
            return _to_array(self.state["x"])
        if {"a", "idxs", "preferred_shape"} <= set(self.state):
            chosen = _to_array(self.state["a"]).ravel()[_to_array(self.state["idxs"])]
            return chosen.reshape(tuple(int(n) for n in _to_array(self.state["preferred_shape"])))
        raise BodyModelError("a chumpy expression where an array was expected; save the file with plain arrays.")


def _from_bytes(data, dtype, shape, order: str) -> np.ndarray:
    # Python 2 wrote bytes as str; latin1 gives them back one to one.
    raw = data.encode("latin1") if isinstance(data, str) else bytes(data)
    return np.frombuffer(raw, dtype.value()).reshape(shape, order=order)


def _to_array(value) -> np.ndarray:
    """What the unpickler built, as an array of numbers."""
    if isinstance(value, _Inert):
        if not hasattr(value, "value"):
            raise BodyModelError("an object where an array was expected.")
        return value.value()
    # Lists that hold each other several times over are small in the file but endless as an array.
    if isinstance(value, (list, tuple)) and not all(isinstance(item, (int, float)) for item in value):
        raise BodyModelError(f"a {type(value).__name__} of objects where an array was expected.")
    return np.asarray(value)


# Classes, although a pickle calls them like functions: it may try to alter anything that it can refer to (opcode BUILD), and that
# fails on a class, because its __setstate__ needs an instance.


class _NewArray(_Inert):
    """numpy.core.multiarray._reconstruct."""

    def __new__(cls, subtype, shape, dtype):
        return _Array()


class _NewObject(_Inert):
    """copyreg._reconstructor, for stand-ins only."""

    def __new__(cls, kind, base, state):
        if not (isinstance(kind, type) and issubclass(kind, _Inert)):
            raise BodyModelError(
                f"it builds a {type(kind).__name__}, which no SMPL file needs. Get the file from its official site."
            )
        return kind()


class _Encode(_Inert):
    """_codecs.encode, as Python 3 writes bytes in old protocols."""

    def __new__(cls, text, encoding="latin1"):
        return text.encode("latin1")


_NUMPY = {
    ("multiarray", "_reconstruct"): _NewArray, ("multiarray", "scalar"): _Scalar, ("numeric", "_frombuffer"): _Buffer,
}  # fmt: skip
_KNOWN = {
    **{(f"numpy.{core}.{module}", name): it for (module, name), it in _NUMPY.items() for core in ("core", "_core")},
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    **{(f"scipy.sparse.{module}", "csc_matrix"): _Sparse for module in ("csc", "_csc")},
    **{(f"scipy.sparse.{module}", "csr_matrix"): _SparseByRow for module in ("csr", "_csr")},
    ("_codecs", "encode"): _Encode,
    ("copyreg", "_reconstructor"): _NewObject,
    ("builtins", "object"): _Inert,
    ("builtins", "set"): _Inert,
}
"""Every name a pickle may use, and what stands in for it. Nothing is imported."""


class _SmplUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        module = {"copy_reg": "copyreg", "__builtin__": "builtins"}.get(module, module)
        if module.split(".")[0] == "chumpy":
            return _Chumpy
        if (module, name) not in _KNOWN:
            raise BodyModelError(
                f"refused, because it asks for {module[:40]}.{name[:40]}, which no SMPL file needs and which may run code. "
                "Get the file from its official site."
            )
        return _KNOWN[module, name]
