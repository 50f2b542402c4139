"""The values of named parameters, out of them and into them, and in files.

A state is a dictionary name → array. A file holds one, with the name and the version of this format, and nothing that
runs when it is read: no pickle. It is written beside its place and renamed, so that what stood there stays whole if
writing fails.
"""

import os
from collections.abc import Mapping

import numpy as np

from .._arrays import as_array, cast
from .._files import as_path, reading, replacing
from ._parameter import FLOATS

FORMAT = {"format": "fastconv state", "version": "1"}
LABELS = {label: f"__{label}__" for label in FORMAT}  # as entries of an .npz file


def state_of(named_parameters):
    """The values of parameters by name, copied."""
    return {name: parameter.value.copy() for name, parameter in dict(named_parameters).items()}


def load_state(named_parameters, state):
    """Set every parameter to its array in `state`; if anything does not fit, change nothing and say what."""
    parameters = dict(named_parameters)
    _check_mapping(state)
    problems = [f"no {name!r}" for name in parameters if name not in state]
    problems += [f"{name!r} is no parameter here" for name in state if name not in parameters]
    arrays = {name: as_array(f"state[{name!r}]", state[name]) for name in parameters if name in state}
    for name, array in arrays.items():
        wanted = parameters[name]
        if array.dtype.kind != "f":
            problems.append(f"{name!r} has dtype {array.dtype}, wanted {wanted.dtype}")
        if array.shape != wanted.shape:
            problems.append(f"{name!r} has shape {array.shape}, wanted {wanted.shape}")
    problems += _contradictions(parameters, arrays)
    if problems:
        raise ValueError(f"state does not fit: {'; '.join(problems)}")
    for name, array in arrays.items():
        parameters[name].value = cast(array, parameters[name].dtype)


def _check_mapping(state):
    if not isinstance(state, Mapping):
        raise TypeError(f"state has type {type(state).__name__}; wanted a mapping of names to arrays")


def _contradictions(parameters, arrays):
    """Names of one shared parameter, whose arrays differ."""
    first = {}
    for name, array in arrays.items():
        other = first.setdefault(id(parameters[name]), name)
        if not np.array_equal(array, arrays[other], equal_nan=array.dtype.kind == "f"):
            yield f"{other!r} and {name!r} differ, and are one shared parameter"


def save(path, state):
    """Write `state` to a file, ``.npz`` or ``.safetensors``: the whole file or none."""
    _check_mapping(state)
    path = as_path("path", path)
    write = by_suffix(path, WRITERS)
    arrays = {name: _storable(f"state[{name!r}]", name, array) for name, array in state.items()}
    with replacing(path) as file:
        write(file, arrays)


def load(path):
    """The state that `save` wrote to a file."""
    path = as_path("path", path)
    with reading(path):
        entries, labels = by_suffix(path, READERS)(path)
        for label, wanted in FORMAT.items():
            if label not in labels:
                raise ValueError(f"it has no {label}; wanted {wanted!r}, as save writes it")
            if labels[label] != wanted:
                raise ValueError(f"its {label} is {labels[label]!r}; wanted {wanted!r}")
        return {name: _storable(f"its entry {name!r}", name, array) for name, array in entries.items()}


def _storable(what, name, array):
    """`array` as what files hold, in C order and native byte order."""
    if not isinstance(name, str) or name in LABELS.values():
        raise ValueError(f"{what} has a name that is no parameter's")
    array = as_array(what, array)
    if array.dtype.newbyteorder("=") not in FLOATS:
        raise TypeError(f"{what} has dtype {array.dtype}; wanted float32 or float64")
    return array.astype(array.dtype.type, order="C", copy=False)


def by_suffix(path, table):
    """What `table` has for files of this kind."""
    suffix = os.path.splitext(path)[1]
    if suffix not in table:
        raise ValueError(f"{path!r} ends in {suffix!r}; wanted {' or '.join(table)}")
    return table[suffix]


def _write_npz(file, arrays):
    import zipfile  # not before it is needed: it imports a dozen modules

    labels = {LABELS[label]: np.array(text) for label, text in FORMAT.items()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in (labels | arrays).items():
            # numpy.savez takes names as keyword arguments, of which some are its own; and a ZipInfo has no date in it
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def _read_npz(path):
    """Entries of an ``.npz`` file, and what it says about itself."""
    import zipfile

    entries = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            name = member.removesuffix(".npy")
            if name == member or name in entries:
                raise ValueError(f"its entry {member!r} is no array, or there are two of it")
            with archive.open(member) as entry:
                entries[name] = np.lib.format.read_array(entry, allow_pickle=False)
                if entry.read(1):  # which also compares the checksum
                    raise ValueError(f"its entry {member!r} is longer than its array")
    labels = {label: str(entries.pop(name)) for label, name in LABELS.items() if name in entries}
    return entries, labels


def _safetensors():
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            "files that end in .safetensors need the library of that name: pip install 'fastconv[safetensors]'"
        ) from error
    return safetensors


def _write_safetensors(file, arrays):
    file.write(_safetensors().numpy.save(arrays, metadata=FORMAT))


def _read_safetensors(path):
    """Entries of a ``.safetensors`` file, and what it says about itself."""
    with _safetensors().safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


WRITERS = {".npz": _write_npz, ".safetensors": _write_safetensors}
READERS = {".npz": _read_npz, ".safetensors": _read_safetensors}
