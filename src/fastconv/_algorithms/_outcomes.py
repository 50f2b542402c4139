"""What tuning has found: the algorithm that was fastest, for each convolution that was measured.

A plan takes the outcomes that are in force when it is made, and keeps them: what is loaded later never changes it.
"""

from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple

from .. import _isa


class Key(NamedTuple):
    """A convolution as far as an outcome holds for it, in plain values. Tuples have an entry for each spatial axis.

    The number of threads is not in it: it must not change bits.
    """

    images: int
    size: tuple
    out: tuple
    weight_shape: tuple
    stride: tuple
    padding: tuple
    dilation: tuple
    groups: int
    padding_mode: str
    data_format: str
    dtype: str
    precision: str
    isa: str

    @classmethod
    def of(cls, geometry):
        convolution = geometry.convolution
        own = slice(3 - convolution.rank, None)
        return cls(
            images=geometry.n,
            size=geometry.size[own],
            out=geometry.out[own],
            weight_shape=convolution.weight_shape,
            # not the geometry's stride and dilation, which may be others where none is needed
            stride=convolution.stride[own],
            padding=geometry.pads[own],
            dilation=convolution.dilation[own],
            groups=convolution.groups,
            padding_mode=convolution.padding_mode,
            data_format=convolution.data_format,
            dtype=convolution.dtype.name,
            precision=convolution.precision,
            isa=_isa.level,
        )


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Names of algorithms by `Key`. Never changed, only replaced; two are equal only if they are one."""

    names: dict

    def of(self, geometry):
        """The algorithm that was fastest for this convolution, or None."""
        return self.names.get(Key.of(geometry)) if self.names else None


_CHANGING = Lock()
_in_force = Outcomes({})


def in_force():
    """The `Outcomes` that plans made now take."""
    return _in_force


def enforce(names):
    """Put these names of algorithms into force, beside those that are, all at once."""
    global _in_force
    with _CHANGING:
        _in_force = Outcomes(_in_force.names | names)


def forget():
    """Put nothing into force."""
    global _in_force
    with _CHANGING:
        _in_force = Outcomes({})
