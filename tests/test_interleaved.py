"""Depthwise gradients at stride 2 along the row, both columns of a pair at once: the same as by phases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastconv


@st.composite
def transposed_depthwise(draw):
    rank = draw(st.integers(1, 3))
    sizes = {1: 150, 2: 40, 3: 9}[rank]
    stride = [draw(st.integers(1, 3)) for _ in range(rank - 1)] + [2]
    dilation = [draw(st.integers(1, 3)) for _ in range(rank)]
    return dict(
        size=[draw(st.integers(1, sizes)) for _ in range(rank)],
        kernel=[draw(st.integers(1, 5)) for _ in range(rank)],
        stride=stride,
        padding=[draw(st.integers(0, 3)) for _ in range(rank)],
        output_padding=[draw(st.integers(0, max(pair) - 1)) for pair in zip(stride, dilation, strict=True)],
        dilation=dilation,
        channels=draw(st.integers(1, 5)),
        dtype=draw(st.sampled_from(["float32", "float64"])),
        flip_kernel=draw(st.booleans()),
        activation=draw(st.sampled_from([None, "relu"])),
        seed=draw(st.integers(0, 99)),
    )


def small_integers(rng, shape, dtype):
    return rng.integers(-4, 5, shape).astype(dtype)


@given(transposed_depthwise())
def test_as_the_reference(case):
    rng = np.random.default_rng(case["seed"])
    channels, dtype = case["channels"], case["dtype"]
    x = small_integers(rng, (2, channels, *case["size"]), dtype)
    weight = small_integers(rng, (channels, 1, *case["kernel"]), dtype)
    bias = small_integers(rng, channels, dtype)
    names = ("stride", "padding", "output_padding", "dilation", "flip_kernel", "activation")
    arguments = {name: case[name] for name in names} | dict(groups=channels, transposed=True)
    try:
        expected = fastconv.plan(weight, bias, algorithm="reference", **arguments)
        shape = expected(x).shape
    except ValueError:  # cropped to nothing
        return
    room = np.full([size + 2 for size in shape], 77, dtype)  # what lies around the output stays as it is
    within = tuple(slice(1, -1) for _ in shape)
    residual = small_integers(rng, shape, dtype)
    plan = fastconv.plan(weight, bias, **arguments)
    for add in (None, residual):
        np.testing.assert_array_equal(plan(x, room[within], add=add), expected(x, add=add))
        around = room.copy()
        around[within] = 77
        assert (around == 77).all()


@pytest.mark.parametrize("size", [1, 15, 16, 17, 31, 33, 64, 65, 130, 200])
def test_it_runs_at_every_width(size):
    plan = fastconv.plan(np.ones((3, 1, 3, 3), "float32"), stride=2, padding=1, groups=3, transposed=True)
    assert plan.explain((3, 5, size)).kernel == "interleaved"
    x = np.arange(15 * size, dtype="float32").reshape(3, 5, size) % 7
    np.testing.assert_array_equal(
        plan(x),
        fastconv.conv_transpose2d(x, np.ones((3, 1, 3, 3)), stride=2, padding=1, groups=3, algorithm="reference"),
    )


def test_untied_bias():
    rng = np.random.default_rng(3)
    x, weight = small_integers(rng, (4, 6, 9), "float64"), small_integers(rng, (4, 1, 3, 2), "float64")
    bias = small_integers(rng, (4, 13, 18), "float64")
    results = [
        fastconv.conv_transpose2d(x, weight, bias, 2, groups=4, algorithm=algorithm)
        for algorithm in ("auto", "reference")
    ]
    np.testing.assert_array_equal(*results)


def test_rows_that_are_not_contiguous_go_by_phases():
    rng = np.random.default_rng(4)
    x = small_integers(rng, (6, 5, 3), "float32").T
    weight = small_integers(rng, (3, 1, 3, 3), "float32")
    results = [
        fastconv.conv_transpose2d(array, weight, stride=2, groups=3) for array in (x, np.ascontiguousarray(x))
    ]
    np.testing.assert_array_equal(*results)
