"""The table of implementations.

Each entry says for a geometry why it declines, or what it would cost; the cheapest runs, and ties go by order. The last
one declines nothing and is never the cheapest while another accepts. An entry has

- ``name``;
- ``declines(geometry)``: why it cannot, or None;
- ``cost(geometry, threads)``: estimated seconds, which never decide about bits;
- ``pack(convolution, weight, packing)``: the weights in the order in which ``task.packing`` wants them;
- ``task(geometry, layout, threads)``: everything prepared but the pointers, with ``packing`` (hashable), ``kernel`` (a
  name), ``workspace_bytes`` and ``run(x, packed, bias, add, out)``, which any number of threads may call at once.
"""

import os

from .._errors import one_of
from ._reference import REFERENCE
from ._tiled import DIRECT, IM2COL

TABLE = (DIRECT, IM2COL, REFERENCE)

BY_NAME = {entry.name: entry for entry in TABLE}


def forced():
    """The algorithm that the environment asks for where the caller does not care."""
    return os.environ.get("FASTCONV_ALGORITHM") or "auto"


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


def choose(geometry, threads):
    """The entry that runs: the one that is forced, else the cheapest."""
    name = geometry.convolution.algorithm
    if name == "auto":
        return min(
            (entry for entry in TABLE if entry.declines(geometry) is None),
            key=lambda entry: entry.cost(geometry, threads),
        )
    why = BY_NAME[name].declines(geometry)
    if why is not None:
        raise ValueError(f"algorithm={name!r} cannot do this: {why}")
    return BY_NAME[name]
