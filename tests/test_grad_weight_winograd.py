"""grad_weight by Winograd: within the bound for any geometry, the same for any threads, and direct where it must be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inexact import BOUND, KINDS_OF_DATA, normal
from strategies import NUMPY_MODES, relaid
from test_grad_weight import CONSTANTS, arrays, cut, geometry_of, grad_weight

import fastconv
from fastconv._algorithms import _cuts
from fastconv._algorithms._reference import grad_weight as reference

SHARE = {"float32": 2e-6, "float64": 2e-14}  # of the sums of absolute products, what random data may be off


def share(got, grad_output, x, weight_shape, **arguments):
    """The largest error, over the largest sum of absolute products."""
    geometry = geometry_of(x.shape, weight_shape, "float64", **arguments)
    exact = reference(geometry, x.astype("float64"), grad_output.astype("float64"))
    sums = reference(geometry, abs(x.astype("float64")), abs(grad_output.astype("float64")))
    return abs(got - exact).max() / max(sums.max(), 1e-30)


@st.composite
def problems(draw):
    """Shapes of x and weight, and arguments, of a convolution that the form takes."""
    rank = draw(st.sampled_from([1, 2, 2, 3]))
    plane = draw(st.sampled_from([(3, 3), (1, 3), (3, 1)])) if rank > 1 else (3,)
    depth = (draw(st.integers(1, 3)),) * (rank == 3)
    pads = tuple((draw(st.integers(0, 4)), draw(st.integers(0, 4))) for _ in depth + plane)
    size = tuple(max(1, k - sum(p), draw(st.integers(1, 25))) for k, p in zip(depth + plane, pads, strict=True))
    groups, channels, outs = draw(st.integers(1, 2)), draw(st.integers(1, 40)), draw(st.integers(1, 70))
    arguments = {
        "padding": pads,
        "padding_mode": draw(st.sampled_from(list(NUMPY_MODES))),
        "groups": groups,
        "stride": (draw(st.integers(1, 2)),) * len(depth) + (1,) * len(plane),
        "flip_kernel": draw(st.booleans()),
    }
    return (2, groups * channels, *size), (groups * outs, channels, *depth, *plane), arguments


@given(problems(), st.sampled_from(["float32", "float64"]), CONSTANTS, st.sampled_from([1, 5, 64]), st.integers(1, 3))
def test_any_problem_and_cut(problem, dtype, constants, tiles, threads):
    x_shape, weight_shape, arguments = problem
    x, grad_output = arrays(x_shape, weight_shape, dtype, normal, **arguments)
    with cut("winograd", **constants, MOST_TILES=tiles):
        got = grad_weight(grad_output, x, weight_shape, threads, **arguments)
        alone = grad_weight(grad_output, x, weight_shape, 1, **arguments)
    np.testing.assert_array_equal(got, alone)
    assert share(got, grad_output, x, weight_shape, **arguments) <= SHARE[dtype]


@given(st.data(), problems())
def test_any_strides_and_channels_last(data, problem):
    x_shape, weight_shape, arguments = problem
    x, grad_output = arrays(x_shape, weight_shape, "float64", normal, **arguments)
    with cut("winograd"):
        got = grad_weight(data.draw(relaid(grad_output)), data.draw(relaid(x)), weight_shape, **arguments)
        last = grad_weight(
            np.moveaxis(grad_output, 1, -1), np.moveaxis(x, 1, -1).copy(), weight_shape,
            **arguments, data_format="channels_last",
        )  # fmt: skip
    assert share(got, grad_output, x, weight_shape, **arguments) <= SHARE["float64"]
    assert share(last, grad_output, x, weight_shape, **arguments) <= SHARE["float64"]


@pytest.mark.parametrize("kind", KINDS_OF_DATA)
@pytest.mark.parametrize("other", KINDS_OF_DATA)
@pytest.mark.parametrize(("batch", "size"), [(1, 20), (9, 100), (70, 40)])
def test_the_bound_for_every_kind_of_data(kind, other, batch, size):
    rng = np.random.default_rng(0)
    x = KINDS_OF_DATA[kind](rng, (batch, 3, size, size)).astype("float32")
    grad_output = KINDS_OF_DATA[other](rng, (batch, 5, size, size)).astype("float32")
    with cut("winograd"):
        got = grad_weight(grad_output, x, (5, 3, 3, 3), padding=1)
    assert share(got, grad_output, x, (5, 3, 3, 3), padding=1) <= BOUND["float32"] / 3


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["x", "grad_output"])
def test_what_is_not_finite_reaches_only_the_sums_that_hold_it(where, bad):
    x, grad_output = arrays((2, 20, 13, 17), (40, 20, 3, 3), "float32", normal)
    at = {"x": (x, (1, 7, 0, 0)), "grad_output": (grad_output, (0, 30, 5, 6))}
    array, index = at[where]
    array[index] = bad
    with cut(WORTH=0.0) as made:
        got = grad_weight(grad_output, x, (40, 20, 3, 3))
    assert [task.kernel for task, _ in made] == ["winograd", "outer products"]
    expected = reference(geometry_of(x.shape, (40, 20, 3, 3), "float32"), x, grad_output)
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(expected))
    assert not np.isfinite(got).all()


def test_when_it_is_chosen():
    def chosen(x_shape, weight_shape, **arguments):
        x, grad_output = arrays(x_shape, weight_shape, "float32", normal, **arguments)
        with cut() as made:
            grad_weight(grad_output, x, weight_shape, **arguments)
        return made[0][1].form

    dense = (1, 64, 28, 28), (64, 64, 3, 3)
    assert chosen(*dense, padding=1) == "winograd"
    assert chosen(*dense, padding=1, precision="strict") == "outer products"
    assert chosen(*dense, padding=1, stride=2) == "outer products"
    assert chosen(*dense, padding=2, dilation=2) == "outer products"
    assert chosen((1, 256, 28, 28), (256, 256, 1, 1)) == "outer products"
    assert chosen((1, 1, 40, 40), (1, 1, 3, 3)) == "dots"
    assert list(_cuts.FORMS) == ["dots", "outer products", "channelwise", "winograd"]


def test_through_the_layers():
    """A gradient as a finite difference sees it."""
    x, weight = normal((1, 24, 12, 12), "float64", 0), normal((24, 24, 3, 3), "float64", 1)
    grad_output = normal((1, 24, 12, 12), "float64", 2)
    with cut("winograd"):
        gradient = grad_weight(grad_output, x, weight.shape, padding=1)
    moved = weight.copy()
    moved[3, 4, 1, 2] += 0.5
    difference = (fastconv.conv2d(x, moved, padding=1) - fastconv.conv2d(x, weight, padding=1)) * grad_output
    np.testing.assert_allclose(gradient[3, 4, 1, 2], 2 * difference.sum(), rtol=1e-9)
