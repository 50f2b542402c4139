"""Tasks: a convolution, its algorithm and its index maps, prepared for the shapes and strides of one call.

Nothing in here depends on the values of any array.
"""

from dataclasses import replace
from typing import NamedTuple

from ._algorithms import choose
from ._arrays import contiguous_strides
from ._cache import Bounded
from ._driver import Packed
from ._geometry import Geometry
from ._layout import Layout

MOST_INDICES = 2**12  # tasks with longer index tables are large; of those few are kept, for memory must stay flat


_LARGE = Bounded(4)  # of all convolutions


class Prepared(NamedTuple):
    """A task, and what its calls have to know: the shape of the output, and a key for the packed weights."""

    task: object
    packing: tuple
    out_shape: tuple
    algorithm: object
    geometry: Geometry

    @classmethod
    def of(cls, geometry, x_strides, add_strides, out_strides, bias_strides, threads, outcomes=None):
        """None where batch axes cannot be walked as one. Strides are those of `Tasks.prepare`, none of them implied."""
        itemsize = geometry.convolution.dtype.itemsize
        x, add, out = (
            strides and geometry.strides(strides, itemsize) for strides in (x_strides, add_strides, out_strides)
        )
        if x is None or out is None or (add is None and add_strides is not None):
            return None
        bias = None if bias_strides is None else geometry.bias_strides(bias_strides, itemsize)
        algorithm = choose(geometry, outcomes)
        task = algorithm.task(geometry, Layout(x, out, add, bias), threads, once=outcomes is None)
        return cls(task, (algorithm, task.packing), geometry.out_shape, algorithm, geometry)

    @property
    def parts(self):
        """The tasks that it is made of."""
        return (self,)

    @property
    def convolutions(self):
        """The geometries of the forward convolutions that it computes."""
        return (self.geometry,)

    def pack(self, weight):
        """The weights as the task wants them."""
        return self.algorithm.pack(self.geometry.convolution, weight, self.task.packing)


def packer(ready, weight, packed):
    """``ready.pack`` for contiguous arrays that lie like `weight`, of which it made `packed`: quickly, if it can be."""
    parts = packed if isinstance(packed, list) else [packed]
    packers = [part.like(weight) if isinstance(part, Packed) else None for part in parts]
    if None in packers:
        return ready.pack
    return packers[0] if parts is not packed else lambda weight: [pack(weight) for pack in packers]


class Tasks:
    """What is prepared for one `Convolution`, kept for a bounded number of calls that differ in shape or strides.

    `outcomes` are those of tuning that hold for a plan; None says that weights are packed for one call.
    """

    prepared = staticmethod(Prepared.of)

    def __init__(self, convolution, outcomes=None):
        self.convolution = convolution
        self.outcomes = outcomes
        limit = 4 if outcomes is None else 64
        self.ready = Bounded(limit)
        self._geometries = Bounded(limit)
        self._parts = Bounded(8)

    def geometry(self, x_shape):
        """The `Geometry` at this shape."""
        found = self._geometries.get(x_shape)
        if found is None:
            found = self.convolution.at(x_shape)
            if not is_large(found):
                self._geometries.put(x_shape, found)
        return found

    def prepare(self, x_shape, x_strides, add_strides, out_strides, bias_strides, threads):
        """The `Prepared` task; None where batch axes cannot be walked as one.

        Strides are those of arrays of the computed type, in bytes; `out_strides` None are those of a new array, and
        `bias_strides` are always the same.
        """
        key = (x_shape, x_strides, add_strides, out_strides, threads)
        found = self.ready.get(key) or _LARGE.get((self.convolution, self.outcomes, key))
        if found is not None:
            return found
        geometry = self.geometry(x_shape)
        if out_strides is None:
            out_strides = contiguous_strides(geometry.out_shape, self.convolution.dtype.itemsize)
        found = self.prepared(geometry, x_strides, add_strides, out_strides, bias_strides, threads, self.outcomes)
        if found is None:
            return None
        if is_large(geometry):
            return _LARGE.put((self.convolution, self.outcomes, key), found)
        return self.ready.put(key, found)

    def part(self, padding, bias_shape, outputs):
        """The tasks of the same convolution with other pads, on a part of the input."""
        if self.convolution.outputs is None:  # then the input says how many
            outputs = None
        key = (padding, bias_shape, outputs)
        found = self._parts.get(key)
        if found is None:
            own = replace(self.convolution, padding=padding, bias_shape=bias_shape, outputs=outputs)
            found = Tasks(own, self.outcomes)
            self._parts.put(key, found)
        return found


def is_large(geometry):
    """Whether its tasks hold long index tables."""
    return geometry.indices > MOST_INDICES
