"""Every kind of tile, forced, whatever it would cost: the same bits, and what is not finite where it belongs."""

from itertools import product

import numpy as np
import pytest
from inexact import normal
from strategies import Case, integers, witness

import fastconv
from fastconv._algorithms import _tiled, _tiles, _tiling

KINDS = {kind.name: kind for kind in (kind for kinds in _tiles.TILES.values() for kind in kinds)}


@pytest.fixture
def forced(monkeypatch):
    """A function: the plan whose tiles are of the kind of this name, for arrays in any layout."""

    def plan(name, *args, **arguments):
        monkeypatch.setitem(_tiles.TILES, "direct", (KINDS[name],))
        _tiling.cheapest.cache_clear()
        made = fastconv.plan(*args, **arguments, algorithm="direct")

        def call(x, out=None, *, add=None):
            y = made(x, out, add=add)
            assert made.explain(x.shape).kernel.startswith(name)
            return y

        return call

    yield plan
    _tiling.cheapest.cache_clear()


# image, kernel, stride, dilation, pads: maps so small that most taps read padding, also by all the pixels of a tile
SMALL_MAPS = {
    "7x7": ((7, 7), (3, 3), (1, 1), (1, 1), ((1, 1), (1, 1))),
    "wide pads": ((3, 5), (3, 3), (1, 1), (1, 1), ((4, 6), (5, 4))),
    "dilated": ((6, 5), (5, 3), (1, 2), (3, 2), ((7, 6), (3, 2))),
    "strided": ((5, 9), (4, 4), (3, 2), (1, 1), ((3, 3), (2, 7))),
    "one pixel": ((1, 1), (3, 3), (1, 1), (1, 1), ((1, 1), (1, 1))),
    "signal": ((3,), (16,), (1,), (1,), ((20, 30),)),
    "volume": ((2, 3, 4), (3, 2, 3), (1, 1, 2), (2, 1, 1), ((2, 3), (1, 1), (2, 2))),
}


def arguments_of(name, **others):
    size, kernel, stride, dilation, padding = SMALL_MAPS[name]
    return size, kernel, {"stride": stride, "dilation": dilation, "padding": padding, **others}


def kinds_for(x, weight, arguments):
    """Names of the kinds that have tiles for a convolution of channels-first arrays."""
    geometry = fastconv.plan(weight, **arguments).tasks.geometry(x.shape)
    shape = _tiled.shape_of(geometry, _tiled.contiguous_layout(geometry), 1)
    blocks = _tiling._blocks(shape)
    return [name for name, kind in KINDS.items() if any(kind.sizes(shape, block) for block in blocks)]


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SMALL_MAPS)
def test_all_kinds_give_the_same_bits(forced, name, dtype, groups):
    size, kernel, arguments = arguments_of(name, groups=groups, activation="silu")
    x, weight = normal((2, 14, *size), dtype, 0), normal((34, 14 // groups, *kernel), dtype, 1)
    bias = normal(34, dtype, 2)
    results = [forced(kind, weight, bias, **arguments)(x) for kind in kinds_for(x, weight, arguments)]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize("mode", ["constant", "reflect"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", SMALL_MAPS)
def test_what_is_not_finite_in_the_input(forced, name, bad, mode):
    size, kernel, arguments = arguments_of(name, groups=2, padding_mode=mode)
    x, weight = integers((2, 6, *size), "float32", 0), integers((10, 3, *kernel), "float32", 1)
    marks = np.random.default_rng(2).random(x.shape) < 0.05
    marks[0, 4] |= np.random.default_rng(3).random(size) < 0.5
    x[marks] = bad
    ones = np.ones(weight.shape)
    reached = witness(Case(marks.astype("float64"), ones, None, arguments, arguments["padding"])) > 0
    assert reached.any()
    assert not reached.all()
    expected = fastconv.conv(x, weight, **arguments, algorithm="reference")
    for kind in kinds_for(x, weight, arguments):
        y = forced(kind, weight, **arguments)(x)
        np.testing.assert_array_equal(np.isfinite(y), ~reached, err_msg=kind)
        np.testing.assert_array_equal(y, expected, err_msg=kind)  # NaN where infinity meets zero or its opposite


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", SMALL_MAPS)
def test_what_is_not_finite_in_the_weights(forced, name, bad):
    size, kernel, arguments = arguments_of(name)
    x, weight = integers((2, 6, *size), "float32", 0), integers((17, 6, *kernel), "float32", 1)
    for channel in (0, 5, 16):  # in one tap of one channel, also one that reads nothing but padding
        weight[channel, channel % 6].flat[channel % np.prod(kernel)] = bad
    expected = fastconv.conv(x, weight, **arguments, algorithm="reference")
    known = [channel for channel in range(17) if channel not in (0, 5, 16)]
    assert not np.isfinite(expected[:, [0, 5, 16]]).any()  # zeros of the padding times `bad` are NaN
    assert np.isfinite(expected[:, known]).all()
    for kind in kinds_for(x, weight, arguments):
        np.testing.assert_array_equal(forced(kind, weight, **arguments)(x), expected, err_msg=kind)


@pytest.mark.parametrize("value", [3.0, -0.0, 1e-60, np.nan, np.inf])
@pytest.mark.parametrize("name", SMALL_MAPS)
def test_padding_values(forced, name, value):
    size, kernel, arguments = arguments_of(name, padding_value=value)
    x, weight = integers((2, 6, *size), "float32", 0), integers((17, 6, *kernel), "float32", 1)
    expected = fastconv.conv(x, weight, **arguments, algorithm="reference")
    for kind in kinds_for(x, weight, arguments):
        np.testing.assert_array_equal(forced(kind, weight, **arguments)(x), expected, err_msg=kind)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SMALL_MAPS)
@pytest.mark.parametrize("step", [1, 2, 3])
def test_strict_chunks_of_padded_maps(forced, name, dtype, step):
    size, kernel, arguments = arguments_of(name, precision="strict")
    x, weight = normal((14, *size), dtype, 0), normal((18, 14, *kernel), dtype, 1)
    stride, dilation, before = arguments["stride"][-1], arguments["dilation"][-1], arguments["padding"][-1][0]
    whole = fastconv.conv(x, weight, **arguments)
    for first in range(0, whole.shape[-1], step):
        outputs = whole[..., first : first + step]
        start = first * stride - before
        stop = start + (outputs.shape[-1] - 1) * stride + dilation * (kernel[-1] - 1) + 1
        low, high = (min(max(edge, 0), size[-1]) for edge in (start, stop))
        if low == high:  # nothing but padding
            continue
        pads = (*arguments["padding"][:-1], (max(0, -start), max(0, stop - size[-1])))
        chunk, padded = np.ascontiguousarray(x[..., low:high]), arguments | {"padding": pads}
        for kind in kinds_for(chunk, weight, padded):
            np.testing.assert_array_equal(forced(kind, weight, **padded)(chunk), outputs, err_msg=kind)


CHANNELWISE = {  # kernel, image, the other arguments
    "3x3": ((3, 3), (9, 20), {"padding": 1}),
    "strided": ((5, 4), (11, 31), {"padding": "same", "stride": (2, 3)}),
    "dilated": ((3, 3), (9, 17), {"padding": ((5, 0), (0, 7)), "dilation": (2, 3)}),
    "144 taps": ((12, 12), (13, 19), {"padding": 5}),
    "300 taps": ((300,), (40,), {"padding": ((280, 290),)}),
    "a value": ((3, 2), (5, 9), {"padding": 3, "padding_value": 2.0}),
    "reflect": ((4, 7), (3, 6), {"padding": 8, "padding_mode": "reflect"}),
    "circular": ((2, 3, 5), (3, 4, 11), {"padding": 2, "padding_mode": "circular", "flip_kernel": True}),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("channels", [2, 7, 8, 9, 16, 17, 31, 32, 33, 65])
@pytest.mark.parametrize("name", CHANNELWISE)
def test_channelwise(forced, name, channels, dtype):
    kernel, size, arguments = CHANNELWISE[name]
    arguments = arguments | {"groups": channels, "data_format": "channels_last"}
    x, weight = integers((2, *size, channels), dtype, 0), integers((channels, 1, *kernel), dtype, 1)
    shape = fastconv.conv_output_shape(x.shape, weight.shape, **arguments)
    tied, untied = integers((channels,), dtype, 2), integers((channels, *shape[1:-1]), dtype, 3)
    residual = integers(shape, dtype, 4)
    for bias, add, activation in product((None, tied, untied), (None, residual), (None, "relu")):
        after = {"activation": activation}
        expected = fastconv.plan(weight, bias, **arguments, **after, algorithm="reference")(x, add=add)
        plan = forced("channelwise", weight, bias, **arguments, **after)
        np.testing.assert_array_equal(plan(x, add=add), expected)
        out = np.full((*shape[:-1], channels + 3), 777, dtype)
        plan(x, out[..., 1:-2], add=add)  # channels side by side, pixels not
        np.testing.assert_array_equal(out[..., 1:-2], expected)
        out[..., 1:-2] = 777
        np.testing.assert_array_equal(out, np.full_like(out, 777))
        channels_first = np.empty((2, channels, *shape[1:-1]), dtype)
        plan(x, np.moveaxis(channels_first, 1, -1), add=add)
        np.testing.assert_array_equal(np.moveaxis(channels_first, 1, -1), expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("channels", [3, 16, 33])
@pytest.mark.parametrize("name", CHANNELWISE)
def test_channelwise_and_not_finite(forced, name, channels, bad):
    kernel, size, arguments = CHANNELWISE[name]
    arguments = arguments | {"groups": channels, "data_format": "channels_last"}
    x, weight = integers((2, *size, channels), "float32", 0), integers((channels, 1, *kernel), "float32", 1)
    x[1, ..., 1][np.random.default_rng(2).random(size) < 0.05] = bad
    x[0, ..., 2].flat[-1] = bad
    expected = fastconv.conv(x, weight, **arguments, algorithm="reference")
    assert np.isfinite(expected[..., [0, *range(3, channels)]]).all()
    np.testing.assert_array_equal(forced("channelwise", weight, **arguments)(x), expected)
    weight[channels - 1].flat[0] = bad
    expected = fastconv.conv(x, weight, **arguments, algorithm="reference")
    np.testing.assert_array_equal(forced("channelwise", weight, **arguments)(x), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_channelwise_gives_the_bits_of_the_others(forced, dtype):
    x, weight = normal((2, 12, 21, 19), dtype, 0), normal((19, 1, 13, 11), dtype, 1)
    arguments = {"groups": 19, "padding": 7, "activation": "tanh"}
    x_last = np.ascontiguousarray(np.moveaxis(x, -1, 1))
    expected = forced("strip", weight, **arguments)(x_last)
    y = forced("channelwise", weight, **arguments, data_format="channels_last")(x)
    np.testing.assert_array_equal(np.moveaxis(y, -1, 1), expected)


@pytest.mark.parametrize("step", [1, 5, 7])
@pytest.mark.parametrize("channels", [5, 16, 40])
def test_strict_chunks_of_channelwise(forced, channels, step):
    x, weight = normal((6, 30, channels), "float32", 0), normal((channels, 1, 3, 5), "float32", 1)
    arguments = {"groups": channels, "data_format": "channels_last", "precision": "strict"}
    whole = forced("channelwise", weight, **arguments, padding=((1, 1), (0, 0)))(x)
    for first in range(0, whole.shape[-2], step):
        outputs = whole[:, first : first + step]
        chunk = x[:, first : first + outputs.shape[1] + 4]
        for kind in ("channelwise", "strip", "packed"):
            y = forced(kind, weight, **arguments, padding=((1, 1), (0, 0)))(chunk)
            np.testing.assert_array_equal(y, outputs, err_msg=kind)
