"""Reading body files: the same body through every format, and every kind of bad file refused with a reason."""

import io
import os
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest

from hmr_ros import skeleton
from hmr_ros.smpl_file import OPEN_BODY, BodyModelError, load_body, shape_space_of


@pytest.fixture(scope="module")
def smpl_arrays() -> dict:
    """Our body under SMPL's names, with pose blend shapes and more betas than we use."""
    body = load_body("open")
    rng = np.random.default_rng(0)
    more = rng.normal(0, 1e-4, (6890, 3, 4)).astype(np.float32)
    return {
        "v_template": body.v_template.astype(np.float64),
        "shapedirs": np.concatenate([body.shapedirs, more], axis=-1),
        "posedirs": np.asfortranarray(np.float32(rng.normal(0, 1e-3, (6890, 3, 207)))),
        "weights": body.weights.astype(np.float64),
        "J_regressor": body.J_regressor,
        "f": body.faces.astype(np.uint32),
        "kintree_table": np.array([[2**32 - 1, *skeleton.PARENTS[1:]], range(24)], np.uint32),
    }


@pytest.fixture(scope="module")
def small_arrays(smpl_arrays) -> dict:
    """The same without its largest part, where that does not matter."""
    return {name: array for name, array in smpl_arrays.items() if name != "posedirs"}


def assert_same(body, arrays):
    for name in ("v_template", "posedirs", "weights", "J_regressor"):
        if name not in arrays:
            assert getattr(body, name) is None
            continue
        np.testing.assert_allclose(getattr(body, name), arrays[name], atol=1e-7)
    np.testing.assert_allclose(body.shapedirs, arrays["shapedirs"][..., :10], atol=1e-7)
    np.testing.assert_array_equal(body.faces, arrays["f"])


def chumpy_state(self) -> dict:
    return {**self.__dict__, "_dirty_vars": {"x"}, "_itr": None}


ChumpyArray = type("Ch", (), {"__module__": "chumpy.ch", "__getstate__": chumpy_state})
"""Pickles as chumpy's arrays do: a class of a module we do not have, with a dictionary as its state."""


def chumpy_array(x) -> ChumpyArray:
    array = ChumpyArray()
    array.x = x
    return array


@pytest.fixture
def fake_chumpy(monkeypatch):
    """What `pickle.dumps` needs to find; the loader must not look for it."""
    for name in ("chumpy", "chumpy.ch"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["chumpy.ch"].Ch = ChumpyArray


def write(path, content, protocol=2):
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


# --- What loads ----------------------------------------------------------------------------------------------------------


def test_npz_with_smpls_names(smpl_arrays, tmp_path):
    np.savez(tmp_path / "SMPL_NEUTRAL.npz", **smpl_arrays)
    body = load_body(tmp_path / "SMPL_NEUTRAL.npz")
    assert_same(body, smpl_arrays)
    assert body.shape_space == "smpl_neutral"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_of_any_protocol(small_arrays, tmp_path, protocol):
    path = write(tmp_path / "SMPL_MALE.pkl", {**small_arrays, "bs_type": "lrotmin"}, protocol)
    body = load_body(path)
    assert_same(body, small_arrays)
    assert body.shape_space == "smpl_male"


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_pickle_with_chumpy_and_scipy(small_arrays, tmp_path, fake_chumpy, protocol):
    sparse = pytest.importorskip("scipy.sparse", reason="scipy is not installed")
    content = {
        **small_arrays,
        "shapedirs": chumpy_array(small_arrays["shapedirs"]),
        "v_template": chumpy_array(small_arrays["v_template"]),
        "J_regressor": sparse.csc_matrix(small_arrays["J_regressor"]),
    }
    path = write(tmp_path / "basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl", content, protocol)
    body = load_body(str(path))
    assert_same(body, small_arrays)
    assert body.shape_space == "smpl_neutral"
    by_row = write(tmp_path / "rows.pkl", {**content, "J_regressor": sparse.csr_matrix(small_arrays["J_regressor"])})
    np.testing.assert_array_equal(load_body(by_row).J_regressor, body.J_regressor)


@pytest.mark.parametrize(
    "starts",
    [
        np.arange(6891) * 10**4,
        np.zeros(6891, int),
        np.arange(6891)[::-1],
        np.arange(6890),
        np.full(6891, 2**63, np.uint64),
    ],
)
def test_a_sparse_matrix_whose_parts_do_not_fit_together_is_refused(small_arrays, tmp_path, starts):
    """Before they are unfolded: a few kilobytes of such starts claim gigabytes of entries."""
    sparse = pytest.importorskip("scipy.sparse", reason="scipy is not installed")
    matrix = sparse.csc_matrix(small_arrays["J_regressor"])
    matrix.indptr = starts
    path = write(tmp_path / "SMPL_NEUTRAL.pkl", {**small_arrays, "J_regressor": matrix})
    with pytest.raises(BodyModelError, match="parts do not fit together"):
        load_body(path)


def test_chumpy_selection_is_resolved(small_arrays, tmp_path, fake_chumpy):
    """Some files hold the first betas as a selection from all of them."""
    a = small_arrays["shapedirs"]
    chosen = np.arange(a.size).reshape(a.shape)[..., :10]
    selection = ChumpyArray()
    selection.__dict__.update(a=chumpy_array(a), idxs=chosen.ravel(), preferred_shape=np.array(chosen.shape))
    content = {**small_arrays, "shapedirs": selection}
    assert_same(load_body(write(tmp_path / "selected.pkl", content)), small_arrays)
    expression = ChumpyArray()
    expression.__dict__.update(a=chumpy_array(a), b=chumpy_array(a))
    path = write(tmp_path / "sum.pkl", {**content, "shapedirs": expression})
    with pytest.raises(BodyModelError, match="chumpy expression"):
        load_body(path)


def test_pickle_written_by_python_2(smpl_arrays, tmp_path):
    """Python 2 has bytes as str (opcode BINSTRING), old module names and `copy_reg`; spelled by hand, there is no Python 2."""

    def array(a):
        raw, shape = a.tobytes(), b"".join(b"J" + n.to_bytes(4, "little") for n in a.shape)
        code = f"{a.dtype.kind}{a.dtype.itemsize}".encode()
        dtype = (
            b"cnumpy\ndtype\n(U"
            + bytes([len(code)])
            + code
            + b"K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        )
        start = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
        return start + b"(K\x01(" + shape + b"t" + dtype + b"\x89T" + len(raw).to_bytes(4, "little") + raw + b"tb"

    def chumpy(a):
        return b"ccopy_reg\n_reconstructor\n(cchumpy.ch\nCh\nc__builtin__\nobject\nNtR}(U\x01x" + array(a) + b"ub"

    items = b"".join(
        b"U" + bytes([len(name)]) + name.encode() + (chumpy if name == "shapedirs" else array)(np.ascontiguousarray(a))
        for name, a in smpl_arrays.items()
    )
    path = tmp_path / "basicModel_f_lbs_10_207_0_v1.0.0.pkl"
    path.write_bytes(b"\x80\x02}(" + items + b"u.")
    body = load_body(path)
    assert_same(body, smpl_arrays)
    assert body.shape_space == "smpl_female"


def test_shape_space_is_read_from_the_name():
    assert shape_space_of("SMPL_FEMALE.npz") == "smpl_female"
    assert shape_space_of("basicmodel_m_lbs_10_207_0_v1.1.0.pkl") == "smpl_male"
    assert shape_space_of("body.npz") == "smpl"


# --- What must not run ---------------------------------------------------------------------------------------------------


class Runs:
    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


ATTACKS = {
    "os.system": lambda mark: Runs(os.system, f"touch {mark}"),
    "eval": lambda mark: Runs(eval, f"open({str(mark)!r}, 'w')"),
    "nested in a list": lambda mark: {"v_template": [1, {"x": (Runs(os.system, f"touch {mark}"),)}]},
    "as an argument": lambda mark: Runs(np.dtype, Runs(os.system, f"touch {mark}")),
    "getattr": lambda mark: Runs(getattr, "text", "__class__"),
    "numpy's own loader": lambda mark: Runs(np.load, str(mark)),
    "a file object": lambda mark: Runs(io.open, str(mark), "w"),
}


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_malicious_pickle_is_refused_and_named(tmp_path, attack, protocol):
    mark = tmp_path / "was_here"
    try:
        path = write(tmp_path / "SMPL_NEUTRAL.pkl", ATTACKS[attack](mark), protocol)
    except (TypeError, pickle.PicklingError):
        pytest.skip("this attack cannot be written in this protocol")
    with pytest.raises(BodyModelError, match="asks for .*(system|eval|getattr|load|open|posix|nt)"):
        load_body(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "program",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",  # INST
        b"\x80\x04\x8c\x05numpy\x8c\x0anpy.system\x93.",  # STACK_GLOBAL with a dotted name
        b"ccopy_reg\n_reconstructor\n(cos\nPathLike\nc__builtin__\nobject\nNtR.",
        b"ccopy_reg\n_reconstructor\n(I1\nc__builtin__\nobject\nNtR.",
        b"\x80\x02\x82\x01.",  # an extension code
        b"Psome id\n.",  # a persistent id
        b"",
        b"not a pickle at all",
        b"\x80\x02]q\x00.",  # a list
        b"\x80\x02}(U\x0av_templateK\x01u.",
    ],
)  # fmt: skip
def test_hand_written_programs_are_refused(tmp_path, program):
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(program)
    with pytest.raises(BodyModelError, match="SMPL_NEUTRAL.pkl"):
        load_body(path)


# --- What is damaged or something else -----------------------------------------------------------------------------------


def changed(arrays, **changes):
    return {k: v for k, v in {**arrays, **changes}.items() if v is not None}


def with_value(array, index, value):
    array = np.array(array)
    array[index] = value
    return array


BAD = {
    "no weights": (lambda a: changed(a, weights=None), "weights missing"),
    "no faces": (lambda a: changed(a, f=None), "f missing"),
    "SMPL-X": (lambda a: changed(a, v_template=np.zeros((10475, 3))), "SMPL-X"),
    "MANO": (lambda a: changed(a, v_template=np.zeros((778, 3))), "MANO"),
    "SMPL-H": (lambda a: changed(a, J_regressor=np.zeros((52, 6890))), "SMPL-H"),
    "another tree": (lambda a: changed(a, kintree_table=with_value(a["kintree_table"], (0, 5), 1)), "kintree_table"),
    "NaN": (lambda a: changed(a, v_template=with_value(a["v_template"], (9, 1), np.nan)), "v_template holds NaN"),
    "infinite": (lambda a: changed(a, shapedirs=with_value(a["shapedirs"], (9, 1, 3), np.inf)), "shapedirs holds"),
    "few betas": (lambda a: changed(a, shapedirs=a["shapedirs"][..., :6]), "10 betas"),
    "flat posedirs": (lambda a: changed(a, posedirs=np.zeros((6890, 3, 100))), "posedirs has shape"),
    "face too high": (lambda a: changed(a, f=with_value(a["f"], (3, 1), 6890)), "do not exist"),
    "face negative": (lambda a: changed(a, f=with_value(a["f"].astype(int), (3, 1), -1)), "do not exist"),
    "too few faces": (lambda a: changed(a, f=a["f"][:100]), "faces"),
    "weights off": (lambda a: changed(a, weights=a["weights"] * 2), "sum to 1"),
    "words": (lambda a: changed(a, weights=np.array([["a"] * 24] * 6890)), "not numbers"),
}


@pytest.mark.parametrize("suffix", [".npz", ".pkl"])
@pytest.mark.parametrize("kind", BAD)
def test_unusable_arrays_are_refused_with_the_reason(small_arrays, tmp_path, kind, suffix):
    spoil, reason = BAD[kind]
    path = tmp_path / f"SMPL_NEUTRAL{suffix}"
    np.savez(path, **spoil(small_arrays)) if suffix == ".npz" else write(path, spoil(small_arrays))
    expected = reason if (kind, suffix) != ("words", ".pkl") else "numbers were expected"
    with pytest.raises(BodyModelError, match=expected) as error:
        load_body(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("keep", [0, 1, 100, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("suffix", [".npz", ".pkl"])
def test_truncated_files_are_refused(small_arrays, tmp_path, suffix, keep):
    path = tmp_path / f"SMPL_NEUTRAL{suffix}"
    np.savez(path, **small_arrays) if suffix == ".npz" else write(path, small_arrays)
    content = path.read_bytes()
    path.write_bytes(content[: keep if keep >= 1 else int(keep * len(content))])
    with pytest.raises(BodyModelError, match="SMPL_NEUTRAL"):
        load_body(path)


def pickled_laughs(depth: int = 60) -> bytes:
    """Lists that hold the one before twice: 60 of them are a few hundred bytes, and 10^18 numbers when unfolded."""
    value = [1.0]
    for _ in range(depth):
        value = [value, value]
    return pickle.dumps({"v_template": value}, protocol=2)


def test_files_that_claim_to_be_endless_are_refused(small_arrays, tmp_path):
    """And at once: nothing is unfolded, printed or allocated on the word of a file."""
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(pickled_laughs())
    with pytest.raises(BodyModelError, match="a list of objects where an array was expected"):
        load_body(path)
    sparse = b"cscipy.sparse._csc\ncsc_matrix\n)\x81}(X\x06\x00\x00\x00_shapeJ\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86ub"
    path.write_bytes(b"\x80\x02}X\x0a\x00\x00\x00v_template" + sparse + b"s.")
    with pytest.raises(BodyModelError, match="a sparse matrix of 2147483647 x 2147483647"):
        load_body(path)
    archive = tmp_path / "SMPL_NEUTRAL.npz"
    with (
        zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file,
        file.open("v_template.npy", "w", force_zip64=True) as member,
    ):
        for _ in range(1100):
            member.write(bytes(1 << 20))
    with pytest.raises(BodyModelError, match="which no body model does"):
        load_body(archive)


def test_a_dtype_that_is_endless_when_printed_is_not_printed(tmp_path):
    laughs = pickled_laughs().split(b"v_template", 1)[1]
    value = laughs[laughs.index(b"]") : laughs.rindex(b"s.")]
    array = b"cnumpy\nndarray\n)\x81(K\x01K\x01\x85cnumpy\ndtype\n(" + value + b"tR\x89U\x01xtb"
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(b"\x80\x02}U\x0av_template" + array + b"s.")
    with pytest.raises(BodyModelError, match="an array of list where numbers were expected"):
        load_body(path)


def test_a_file_cannot_alter_the_reader(tmp_path):
    """BUILD on what a name stands for: the next file would be read by what this one left behind."""
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    for name in (b"_codecs\nencode\n", b"copyreg\n_reconstructor\n", b"numpy\nndarray\n", b"numpy\ndtype\n"):
        path.write_bytes(b"\x80\x02c" + name + b"(N}U\x0c__defaults__(K\x07tstb.")
        with pytest.raises(BodyModelError, match="not a readable SMPL pickle"):
            load_body(path)


def test_npz_of_objects_is_not_unpickled(small_arrays, tmp_path):
    mark = tmp_path / "was_here"
    evil = np.empty(1, object)
    evil[0] = Runs(os.system, f"touch {mark}")
    np.savez(tmp_path / "SMPL_NEUTRAL.npz", **changed(small_arrays, J_regressor=evil))
    with pytest.raises(BodyModelError, match="plain arrays"):
        load_body(tmp_path / "SMPL_NEUTRAL.npz")
    assert not mark.exists()


def test_damaged_open_body_is_refused(tmp_path):
    arrays = dict(np.load(OPEN_BODY))
    path = tmp_path / "body.npz"
    np.savez(path, **changed(arrays, J_regressor_column=None))
    with pytest.raises(BodyModelError, match="J_regressor_column missing"):
        load_body(path)
    np.savez(path, **changed(arrays, weights_joint=np.full_like(arrays["weights_joint"], 99)))
    with pytest.raises(BodyModelError, match="outside the body"):
        load_body(path)


def test_missing_file_says_where_we_looked_and_what_to_do(tmp_path):
    with pytest.raises(BodyModelError, match="No body model at .*nowhere.pkl.*'open'"):
        load_body(tmp_path / "nowhere.pkl")
    (tmp_path / "body.obj").write_text("v 0 0 0")
    with pytest.raises(BodyModelError, match=r"end in .npz or .pkl"):
        load_body(tmp_path / "body.obj")
