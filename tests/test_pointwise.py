"""One tap, and channels side by side: tiles that read the channels of each pixel where they are."""

from itertools import product

import numpy as np
import pytest
from strategies import integers
from test_kinds import forced, normal

import fastconv

__all__ = ["forced"]  # a fixture

CANARY = 777
CHANNELS = [(1, 33), (3, 31), (16, 32), (17, 70), (130, 5), (300, 64)]  # in, out: one chain, two, and three


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("channels", "outs"), CHANNELS)
def test_every_width(forced, channels, outs, dtype):
    """Rows of pixels that fill no tile, and what is done after the sums: in the output, or on the way there."""
    weight, bias = integers((outs, channels, 1, 1), dtype, 0), integers((outs,), dtype, 1)
    for width in range(1, 31):
        x = integers((2, 3, width, channels), dtype, width)
        out = np.full((2, 3, width + 2, outs), CANARY, dtype)  # so that rows are no piece
        add = integers((2, 3, width, outs), dtype, 2)
        for b, a, activation in product((None, bias), (None, add), (None, "relu")):
            arguments = {"data_format": "channels_last", "activation": activation}
            expected = fastconv.plan(weight, b, **arguments, algorithm="reference")(x, add=a)
            plan = forced("pointwise", weight, b, **arguments)
            np.testing.assert_array_equal(plan(x, add=a), expected)
            plan(x, out[:, :, 1:-1], add=a)
            np.testing.assert_array_equal(out[:, :, 1:-1], expected)
            out[:, :, 1:-1] = CANARY
            np.testing.assert_array_equal(out, np.full_like(out, CANARY))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [(40,), (9, 31), (2, 5, 17), (4, 1, 1)], ids=str)
def test_strides_and_groups(forced, size, stride, groups, dtype):
    rank = len(size)
    x = integers((2, *size, 6 * groups), dtype, 0)
    weight, bias = integers((33 * groups, 6, *(1,) * rank), dtype, 1), integers((33 * groups,), dtype, 2)
    arguments = {"data_format": "channels_last", "stride": stride, "groups": groups, "activation": "leaky_relu"}
    expected = fastconv.conv(x, weight, bias, **arguments, algorithm="reference")
    plan = forced("pointwise", weight, bias, **arguments)
    np.testing.assert_array_equal(plan(x), expected)
    first = np.empty((2, 33 * groups, *expected.shape[1:-1]), dtype)  # to pixels that lie side by side
    plan(x, np.moveaxis(first, 1, -1))
    np.testing.assert_array_equal(np.moveaxis(first, 1, -1), expected)


LAYOUTS = {
    "rows turned round": lambda x: x[:, ::-1],
    "columns turned round": lambda x: x[:, :, ::-1],
    "every second pixel": lambda x: np.repeat(x, 2, 2)[:, :, ::2],
    "a part of the channels": lambda x: np.concatenate([x, x, x], -1)[..., 20:40],
    "one column": lambda x: np.broadcast_to(x[:, :, :1], x.shape),
    "columns before rows": lambda x: x.swapaxes(1, 2).copy().swapaxes(1, 2),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(forced, name, dtype):
    x, weight = LAYOUTS[name](integers((2, 7, 19, 20), dtype, 0)), integers((35, 20, 1, 1), dtype, 1)
    expected = fastconv.conv(x, weight, data_format="channels_last", algorithm="reference")
    np.testing.assert_array_equal(forced("pointwise", weight, data_format="channels_last")(x), expected)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_bits_of_channels_first(forced, dtype, threads):
    x, weight = normal((2, 300, 13, 31), dtype, 0), normal((70, 300, 1, 1), dtype, 1)
    bias = normal(70, dtype, 2)
    expected = forced("packed", weight, bias, activation="tanh")(x)
    x_last = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    with fastconv.num_threads(threads):
        y = forced("pointwise", weight, bias, activation="tanh", data_format="channels_last")(x_last)
    np.testing.assert_array_equal(np.moveaxis(y, -1, 1), expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite(forced, bad):
    x, weight = integers((1, 5, 40, 20), "float32", 0), integers((40, 20, 1, 1), "float32", 1)
    x[0, 2, 3, 4] = x[0, 4, 39, 19] = bad
    expected = fastconv.conv(x, weight, data_format="channels_last", algorithm="reference")
    assert (~np.isfinite(expected)).any(-1).sum() == 2
    np.testing.assert_array_equal(forced("pointwise", weight, data_format="channels_last")(x), expected)
