"""States: strict and whole when they are loaded, files that hold nothing to run, and what is wrong with a bad one."""

import io
import os
import pickle
import re
import sys
import time
import zipfile

import numpy as np
import pytest

from fastconv import Parameter
from fastconv.layers import _state
from fastconv.layers._state import load, load_state, save, state_of

SUFFIXES = [".npz", ".safetensors"]
STATE = {
    "conv1.weight": np.arange(24, dtype="float32").reshape(2, 3, 4) / 7,
    "conv1.bias": np.array([np.nan, -0.0]),
    "a/b.ü": np.zeros((0, 3), "float32"),
    "file": np.float64(0.1) * np.ones(()),  # names of numpy.savez's own arguments
    "allow_pickle": np.ones(1),
}


@pytest.fixture(params=SUFFIXES)
def suffix(request):
    if request.param == ".safetensors":
        pytest.importorskip("safetensors")
    return request.param


def parameters():
    return {"a": Parameter(np.zeros((2, 3), "float32")), "b": Parameter(np.zeros(4))}


def state():
    return {"a": np.ones((2, 3), "float32"), "b": np.ones(4)}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


# Out of parameters and into them


def test_out_and_in():
    source, target = parameters(), parameters()
    source["a"].value = np.arange(6, dtype="float32").reshape(2, 3)
    found = state_of(source.items())
    assert_same(found, {name: parameter.value for name, parameter in source.items()})
    load_state(target.items(), found)
    assert_same(state_of(target), found)
    found["a"][...] = 7
    np.testing.assert_array_equal(source["a"].value.ravel(), np.arange(6))
    np.testing.assert_array_equal(target["a"].value.ravel(), np.arange(6))


def test_widths_of_floats_are_converted():
    target = parameters()
    load_state(target, {"a": np.ones((2, 3), ">f8"), "b": np.ones(4, "float16")})
    assert (target["a"].dtype, target["b"].dtype) == ("float32", "float64")
    np.testing.assert_array_equal(target["a"].value, np.ones((2, 3)))


def without(name):
    return {other: array for other, array in state().items() if other != name}


@pytest.mark.parametrize(
    ("given", "messages"),
    [
        (without("a"), ["no 'a'"]),
        ({}, ["no 'a'", "no 'b'"]),
        (state() | {"c": np.ones(1)}, ["'c' is no parameter here"]),
        (without("b") | {"bb": np.ones(4)}, ["no 'b'", "'bb' is no parameter here"]),
        (state() | {"a": np.ones((3, 2))}, [r"'a' has shape (3, 2), wanted (2, 3)"]),
        (state() | {"b": np.ones(())}, [r"'b' has shape (), wanted (4,)"]),
        (state() | {"b": np.ones(4, int)}, ["'b' has dtype int64, wanted float64"]),
        (state() | {"b": np.ones(4, bool)}, ["'b' has dtype bool, wanted float64"]),
        (state() | {"b": np.ones(4, complex)}, ["'b' has dtype complex128, wanted float64"]),
        (state() | {"b": [None] * 4}, ["'b' has dtype object, wanted float64"]),
        ({"a": np.ones(1, int), "c": 1.0}, ["no 'b'", "'c' is", "'a' has dtype int64", "'a' has shape (1,)"]),
    ],
)
def test_a_state_that_does_not_fit(given, messages):
    target = parameters()
    values = {name: parameter.value for name, parameter in target.items()}
    with pytest.raises(ValueError, match="state does not fit: ") as raised:
        load_state(target.items(), given)
    assert all(message in str(raised.value) for message in messages)
    assert str(raised.value).count(";") == len(messages) - 1
    assert all(parameter.value is values[name] for name, parameter in target.items())


@pytest.mark.parametrize("given", [None, [("a", 1)], "a"])
def test_what_is_no_state(given):
    with pytest.raises(TypeError, match=r"state has type .*; wanted a mapping"):
        load_state(parameters().items(), given)


def test_shared_parameters():
    shared = Parameter(np.zeros(3))
    named = [("first", shared), ("second", shared)]
    value = np.array([1.0, np.nan, 2.0])
    load_state(named, {"first": value, "second": value.copy()})
    np.testing.assert_array_equal(shared.value, value)
    with pytest.raises(ValueError, match="'first' and 'second' differ, and are one shared parameter"):
        load_state(named, {"first": value, "second": value + 1})
    np.testing.assert_array_equal(shared.value, value)


# Files


def test_round_trip(tmp_path, suffix):
    path = tmp_path / f"net{suffix}"
    save(path, STATE)
    assert_same(load(path), STATE)
    assert_same(load(str(path)), STATE)
    assert_same(load(os.fsencode(path)), STATE)
    assert os.listdir(tmp_path) == [path.name]
    save(path, {})
    assert load(path) == {}


def test_order_of_memory_and_bytes_is_normal_in_files(tmp_path, suffix):
    path = tmp_path / f"net{suffix}"
    array = np.arange(6.0).reshape(2, 3)
    save(path, {"a": np.asfortranarray(array), "b": array.astype(">f8"), "c": array[:, ::-1]})
    assert_same(load(path), {"a": array, "b": array, "c": np.ascontiguousarray(array[:, ::-1])})


def test_the_same_state_is_the_same_file(tmp_path, monkeypatch):
    save(tmp_path / "one.npz", STATE)
    monkeypatch.setattr(time, "time", lambda: 2e9)  # archives have room for dates
    save(tmp_path / "two.npz", STATE)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_numpy_and_safetensors_read_them(tmp_path):
    save(tmp_path / "net.npz", STATE)
    with np.load(tmp_path / "net.npz") as file:
        np.testing.assert_array_equal(file["conv1.weight"], STATE["conv1.weight"])
        assert str(file["__format__"]) == "fastconv state"
    safetensors = pytest.importorskip("safetensors.numpy")
    save(tmp_path / "net.safetensors", STATE)
    found = safetensors.load_file(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(found["conv1.weight"], STATE["conv1.weight"])


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"a": np.array([{}])}, TypeError, r"state\['a'\] has dtype object; wanted float32 or float64"),
        ({"a": np.ones(2, int)}, TypeError, r"state\['a'\] has dtype int64"),
        ({"a": np.array(["a"])}, TypeError, r"state\['a'\] has dtype <U1"),
        ({3: np.ones(2)}, ValueError, r"state\[3\] has a name that is no parameter's"),
        ({"__format__": np.ones(2)}, ValueError, r"state\['__format__'\] has a name"),
        (None, TypeError, "state has type NoneType; wanted a mapping"),
    ],
)
def test_what_cannot_be_saved(tmp_path, suffix, given, error, message):
    path = tmp_path / f"net{suffix}"
    save(path, STATE)
    with pytest.raises(error, match=message):
        save(path, given)
    assert_same(load(path), STATE)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
def test_a_failed_save_leaves_the_old_file(tmp_path, suffix, monkeypatch, failing):
    path = tmp_path / f"net{suffix}"
    save(path, STATE)

    def fail(*arguments):
        if failing == "write":
            arguments[0].write(b"the beginning")
        raise OSError("no space left")

    if failing == "write":
        monkeypatch.setitem(_state.WRITERS, suffix, fail)
    else:
        monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="no space left"):
        save(path, {"a": np.ones(3)})
    assert_same(load(path), STATE)
    assert os.listdir(tmp_path) == [path.name]


def test_through_a_link(tmp_path, suffix):
    (tmp_path / "there").mkdir()
    link, place = tmp_path / f"link{suffix}", tmp_path / "there" / f"net{suffix}"
    try:
        link.symlink_to(place)
    except OSError:
        pytest.skip("no symbolic links here")
    save(link, STATE)
    assert link.is_symlink()
    assert_same(load(place), STATE)


@pytest.mark.parametrize("name", ["net", "net.pt", "net.npz.gz", "net.NPZ"])
def test_other_suffixes(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    for call in (lambda path: save(path, STATE), load):
        with pytest.raises(ValueError, match=re.escape(f"{name!r} ends in ".replace("'net", "net"))):
            call(tmp_path / name)


def test_what_is_no_path():
    for call in (lambda path: save(path, STATE), load):
        with pytest.raises(TypeError, match=r"path=3\.5 has type float; wanted a path"):
            call(3.5)


def test_no_such_file(tmp_path, suffix):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / f"net{suffix}")
    with pytest.raises(FileNotFoundError):
        save(tmp_path / "nowhere" / f"net{suffix}", STATE)


# Files that somebody damaged or made


def written(path, content):
    path.write_bytes(content)
    return path


def assert_refused(path, message="cannot load"):
    with pytest.raises(ValueError, match=message) as raised:
        load(path)
    assert str(path) in str(raised.value)


def test_truncated(tmp_path, suffix):
    path = tmp_path / f"net{suffix}"
    save(path, STATE)
    content = path.read_bytes()
    for length in {*range(0, len(content), 7), *range(len(content) - 40, len(content))}:
        assert_refused(written(path, content[:length]))


def test_any_byte_damaged(tmp_path):
    """The archive's checksums find what is wrong; where it still opens, nothing is there that was not saved."""
    path = tmp_path / "net.npz"
    save(path, STATE)
    content = path.read_bytes()
    for position in range(0, len(content), 5):
        damaged = bytearray(content)
        damaged[position] ^= 0x55
        try:
            found = load(written(path, damaged))
        except ValueError as error:
            assert str(path) in str(error)
        else:
            assert all(found[name].tobytes() == STATE[name].tobytes() for name in found.keys() & STATE.keys())


@pytest.mark.parametrize(
    "content",
    [b"", b"PK", b"hello" * 100, b"\x80\x04\x95", b"\x93NUMPY", b"\x89HDF\r\n\x1a\n", bytes(1000), b"\xff" * 99],
)
def test_other_files(tmp_path, suffix, content):
    assert_refused(written(tmp_path / f"net{suffix}", content))


class Trap:
    """An object whose unpickling is noticed."""

    sprung = False

    def __reduce__(self):
        return setattr, (Trap, "sprung", True)


def npz(**entries):
    """An .npz file with any entries, those that make a state included."""
    file = io.BytesIO()
    np.savez(file, **{"__format__": np.array("fastconv state"), "__version__": np.array("1")} | entries)
    return file.getvalue()


def test_nothing_is_unpickled(tmp_path):
    hostile = np.empty(1, object)
    hostile[0] = Trap()
    file = io.BytesIO()
    np.save(file, hostile)
    contents = [
        npz(a=hostile),
        npz(__version__=hostile),
        npz(__format__=hostile),
        file.getvalue(),
        pickle.dumps(Trap()),
    ]
    for content in contents:
        assert_refused(written(tmp_path / "net.npz", content))
    assert not Trap.sprung


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npz(__version__=np.array("0")), "its version is '0'; wanted '1'"),
        (npz(__version__=np.array("2")), "its version is '2'; wanted '1'"),
        (npz(__format__=np.array("something else")), "its format is 'something else'; wanted 'fastconv state'"),
        (npz(a=np.ones(3, int)), "its entry 'a' has dtype int64; wanted float32 or float64"),
        (npz(a=np.ones(3, "float16")), "its entry 'a' has dtype float16"),
        (npz(a=np.array(["text"])), "its entry 'a' has dtype <U4"),
    ],
)
def test_other_formats_and_entries(tmp_path, content, message):
    assert load(written(tmp_path / "net.npz", npz(a=np.ones(3)))).keys() == {"a"}
    assert_refused(written(tmp_path / "net.npz", content), message)


def test_no_format(tmp_path):
    path = tmp_path / "net.npz"
    np.savez(path, a=np.ones(3))
    assert_refused(path, "it has no format; wanted 'fastconv state', as save writes it")
    safetensors = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "net.safetensors"
    for metadata, message in [
        (None, "it has no format"),
        ({"format": "pt"}, "its format is 'pt'; wanted 'fastconv state'"),
        ({"format": "fastconv state"}, "it has no version"),
        ({"format": "fastconv state", "version": "2"}, "its version is '2'; wanted '1'"),
    ]:
        safetensors.save_file({"a": np.ones(3)}, path, metadata=metadata)
        assert_refused(path, message)


def archive(*members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as content:
        for name, data in members:
            content.writestr(name, data)
    return file.getvalue()


def npy(array=None, header=None):
    """An .npy file of an array, or of a header alone."""
    file = io.BytesIO()
    if header is None:
        np.lib.format.write_array(file, array)
    else:
        np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


LABELS = [("__format__.npy", npy(np.array("fastconv state"))), ("__version__.npy", npy(np.array("1")))]
HUGE = npy(header={"descr": "<f8", "fortran_order": False, "shape": (2**45,)})
NEGATIVE = npy(header={"descr": "<f8", "fortran_order": False, "shape": (-1,)})


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("member", "message"),
    [
        (("a.txt", b"text"), "its entry 'a.txt' is no array"),
        (("a", npy(np.ones(3))), "its entry 'a' is no array"),
        (LABELS[0], "its entry '__format__.npy' is no array, or there are two of it"),
        (("a.npy", b""), "cannot load"),
        (("a.npy", b"\x93NUMPY\x07\x00"), "cannot load"),
        (("a.npy", npy(np.ones(3))[:-1]), "cannot load"),
        (("a.npy", npy(np.ones(3)) + b"more"), "its entry 'a.npy' is longer than its array"),
        (("a.npy", HUGE), "cannot load"),
        (("a.npy", NEGATIVE), "cannot load"),
    ],
)
def test_archives_that_numpy_did_not_write(tmp_path, member, message):
    assert load(written(tmp_path / "net.npz", archive(*LABELS, ("a.npy", npy(np.ones(3)))))).keys() == {"a"}
    assert_refused(written(tmp_path / "net.npz", archive(*LABELS, member)), message)


def test_without_safetensors(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    path = written(tmp_path / "net.safetensors", b"the old file")
    for call in (lambda: save(path, STATE), lambda: load(path)):
        with pytest.raises(ImportError, match=r"pip install 'fastconv\[safetensors\]'"):
            call()
    assert path.read_bytes() == b"the old file"
    assert os.listdir(tmp_path) == [path.name]
