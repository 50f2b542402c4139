"""Separable kernels: any geometry within its bound, which weights are taken for separable, and where it is declined."""

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import strategies as st
from inexact import BOUND, KINDS_OF_DATA, check, check_relaid, normal, problem, share

import fastconv
from fastconv._algorithms import _passes

QUARTER = {dtype: bound / 4 for dtype, bound in BOUND.items()}


def low_rank(terms):
    """A maker of weights (outs, 1, *kernel) that are sums of so many outer products."""

    def weights(shape, dtype, seed):
        rng = np.random.default_rng(seed)
        outs, rows, columns = shape[0], int(np.prod(shape[2:-1])), shape[-1]
        matrices = rng.standard_normal((outs, rows, terms)) @ rng.standard_normal((outs, terms, columns))
        return matrices.reshape(shape).astype(dtype)

    return weights


@st.composite
def problems(draw):
    """Those of kernels of rank 1 or 2."""
    kernel = draw(st.sampled_from([(5, 5), (7, 6), (3, 9), (15, 15), (2, 4, 5), (3, 3, 5)]))
    terms = 2 if min(kernel) > 5 and draw(st.booleans()) else 1

    def per_axis(low, high):
        return tuple(draw(st.integers(low, high)) for _ in kernel)

    stride, dilation = per_axis(1, 3), per_axis(1, 3)
    pads = tuple(zip(per_axis(0, 20), per_axis(0, 20), strict=True))
    return problem(draw, kernel, stride, dilation, pads, 30, 1, draw(st.integers(1, 3)), low_rank(terms))


@pytest.fixture(params=[None, 1 << 8])
def blocks(request, monkeypatch):
    """As they are, and so small that a convolution takes many."""
    if request.param:
        monkeypatch.setattr(_passes, "PANEL", request.param)
        monkeypatch.setattr(_passes, "WIDTH", 8)
        monkeypatch.setattr(_passes, "SERIAL", 0.0)


def test_any_problem(blocks):
    check("separable", problems(), QUARTER)


def test_channels_last_and_any_strides(blocks):
    check_relaid("separable", problems(), QUARTER)


def gaussian(size, dtype="float32"):
    row = np.exp(-0.5 * ((np.arange(size) - size // 2) / (size / 6)) ** 2)
    row = (row / row.sum()).astype(dtype)
    return np.outer(row, row)[None, None], row


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [7, 15, 63])
def test_a_gaussian_is_separable_and_as_scipy_filters(size, dtype):
    weight, row = gaussian(size, dtype)
    x = normal((1, 90, 110), dtype)
    plan = fastconv.plan(weight, padding="same", padding_mode="symmetric", algorithm="separable")
    assert plan.explain(x.shape).kernel == "rank 1"
    expected = x[0].astype("float64")
    for axis in (0, 1):
        expected = scipy.ndimage.correlate1d(expected, row.astype("float64"), axis, mode="reflect")
    np.testing.assert_allclose(plan(x)[0], expected, rtol=0, atol=BOUND[dtype] / 4 * abs(x).max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS_OF_DATA)
def test_the_bound_for_every_kind_of_data(kind, dtype):
    rng = np.random.default_rng(0)
    x = KINDS_OF_DATA[kind](rng, (2, 60, 70)).astype(dtype)
    for terms in (1, 2):
        weight = low_rank(terms)((2, 1, 15, 15), dtype, 1)
        y = fastconv.plan(weight, padding=7, groups=2, algorithm="separable")(x)
        assert share(y, x, weight, padding=7, groups=2) <= BOUND[dtype] / 4


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_threads_do_not_change_bits(blocks, threads):
    x, weight = normal((3, 2, 300, 90), "float32"), low_rank(2)((4, 1, 9, 9), "float32", 1)
    x[1, 1, 40, 50] = np.nan
    plan = fastconv.plan(weight, groups=2, padding="same", padding_mode="reflect", algorithm="separable")
    with fastconv.num_threads(1):
        alone = plan(x)
    with fastconv.num_threads(threads):
        np.testing.assert_array_equal(plan(x), alone)


@pytest.mark.parametrize("terms", [1, 2])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (1, 2), (2, 1)])
def test_what_is_not_finite_reaches_its_receptive_field(bad, stride, dilation, terms):
    x, weight = normal((2, 40, 40), "float32"), low_rank(terms)((4, 1, 9, 7), "float32", 1)
    x[1, 20, 20] = bad
    arguments = {"groups": 2, "padding": 6, "stride": stride, "dilation": dilation}
    y = fastconv.plan(weight, **arguments, algorithm="separable")(x)
    expected = fastconv.conv2d(x, weight, **arguments, algorithm="reference")
    np.testing.assert_array_equal(np.isfinite(y), np.isfinite(expected))
    finite = np.isfinite(expected)
    np.testing.assert_allclose(y[finite], expected[finite], rtol=0, atol=1e-3)


def test_the_number_of_terms():
    def kernel(weight, **arguments):
        return fastconv.plan(weight, **arguments, algorithm="separable").explain((weight.shape[0], 99, 99)).kernel

    for terms in (1, 2, 3):
        assert kernel(low_rank(terms)((3, 1, 15, 15), "float64", 0), groups=3) == f"rank {terms}"
    assert kernel(np.zeros((1, 1, 9, 9), "float32")) == "rank 1"
    mixed = np.concatenate([low_rank(terms)((1, 1, 15, 15), "float64", 0) for terms in (1, 3, 2)])
    assert kernel(mixed, groups=3) == "rank 3"  # that of the channel that needs the most


@pytest.mark.parametrize(("change", "terms"), [(1e-9, 1), (1e-4, 2)])
def test_what_a_weight_may_be_off(change, terms):
    weight, _ = gaussian(15)
    weight = weight.copy()
    weight[0, 0, 7, 7] *= 1 + change
    plan = fastconv.plan(weight, algorithm="separable")
    assert plan.explain((1, 50, 50)).kernel == f"rank {terms}"


DECLINED = {
    "rank": ({}, normal((1, 1, 9, 9), "float32"), "weights of rank 9 have nothing to save"),
    "not finite": ({}, np.full((1, 1, 9, 9), np.nan, "float32"), "weights of rank 9"),
    "signalling NaNs": ({}, np.full((1, 1, 9, 9), 0x7F800001, "uint32").view("float32"), "weights of rank 9"),
    "channels": ({}, np.ones((1, 2, 9, 9), "float32"), "one input channel"),
    "strict": ({"precision": "strict"}, np.ones((1, 1, 9, 9), "float32"), "strict"),
    "one axis": ({}, np.ones((1, 1, 1, 99), "float32"), "one axis"),
    "few taps": ({}, np.ones((1, 1, 3, 3), "float32"), "fewer than 25 taps"),
}


@pytest.mark.parametrize("name", DECLINED)
def test_what_it_declines(name):
    arguments, weight, why = DECLINED[name]
    shape = (weight.shape[1], 120, 120)
    assert why in fastconv.plan(weight, **arguments).explain(shape).declined["separable"]
    with pytest.raises(ValueError, match=f"algorithm='separable' cannot do this: .*{why}"):
        fastconv.plan(weight, **arguments, algorithm="separable", input_shape=shape)


def test_functions_do_not_know_values():
    weight, _ = gaussian(31)
    x = np.ones((1, 400, 400), "float32")
    assert "it is for plans" in fastconv.explain(x.shape, weight.shape).declined["separable"]
    with pytest.raises(ValueError, match="algorithm='separable' cannot do this: it is for plans"):
        fastconv.conv2d(x, weight, algorithm="separable")


def test_it_is_chosen_for_large_gaussians():
    weight, _ = gaussian(31)
    assert fastconv.plan(weight, padding=15).explain((1, 1080, 1920)).algorithm == "separable"
    assert fastconv.plan(weight, padding=15, precision="strict").explain((1, 1080, 1920)).algorithm != "separable"
    assert fastconv.plan(normal((1, 1, 31, 31), "float32"), padding=15).explain((1, 1080, 1920)).algorithm == "fft"
    assert fastconv.plan(weight[..., 13:18, 13:18]).explain((1, 60, 60)).algorithm != "separable"


@pytest.mark.parametrize("size", [(1, 500, 500), (1, 3000, 3000), (1, 100, 60000)])
def test_working_memory_does_not_grow_with_the_image(size):
    import tracemalloc

    plan = fastconv.plan(gaussian(15)[0], padding="same", padding_mode="circular", algorithm="separable")
    x = normal(size, "float32")
    with fastconv.num_threads(1):
        out = plan(x)
        tracemalloc.start()
        plan(x, out)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 4 << 20


def test_types_that_are_converted_block_by_block():
    weight, _ = gaussian(15)
    x = normal((1, 1500, 1200), "float16")
    y = fastconv.plan(weight, padding=7, algorithm="separable")(x)
    expected = fastconv.plan(weight, padding=7, precision="strict")(x)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [0.0, 5e-324, 1e-310, 1e-40, 1e-30, 1e30, 1e300])
def test_weights_of_any_size(size, dtype):
    """Found out without a warning, squares beyond the range or not."""
    with np.errstate(all="ignore"):
        weight = (np.outer(np.arange(1, 8), np.arange(2, 9)) * size).astype(dtype).reshape(1, 1, 7, 7)
    plan = fastconv.plan(weight, padding=3)
    x = np.ones((1, 20, 20), dtype)
    expected = fastconv.plan(weight, padding=3, algorithm="reference")(x)
    finite = np.isfinite(expected)
    bound = {"float32": 1e-5, "float64": 1e-13}[dtype] * abs(np.where(finite, expected, 0)).max() + np.finfo(dtype).tiny
    np.testing.assert_allclose(plan(x)[finite], expected[finite], rtol=0, atol=bound)
