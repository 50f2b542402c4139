"""Activations and their derivatives on whole arrays: compiled and parallel for those of the table."""

import numpy as np

from . import _activations, _driver, _isa
from ._arrays import cast, contiguous
from ._cache import Bounded
from ._threads import get_num_threads

BLOCK = 1 << 12  # elements of an item of work
SERIAL = 1 << 15  # elements below which waking other threads costs more than they save
FLOPS = 20  # about, of an element

_TASKS = Bounded(64)


def activate(activation, before):
    """The activation of `before`, a contiguous array of a computed type: a new array."""
    if activation.code:
        return _run(activation, before, None)
    after = before.copy()
    _activations.apply(activation.function, after)
    return after


def pull_back(activation, before, grad):
    """`grad` times the derivative at `before`, a contiguous array of a computed type: a new array of that type."""
    if activation.code:
        return _run(activation, before, contiguous(grad, before.dtype))
    derivative = _activations.slope(activation, before)
    with np.errstate(all="ignore"):
        return cast(grad, before.dtype) * derivative


def _run(activation, before, grad):
    out = np.empty_like(before)
    if before.size:
        threads = get_num_threads() if before.size > SERIAL else 1
        key = (activation.code, before.dtype, before.size, grad is None, threads)
        task = _TASKS.get(key) or _TASKS.put(key, _task(activation, before, threads))
        task.run_elementwise(before, grad, out)
    return out


def _task(activation, before, threads):
    fields = dict(n=before.size, o_block=BLOCK, activation=activation.code, items=-(-before.size // BLOCK))
    return _driver.Task(
        _isa.backward.ELEMENTWISE[before.dtype.name],
        _driver.no_job() | fields,
        keep=None,
        threads=threads,
        workspace_bytes=0,
        flops=FLOPS * before.size,
        packing=None,
        kernel="elementwise",
    )
