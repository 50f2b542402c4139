"""FFT: any geometry within its bound, what is not finite where it belongs, bounded memory, and when it is chosen."""

import tracemalloc

import numpy as np
import pytest
import scipy.signal
from hypothesis import strategies as st
from inexact import BOUND, KINDS_OF_DATA, SHARE, check, check_relaid, normal, problem, share

import fastconv
from fastconv._algorithms import _fft


@st.composite
def problems(draw):
    """Those of long kernels, and short ones."""
    rank = draw(st.sampled_from([1, 2, 2, 3]))
    most = {1: 70, 2: 20, 3: 7}[rank]

    def per_axis(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    kernel, stride, dilation = per_axis(1, most), per_axis(1, 3), per_axis(1, 3)
    pads = tuple(zip(per_axis(0, most), per_axis(0, most), strict=True))
    return problem(draw, kernel, stride, dilation, pads, 2 * most, draw(st.integers(1, 3)), draw(st.integers(1, 3)))


@pytest.fixture(params=[None, 1 << 12])
def batches(request, monkeypatch):
    """As they are, and so small that a convolution takes many."""
    if request.param:
        monkeypatch.setattr(_fft, "BATCH", request.param)
        monkeypatch.setattr(_fft, "LENGTHS", [16, 64, 128, 400])
        monkeypatch.setattr(_fft, "SERIAL", 0.0)
        _fft.best.cache_clear()
    yield
    _fft.best.cache_clear()


def test_any_problem(batches):
    check("fft", problems(), SHARE)


def test_channels_last_and_any_strides(batches):
    check_relaid("fft", problems(), SHARE)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("size", "kernel"), [((5000,), (700,)), ((90, 130), (31, 63)), ((30, 40, 20), (9, 11, 20))])
def test_as_scipy_convolves(size, kernel, dtype):
    x, weight = normal(size, dtype), normal(kernel, dtype, 1)
    y = fastconv.conv(x[None], weight[None, None], padding="full", flip_kernel=True, algorithm="fft")[0]
    sums = scipy.signal.fftconvolve(abs(x).astype("float64"), abs(weight).astype("float64")).max()
    for witness in (scipy.signal.fftconvolve, scipy.signal.oaconvolve):
        expected = witness(x.astype("float64"), weight.astype("float64"))
        np.testing.assert_allclose(y, expected, rtol=0, atol=SHARE[dtype] * sums)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS_OF_DATA)
@pytest.mark.parametrize("kernel", [(257,), (31, 31), (9, 9, 9)])
def test_the_bound_for_every_kind_of_data(kind, kernel, dtype):
    rng = np.random.default_rng(0)
    size = {1: (3000,), 2: (70, 90), 3: (20, 24, 28)}[len(kernel)]
    x = KINDS_OF_DATA[kind](rng, (3, *size)).astype(dtype)
    for weights in KINDS_OF_DATA.values():
        weight = weights(rng, (2, 3, *kernel)).astype(dtype)
        y = fastconv.conv(x, weight, padding="same", algorithm="fft")
        assert share(y, x, weight, padding="same") <= BOUND[dtype] / 4


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(3, 4000), (5, 3, 3001), (6, 61, 83), (7, 6, 40, 57), (3, 20, 21, 22)])
def test_threads_do_not_change_bits_not_even_beside_nan(batches, shape, dtype):
    rank = {4000: 1, 3001: 1, 83: 2, 57: 2, 22: 3}[shape[-1]]
    x = normal(shape, dtype)
    weight = normal((shape[-rank - 1], 1, *[{1: 301, 2: 21, 3: 7}[rank]] * rank), dtype, 1)
    plan = fastconv.plan(weight, padding="same", groups=len(weight), algorithm="fft", activation="gelu")
    for bad in (0.5, np.nan, np.inf):
        x[(..., *[5] * rank)] = bad
        with fastconv.num_threads(1):
            alone = plan(x)
        for threads in (2, 3, 5):
            with fastconv.num_threads(threads):
                np.testing.assert_array_equal(plan(x), alone)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (1, 2), (2, 1)])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_what_is_not_finite_reaches_its_receptive_field(rank, dtype, bad, stride, dilation):
    x, weight = normal((2, 4, *[17] * rank), dtype), normal((6, 2, *[5] * rank), dtype, 1)
    bias, add = normal(6, dtype, 2), None
    x[(1, 3, *[8] * rank)] = bad
    arguments = {"padding": 2 * dilation, "stride": stride, "dilation": dilation, "groups": 2}
    plan = fastconv.plan(weight, bias, **arguments, algorithm="fft", activation="relu6")
    expected = fastconv.plan(weight, bias, **arguments, algorithm="reference", activation="relu6")(x, add=add)
    y = plan(x, add=add)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(plan(x[0]), y[0])


def test_weights_that_are_not_finite():
    x, weight = normal((2, 30, 30), "float32"), normal((3, 2, 9, 9), "float32", 1)
    for bad in (np.nan, np.inf):
        weight[1, 1, 4, 4] = bad
        y = fastconv.conv2d(x, weight, padding=4, algorithm="fft")
        expected = fastconv.conv2d(x, weight, padding=4, algorithm="reference")
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-4)


def test_what_only_a_transform_would_overflow():
    x, weight = np.full((1, 200), 2e38, "float32"), np.zeros((1, 1, 40), "float32")
    weight[0, 0, 7] = 1.5
    y = fastconv.conv1d(x, weight, algorithm="fft")
    np.testing.assert_array_equal(y, fastconv.conv1d(x, weight, algorithm="reference"))


def test_strides_do_not_change_bits():
    x, weight = normal((5, 4, 45, 57), "float32"), normal((4, 4, 15, 15), "float32", 1)
    x[1, 2, 3, 4] = np.nan
    plan = fastconv.plan(weight, padding="same", algorithm="fft")
    expected = plan(x)
    for other in (np.repeat(x, 2, -1)[..., ::2], np.asfortranarray(x), x[:, ::-1].copy()[:, ::-1]):
        np.testing.assert_array_equal(plan(other), expected)


DECLINED = {
    "strict": ({"precision": "strict"}, (1, 1000), (1, 1, 100), "strict"),
    "many channels": ({}, (512, 40, 40), (512, 512, 9, 9), "64 MiB"),
    "long rows": ({"groups": 1}, (1, 3_000_000), (1, 1, 2_500_000), "16 MiB of working memory"),
}


@pytest.mark.parametrize("name", DECLINED)
def test_what_it_declines(name):
    arguments, x_shape, weight_shape, why = DECLINED[name]
    assert why in fastconv.explain(x_shape, weight_shape, **arguments).declined["fft"]
    with pytest.raises(ValueError, match=f"algorithm='fft' cannot do this: .*{why}"):
        fastconv.explain(x_shape, weight_shape, **arguments, algorithm="fft")


def test_it_is_chosen_for_long_kernels_and_not_for_short_ones():
    def chosen(x_shape, weight_shape, **arguments):
        weight = normal(weight_shape, "float32")
        return fastconv.plan(weight, padding="same", **arguments).explain(x_shape).algorithm

    assert chosen((1, 1080, 1920), (1, 1, 63, 63)) == "fft"
    assert chosen((1, 1 << 20), (1, 1, 16384)) == "fft"
    assert chosen((1, 96, 96, 96), (1, 1, 25, 25, 25)) == "fft"
    for shapes in (((1, 1080, 1920), (1, 1, 5, 5)), ((64, 56, 56), (64, 64, 3, 3)), ((1, 300), (1, 1, 32))):
        assert chosen(*shapes) != "fft"
    assert chosen((96, 56, 56), (96, 1, 7, 7), groups=96) != "fft"
    assert chosen((1, 1080, 1920), (1, 1, 63, 63), precision="strict") != "fft"


@pytest.mark.parametrize("size", [(1, 500, 500), (1, 2000, 2000), (1, 400, 10000)])
def test_working_memory_does_not_grow_with_the_image(size):
    x, weight = normal(size, "float32"), normal((1, 1, 41, 41), "float32", 1)
    plan = fastconv.plan(weight, padding="same", padding_mode="reflect", algorithm="fft")
    with fastconv.num_threads(1):
        out = plan(x)
        tracemalloc.start()
        plan(x, out)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert plan.explain(size).workspace_bytes < 4 << 20
    assert peak < 6 << 20


def test_what_explain_says():
    explanation = fastconv.explain((1, 1080, 1920), (1, 1, 63, 63), padding=31, algorithm="fft")
    rows, points = explanation.kernel.removesuffix(" tiles along w").split("x")
    assert 1 <= int(rows) <= 1080
    assert int(points) > 63
    assert fastconv.explain((1, 300, 4), (1, 1, 99, 3), algorithm="fft").kernel.endswith("along h")


@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_and_transposed_convolutions(stride):
    x, weight = normal((2, 4, 60, 50), "float64"), normal((6, 2, 21, 19), "float64", 1)
    arguments = {"padding": 9, "stride": stride, "groups": 2, "padding_mode": "reflect"}
    y = fastconv.conv2d(x, weight, **arguments)
    results = [fastconv.conv_backward(y, x, weight, **arguments, algorithm=name) for name in ("fft", "reference")]
    for got, expected in zip(*results, strict=True):
        if expected is not None:
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 * abs(expected).max())
    del arguments["padding_mode"]
    results = [
        fastconv.conv_transpose2d(y, weight, **arguments, algorithm=name, activation="tanh")
        for name in ("fft", "reference")
    ]
    np.testing.assert_allclose(*results, rtol=0, atol=1e-12)
    plan = fastconv.plan(weight, **arguments, transposed=True, algorithm="fft")
    assert plan.explain(y.shape).algorithm == "fft"


def test_scipy_is_imported_when_it_is_used():
    from interpreter import output

    code = (
        "import sys, numpy as np, fastconv; x, w = np.ones((1, 99)), np.ones((1, 1, 9)); fastconv.conv1d(x, w); "
        "print('scipy.fft' in sys.modules); fastconv.conv1d(x, w, algorithm='fft'); print('scipy.fft' in sys.modules)"
    )
    assert output(code).split() == ["False", "True"]
