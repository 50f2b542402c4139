"""grad_input of depthwise convolutions at stride 2 along the row, without phases: both columns of a pair at once.

Phases would write every second element, in passes of their own. The kernel needs rows that are contiguous; where they
are not, and for all else, the phases remain.
"""

from math import ceil, prod
from typing import NamedTuple

from . import _driver, _isa
from ._algorithms import DIRECT
from ._algorithms._jobs import job_of
from ._algorithms._lines import balanced
from ._layout import Layout
from ._threads import SERIAL_FLOPS

BLOCK = 1 << 13  # elements of the output in an item of work, or a row


class PreparedInterleaved(NamedTuple):
    """What a `Prepared` is to a forward convolution; `geometry` is the `Phases`."""

    task: object
    packing: tuple
    out_shape: tuple
    algorithm: object
    geometry: object

    @property
    def parts(self):
        return (self,)

    @property
    def convolutions(self):
        return tuple(phase.geometry for phase in self.geometry.phases)

    def pack(self, weight):
        weight = self.geometry.forward.convolution.canonical(weight)
        return _driver.Packed(_isa.forward.PACK[weight.dtype.name], weight, 1)


def interleaved(geometry, x_strides, add_strides, out_strides, bias_strides, threads):
    """The `PreparedInterleaved` of these `Phases`, or None. Strides are those of `Prepared.of`."""
    g, convolution = geometry.forward, geometry.forward.convolution
    if not (
        convolution.stride[2] == 2
        and prod(geometry.out_shape)
        and g.c == g.o == 1
        and convolution.algorithm in ("auto", DIRECT.name)
        and prod(g.kernel) <= _isa.backward.LONGEST_CHAIN
    ):
        return None
    itemsize = convolution.dtype.itemsize
    x, add, out = (strides and g.strides(strides, itemsize) for strides in (x_strides, add_strides, out_strides))
    bias = bias_strides and g.bias_strides(bias_strides, itemsize)
    if x is None or out is None or (add is None and add_strides is not None):
        return None
    if x[-1] != 1 or out[-1] != 1 or (add and add[-1] != 1) or (bias and bias[-1] not in (0, 1)):
        return None
    layout = Layout(x, out, add, bias)
    rows = balanced(g.size[1], max(1, BLOCK // max(1, g.size[2])))
    blocks = ceil(g.size[1] / rows)
    job = job_of(layout)
    axes = [
        job["axis"][at]
        | dict(
            size=g.out[at],
            out=g.size[at],
            kernel=g.kernel[at],
            stride=convolution.stride[at],
            dilation=convolution.dilation[at],
            before=g.pads[at][0],
            block=rows if at == 1 else g.size[at],
            blocks=blocks if at == 1 else 1,
            x=x[2 + at],
            y=out[2 + at],
            add=add[2 + at] if add else 0,
            bias=bias[1 + at] if bias else 0,
        )
        for at in range(3)
    ]
    task = _driver.Task(
        _isa.backward.INTERLEAVED[convolution.dtype.name],
        job
        | dict(
            axis=axes,
            n=g.n,
            groups=g.groups,
            taps=prod(g.kernel),
            activation=convolution.activation.code,
            items=g.n * g.groups * g.size[0] * blocks,
        ),
        keep=None,
        threads=threads if g.flops > SERIAL_FLOPS else 1,
        workspace_bytes=0,
        flops=g.flops,
        packing=("interleaved",),
        kernel="interleaved",
    )
    return PreparedInterleaved(task, (DIRECT, task.packing), geometry.out_shape, DIRECT, geometry)
