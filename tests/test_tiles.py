"""Shapes that fill no tile: every bit is the reference's, and nothing around the output is touched."""

from itertools import product

import numpy as np
import pytest
from strategies import DIRECT_SUMS, integers

import fastconv

COMPILED = [name for name in DIRECT_SUMS if name != "reference"]

CANARY = -777


def surrounded(shape, dtype, gaps):
    """A view of this shape, and the flat memory before, after and between its elements: all canaries."""
    sizes = [size + 2 * gap for size, gap in zip(shape, gaps, strict=True)]
    memory = np.full(np.prod(sizes) + 128, CANARY, dtype)
    inner = tuple(slice(gap, gap + size) for size, gap in zip(shape, gaps, strict=True))
    return memory[64:-64].reshape(sizes)[inner], memory


def check_within(gaps_of_outputs, x, weight, bias, **arguments):
    """The reference's bits by each algorithm, and canaries where they were, around each of the outputs."""
    expected = fastconv.conv2d(x, weight, bias, **arguments, algorithm="reference")
    for algorithm, gaps in product(COMPILED, gaps_of_outputs):
        out, memory = surrounded(expected.shape, expected.dtype, gaps)
        fastconv.plan(weight, bias, **arguments, algorithm=algorithm)(x, out)
        np.testing.assert_array_equal(out, expected, err_msg=f"{algorithm}, {gaps}")
        out[...] = CANARY
        np.testing.assert_array_equal(memory, np.full_like(memory, CANARY), err_msg=f"{algorithm}, {gaps}")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("size", [(5, 3), (3, 5), (14, 14), (1, 1), (9, 1), (1, 9), (7, 7), (2, 17)], ids=str)
def test_depthwise_on_few_pixels(size, kernel, dtype):
    channels = 6
    x = integers((2, channels, *size), dtype, 0)
    weight, bias = integers((channels, 1, kernel, kernel), dtype, 1), integers((channels,), dtype, 2)
    arguments = {"padding": "same", "groups": channels, "activation": "relu"}
    check_within([(0, 0, 0, 0), (1, 1, 1, 3)], x, weight, bias, **arguments)


@pytest.mark.parametrize("algorithm", COMPILED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dilated_on_a_long_signal(dtype, algorithm):
    x, weight = integers((1, 64, 5000), dtype, 0), integers((64, 64, 3), dtype, 1)
    arguments = {"padding": 8, "dilation": 8}
    expected = fastconv.conv1d(x, weight, **arguments, algorithm="reference")
    np.testing.assert_array_equal(fastconv.plan(weight, **arguments, algorithm=algorithm)(x), expected)


@pytest.mark.parametrize("algorithm", COMPILED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("size", "dilation"), [((33, 33), 12), ((24, 33), (18, 6)), ((9, 40), (4, 36))], ids=str)
def test_dilations_that_reach_far_into_the_padding(size, dilation, dtype, algorithm):
    x, weight = integers((2, 20, *size), dtype, 0), integers((24, 20, 3, 3), dtype, 1)
    arguments = {"padding": "same", "dilation": dilation}
    expected = fastconv.conv2d(x, weight, **arguments, algorithm="reference")
    np.testing.assert_array_equal(fastconv.plan(weight, **arguments, algorithm=algorithm)(x), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("out_channels", [32, 40, 64])
@pytest.mark.parametrize("size", [(5, 3), (14, 14), (9, 40), (7, 7), (2, 17)], ids=str)
def test_tiles_along_channels(size, out_channels, stride, dtype):
    x = integers((2, *size, 5), dtype, 0)
    weight, bias = integers((out_channels, 5, 3, 3), dtype, 1), integers((out_channels,), dtype, 2)
    arguments = {"padding": 1, "stride": stride, "activation": "relu", "data_format": "channels_last"}
    check_within([(0, 0, 0, 0), (1, 1, 3, 0), (1, 1, 3, 1)], x, weight, bias, **arguments)
