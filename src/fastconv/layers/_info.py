"""What layers make of an input, and what it costs, as a table."""

from dataclasses import dataclass, field, fields, replace
from functools import partial, reduce
from math import prod
from typing import NamedTuple

import numpy as np

from .._geometry import per_axis
from ._others import named_parameters_of, output_shape_of
from ._reading import weight_shape


def _sizes(sizes):
    return "×".join(map(str, sizes))


def _bytes(count):
    unit = "B"
    for larger in ("kB", "MB", "GB"):
        if count < 1000:
            break
        count, unit = count / 1000, larger
    return f"{count:.3g} {unit}" if count < 1000 else f"{count:,.0f} {unit}"


def _column(text=str, right=False):
    """A field of `Row` that may be unknown, with how the table shows it."""
    return field(default=None, metadata={"text": text, "align": str.rjust if right else str.ljust})


@dataclass(frozen=True)
class Row:
    """A layer in an `Info`, or the total; what is not known is None.

    Attributes
    ----------
    name, layer : str
        The layer's name, after those of the chains that it stands in and dots; and its class.
    output_shape : tuple of int or None
    parameters : int
        Numbers that are learned. The total counts shared ones once.
    flops : int
        Two for each multiply-add of the direct sum.
    receptive_field : tuple of int
        Along each spatial axis, over how many positions of the first input one output depends on it, at most.
    memory : int
        Bytes of the parameters, of the output, and of what the algorithm works in.
    algorithm : str
    """

    name: str | None = _column()
    layer: str | None = _column()
    output_shape: tuple | None = _column()
    parameters: int | None = _column("{:,}".format, right=True)
    flops: int | None = _column("{:,}".format, right=True)
    receptive_field: tuple | None = _column(_sizes, right=True)
    memory: int | None = _column(_bytes, right=True)
    algorithm: str | None = _column()


@dataclass(frozen=True)
class Info:
    """What layers make of an input, and what it costs; its ``str`` is a table.

    The total is of what is known.

    Attributes
    ----------
    rows : tuple of Row
        The layers in the order of calls.
    total : Row

    Examples
    --------
    >>> import fastconv
    >>> print(fastconv.Conv2d(3, 8, 5, stride=2, padding=2, name="conv").info((3, 32, None)))
    name   layer   output shape   parameters  flops  receptive field  memory  algorithm
    ───────────────────────────────────────────────────────────────────────────────────
    conv   Conv2d  (8, 16, None)         608      –              5×5       –  –
    ───────────────────────────────────────────────────────────────────────────────────
    total  –       (8, 16, None)         608      –              5×5       –  –
    """

    rows: tuple
    total: Row

    def __str__(self):
        columns = [_lines(column, [*self.rows, self.total]) for column in fields(Row)]
        head, *rows, total = ("  ".join(line).rstrip() for line in zip(*columns, strict=True))
        rule = "─" * max(map(len, (head, *rows, total)))
        return "\n".join([head, rule, *rows, rule, total])


def _lines(column, rows):
    """A column of the table, its heading first."""
    values = [getattr(row, column.name) for row in rows]
    lines = [
        column.name.replace("_", " "),
        *("–" if value is None else column.metadata["text"](value) for value in values),
    ]
    return [column.metadata["align"](line, max(map(len, lines))) for line in lines]


class Cost(NamedTuple):
    """What a layer takes."""

    output_shape: tuple | None
    counts: dict  # identity of a parameter → its numbers, None where they are not known
    steps: list | None = None  # see `_steps`
    computing: dict = {}  # noqa: RUF012 — columns that are known where all sizes are


def describe(layers, input_shape):
    """The `Info` of pairs (name, layer) in the order of calls, for an input of this shape, which may be None."""
    rows, found, counts, path, shape = [], {}, {}, [], input_shape
    for name, layer in layers:
        cost = _cost_of_convolution(layer, shape, found) if hasattr(layer, "_walk") else _cost_of_other(layer, shape)
        counts |= cost.counts
        shape = cost.output_shape
        path.append(cost.steps)
        row = Row(name, type(layer).__name__, shape, _sum(cost.counts.values()), receptive_field=_receptive_field(path))
        rows.append(replace(row, **cost.computing))
    total = Row(
        name="total",
        output_shape=shape,
        parameters=_sum(counts.values()),
        flops=_sum_of_known(row.flops for row in rows),
        receptive_field=_receptive_field(path),
        memory=_sum_of_known(row.memory for row in rows),
    )
    return Info(tuple(rows), total)


def _cost_of_other(layer, input_shape):
    counts = {id(parameter): np.size(parameter.value) for _, parameter in named_parameters_of(layer)}
    return Cost(output_shape_of(layer, input_shape), counts)


def _cost_of_convolution(layer, input_shape, found):
    if input_shape is None:  # what stands before it tells no shape
        input_shape = layer._first_shape()
    output_shape = layer._walk(input_shape, found)
    known = found.get(layer) or layer._current()
    shapes = {"weight": weight_shape(layer, known.in_channels), "bias": known.bias_shape}
    counts = {}
    for name, shape in shapes.items():
        if shape is not None:
            parameter = layer._parameter(name)
            counts[(id(layer), name) if parameter is None else id(parameter)] = None if None in shape else prod(shape)
    computing = {}
    if None not in (*input_shape, *counts.values()):
        weight = np.zeros(shapes["weight"], layer.dtype) if layer.weight is None else layer.weight.value
        explanation = layer._functions.plan(weight, **layer._options()).explain(input_shape)
        arrays = (prod(output_shape) + sum(counts.values())) * layer.dtype.itemsize
        computing = {
            "flops": explanation.flops,
            "memory": arrays + explanation.workspace_bytes,
            "algorithm": explanation.algorithm,
        }
    return Cost(output_shape, counts, _steps(layer), computing)


def _steps(layer):
    """For each axis, the function that takes a number of neighbouring outputs to that of the inputs they depend on."""
    stride, dilation = (
        per_axis(name, getattr(layer, name), layer.rank)[-layer.rank :] for name in ("stride", "dilation")
    )
    return [
        partial(_back_through_transposed if layer._transposed else _back_through, dilation * (kernel - 1), stride)
        for kernel, stride, dilation in zip(layer.kernel_size, stride, dilation, strict=True)
    ]


def _back_through(reach, stride, outputs):
    return (outputs - 1) * stride + reach + 1


def _back_through_transposed(reach, stride, outputs):
    return (outputs - 1 + reach) // stride + 1  # as many as are multiples of the stride, where that is most


def _receptive_field(path):
    """By the `_steps` of all layers so far; None where one of them tells nothing, or the number of axes changes."""
    if None in path or len(set(map(len, path))) != 1:
        return None
    return tuple(reduce(lambda outputs, step: step(outputs), reversed(axis), 1) for axis in zip(*path, strict=True))


def _sum(counts):
    """None where one is not known."""
    counts = list(counts)
    return None if None in counts else sum(counts)


def _sum_of_known(counts):
    """None where none is known."""
    counts = [count for count in counts if count is not None]
    return sum(counts) if counts else None
