"""The table of implementations.

Each entry says for a geometry why it declines, or what it would cost; the cheapest runs, and ties go by order. The last
one declines nothing and is never the cheapest while another accepts. An entry has

- ``name``;
- ``declines(geometry)``: why it cannot, or None;
- ``cost(geometry)``: estimated seconds of one thread, and ``packing_cost(geometry)``: those of packing the weights;
- ``pack(convolution, weight, packing)``: the weights in the order in which ``task.packing`` wants them;
- ``task(geometry, layout, threads, once)``: everything prepared but the pointers, with ``packing`` (hashable),
  ``kernel`` (a name), ``workspace_bytes`` and ``run(x, packed, bias, add, out)``, which any number of threads may call
  at once. ``once``: weights are packed for one call, so that the task may do it.
"""

from .._errors import one_of
from .._recent import forced
from ._fft import FFT
from ._reference import REFERENCE
from ._separable import SEPARABLE
from ._tiled import DIRECT, IM2COL
from ._winograd import WINOGRAD

TABLE = (DIRECT, IM2COL, WINOGRAD, FFT, SEPARABLE, REFERENCE)

BY_NAME = {entry.name: entry for entry in TABLE}
# what tuning chooses among, which does not know the values of weights
TIMED = {entry.name: entry for entry in TABLE if entry not in (SEPARABLE, REFERENCE)}


def algorithm_name(algorithm):
    """Check the argument `algorithm`; ``"auto"`` is what the environment says."""
    name, source = algorithm, "algorithm"
    if isinstance(algorithm, str) and algorithm == "auto":
        name, source = forced(), "algorithm (by FASTCONV_ALGORITHM)"
    return one_of(source, name, {known: known for known in ("auto", *BY_NAME)})


def declined(geometry):
    """Name → why, of the entries that cannot."""
    reasons = {entry.name: entry.declines(geometry) for entry in TABLE}
    return {name: why for name, why in reasons.items() if why is not None}


def choose(geometry, outcomes=None):
    """The entry that runs: the one that is forced, else the one that tuning found fastest, else the cheapest.

    `outcomes` are those of tuning. None says that weights are packed for one call: that counts then, and tuning has not
    measured it. The number of threads decides nothing.
    """
    name = geometry.convolution.algorithm
    once = outcomes is None
    if name == "auto":
        measured = None if once else outcomes.of(geometry)
        if measured is not None:
            return BY_NAME[measured]
        entries = [entry for entry in TABLE if entry.declines(geometry) is None]
        return min(entries, key=lambda entry: entry.cost(geometry) + (entry.packing_cost(geometry) if once else 0.0))
    why = BY_NAME[name].declines(geometry)
    if why is not None:
        raise ValueError(f"algorithm={name!r} cannot do this: {why}")
    return BY_NAME[name]
