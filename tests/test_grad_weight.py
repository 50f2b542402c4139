"""grad_weight of the kernels: all of its forms at every edge of theirs, whatever the cut of the work."""

import threading
import tracemalloc
from contextlib import contextmanager
from itertools import product
from math import prod

import numpy as np
import pytest
from fastconv._recent import Recent
from hypothesis import given
from hypothesis import strategies as st
from inexact import BOUND, normal
from strategies import cases, gradients_witness, integers, relaid, witness

import fastconv
from fastconv import _grad_weight, _isa, gradients
from fastconv._algorithms import _cuts
from fastconv._algorithms._lines import lines
from fastconv._algorithms._reference import grad_weight as reference
from fastconv._algorithms._tiled import contiguous_layout
from fastconv._cache import Bounded

FORMS = ("dots", "outer products")  # for all geometries; "channelwise" is for depthwise ones


@contextmanager
def cut(form=None, **constants):
    """Where work is cut by these constants, in one form only; gives a list of the tasks and cuts that are made."""
    made = []

    def recorded(geometry, layout, threads, make=_grad_weight._task):
        cuts.clear()
        found = make(geometry, layout, threads)
        made.append((found[0], cuts[-1] if found[-1] else cuts[0]))  # the last one is of arrays that changed places
        return found

    def cheapest(geometry, axes, make=_grad_weight.cheapest_cut):
        cuts.append(make(geometry, axes))
        return cuts[-1]

    cuts = []
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (constants | {"_TASKS": Bounded(64), "_LARGE": Bounded(4)}).items():
            patch.setattr(_grad_weight if hasattr(_grad_weight, name) else _cuts, name, value)
        if form is not None:
            patch.setattr(_cuts, "FORMS", {form: _cuts.FORMS[form]})
        patch.setattr(gradients, "_RECENT", {kind: Recent(4) for kind in gradients._RECENT})
        patch.setattr(_grad_weight, "_task", recorded)
        patch.setattr(_grad_weight, "cheapest_cut", cheapest)
        yield made
    assert form is None or {task.kernel for task, _ in made} <= {form}


def geometry_of(x_shape, weight_shape, dtype, **arguments):
    return fastconv.plan(np.zeros(weight_shape, dtype), **arguments).tasks.geometry(x_shape)


def grad_weight(grad_output, x, weight_shape, threads=1, **arguments):
    with fastconv.num_threads(threads):
        return fastconv.conv_backward(
            grad_output, x, np.ones(weight_shape, x.dtype), **arguments, needs=(False, True, False)
        )[1]


def arrays(x_shape, weight_shape, dtype, values=integers, **arguments):
    """x and grad_output."""
    out_shape = fastconv.conv_output_shape(x_shape, weight_shape, **arguments)
    return values(x_shape, dtype, 0), values(out_shape, dtype, 1)


CONSTANTS = st.fixed_dictionaries(
    {
        "FLUSH": st.sampled_from([1, 3, 24]),
        "FLUSHES": st.sampled_from([1, 2, 8]),
        "ITEMS": st.sampled_from([1, 2, 7, 16, 100]),
        "ITEM_FLOPS": st.sampled_from([1000, 10**5, 10**9]),
        "STAGED_BYTES": st.sampled_from([1, 2**10, 2**13, 2**18]),
        "KEPT_BYTES": st.sampled_from([1, 2**12, 2**18]),
        "PARTS_BYTES": st.sampled_from([1, 2**21]),
        "SERIAL_FLOPS": st.just(0),
    }
)


@pytest.mark.parametrize("form", FORMS)
@given(st.data(), cases(), st.integers(0, 99), CONSTANTS, st.sampled_from([1, 2, 3]))
def test_any_cut_to_the_bit(form, data, case, seed, constants, threads):
    grad_output = integers(witness(case).shape, case.x.dtype, seed)
    expected = gradients_witness(case, grad_output)[1]
    with cut(form, **constants):
        got = grad_weight(
            data.draw(relaid(grad_output)), data.draw(relaid(case.x)), case.weight.shape, threads, **case.arguments
        )
    np.testing.assert_array_equal(got, expected)


def check(form, x_shape, weight_shape, dtype, constants=None, **arguments):
    """Small integers give the reference's bits; return the task and the cut."""
    x, grad_output = arrays(x_shape, weight_shape, dtype, **arguments)
    geometry = geometry_of(x_shape, weight_shape, dtype, **arguments)
    with cut(form, SERIAL_FLOPS=0, **(constants or {})) as made:
        for threads in (1, 2):
            got = grad_weight(grad_output, x, weight_shape, threads, **arguments)
            np.testing.assert_array_equal(got, reference(geometry, x, grad_output))
    return made[0]


def short(total, block):
    """Elements of the last block where it is shorter than the others, or none."""
    return total % block


# What must be so of (geometry, cut, lanes) → form, the shapes of x and weight by lanes and rows of a tile, arguments
EDGES = {
    "the kernel's rows, and the next block's": (
        lambda g, c, lanes: c.over_rows and c.block[1] < g.out[1] and c.rows > 1,
        ("dots", lambda lanes, rows: ((2, 2, 62, 3 * lanes + 1), (2, 2, 5, 3)), {"padding": 1}),
    ),
    "a last block that the one before it finishes": (
        lambda g, c, lanes: c.over_rows and 0 < short(g.out[1], c.block[1]) < c.rows,
        ("dots", lambda lanes, rows: ((1, 1, 133, 8 * lanes), (1, 1, 4, 1)), {"padding": ((2, 1), (0, 0))}),
    ),
    "fewer rows than the kernel has": (
        lambda g, c, lanes: c.over_rows and g.out[1] < c.rows,
        ("dots", lambda lanes, rows: ((3, 2, 6, lanes + 2), (1, 2, 5, 4)), {}),
    ),
    "the kernel's rows and a staged gradient": (
        lambda g, c, lanes: c.over_rows and c.block[1] < g.out[1],
        ("dots", lambda lanes, rows: ((2, 60, 2 * lanes + 3, 2), (2, 2, 4, 5)), {"data_format": "channels_last"}),
    ),
    "the rows of each plane of the kernel": (
        lambda g, c, lanes: c.over_rows and g.kernel[0] > 1 and g.out[0] > 1,
        ("dots", lambda lanes, rows: ((2, 2, 5, 7, lanes + 1), (1, 2, 3, 3, 2)), {"padding": 1}),
    ),
    "more output channels than an item has": (
        lambda g, c, lanes: c.o < g.o and not c.over_rows,
        ("dots", lambda lanes, rows: ((1, 2, 5, 9), (65, 2, 2, 3)), {}),
    ),
    "a map wider than a block": (
        lambda g, c, lanes: short(g.out[2], c.block[2]) and c.block[2] % lanes,
        ("dots", lambda lanes, rows: ((2, 2, 2, 64 * lanes + 4), (3, 2, 1, 2)), {"padding": 1}),
    ),
    "rows of stride 2": (
        lambda g, c, lanes: not c.over_rows and c.block[1] > 1 and g.stride[1] > 1,
        ("dots", lambda lanes, rows: ((2, 2, 19, 21), (2, 2, 3, 3)), {"stride": (2, 1)}),
    ),
    "channels of x in parts": (
        lambda g, c, lanes: 1 < c.c < g.c and short(g.c, c.c) and c.form == "dots",
        ("dots", lambda lanes, rows: ((2, 7, 12, 40), (3, 7, 3, 3)), {"constants": {"STAGED_BYTES": 2**13}}),
    ),
    "tiles of neighbouring columns of the kernel": (
        lambda g, c, lanes: len(c.rows.sizes) < prod(g.kernel),
        ("outer products", lambda lanes, rows: ((2, 2, 9, 11), (2 * lanes, 2, 3, 3)), {"padding": 1}),
    ),
    "columns of the kernel that are no neighbours": (
        lambda g, c, lanes: prod(g.kernel) > len(c.rows.sizes) > g.kernel[1] and g.stride[2] > 1,
        ("outer products", lambda lanes, rows: ((2, 2, 9, 21), (2 * lanes, 2, 3, 5)), {"stride": (1, 2)}),
    ),
    "channels that fill no whole vector": (
        lambda g, c, lanes: c.rows.pitch > c.c > lanes,
        ("outer products", lambda lanes, rows: ((2, lanes + 3, 9, 11), (2 * lanes + 1, lanes + 3, 3, 3)), {}),
    ),
    "channels of both in parts": (
        lambda g, c, lanes: c.o < g.o and 1 < c.c < g.c and short(g.c, c.c),
        (
            "outer products",
            lambda lanes, rows: ((2, 3 * lanes + 13, 9, 11), (5 * lanes, 3 * lanes + 13, 3, 3)),
            {"constants": {"KEPT_BYTES": 2**13, "OUTER_VECTORS": (4,)}},
        ),
    ),
    "several chains of a block": (
        lambda g, c, lanes: c.chains > 1 and short(g.out[1], c.block[1]),
        ("outer products", lambda lanes, rows: ((2, 3, 29, 50), (lanes, 3, 2, 3)), {}),
    ),
    "products with padding left out": (
        lambda g, c, lanes: g.pads[1][0] > c.block[1],
        ("outer products", lambda lanes, rows: ((2, 3, 20, 128), (lanes, 3, 15, 3)), {"padding": (7, 1)}),
    ),
    "pointwise and read in place": (
        lambda g, c, lanes: prod(g.kernel) == 1 and g.stride[2] == 1 and g.stride[1] > 1,
        ("outer products", lambda lanes, rows: ((2, 5, 9, 11), (lanes, 5, 1, 1)), {"stride": (2, 1)}),
    ),
    "blocks cut for what they stage": (
        lambda g, c, lanes: c.block[1] == 1 < g.out[1] and c.block[2] < g.out[2] < 64,
        (
            "outer products",
            lambda lanes, rows: ((1, 2, 80, 88), (lanes, 2, 8, 8)),
            {"stride": 8, "constants": {"STAGED_BYTES": 2**11}},
        ),
    ),
}
for name in FORMS:
    EDGES |= {
        f"sums kept over blocks, {name}": (
            lambda g, c, lanes: c.splits == c.rounds == 1 and g.n > 2 * c.flush > 2,
            (name, lambda lanes, rows: ((23, 2, 5, 7), (3, 2, 2, 3)), {"constants": {"FLUSH": 5, "ITEMS": 1}}),
        ),
        f"splits, {name}": (
            lambda g, c, lanes: c.splits > 2 and short(g.n, c.splits),
            (name, lambda lanes, rows: ((23, 2, 5, 7), (3, 2, 2, 3)), {"constants": {"FLUSH": 3, "ITEMS": 4}}),
        ),
        f"rounds, {name}": (
            lambda g, c, lanes: c.rounds > 2 and c.splits > 1 and short(g.n, c.splits * c.rounds),
            (
                name,
                lambda lanes, rows: ((43, 2, 5, 7), (3, 2, 2, 3)),
                {"constants": {"FLUSH": 3, "FLUSHES": 2, "ITEMS": 2}},
            ),
        ),
        f"rounds of one split, {name}": (
            lambda g, c, lanes: c.rounds > 2 and c.splits == 1,
            (
                name,
                lambda lanes, rows: ((7, 2, 5, 7), (3, 2, 2, 3)),
                {"flip_kernel": True, "constants": {"ITEM_FLOPS": 3000, "ITEMS": 1}},
            ),
        ),
    }


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("edge", EDGES)
def test_edges(edge, dtype):
    is_met, (form, shapes, arguments) = EDGES[edge]
    lanes = _isa.backward.LANES[dtype]
    shapes = shapes(lanes, _isa.backward.TILE_ROWS)
    _, how = check(form, *shapes, dtype, **arguments)
    geometry = geometry_of(*shapes, dtype, **{name: value for name, value in arguments.items() if name != "constants"})
    assert is_met(geometry, how, lanes), how


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("form", FORMS)
def test_every_width(form, dtype):
    for width in range(1, 4 * _isa.backward.LANES[dtype] + 2):
        check(form, (2, 2, 3, width), (3, 2, 2, min(width, 3)), dtype)
        check(form, (2, 1, 4, width), (1, 1, 3, 2), dtype, padding=1)
        check(form, (2, width, 3, 2), (3, width, 2, 1), dtype)
        check(form, (2, 3, 3, 4), (width, 3, 2, 2), dtype)


@pytest.mark.parametrize("dtype", BOUND)
def test_every_tile(dtype):
    rows = _isa.backward.TILE_ROWS
    for channels in range(1, 2 * rows + 2):
        _, how = check("outer products", (2, channels, 3, 9), (5, channels, 1, 1), dtype)
        assert max(how.rows.sizes) <= rows
    for outs, width in product(range(1, 10), range(1, 10)):
        check("dots", (2, 1, 2, 19), (outs, 1, 1, width), dtype)
        check("dots", (2, 1, outs, 19), (1, 1, outs, width), dtype, padding=1)


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
@pytest.mark.parametrize(
    ("size", "stride"), [((300,), 1), ((9, 31), 1), ((9, 31), (2, 3)), ((3, 4, 17), (2, 1, 2))], ids=str
)
@pytest.mark.parametrize("groups", [1, 3])
def test_one_tap(groups, size, stride, data_format, dtype):
    """Without padding, input and gradient may change places, also where several blocks and parts are added up."""
    for channels, outs, padding in product((1, 5, 16, 33, 70), (1, 7, 32, 65), (0, 1)):
        x_shape = (2, groups * channels, *size)
        if data_format == "channels_last":
            x_shape = 2, *size, groups * channels
        weight_shape = groups * outs, channels, *(1,) * len(size)
        arguments = {"stride": stride, "groups": groups, "padding": padding, "data_format": data_format}
        check("outer products", x_shape, weight_shape, dtype, {"FLUSH": 1}, **arguments)


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("padding", [0, ((1, 1), (0, 0))])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 1)])
def test_one_channel_for_all(kernel, padding, dtype):
    """Arrays that a sum over channels, or a copy to all of them, leaves without memory of their own for each."""
    shape, weight_shape = (2, 70, 40, 28), (64, 70, *kernel)
    arguments = {"padding": padding}
    x, grad_output = arrays(shape, weight_shape, dtype, **arguments)
    geometry = geometry_of(shape, weight_shape, dtype, **arguments)
    for one_x, one_g in product((x, np.broadcast_to(x[:, :1], x.shape)), (False, True)):
        one_g = np.broadcast_to(grad_output[:, :1], grad_output.shape) if one_g else grad_output
        for form in FORMS:
            with cut(form):
                got = grad_weight(one_g, one_x, weight_shape, **arguments)
            np.testing.assert_array_equal(got, reference(geometry, one_x, one_g))


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
@pytest.mark.parametrize(
    ("size", "kernel", "arguments"),
    [
        ((7, 7), (3, 3), {"padding": 1}),
        ((21, 33), (3, 3), {"dilation": 12, "padding": 12}),
        ((9, 20), (2, 5), {"dilation": (1, 7), "padding": (0, 14), "stride": (1, 2)}),
        ((5, 19), (1, 4), {"dilation": (1, 9), "padding": ((0, 0), (27, 5)), "stride": (2, 3)}),
        ((6, 3), (3, 2), {"dilation": (1, 40), "padding": (1, (1, 40))}),
        ((300,), (3,), {"dilation": 90, "padding": 90}),
        ((3, 4, 6), (3, 3, 3), {"padding": 1}),
    ],
    ids=str,
)
def test_columns_of_padding(size, kernel, arguments, data_format, dtype):
    """Where a tap reads padding in some columns of a block, they are left out of its chains."""
    channels = _isa.backward.LANES[dtype] + 3
    x_shape = (2, channels, *size) if data_format == "channels_first" else (2, *size, channels)
    given = dict(data_format=data_format) | arguments
    weight_shape = 2 * channels, channels, *kernel
    _, cut = check("outer products", x_shape, weight_shape, dtype, **given)
    geometry = geometry_of(x_shape, weight_shape, dtype, **given)
    assert _cuts.skips_columns(geometry, lines(geometry, contiguous_layout(geometry)), cut.rows)


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
@pytest.mark.parametrize(
    ("size", "kernel", "arguments"),
    [
        ((9, 7), (3, 3), {"padding": 1}),
        ((12, 13), (5, 4), {"stride": (2, 3), "padding": ((4, 1), (0, 6)), "padding_value": 2.0}),
        ((30, 20), (2, 13), {"dilation": (5, 1), "flip_kernel": True}),
        ((5, 4, 6), (2, 3, 3), {"stride": 2, "padding": (1, 3, 0)}),
        ((70,), (25,), {"padding": 12}),
        ((8, 9), (1, 1), {}),
    ],
    ids=str,
)
def test_channelwise(size, kernel, arguments, data_format, dtype):
    lanes = _isa.backward.LANES[dtype]
    for channels in (1, lanes - 1, lanes, 2 * lanes, 2 * lanes + 1, 5 * lanes + 3):
        x_shape = (3, channels, *size) if data_format == "channels_first" else (3, *size, channels)
        given = dict(groups=channels, data_format=data_format) | arguments
        check("channelwise", x_shape, (channels, 1, *kernel), dtype, **given)
        few = {"FLUSH": 1, "FLUSHES": 2, "ITEMS": 2}
        check("channelwise", x_shape, (channels, 1, *kernel), dtype, few, **given)


@pytest.mark.parametrize(
    ("x_shape", "weight_shape", "arguments"),
    [
        ((1, 2, 3000), (3, 2, 1024), {"padding": 512}),
        ((1, 1, 70, 131), (1, 1, 63, 63), {"padding": 31}),
        ((1, 3, 5, 5), (4, 3, 63, 63), {"padding": 40, "padding_mode": "symmetric"}),
        ((1, 1, 300), (2, 1, 40), {"dilation": 100, "padding": 2000}),
        ((2, 1, 300, 300), (1, 1, 64, 64), {"stride": 64}),
        ((2, 130, 9), (129, 130, 3), {}),
    ],
    ids=str,
)
@pytest.mark.parametrize("form", FORMS)
def test_large_kernels(form, x_shape, weight_shape, arguments):
    task, _ = check(form, x_shape, weight_shape, "float32", **arguments)
    assert task.workspace_bytes <= 4 * 2**20


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize(
    ("x_shape", "weight_shape", "arguments"),
    [
        ((5, 6, 21, 37), (8, 3, 3, 4), {"groups": 2, "padding": 1}),
        ((3, 1, 40, 50), (1, 1, 5, 5), {}),
        ((40, 33, 5, 5), (35, 33, 3, 3), {"padding": 1, "padding_mode": "circular"}),
    ],
    ids=str,
)
def test_threads_give_the_same_bits(form, dtype, x_shape, weight_shape, arguments):
    x, grad_output = arrays(x_shape, weight_shape, dtype, normal, **arguments)
    for constants in ({}, {"FLUSH": 2, "FLUSHES": 2, "ITEMS": 5}):
        with cut(form, SERIAL_FLOPS=0, **constants):
            alone = grad_weight(grad_output, x, weight_shape, **arguments)
            for threads in (2, 3, 8):
                np.testing.assert_array_equal(grad_weight(grad_output, x, weight_shape, threads, **arguments), alone)
            results = []

            def call(n, results=results):
                results.append(grad_weight(grad_output, x, weight_shape, n, **arguments))

            callers = [threading.Thread(target=call, args=(1 + n % 3,)) for n in range(16)]
            for caller in callers:
                caller.start()
            for caller in callers:
                caller.join()
            assert len(results) == 16
            for result in results:
                np.testing.assert_array_equal(result, alone)


NOT_FINITE = [
    ((3, 2, 9, 21), (3, 2, 3, 3), {}),
    ((3, 2, 9, 21), (2, 2, 3, 3), {"padding": 2}),
    ((2, 1, 30, 19), (1, 1, 5, 3), {"padding": (4, 1)}),
    ((2, 6, 9, 10), (9, 2, 3, 2), {"groups": 3, "stride": 2, "padding": 1, "padding_value": 2.0}),
    ((2, 5, 7, 5), (7, 5, 2, 3), {"padding": 6, "padding_mode": "reflect", "dilation": 2}),
    ((2, 9, 10, 6), (9, 2, 3, 2), {"groups": 3, "data_format": "channels_last"}),
    ((40, 19, 3, 3), (35, 19, 2, 2), {}),
]


DEPTHWISE = ((2, 19, 9, 10), (19, 1, 3, 2), {"groups": 19, "padding": 1, "stride": (1, 2)})


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("form", "x_shape", "weight_shape", "arguments"),
    [*((form, *case) for form, case in product(FORMS, NOT_FINITE)), ("channelwise", *DEPTHWISE)],
    ids=str,
)
def test_what_is_not_finite_reaches_only_the_sums_that_hold_it(form, x_shape, weight_shape, arguments, bad):
    rng = np.random.default_rng(0)
    ones = {name: value for name, value in arguments.items() if name != "padding_value"}
    geometry = geometry_of(x_shape, weight_shape, "float32", **arguments)
    unpadded = geometry_of(x_shape, weight_shape, "float32", **ones)
    constant = arguments.get("padding_mode", "constant") == "constant"
    padded = geometry_of(x_shape, weight_shape, "float32", **ones, **({"padding_value": 1.0} if constant else {}))
    x, grad_output = (abs(array) + 1 for array in arrays(x_shape, weight_shape, "float32", **arguments))
    nothing = np.full_like(x, np.nan), np.full_like(grad_output, np.nan)
    with cut(form):
        for _ in range(20):
            # what earlier calls leave in the workspace
            assert np.isnan(grad_weight(nothing[1], nothing[0], weight_shape, **arguments)).all()
            for array, other in ((x, grad_output), (grad_output, x)):
                at = tuple(rng.integers(array.shape))
                kept, array[at] = array[at], bad
                got = grad_weight(grad_output, x, weight_shape, **arguments)
                array[at] = 0
                expected = reference(geometry, x, grad_output)
                array[at] = kept
                spot = np.zeros_like(array)
                spot[at] = 1
                pair = (np.ones_like(other), spot) if array is grad_output else (spot, np.ones_like(other))
                # products with padding may be left out where it is zero
                surely = reference(padded if arguments.get("padding_value") else unpadded, *pair) > 0
                perhaps = reference(padded, *pair) > 0
                if array is x:
                    perhaps = surely = reference(unpadded, *pair) > 0
                assert not np.isfinite(got[surely]).any()
                np.testing.assert_array_equal(got[~perhaps], expected[~perhaps])


@pytest.mark.parametrize("form", FORMS)
def test_infinities_of_both_signs_are_silent(form):
    x, grad_output = np.ones((40, 2, 5, 5), "float32"), np.ones((40, 3, 4, 4), "float32")
    x[0, 0], x[-1, 0] = np.inf, -np.inf
    x[0, 1], x[-1, 1] = 3e38, 3e38
    uneven = x.reshape(2, 20, 2, 5, 5)[:, ::19]  # batch axes that cannot be walked as one
    for array, gradient in ((x, grad_output), (uneven, grad_output[:4].reshape(2, 2, 3, 4, 4))):
        for constants in ({}, {"FLUSH": 1, "FLUSHES": 1}):
            with cut(form, **constants):
                got = grad_weight(gradient, array, (3, 2, 2, 2))
            assert np.isnan(got[:, 0]).all()
            assert np.isposinf(got[:, 1]).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize(
    ("x_shape", "weight_shape", "groups", "batch"),
    [
        ((64, 1, 64, 64), (1, 1, 3, 3), 1, None),
        ((1, 1, 160_000), (1, 1, 9), 1, None),
        ((1, 1, 30_000, 1, 1), (1, 1, 3, 1, 1), 1, None),
        ((65_536, 16, 3), (16, 1, 3), 16, None),
        ((1, 2, 1024, 512), (16, 2, 3, 3), 1, None),
        # batch axes that cannot be walked as one
        ((20_000, 2, 1, 3), (1, 1, 3), 1, (20_000, 3)),
        ((2, 20_000, 1, 3), (1, 1, 3), 1, (3, 20_000)),
    ],
    ids=str,
)
def test_long_sums(form, dtype, x_shape, weight_shape, groups, batch):
    # equal numbers: every rounding goes the same way
    for number in (0.1, 0.7, 1.2345):
        number = np.array(number, dtype)
        out_shape = fastconv.conv_output_shape(x_shape, weight_shape, groups=groups)
        x, grad_output = np.broadcast_to(number, x_shape), np.broadcast_to(number, out_shape)
        if batch:
            x, grad_output = (
                np.full((*batch, *array.shape[2:]), number)[tuple(map(slice, array.shape[:2]))]
                for array in (x, grad_output)
            )
        with cut(form):
            got = grad_weight(grad_output, x, weight_shape, groups=groups)
        exact = prod(out_shape) // weight_shape[0] * np.longdouble(number) ** 2
        assert np.all(abs(got - exact) <= BOUND[dtype] * exact)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rows", [1, 2])
def test_the_worst_sums(form, rows):
    """One number, and others each of which, alone or summed with its like, is half a unit of it: all get lost."""
    chain, half = _isa.backward.LONGEST_CHAIN, 2.0**-24
    splits, flush = _cuts.ITEMS, _cuts.FLUSH // rows
    blocks = flush * _cuts.FLUSHES
    x = np.zeros((splits, blocks, rows, chain))
    x[::2] = half / (chain * rows * blocks)  # the sums of the parts, in the first of two chains of them
    x[0] = half / (chain * rows * flush)  # those of flushed blocks
    x[0, :flush] = half / chain  # those of chains
    x[0, 0, 0] = half
    x[0, 0, 0, 0] = 1
    x = x.reshape(-1, 1, rows, chain).astype("float32")
    with cut(form) as made:
        got = grad_weight(np.ones_like(x), x, (1, 1, 1, 1)).item()
    exact = x.sum(dtype=np.longdouble)
    assert abs(got - exact) <= BOUND["float32"] * exact
    if form == "outer products" and rows == 1:  # the way of the numbers is what is meant
        (_, how), lost = made[0], chain + flush + _cuts.FLUSHES + splits / 2
        assert (how.splits, how.rounds, how.flush) == (splits, 1, flush)
        assert abs(got - exact) >= (lost - 12) * half


def test_tables_of_large_paddings_are_not_kept():
    weight, x = np.ones((1, 1, 3), "float32"), np.ones((1, 1, 8), "float32")
    tracemalloc.start()
    for more in range(40):
        padding = ((200_000 + more, 200_000),)
        grad_output = np.broadcast_to(np.float32(1), (1, 1, 400_006 + more))
        fastconv.conv_backward(
            grad_output, x, weight, padding=padding, padding_mode="replicate", needs=(False, True, False)
        )
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 10 * 8 * 400_000
