"""Arrays at the door: which types there are, what becomes of them, and what `out` must be."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ._driver import empty
from ._errors import integer, sequence

LIMIT = 4 * 2**20  # bytes of converted or intermediate arrays at a time

FLOAT32, FLOAT64 = np.dtype("float32"), np.dtype("float64")

# Kind and itemsize of a type → what it is computed in, complex numbers as pairs of that
COMPUTED = {
    ("b", 1): FLOAT32,
    ("i", 1): FLOAT32,
    ("u", 1): FLOAT32,
    ("i", 2): FLOAT32,
    ("u", 2): FLOAT32,
    ("i", 4): FLOAT64,
    ("u", 4): FLOAT64,
    ("i", 8): FLOAT64,
    ("u", 8): FLOAT64,
    ("f", 2): FLOAT32,
    ("f", 4): FLOAT32,
    ("f", 8): FLOAT64,
    ("c", 8): FLOAT32,
    ("c", 16): FLOAT64,
}


class Types(NamedTuple):
    """What a call returns, and what it is computed in: float32 or float64."""

    result: np.dtype
    computed: np.dtype

    @property
    def is_complex(self):
        return self.result.kind == "c"

    @property
    def of_parts(self):
        """The types of the real calls that a complex one is composed of; for real types themselves."""
        return Types(self.computed, self.computed) if self.is_complex else self


@lru_cache(maxsize=256)
def promote(**dtypes):
    """The `Types` of a call with arguments of these dtypes."""
    for name, dtype in dtypes.items():
        if (dtype.kind, dtype.itemsize) not in COMPUTED:
            raise TypeError(
                f"{name} has dtype {dtype}; wanted bool, an integer, float16, float32, float64, complex64 or complex128"
            )
    result = np.result_type(*dtypes.values())
    computed = COMPUTED[result.kind, result.itemsize]
    # by its scalar type a dtype is native, and the one object that new arrays have too
    return Types(np.dtype(result.type) if result.kind in "fc" else computed, computed)


def as_array(name, value):
    """`value` as an ndarray, without a copy where it is one or offers one."""
    if type(value) is np.ndarray:
        return value
    try:
        if not hasattr(value, "__array__") and hasattr(value, "__dlpack__"):
            return np.from_dlpack(value)
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise TypeError(f"{name} has type {type(value).__name__}, which gives no NumPy array: {error}") from error


def as_real(name, value, types):
    """`value` as an ndarray that can be cast to real `types`."""
    array = as_array(name, value)
    if promote(**{name: array.dtype}).is_complex:
        raise TypeError(f"{name} has dtype {array.dtype}; wanted real numbers, to compute in {types.computed}")
    return array


def as_shape(name, value):
    """`value` as a tuple of sizes."""
    sizes = sequence(value)
    if sizes is None:
        raise TypeError(f"{name}={value!r} has type {type(value).__name__}; wanted a tuple of sizes")
    return tuple(integer(name, size, 0) for size in sizes)


def is_plain(array, dtype):
    """Whether the kernels can work on `array` as it stands, whatever its strides."""
    return array.dtype == dtype and array.flags.aligned


def cast(array, *dtypes):
    """`array` through these types, without a copy where it is what is wanted. Overflow gives infinity."""
    for dtype in dtypes:
        if array.dtype != dtype:  # asked first: errstate costs more than a small convolution
            with np.errstate(all="ignore"):
                array = array.astype(dtype)
    return array if array.flags.aligned else array.copy()


def contiguous(array, *dtypes):
    """`array` through these types, in C order."""
    return np.ascontiguousarray(cast(array, *dtypes))


def contiguous_strides(shape, itemsize):
    """Strides in bytes of a new array."""
    strides = []
    for size in reversed(shape):
        strides.append(itemsize)
        itemsize *= max(size, 1)
    return tuple(reversed(strides))


def check_out(out, shape, dtype, **inputs):
    """Refuse an `out` that cannot hold the result, or whose memory bounds overlap those of an input."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out has type {type(out).__name__}; wanted a NumPy array")
    if out.dtype != dtype:
        raise TypeError(f"out has dtype {out.dtype.str} ({out.dtype}); wanted {dtype.str} ({dtype})")
    if out.shape != shape:
        raise ValueError(f"out has shape {out.shape}; wanted {shape}")
    flags = out.flags
    if not flags.writeable:
        raise ValueError("out is read-only; wanted a writable array")
    for name, array in inputs.items():
        if array is not None and np.may_share_memory(out, array):
            raise ValueError(f"out overlaps the memory of {name}; wanted an array of its own")
    if not flags.c_contiguous and _overlaps_itself(out):
        raise ValueError(f"out has elements that share memory (shape {out.shape}, strides {out.strides})")


def output(out, shape, dtype, **inputs):
    """A new array, or `out` if it can hold the result."""
    if out is None:
        return empty(shape, dtype)
    check_out(out, shape, dtype, **inputs)
    return out


def _overlaps_itself(array):
    """Whether two elements share memory: exact, whatever the strides.

    Two such elements first differ along some axis. Moving both together, the first can be had at index 0 of that axis
    and of all axes before it, and the second at index 0 of those before it.
    """
    if _is_nested(array):
        return False
    for axis in range(array.ndim):
        at_zero = (0,) * axis
        try:
            if np.shares_memory(array[(*at_zero, slice(0, 1))], array[(*at_zero, slice(1, None))], max_work=10**6):
                return True
        except np.exceptions.TooHardError:  # strides so strange that nobody means them
            return True
    return False


def _is_nested(array):
    """Whether each axis steps over all that the axes of smaller strides hold: the usual case, which needs no search."""
    extent = array.itemsize
    for stride, size in sorted((abs(stride), size) for stride, size in zip(array.strides, array.shape, strict=True)):
        if size > 1 and stride < extent:
            return False
        extent += stride * (size - 1)
    return True
