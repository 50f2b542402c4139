"""Arrays that begin right behind, or end right before, a page that nobody may touch."""

import ctypes
import mmap
from math import ceil

import numpy as np

PAGE = mmap.PAGESIZE
try:
    mprotect = ctypes.CDLL(None).mprotect
except (AttributeError, OSError, TypeError):
    mprotect = None
else:
    mprotect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int


def pages(nbytes):
    """Whole pages of this many bytes or more as an array of bytes, an inaccessible page before and one behind them."""
    size = max(1, ceil(nbytes / PAGE)) * PAGE
    memory = np.frombuffer(mmap.mmap(-1, size + 2 * PAGE), np.uint8)
    for page in (0, PAGE + size):
        if mprotect(memory.ctypes.data + page, PAGE, 0):
            raise OSError("mprotect failed")
    return memory[PAGE:-PAGE]


def strides_of(rng, shape):
    """Strides in elements without overlap: C order, or axes in any order with gaps between elements and rows."""
    order, gaps = range(len(shape)), [0] * len(shape)
    if rng.random() < 0.5:
        order, gaps = rng.permutation(len(shape)), rng.choice([0, 0, 0, 1, 7], len(shape))
    strides, step = [0] * len(shape), 1
    for axis in reversed(order):
        step += gaps[axis]
        strides[axis] = int(step)
        step *= shape[axis]
    return strides


def at_the_bounds(rng, shape, dtype, fill):
    """An array in a layout of chance at either end of accessible memory, and all of that memory, full of `fill`."""
    dtype = np.dtype(dtype)
    strides = strides_of(rng, shape)
    extent = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    memory = pages(extent * dtype.itemsize).view(dtype)
    memory[...] = fill
    part = memory[-extent:] if rng.random() < 0.7 else memory[:extent]
    array = np.lib.stride_tricks.as_strided(part, shape, [stride * dtype.itemsize for stride in strides])
    turns = rng.choice([1, 1, 1, -1], len(shape))
    return array[tuple(slice(None, None, int(turn)) for turn in turns)], memory
