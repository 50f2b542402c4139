"""Bands of image rows, in every form, for every number of strips and for chains that end within a kernel."""

from itertools import product

import numpy as np
import pytest
from strategies import integers
from test_kinds import KINDS, forced, kinds_for, normal

import fastconv
from fastconv._algorithms import _tiled, _tiling

__all__ = ["forced"]  # a fixture

BANDS = [name for name, kind in KINDS.items() if kind.row_wise]

# kernel, image, the other arguments
FORMS = {
    "3x3": ((3, 3), (13, 40), {"padding": 1}),
    "3x3 dilated along the row": ((3, 3), (13, 40), {"padding": (1, 5), "dilation": (1, 5)}),
    "5x5": ((5, 5), (9, 33), {"padding": 2}),
    "7x7": ((7, 7), (17, 65), {"padding": ((5, 1), (2, 4))}),
    "4x4": ((4, 4), (11, 20), {"padding": 2}),
    "2x3": ((2, 3), (11, 20), {"padding": 1}),
    "6x9": ((6, 9), (11, 50), {"padding": (3, 4)}),
    "15x15: two chains": ((15, 15), (21, 37), {"padding": 7}),
    "15x15 along a stride": ((15, 15), (21, 41), {"padding": 7, "stride": (1, 2)}),
    "12x61: many chains": ((12, 61), (14, 64), {"padding": 3}),
    "2x15x15: chains in each plane": ((2, 15, 15), (3, 18, 20), {"padding": (1, 7, 7)}),
    "30x5x5: planes in a chain": ((30, 5, 5), (31, 9, 20), {"padding": (0, 2, 2)}),
    "1x100": ((1, 100), (7, 140), {}),
    "3x3, stride 2": ((3, 3), (21, 70), {"padding": 1, "stride": 2}),
    "3x3, stride 2, wide pads": ((3, 3), (8, 9), {"padding": 6, "stride": 2}),
    "3x3, stride 2 along the row": ((3, 3), (8, 70), {"padding": 1, "stride": (1, 2)}),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("out_channels", [1, 2, 3, 9])
@pytest.mark.parametrize("name", FORMS)
def test_every_form(forced, name, out_channels, dtype):
    kernel, size, arguments = FORMS[name]
    x, weight = integers((1, 2, *size), dtype, 0), integers((out_channels, 2, *kernel), dtype, 1)
    bias = integers((out_channels,), dtype, 2)
    expected = fastconv.conv(x, weight, bias, **arguments, activation="relu", algorithm="reference")
    add = integers(expected.shape, dtype, 3)
    with_add = fastconv.plan(weight, bias, **arguments, activation="relu", algorithm="reference")(x, add=add)
    x_random, random = normal(x.shape, dtype, 4), normal(weight.shape, dtype, 5)
    bits = forced("strip", random, **arguments)(x_random)
    for kind in BANDS:
        if kind in kinds_for(x, weight, arguments):
            plan = forced(kind, weight, bias, **arguments, activation="relu")
            np.testing.assert_array_equal(plan(x), expected, err_msg=kind)
            np.testing.assert_array_equal(plan(x, add=add), with_add, err_msg=kind)
            np.testing.assert_array_equal(forced(kind, random, **arguments)(x_random), bits, err_msg=kind)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (7, 1), (12, 1)])
@pytest.mark.parametrize("out_channels", [1, 4])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_width(forced, kernel, stride, out_channels, dtype):
    """From one column to strips of every kind, and one more: first, between, the last ones. A plane of 12 × 12 is two
    chains, of which the first one ends on the way down."""
    weight = integers((out_channels, 1, kernel, kernel), dtype, 0)
    arguments = {"padding": kernel // 2, "stride": stride}
    for width in [*range(1, 66), 95, 127, 128, 129, 200, 257, 300, 388]:
        x = integers((1, 7, width), dtype, width)
        expected = fastconv.conv2d(x, weight, **arguments, algorithm="reference")
        for kind in BANDS:
            if kind in kinds_for(x, weight, arguments):
                np.testing.assert_array_equal(forced(kind, weight, **arguments)(x), expected, err_msg=f"{kind} {width}")


@pytest.mark.parametrize("out_channels", [1, 4])
@pytest.mark.parametrize(
    "kernel, dilation, padding",
    [((3, 3), 1, (5, 2)), ((5, 5), 1, (0, 3)), ((6, 7), 1, (4, 1)), ((5, 4), 2, (1, 6)), ((3, 3), 3, (5, 2))],
)
def test_every_width_beside_uneven_padding(forced, kernel, dilation, padding, out_channels):
    """Where the strips begin and end that read no padding."""
    weight = integers((out_channels, 1, *kernel), "float32", 0)
    arguments = {"padding": (1, padding), "dilation": (1, dilation)}
    for width in [*range(14, 60, 3), *range(60, 140, 8), *range(250, 275, 6)]:
        x = integers((1, 7, width), "float32", width)
        expected = fastconv.conv2d(x, weight, **arguments, algorithm="reference")
        for kind in BANDS:
            if kind in kinds_for(x, weight, arguments):
                np.testing.assert_array_equal(forced(kind, weight, **arguments)(x), expected, err_msg=f"{kind} {width}")


@pytest.mark.parametrize("out_channels", [1, 4])
@pytest.mark.parametrize("padding", [(0, 0), (1, 0), (2, 5), (0, 16), (16, 1), (7, 15), (17, 17)])
def test_every_width_of_stride_2_beside_uneven_padding(forced, padding, out_channels):
    """Padding to the right may begin in the last strip's last vector or in the one before."""
    weight = integers((out_channels, 1, 3, 3), "float32", 0)
    arguments = {"padding": (1, padding), "stride": 2}
    for width in [*range(20, 150), 160, 257]:
        x = integers((1, 7, width), "float32", width)
        expected = fastconv.conv2d(x, weight, **arguments, algorithm="reference")
        for kind in BANDS:
            if kind in kinds_for(x, weight, arguments):
                np.testing.assert_array_equal(forced(kind, weight, **arguments)(x), expected, err_msg=f"{kind} {width}")


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_height_of_narrow_images(forced, stride, dtype):
    """Strips that go down several bands, the last of which ends with the image; each row is finished once."""
    weight, bias = integers((4, 1, 3, 3), dtype, 0), np.array([1, 2, 3, 4], dtype)
    for groups, channels in ((4, 4), (1, 1), (2, 2)):
        arguments = {"padding": 1, "stride": stride, "groups": groups, "activation": "relu"}
        for height, width in product([*range(1, 21), 60, 300], (3, 8, 14, 32)):
            x = integers((channels, height, width), dtype, height)
            expected = fastconv.conv2d(x, weight, bias, **arguments, algorithm="reference")
            for kind in BANDS:
                if kind in kinds_for(x, weight, arguments):
                    y = forced(kind, weight, bias, **arguments)(x)
                    np.testing.assert_array_equal(y, expected, err_msg=f"{kind} {height}x{width}, {groups} groups")


def test_what_is_not_finite_stays_within_reach_of_long_kernels(forced):
    x, weight = integers((1, 40, 48), "float32", 0), integers((1, 1, 15, 15), "float32", 1)
    x[0, 20, 30] = np.nan
    for kind in {"shared band", "bordered band"} & set(kinds_for(x, weight, {"padding": 7})):
        y = forced(kind, weight, padding=7)(x)
        reached = np.zeros(y.shape, bool)
        reached[0, 13:28, 23:38] = True
        np.testing.assert_array_equal(np.isnan(y), reached, err_msg=kind)


@pytest.mark.parametrize("bad", [0, np.nan, np.inf])
@pytest.mark.parametrize("out_channels", [1, 4])
@pytest.mark.parametrize("kernel, padding", [((15, 15), 9), ((9, 6), (8, 2)), ((6, 130), (5, 40)), ((31, 31), 15)])
def test_rows_of_padding_are_left_out(forced, kernel, padding, out_channels, bad):
    """Of the input, but not where weights are not finite."""
    arguments = {"padding": padding}
    weight = integers((out_channels, 1, *kernel), "float32", 0)
    weight[:, 0, -1, 3] = bad
    for height, width in ((3, 60), (25, 56), (25, 64), (25, 80)):
        x = integers((1, height, width), "float32", width)
        with np.errstate(invalid="ignore"):
            expected = fastconv.conv2d(x, weight, **arguments, algorithm="reference")
        geometry = fastconv.plan(weight, **arguments).tasks.geometry(x.shape)
        shape = _tiled.shape_of(geometry, _tiled.contiguous_layout(geometry), 1)
        for kind in {"shared band", "bordered band"} & set(kinds_for(x, weight, arguments)):
            tilings = [
                tiling
                for block in _tiling._blocks(shape)
                for size in KINDS[kind].sizes(shape, block)
                for tiling in _tiling._tilings(shape, KINDS[kind], size, block)
            ]
            assert {_tiling.live(shape, tiling) < 0.95 for tiling in tilings} == {True}
            np.testing.assert_array_equal(forced(kind, weight, **arguments)(x), expected, err_msg=f"{kind} {width}")


@pytest.mark.parametrize(
    "kernel, chunk",
    [
        ((1, 3, 3), (13, 9, 9)),
        ((1, 15, 15), (1, 120, 225)),
        ((1, 31, 31), (1, 124, 961)),
        ((2, 15, 15), (1, 120, 225)),
        ((30, 5, 5), (1, 125, 750)),
        ((1, 1, 1024), (1, 128, 1024)),
        ((3, 2, 200), (1, 100, 200)),
    ],
)
def test_chains_end_with_rows_and_planes(kernel, chunk):
    weight = np.ones((1, 100, *kernel), np.float32)
    geometry = fastconv.plan(weight).tasks.geometry((100, *(size + 1 for size in kernel)))
    shape = _tiled.shape_of(geometry, _tiled.contiguous_layout(geometry), 1)
    assert tuple(shape.chunk) == chunk
    assert isinstance(shape.chunk, _tiling.Chunk)
