"""Tuning: the choice among algorithms by measurement, where the estimate of their cost is not good enough."""

import os
from dataclasses import dataclass
from threading import Lock
from time import perf_counter

import numpy as np

from ._algorithms import TIMED, _outcomes
from ._algorithms._outcomes import Key
from ._arrays import Types, as_shape, promote
from ._driver import empty
from ._errors import number
from ._files import as_path, check_place, replacing
from ._geometry import Arguments, Convolution
from ._plan import plan_of
from ._signatures import with_arguments
from ._threads import get_num_threads
from ._tuning_file import Record, read, write
from .functional import conv

__all__ = ["Tuning", "forget_tuning", "load_tuning", "tune"]

SAMPLE = 2e-3  # seconds that one sample takes, at least
LEAST_ROUNDS = 3

_ONE_AT_A_TIME = Lock()  # two at once would measure each other


@dataclass(frozen=True)
class Tuning:
    """What `tune` has measured.

    Attributes
    ----------
    algorithm : str
        Name of the implementation that was fastest.
    seconds : dict
        Of one call: name of each implementation that was timed → median.
    threads : int
        The number of threads that calls could use.

    Examples
    --------
    >>> import fastconv
    >>> print(fastconv.Tuning("winograd", {"direct": 0.0021, "im2col": 0.002, "winograd": 0.00125}, threads=2))
    algorithm  winograd
    threads    2
    direct     2.1 ms
    im2col     2 ms
    winograd   1.25 ms
    """

    algorithm: str
    seconds: dict
    threads: int

    def __str__(self):
        rows = {"algorithm": self.algorithm, "threads": self.threads}
        rows |= {name: f"{taken * 1e3:.3g} ms" for name, taken in self.seconds.items()}
        width = max(map(len, rows))
        return "\n".join(f"{name:{width}}  {value}" for name, value in rows.items())


@with_arguments(conv, Arguments._fields)
def tune(x_shape, weight_shape, *arguments, dtype="float32", file, seconds=1.0):
    """Time the algorithms on a convolution of these shapes, and choose the fastest from now on.

    Plans made afterwards with ``algorithm="auto"`` take the outcome for this convolution: for the same number of images
    (the product of the batch axes), sizes, weight shape, stride, padding, dilation, groups, padding mode, data format,
    computed type, precision and instruction set level, whatever bias, activation, `flip_kernel` and `padding_value`.
    Functions never do: they pack weights at every call, which is not timed here. Plans that exist keep their choice.

    Parameters
    ----------
    x_shape, weight_shape : tuple of int
        Shapes of `x` and `weight`.
    {parameters}
    dtype : dtype
        Type of both. What is computed in another type is timed in that one.
    file : path
        Where to keep the outcome, beside those that it holds: JSON, for `load_tuning` and for this machine. It is
        written anew as a whole; one that something else has written is an error.
    seconds : float
        How long to measure, about. Slow algorithms are timed three times even if that takes longer.

    Returns
    -------
    Tuning
        A frozen object with `algorithm`, `seconds` (name → median of one call) and `threads`; its ``str`` is a table.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np, fastconv
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = os.path.join(folder, "tuning.json")
    ...     tuning = fastconv.tune((8, 14, 14), (16, 8, 3, 3), padding=1, file=file, seconds=0.01)
    >>> list(tuning.seconds)
    ['direct', 'im2col', 'winograd', 'fft']
    >>> p = fastconv.plan(np.ones((16, 8, 3, 3), np.float32), padding=1)
    >>> p.explain((8, 14, 14)).algorithm == tuning.algorithm
    True
    >>> fastconv.forget_tuning()
    """
    path, seconds = as_path("file", file), number("seconds", seconds, 0)
    weight_shape, x_shape = as_shape("weight_shape", weight_shape), as_shape("x_shape", x_shape)
    arguments = Arguments(*arguments)
    if arguments.algorithm != "auto":
        raise ValueError(f"algorithm={arguments.algorithm!r}; wanted 'auto', for which tuning chooses")
    computed = promote(dtype=np.dtype(dtype)).computed
    geometry = Convolution.parse(None, weight_shape, None, Types(computed, computed), arguments).at(x_shape)
    if not geometry.flops:
        raise ValueError(f"x_shape={x_shape} gives an output of shape {geometry.out_shape}; wanted one with elements")
    names = [name for name, entry in TIMED.items() if entry.declines(geometry) is None]
    with _ONE_AT_A_TIME:
        if os.path.exists(path):
            read(path)
        check_place(path)
        taken = _measure(_calls(geometry, arguments, names), seconds)
        tuning = Tuning(min(taken, key=taken.get), taken, get_num_threads())
        key = Key.of(geometry)
        # as it is now: others may have written meanwhile
        known = (read(path) if os.path.exists(path) else {}) | {key: Record(**vars(tuning))}
        with replacing(path) as new:
            write(new, known)
        _outcomes.enforce({key: tuning.algorithm})
    return tuning


def load_tuning(file):
    """Put the outcomes in a file of `tune` into force, for plans made afterwards: all of them, or none on any error.

    Parameters
    ----------
    file : path
        The file. Its outcomes come before those in force of the same convolutions.

    See Also
    --------
    tune : measures, and says what an outcome holds for.

    Examples
    --------
    >>> import os, tempfile, fastconv
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = os.path.join(folder, "tuning.json")
    ...     tuning = fastconv.tune((1, 50), (1, 1, 3), file=file, seconds=0)
    ...     fastconv.forget_tuning()
    ...     fastconv.load_tuning(file)
    >>> fastconv.show_config(mode="dicts")["tuning"]
    {'outcomes in force': 1}
    >>> fastconv.forget_tuning()
    """
    _outcomes.enforce({key: record.algorithm for key, record in read(as_path("file", file)).items()})


def forget_tuning():
    """Let plans made afterwards choose by estimated cost, as if nothing had been tuned or loaded.

    Files stay as they are, and so do plans.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.forget_tuning()
    >>> fastconv.show_config(mode="dicts")["tuning"]
    {'outcomes in force': 0}
    """
    _outcomes.forget()


def _calls(geometry, arguments, names):
    """Name → a call of a plan that this algorithm runs, with its result in place."""
    rng, dtype = np.random.default_rng(0), geometry.convolution.dtype
    x = rng.standard_normal(geometry.x_shape, dtype)
    weight = rng.standard_normal(geometry.convolution.weight_shape, dtype)
    out = empty(geometry.out_shape, dtype)
    plans = {name: plan_of(weight, None, arguments._replace(algorithm=name), x.shape) for name in names}
    return {name: lambda plan=plan: plan(x, out) for name, plan in plans.items()}


def _measure(calls, seconds):
    """Name → median seconds of one call. All take turns, beginning with another one each round: speed drifts."""
    names = list(calls)
    repeats = {name: _repeats(calls[name]) for name in names}
    samples = {name: [] for name in names}
    start, rounds = perf_counter(), 0
    while rounds < LEAST_ROUNDS or perf_counter() - start < seconds:
        first = rounds % len(names)
        for name in names[first:] + names[:first]:
            calls[name]()  # its arrays come back into cache
            samples[name].append(_lasts(calls[name], repeats[name]) / repeats[name])
        rounds += 1
    return {name: float(np.median(values)) for name, values in samples.items()}


def _repeats(call):
    """How many calls make a sample."""
    call()
    return max(1, int(SAMPLE / max(_lasts(call, 1), 1e-9)))


def _lasts(call, repeats):
    start = perf_counter()
    for _ in range(repeats):
        call()
    return perf_counter() - start


def _load_at_import():
    path = os.environ.get("FASTCONV_TUNING")
    if path:
        try:
            load_tuning(path)
        except (OSError, ValueError) as error:
            raise ImportError(f"fastconv can't load the file FASTCONV_TUNING={path!r}: {error}") from error


_load_at_import()
