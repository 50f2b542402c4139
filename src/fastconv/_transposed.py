"""What a transposed convolution is: its arguments parsed and checked, and the convolution that it is the adjoint of.

It is grad_input of the forward convolution with the same weight and arguments, from the size of that one's output to
that of its input. Of the sizes that have this output, `output_padding` or `output_size` chooses one.
"""

from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

from ._geometry import Arguments, Convolution, check_bytes, check_untied, checked_bias, per_axis, unit_axes
from ._phases import Phases


class TransposedArguments(NamedTuple):
    """The arguments that all functions of transposed convolutions share, as the caller gave them.

    The last two are there to be refused: plans take them.
    """

    stride: object
    padding: object
    output_padding: object
    groups: object
    dilation: object
    output_size: object
    flip_kernel: object
    activation: object
    data_format: object
    precision: object
    algorithm: object
    padding_mode: object = "constant"
    padding_value: object = 0.0

    @property
    def forward(self):
        """Those of the forward convolution."""
        return Arguments(*(getattr(self, name) for name in Arguments._fields))


@dataclass(frozen=True, slots=True)
class Transposed:
    """What the arguments say before the size of the input is known.

    `forward` is the convolution that it is adjoint to, but with the activation of this one. `output_padding` is a
    triple, and so is `output_size`, if there is one.
    """

    forward: Convolution
    bias_shape: tuple | None
    output_padding: tuple
    output_size: tuple | None

    @classmethod
    def parse(cls, rank, weight_shape, bias_shape, types, arguments):
        """Check everything that can be checked without an input, as `Convolution.parse` does."""
        forward = Convolution.parse(rank, weight_shape, None, types, arguments.forward, ("in_channels", "out_channels"))
        if forward.padding_mode != "constant" or forward.padding_value:
            raise ValueError(
                f"padding_mode={arguments.padding_mode!r} with padding_value={arguments.padding_value!r}; wanted "
                "'constant' and 0 in a transposed convolution, where padding crops the output"
            )
        output_padding = per_axis("output_padding", arguments.output_padding, forward.rank, 0, 0)
        for entry, stride, dilation in zip(output_padding, forward.stride, forward.dilation, strict=True):
            if entry >= max(stride, dilation):
                raise ValueError(
                    f"output_padding={arguments.output_padding!r} has {entry} where the stride is {stride} and the "
                    f"dilation {dilation}; wanted less than the larger of the two"
                )
        output_size = arguments.output_size
        if output_size is not None:
            if any(output_padding):
                raise ValueError(
                    f"output_size={output_size!r} with output_padding={arguments.output_padding!r}; wanted one of them"
                )
            output_size = per_axis("output_size", output_size, forward.rank, 0)
        bias_shape = checked_bias(bias_shape, forward.in_channels, forward.rank)
        return cls(forward, bias_shape, output_padding, output_size)

    @property
    def dtype(self):
        return self.forward.dtype

    @property
    def rank(self):
        return self.forward.rank

    @property
    def weight_shape(self):
        return self.forward.weight_shape

    @property
    def data_format(self):
        return self.forward.data_format

    def at(self, x_shape):
        """The `Phases` for an input of this shape, or a ValueError that says why there is none."""
        forward = self.forward
        batch_shape, channels, spatial = forward.split(x_shape)
        if channels != forward.out_channels:
            raise ValueError(
                f"x has {channels} channels (shape {x_shape}, {forward.data_format}) where weight of shape "
                f"{forward.weight_shape} wants {forward.out_channels}"
            )
        spatial = unit_axes(spatial)
        sizes, pads = zip(*map(self._axis, range(3), spatial), strict=True)
        size = sizes[3 - forward.rank :]
        check_untied(self.bias_shape, forward.in_channels, size)
        out_shape = forward.join(batch_shape, forward.in_channels, size)
        check_bytes(
            prod(out_shape) * self.dtype.itemsize,
            f"x of shape {x_shape} and weight of shape {self.weight_shape} give an output of shape {out_shape}",
        )
        return Phases.of(self, replace(forward, padding=pads, outputs=spatial).at(out_shape))

    def _axis(self, axis, size):
        """Output size, and what is cropped (before, after), of one axis."""
        forward = self.forward
        kernel, stride, dilation = forward.kernel[axis], forward.stride[axis], forward.dilation[axis]
        name = f"spatial axis {axis - 3 + forward.rank}"
        full = (size - 1) * stride + dilation * (kernel - 1) + 1
        same = forward.padding == "same"
        if same:
            usual, least = size * stride, max(0, (size - 1) * stride + 1)
        elif size == 0:
            raise ValueError(f"x has 0 positions along {name}; wanted at least 1")
        else:
            usual = full - sum(forward.padding[axis])
            least = max(0, usual)
        most = usual + max(stride, dilation) - 1
        if self.output_size is None:
            out = usual + self.output_padding[axis]
            if out < 0:
                before, after = forward.padding[axis]
                raise ValueError(
                    f"padding crops {before} + {after} positions of {name}, where x of size {size} and weight of shape "
                    f"{forward.weight_shape} give {full + self.output_padding[axis]}"
                )
        else:
            out = self.output_size[axis]
            if not least <= out <= most:
                raise ValueError(
                    f"output_size has {out} for {name}, where x has size {size}; wanted {_range(least, most)}"
                )
        if not same:
            return out, forward.padding[axis]
        cropped = max(0, full - min(out, usual))  # as the forward convolution pads an input of that size
        return out, (cropped // 2, cropped - cropped // 2)


def _range(least, most):
    if most < least:
        return "nothing: the padding crops all of it"
    return f"{least}" if least == most else f"a size from {least} to {most}"
