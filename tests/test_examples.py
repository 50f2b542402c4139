"""Numbers published with other systems."""

import numpy as np
import pytest

import fastconv


def ones(*shape):
    return np.ones(shape, "float32")


@pytest.mark.parametrize(
    ("x", "kernel", "y"),
    [
        ([1, 2, 3, 4], [3, 2], [7, 12, 17]),
        ([0, 0, 0, 0, 1, 2, 3, 4, 4, 4, 4], [-1, 1], [0, 0, 0, 1, 1, 1, 1, 0, 0, 0]),
    ],
)
def test_fleuret_signals(x, kernel, y):
    np.testing.assert_array_equal(fastconv.conv1d([x], [[kernel]]), [y])


def test_fleuret_shapes():
    assert fastconv.conv2d(ones(117, 4, 10, 3), ones(5, 4, 2, 3), ones(5)).shape == (117, 5, 9, 1)
    assert fastconv.conv2d(ones(1, 1, 20, 30), ones(1, 1, 3, 3), dilation=4).shape == (1, 1, 12, 22)
    assert fastconv.conv2d(ones(6, 3, 5), ones(1, 6, 3, 3), padding=(2, 1), stride=(2, 2)).shape == (1, 3, 3)


def test_fleuret_kernels_on_a_digit():
    digit = np.zeros((28, 28), "float32")
    digit[4:24, 13:16] = 1  # a one
    kernels = np.zeros((5, 1, 3, 3), "float32")
    kernels[0, 0, 1, 1] = 1
    kernels[1] = 1
    kernels[2, 0] = [-1, 0, 1]
    kernels[3, 0] = kernels[2, 0].T
    kernels[4, 0] = [[0, -1, 0], [-1, 4, -1], [0, -1, 0]]
    same, blurred, across, down, edges = fastconv.conv2d(digit[None], kernels)
    assert same.shape == (26, 26)
    np.testing.assert_array_equal(same, digit[1:-1, 1:-1])
    np.testing.assert_array_equal(blurred[10, 10:18], [0, 3, 6, 9, 6, 3, 0, 0])
    np.testing.assert_array_equal(across[10, 10:18], [0, 3, 3, 0, -3, -3, 0, 0])
    np.testing.assert_array_equal(down[1:5, 13], [0, 3, 3, 0])
    np.testing.assert_array_equal(edges[10, 10:18], [0, -1, 1, 0, 1, -1, 0, 0])


@pytest.mark.parametrize(
    ("x", "weight", "arguments", "y"),
    [
        # MATLAB
        ((1, 28, 28), (1, 1, 6, 4), {"stride": 4, "padding": (1, 0)}, (1, 7, 7)),
        ((3, 32, 32), (8, 3, 5, 5), {"stride": 2, "padding": 2}, (8, 16, 16)),
        # Wolfram
        ((1, 256, 252), (1, 1, 2, 3), {"stride": 2, "dilation": (3, 4), "padding": (1, 2)}, (1, 128, 124)),
        # Lasagne
        ((1, 32, 32), (1, 1, 3, 3), {"stride": 2, "padding": 2}, (1, 17, 17)),
        # NeuPy
        ((30, 1, 10), (16, 10, 3, 1), {"data_format": "channels_last"}, (28, 1, 16)),
        ((28, 28, 3), (16, 3, 3, 3), {"data_format": "channels_last"}, (26, 26, 16)),
    ],
)
def test_published_shapes(x, weight, arguments, y):
    assert fastconv.conv_output_shape(x, weight, **arguments) == y
    assert fastconv.conv2d(ones(*x), ones(*weight), **arguments).shape == y


def test_matlab_dilated_kernel_is_the_kernel_with_zeros_between():
    rng = np.random.default_rng(0)
    x, kernel = rng.integers(-4, 5, (1, 9, 9)), rng.integers(-4, 5, (1, 1, 3, 3))
    spread = np.zeros((1, 1, 5, 5), int)
    spread[..., ::2, ::2] = kernel
    np.testing.assert_array_equal(fastconv.conv2d(x, kernel, dilation=2), fastconv.conv2d(x, spread))


def test_same_with_a_stride_pads_as_tensorflow():
    np.testing.assert_array_equal(
        fastconv.conv1d([[1, 2, 3, 4]], [[[1, 1, 1]]], stride=2, padding="same"), [[6, 7]]
    )


def test_lasagne_same_with_a_stride_is_explicit_padding():
    np.testing.assert_array_equal(fastconv.conv1d([[1, 2, 3, 4]], [[[1, 1, 1]]], stride=2, padding=1), [[3, 9]])


def test_lasagne_transposed():
    x, weight = ones(1, 17, 17), ones(1, 1, 3, 3)
    tied = {"stride": 2, "padding": 2}
    assert fastconv.conv2d(ones(1, 32, 32), weight, **tied).shape == x.shape
    assert fastconv.conv_transpose2d(x, weight, **tied).shape == (1, 31, 31)
    assert fastconv.conv_transpose2d(x, weight, **tied, output_size=32).shape == (1, 32, 32)
    for name, shape in (("output_size", 32), ("output_padding", 1)):
        assert fastconv.conv_transpose_output_shape((1, 17, 17), (1, 1, 3, 3), **tied, **{name: shape}) == (1, 32, 32)
