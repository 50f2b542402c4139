"""How many threads a call may use.

By default the smallest of three limits, read once, when the package is imported: the processors that the process may
run on (its affinity mask), the processor time that its control groups grant it, and ``OMP_NUM_THREADS``.
`set_num_threads` replaces that for the process, `num_threads` for a block of code.

Two things come on top at every call. A limit set on OpenMP since, as threadpoolctl does, holds if it is lower. And in a
forked child of a process that had already run in parallel the answer is always 1: GNU's OpenMP runtime would wait there
for threads that the fork did not copy. To know that, the driver calls ``_openmp.note_parallel`` (``cimport`` it; it is
one store to memory) before it enters a parallel region of more than one thread.

A child whose parent never did so may use threads, even where another library has used the same runtime: the runtime's
idle threads are ended before the fork, and both processes start new ones when they need them.
"""

import operator
import os
import re
from contextlib import contextmanager
from contextvars import ContextVar

from fastconv import _cgroup, _openmp

__all__ = ["get_num_threads", "num_threads", "set_num_threads"]

# Below so many seconds on one thread, or operations where the seconds are not estimated, waking other threads costs
# more than they save
SERIAL = 40e-6
SERIAL_FLOPS = 500_000
MOST = 1024  # what cannot be started ends the process in some OpenMP runtimes: no typing error may ask for it


def affinity_limit():
    """Number of processors that the process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def environment_limit():
    """The first of the numbers in ``OMP_NUM_THREADS``, one for each level of nesting; None unless all are numbers."""
    numbers = os.environ.get("OMP_NUM_THREADS", "").split(",")
    if all(re.fullmatch(r"\s*0*[1-9][0-9]{0,8}\s*", number) for number in numbers):
        return int(numbers[0])
    return None


# Limit → threads, None where there is none. In a draw the first one is said to decide.
limits = {
    "affinity mask": affinity_limit(),
    "cgroup quota": _cgroup.cpu_limit(),
    "OMP_NUM_THREADS": environment_limit(),
}
_default = min(threads for threads in limits.values() if threads)

# What OpenMP gives while nobody limits it. More than its answer at import if somebody had limited it by then.
_unlimited = max(_openmp.max_threads(), _default)

_process_wide = (_default, next(name for name, threads in limits.items() if threads == _default))
_in_block = ContextVar("fastconv.num_threads", default=0)  # 0: outside


def get_num_threads():
    """Return the number of threads that a call may use now.

    Returns
    -------
    int
        At least 1. Small work uses fewer than that.

    See Also
    --------
    show_config : tells which limit decided.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.get_num_threads() >= 1
    True
    """
    return _openmp.capped(_in_block.get() or _process_wide[0], _unlimited)


def set_num_threads(n):
    """Set the number of threads that calls may use, for the whole process.

    Parameters
    ----------
    n : int
        At least 1. It may exceed the number of processors.

    See Also
    --------
    num_threads : the same for a block of code.

    Examples
    --------
    >>> import fastconv
    >>> before = fastconv.get_num_threads()
    >>> fastconv.set_num_threads(1)
    >>> fastconv.get_num_threads()
    1
    >>> fastconv.set_num_threads(before)
    """
    global _process_wide
    _process_wide = (_validated(n), "set_num_threads")


def num_threads(n):
    """Set the number of threads that calls may use, for the calling thread, within a ``with`` block.

    Blocks nest, and the number before comes back at the end. Other threads are not affected.

    Parameters
    ----------
    n : int
        At least 1. It may exceed the number of processors.

    Returns
    -------
    context manager

    Examples
    --------
    >>> import fastconv
    >>> with fastconv.num_threads(1):
    ...     fastconv.get_num_threads()
    1
    """
    return _block(_validated(n))


@contextmanager
def _block(n):
    token = _in_block.set(n)
    try:
        yield
    finally:
        _in_block.reset(token)


def _validated(n):
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"the number of threads must be an integer, got {n!r}")
    if not 1 <= operator.index(n) <= MOST:
        raise ValueError(f"the number of threads must be from 1 to {MOST}, got {n}")
    return operator.index(n)


def decided_by():
    """What `get_num_threads` now follows, in words."""
    asked, name = (_in_block.get(), "num_threads") if _in_block.get() else _process_wide
    if get_num_threads() == asked:
        return name
    if not _openmp.specification:
        return "built without OpenMP"
    if _openmp.serial():
        return "forked from a process that ran in parallel"
    return "a limit set on OpenMP"
