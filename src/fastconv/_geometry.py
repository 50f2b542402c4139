"""What a convolution is: every argument parsed and checked here, once, into frozen objects.

`Convolution` holds what the arguments say before the size of an input is known, and `Geometry` the convolution of one
input shape. Spatial quantities are triples (depth, height, width): 1-D and 2-D have unit axes in front. Sizes are exact
Python integers until they are known to fit into 64 bits.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import NamedTuple

import numpy as np

from . import _activations
from ._algorithms import algorithm_name
from ._errors import flag, integer, one_of, sequence
from ._padding import AxisMap, canonical_mode

MOST_BYTES = 2**63 - 1
MOST_FLOPS = 2**63 - 1
MOST_BORDER = 2**24  # positions of one axis whose elements are tabulated

CHANNELS_LAST = {"channels_first": False, "channels_last": True}
PRECISIONS = {"default": "default", "strict": "strict"}


class Arguments(NamedTuple):
    """The arguments that all forward functions share, as the caller gave them."""

    stride: object
    padding: object
    dilation: object
    groups: object
    padding_mode: object
    padding_value: object
    flip_kernel: object
    activation: object
    data_format: object
    precision: object
    algorithm: object


@dataclass(frozen=True, slots=True)
class Convolution:
    """What the arguments say before the size of the input is known.

    Channels are counted over all groups. `padding` is ``"same"`` or three pairs (before, after); `dtype` is what is
    computed in, float32 or float64; `activation` is what the kernels apply, an entry of the table or
    ``_activations.NONE``. `outputs` are the sizes of the output where they may be fewer than there is room for; `terms`
    is what a plan has found of the values of its weights: how many outer products they are the sum of; `phases` is how
    many convolutions of about its size, itself one of them, are computed by turns.
    """

    rank: int
    in_channels: int
    out_channels: int
    groups: int
    weight_shape: tuple
    bias_shape: tuple | None
    kernel: tuple
    stride: tuple
    dilation: tuple
    padding: tuple | str
    padding_mode: str
    padding_value: float
    flip_kernel: bool
    activation: _activations.Activation
    data_format: str
    precision: str
    algorithm: str
    dtype: np.dtype
    outputs: tuple | None = None
    terms: int | None = None
    phases: int = 1

    @classmethod
    def parse(cls, rank, weight_shape, bias_shape, types, arguments, axes=("out_channels", "in_channels")):
        """Check everything that can be checked without an input.

        `rank` None takes the rank from the weight; `types` are the ``_arrays.Types`` of the call; `axes` is what errors
        call the weight's axes of channels.
        """
        rank = _rank(rank, weight_shape, axes)
        out_channels, channels, *kernel = weight_shape
        if min(weight_shape) < 1:
            raise ValueError(f"weight has shape {weight_shape}; wanted at least 1 along every axis")
        check_bytes(prod(weight_shape) * types.computed.itemsize, f"weight of shape {tuple(weight_shape)} is an array")
        groups = integer("groups", arguments.groups, 1)
        if out_channels % groups:
            raise ValueError(f"groups={groups} does not divide {axes[0]}={out_channels}")
        kernel = unit_axes(kernel)
        dilation = per_axis("dilation", arguments.dilation, rank)
        padding_value = _padding_value(arguments.padding_value, types.result)
        return cls(
            rank=rank,
            in_channels=channels * groups,
            out_channels=out_channels,
            groups=groups,
            weight_shape=tuple(weight_shape),
            bias_shape=checked_bias(bias_shape, out_channels, rank),
            kernel=kernel,
            stride=per_axis("stride", arguments.stride, rank),
            dilation=dilation,
            padding=_padding(arguments.padding, rank, kernel, dilation),
            padding_mode=canonical_mode(arguments.padding_mode, padding_value),
            padding_value=padding_value,
            flip_kernel=flag("flip_kernel", arguments.flip_kernel),
            activation=_fused(arguments.activation),
            data_format=_name("data_format", arguments.data_format, CHANNELS_LAST),
            precision=_name("precision", arguments.precision, PRECISIONS),
            algorithm=algorithm_name(arguments.algorithm),
            dtype=types.computed,
        )

    def at(self, x_shape):
        """The `Geometry` for an input of this shape, or a ValueError that says why there is none."""
        batch_shape, channels, spatial = self.split(x_shape)
        if channels % self.groups:
            raise ValueError(f"groups={self.groups} does not divide in_channels={channels} (x has shape {x_shape})")
        if channels != self.in_channels:
            raise ValueError(
                f"x has {channels} channels (shape {x_shape}, {self.data_format}) where weight of shape "
                f"{self.weight_shape} with groups={self.groups} wants {self.in_channels}"
            )
        axes = [self._axis(axis, size) for axis, size in enumerate(unit_axes(spatial))]
        stride, dilation, pads, out, maps = map(tuple, zip(*axes, strict=True))
        public_out = out[3 - self.rank :]
        check_untied(self.bias_shape, self.out_channels, public_out)
        out_shape = self.join(batch_shape, self.out_channels, public_out)
        check_bytes(
            prod(out_shape) * self.dtype.itemsize,
            f"x of shape {x_shape} and weight of shape {self.weight_shape} give an output of shape {out_shape}",
        )
        geometry = Geometry(
            convolution=self,
            x_shape=tuple(x_shape),
            out_shape=out_shape,
            batch_shape=batch_shape,
            n=prod(batch_shape),
            groups=self.groups,
            c=self.in_channels // self.groups,
            o=self.out_channels // self.groups,
            size=unit_axes(spatial),
            out=out,
            kernel=self.kernel,
            stride=stride,
            dilation=dilation,
            pads=pads,
            maps=maps,
        )
        if geometry.flops > MOST_FLOPS:
            raise ValueError(
                f"x of shape {x_shape} and weight of shape {self.weight_shape} take {geometry.flops} floating-point "
                f"operations, more than {MOST_FLOPS}"
            )
        return geometry

    def split(self, shape):
        """The batch axes, channels and spatial axes of a public shape (or of public strides)."""
        if len(shape) <= self.rank:
            axes = "*spatial, channels" if self.data_format == "channels_last" else "channels, *spatial"
            raise ValueError(
                f"x has {len(shape)} axes (shape {shape}); wanted at least {self.rank + 1}: (*batch, {axes}) with "
                f"{self.rank} spatial axes, as weight of shape {self.weight_shape} has"
            )
        batch, rest = tuple(shape[: -self.rank - 1]), tuple(shape[-self.rank - 1 :])
        if CHANNELS_LAST[self.data_format]:
            return batch, rest[-1], rest[:-1]
        return batch, rest[0], rest[1:]

    def join(self, batch, channels, spatial):
        """The inverse of `split`."""
        if CHANNELS_LAST[self.data_format]:
            return (*batch, *spatial, channels)
        return (*batch, channels, *spatial)

    def canonical(self, weight):
        """`weight` as (groups, out, in, d, h, w), turned round if the kernel is flipped: a view."""
        weight = weight.reshape(self.groups, -1, self.in_channels // self.groups, *self.kernel)
        return weight[..., ::-1, ::-1, ::-1] if self.flip_kernel else weight

    def _axis(self, axis, size):
        """Stride, dilation, pads, output size and index map of one axis."""
        kernel, stride, dilation = self.kernel[axis], self.stride[axis], self.dilation[axis]
        reach = dilation * (kernel - 1) + 1  # positions from the first tap to the last
        if self.outputs is not None:
            (before, after), out = self.padding[axis], self.outputs[axis]
        elif self.padding == "same":
            out = -(-size // stride)
            total = max(0, (out - 1) * stride + reach - size) if out else 0
            before, after = total // 2, total - total // 2
        else:
            before, after = self.padding[axis]
            out = (size + before + after - reach) // stride + 1
            if reach > size + before + after:
                raise ValueError(
                    f"weight of shape {self.weight_shape} with dilation={dilation} reaches over {reach} positions of "
                    f"spatial axis {axis - 3 + self.rank}, where x has {size} and padding adds {before} + {after}"
                )
        if size == 0 and before + after and self.padding_mode != "constant":
            raise ValueError(
                f"padding_mode={self.padding_mode!r} has nothing to pad an empty axis with (spatial axis "
                f"{axis - 3 + self.rank} of x)"
            )
        read = (out - 1) * stride + reach if out else 0
        # what is never used may be any number in the arguments, but must fit into 64 bits from here on
        axis_map = AxisMap(self.padding_mode, _as_read(before, read, size), size, read)
        if axis_map.border > MOST_BORDER:
            raise ValueError(
                f"padding of {before} and {after} positions on spatial axis {axis - 3 + self.rank} is more than the "
                f"{MOST_BORDER} positions wanted at most"
            )
        return (
            stride if out > 1 else min(stride, max(read, 1)),
            dilation if kernel > 1 else 1,
            (before, after),
            out,
            axis_map,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """A convolution at one input shape.

    `c` and `o` are channels of one group; `size`, `out`, `kernel`, `stride`, `dilation`, `pads` and `maps` are triples.
    """

    convolution: Convolution
    x_shape: tuple
    out_shape: tuple
    batch_shape: tuple
    n: int
    groups: int
    c: int
    o: int
    size: tuple
    out: tuple
    kernel: tuple
    stride: tuple
    dilation: tuple
    pads: tuple
    maps: tuple

    @property
    def indices(self):
        """Entries of the tables that a task of it holds."""
        return prod(self.kernel) + sum(axis.border for axis in self.maps)

    @property
    def flops(self):
        """Two for each multiply-add of the direct sum, those with padding included."""
        return 2 * self.n * self.groups * self.o * self.c * prod(self.kernel) * prod(self.out)

    def strides(self, array_strides, itemsize):
        """Strides in elements as (n, channels, d, h, w), of an array of the input's or the output's public shape.

        None where the batch axes cannot be walked as one.
        """
        batch, channels, spatial = self.convolution.split(array_strides)
        n = _one_stride(self.batch_shape, batch)
        if n is None:
            return None
        spatial = (0,) * (3 - len(spatial)) + spatial
        return tuple(stride // itemsize for stride in (n, channels, *spatial))

    def bias_strides(self, array_strides, itemsize):
        """Strides in elements as (channels, d, h, w); zeros along the axes that a tied bias does not have."""
        channels, *spatial = (stride // itemsize for stride in array_strides)
        return (channels, *[0] * (3 - len(spatial)), *spatial)


def _as_read(before, read, size):
    """A pad before the input, of any number of positions, as one that gives the `read` first ones the same values.

    Where the input is never reached, whole periods may go: one that fits symmetric and reflect fits every mode.
    """
    return before if before <= read else read + (before - read) % (2 * max(1, size) * max(1, size - 1))


def _one_stride(sizes, strides):
    """The stride of the batch axes as one axis, in bytes, or None where they do not collapse."""
    if 0 in sizes:
        return 0
    axes = [(size, stride) for size, stride in zip(sizes, strides, strict=True) if size != 1]
    if any(outer != inner * size for (_, outer), (size, inner) in pairwise(axes)):
        return None
    return axes[-1][1] if axes else 0


def check_bytes(count, what):
    if count > MOST_BYTES:
        raise ValueError(f"{what}: {count} bytes, more than {MOST_BYTES}")


def unit_axes(spatial, front=1):
    return (front,) * (3 - len(spatial)) + tuple(spatial)


def _rank(rank, weight_shape, axes):
    wanted = {None: "3, 4 or 5", 1: "3", 2: "4", 3: "5"}[rank]
    if len(weight_shape) not in ((3, 4, 5) if rank is None else (rank + 2,)):
        raise ValueError(
            f"weight has {len(weight_shape)} axes (shape {tuple(weight_shape)}); wanted {wanted}: "
            f"({axes[0]}, {axes[1]} // groups, *kernel)"
        )
    return len(weight_shape) - 2


def checked_bias(shape, out_channels, rank):
    if shape is not None and (len(shape) not in (1, rank + 1) or shape[0] != out_channels):
        raise ValueError(
            f"bias has shape {tuple(shape)}; wanted {(out_channels,)}, or ({out_channels}, *output_spatial) with "
            f"{rank} spatial axes"
        )
    return None if shape is None else tuple(shape)


def check_untied(shape, out_channels, spatial):
    """Refuse a bias that is neither tied nor of the output's spatial shape."""
    if shape is not None and shape[1:] not in ((), spatial):
        raise ValueError(
            f"bias has shape {shape}; wanted {(out_channels,)}, or {(out_channels, *spatial)} for a bias of its own at "
            "every position of the output"
        )


def per_axis(name, value, rank, least=1, front=1):
    """An integer of at least `least`, or one for each spatial axis, as a triple with `front` on unit axes."""
    values = sequence(value)
    if values is None:
        values = [value] * rank
    if len(values) != rank:
        raise ValueError(f"{name}={value!r} has {len(values)} entries; wanted 1 for each of {rank} spatial axes")
    return unit_axes([integer(name, entry, least) for entry in values], front)


def _padding(value, rank, kernel, dilation):
    """``"same"``, or three pairs (before, after)."""
    full = tuple((d * (k - 1),) * 2 for k, d in zip(kernel, dilation, strict=True))
    named = {"valid": ((0, 0),) * 3, "same": "same", "full": full}
    if isinstance(value, str):
        return one_of("padding", value, named)
    entries = sequence(value)
    if entries is None:
        entries = [value] * rank
    if len(entries) != rank:
        raise ValueError(
            f"padding={value!r} has {len(entries)} entries; wanted 1 for each of {rank} spatial axes, each an integer "
            "or a (before, after) pair"
        )
    return ((0, 0),) * (3 - rank) + tuple(map(_pair, entries))


def _pair(entry):
    pair = sequence(entry)
    if pair is None:
        pair = [entry, entry]
    if len(pair) != 2:
        raise ValueError(f"padding has an entry {entry!r}; wanted an integer or a (before, after) pair")
    return tuple(integer("padding", pad, 0) for pad in pair)


def _padding_value(value, dtype):
    """`value` as the type of the result rounds it."""
    if not isinstance(value, (bool, int, float, np.bool_, np.integer, np.floating)):
        raise TypeError(f"padding_value={value!r} has type {type(value).__name__}; wanted a real number")
    with np.errstate(all="ignore"):
        return float(dtype.type(value)) + 0.0  # no negative zero


def _name(name, value, allowed):
    one_of(name, value, allowed)
    return value


def _fused(activation):
    entry = _activations.parse(activation)
    return entry if entry.code else _activations.NONE
