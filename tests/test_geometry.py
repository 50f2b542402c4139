"""Geometry: sizes, strides and limits, in exact integers."""

import numpy as np
import pytest
from hypothesis import given
from strategies import cases

import fastconv
from fastconv._arrays import FLOAT32, Types
from fastconv._geometry import MOST_BORDER, Arguments, Convolution

HUGE = 2**62


def convolution(weight_shape, bias_shape=None, **arguments):
    defaults = {
        "stride": 1,
        "padding": 0,
        "dilation": 1,
        "groups": 1,
        "padding_mode": "constant",
        "padding_value": 0.0,
        "flip_kernel": False,
        "activation": None,
        "data_format": "channels_first",
        "precision": "default",
        "algorithm": "auto",
    }
    return Convolution.parse(None, weight_shape, bias_shape, Types(FLOAT32, FLOAT32), Arguments(**defaults | arguments))


def test_unit_axes_stand_in_front():
    g = convolution((6, 2, 3), stride=2, padding=((1, 2),), dilation=3, groups=3).at((4, 5, 6, 20))
    assert (g.n, g.groups, g.c, g.o) == (20, 3, 2, 2)
    assert (g.size, g.kernel, g.stride, g.dilation) == ((1, 1, 20), (1, 1, 3), (1, 1, 2), (1, 1, 3))
    assert (g.pads, g.out) == (((0, 0), (0, 0), (1, 2)), (1, 1, 9))
    assert (g.batch_shape, g.x_shape, g.out_shape) == ((4, 5), (4, 5, 6, 20), (4, 5, 6, 9))
    assert g.flops == 2 * 20 * 6 * 2 * 3 * 9


@given(cases())
def test_output_size_is_the_formula(case):
    g = convolution(case.weight.shape, **case.arguments).at(case.x.shape)
    rank = case.weight.ndim - 2
    stride = (1,) * (3 - rank) + case.arguments["stride"]
    for axis, (before, after) in enumerate(case.pads, start=3 - rank):
        reach = g.dilation[axis] * (g.kernel[axis] - 1)
        assert g.pads[axis] == (before, after)
        assert g.out[axis] == (g.size[axis] + before + after - reach - 1) // stride[axis] + 1
        assert g.maps[axis].read == (g.out[axis] - 1) * g.stride[axis] + reach + 1
        assert g.maps[axis].read <= g.size[axis] + before + after
    assert fastconv.conv_output_shape(case.x.shape, case.weight.shape, **case.arguments) == g.out_shape


def test_geometries_are_frozen_and_hashable():
    c = convolution((1, 1, 3))
    assert c == convolution((1, 1, 3))
    assert hash(c) == hash(convolution((1, 1, 3)))
    for frozen, name in ((c, "groups"), (c.at((1, 9)), "n")):
        with pytest.raises(AttributeError):
            setattr(frozen, name, 2)


@pytest.mark.parametrize(
    ("shape", "index", "strides"),
    [
        ((2, 3, 4, 8, 9), (), (288, 72, 0, 9, 1)),
        ((2, 3, 4, 8, 9), (slice(None), slice(None, None, -1)), None),
        ((2, 3, 4, 8, 9), (slice(1), slice(None, None, -1)), (-288, 72, 0, 9, 1)),
        ((2, 3, 4, 8, 9), (slice(None), slice(1)), (864, 72, 0, 9, 1)),
        ((2, 3, 4, 8, 9), (..., slice(None, None, -2)), (288, 72, 0, 9, -2)),
        ((2, 3, 4, 8, 9), (slice(None, None, -1), slice(None, None, -1)), (-288, 72, 0, 9, 1)),
        ((4, 8, 9), (), (0, 72, 0, 9, 1)),
    ],
)
def test_strides_in_elements(shape, index, strides):
    x = np.zeros(shape, "float32")[index]
    g = convolution((1, 4, 3, 3)).at(x.shape)
    assert g.strides(x.strides, 4) == strides


def test_strides_of_channels_last():
    x = np.zeros((5, 8, 9, 4))
    g = convolution((1, 4, 3, 3), data_format="channels_last").at(x.shape)
    assert g.strides(x.strides, 8) == (288, 1, 0, 36, 4)


def test_bias_strides():
    c = convolution((2, 1, 3, 3), (2,))
    assert c.at((1, 5, 6)).bias_strides((4,), 4) == (1, 0, 0, 0)
    c = convolution((2, 1, 3, 3), (2, 3, 4))
    assert c.at((1, 5, 6)).bias_strides((48, 16, 4), 4) == (12, 0, 4, 1)


def test_what_is_never_used_may_be_any_number():
    x, weight = np.arange(9.0)[None], np.ones((1, 1, 3))
    for huge in (HUGE, 2**64, 10**30):
        np.testing.assert_array_equal(fastconv.conv1d(x, weight, stride=huge), [[3.0]])
        np.testing.assert_array_equal(fastconv.conv1d(x, weight[..., :1], dilation=huge), x)
        y = fastconv.conv1d(x, weight, stride=2 * huge, padding=((huge, 0),), padding_value=2.0)
        np.testing.assert_array_equal(y, [[6.0]])


@pytest.mark.parametrize(
    ("x", "weight", "arguments", "message"),
    [
        ((1, 9), (1, 1, 3), {"padding": HUGE}, r"padding of 4611686018427387904 .*16777216"),
        ((1, 9), (1, 1, 3), {"padding": 10**30}, "padding of 1000000000"),
        ((1, 9), (1, 1, 3), {"padding": ((0, HUGE),)}, "padding of 0 and 4611686018427387904"),
        ((1, 9), (1, 1, 3), {"padding": "full", "dilation": HUGE}, "padding of 9223372036854775808"),
        ((1, 9), (1, 1, 3), {"padding": "same", "dilation": HUGE}, "padding of 4611686018427387904"),
        ((1, 9), (1, 1, 3), {"dilation": HUGE}, "weight of shape .* reaches over 9223372036854775809 positions"),
        ((1, 9), (1, 1, 2**60), {}, "weight of shape .* reaches over 1152921504606846976 positions"),
        ((1, 9), (1, 1, HUGE), {}, "weight of shape .* bytes, more than 9223372036854775807"),
        ((1, 9), (1, 1, 2**60), {"padding": "same"}, "padding of"),
        ((1, 9), (1, 1, 9), {"padding": MOST_BORDER // 2 + 1}, "padding of"),
        ((1, 9), (2**40, 2**40, 1), {}, "weight of shape .* bytes, more than"),
        ((HUGE, 1, 9), (1, 1, 3), {}, "x of shape .* and weight of shape .* bytes, more than 9223372036854775807"),
        ((1, 2**40), (2**40, 1, 1), {}, "x of shape .* and weight of shape .* bytes"),
        ((1, 2**40, 2**40), (1, 1, 3, 3), {}, "x of shape .* and weight of shape .* bytes"),
    ],
)
def test_enormous_numbers_are_refused(x, weight, arguments, message):
    for call in (fastconv.conv_output_shape, fastconv.explain):
        with pytest.raises(ValueError, match=message):
            call(x, weight, **arguments)


def test_enormous_arrays_are_refused():
    kernel = np.broadcast_to(np.float32(1), (1, 1, 2**59))
    x = np.ones((1, 9), "float32")
    for padding, message in (("valid", "weight of shape"), ("full", "padding of"), ("same", "padding of")):
        with pytest.raises(ValueError, match=message):
            fastconv.conv1d(x, kernel, padding=padding)
        with pytest.raises(ValueError, match=message):
            fastconv.plan(kernel, padding=padding, input_shape=(1, 9))
    with pytest.raises(ValueError, match=r"weight of shape .* bytes, more than"):
        fastconv.plan(np.broadcast_to(np.int8(1), (2**31, 2**31, 1)))
    image = np.broadcast_to(np.float32(1), (2**50, 1, 256))
    with pytest.raises(ValueError, match="bytes, more than"):
        fastconv.conv1d(image, np.broadcast_to(np.float32(1), (2**20, 1, 1)))


def test_flipping_is_turning_round():
    weight = np.arange(24.0).reshape(4, 1, 2, 3)
    c = convolution(weight.shape, groups=2)
    np.testing.assert_array_equal(c.canonical(weight), weight.reshape(2, 2, 1, 1, 2, 3))
    flipped = convolution(weight.shape, groups=2, flip_kernel=True)
    np.testing.assert_array_equal(flipped.canonical(weight), weight[..., ::-1, ::-1].reshape(2, 2, 1, 1, 2, 3))
