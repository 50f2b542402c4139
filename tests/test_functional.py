"""Forward convolutions: every algorithm to the bit, and every argument with every other."""

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import erf, expit
from strategies import ALGORITHMS, DIRECT_SUMS, cases, integers, relaid, same_pads, witness

import fastconv


@pytest.mark.parametrize("algorithm", DIRECT_SUMS)
@given(cases())
def test_every_algorithm_to_the_bit(algorithm, case):
    y = fastconv.conv(case.x, case.weight, case.bias, **case.arguments, algorithm=algorithm)
    assert y.dtype == case.x.dtype
    np.testing.assert_array_equal(y, witness(case))


@pytest.mark.parametrize("algorithm", DIRECT_SUMS)
@given(st.data(), cases())
def test_channels_last_and_any_strides(algorithm, data, case):
    rank = case.weight.ndim - 2
    expected = np.moveaxis(witness(case), -rank - 1, -1)
    x = data.draw(relaid(np.moveaxis(case.x, -rank - 1, -1)))
    out = data.draw(relaid(np.zeros_like(expected)))
    add = data.draw(relaid(integers(expected.shape, expected.dtype, 0)))
    arguments = case.arguments | {"data_format": "channels_last", "algorithm": algorithm}
    assert fastconv.conv(x, case.weight, case.bias, **arguments, out=out) is out
    np.testing.assert_array_equal(out, expected)
    plan = fastconv.plan(data.draw(relaid(case.weight)), case.bias, **arguments)
    assert plan(x, out, add=add) is out
    np.testing.assert_array_equal(out, expected + add)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_zero_strides(algorithm):
    x = np.broadcast_to(np.float32(2), (3, 4, 9, 9))
    y = fastconv.conv2d(x, np.ones((5, 4, 3, 3), "float32"), algorithm=algorithm)
    np.testing.assert_array_equal(y, np.full((3, 5, 7, 7), 72.0))


def test_arguments_stand_in_the_order_of_pytorch():
    names = list(inspect.signature(fastconv.conv2d).parameters)
    assert names[:7] == ["x", "weight", "bias", "stride", "padding", "dilation", "groups"]
    for function in (fastconv.conv1d, fastconv.conv3d, fastconv.conv):
        assert inspect.signature(function) == inspect.signature(fastconv.conv2d)
    own = ["transposed", "output_padding", "output_size", "input_shape"]
    assert list(inspect.signature(fastconv.plan).parameters) == [*names[1:-1], *own]
    assert list(inspect.signature(fastconv.explain).parameters) == ["x_shape", "weight_shape", *names[3:-1], "dtype"]
    x, w, b = np.ones((1, 2, 9, 9)), np.ones((4, 1, 3, 3)), np.arange(4.0)
    np.testing.assert_array_equal(
        fastconv.conv2d(x, w, b, 2, 1, 3, 2), fastconv.conv2d(x, w, b, stride=2, padding=1, dilation=3, groups=2)
    )
    np.testing.assert_array_equal(fastconv.plan(w, b, 2, 1, 3, 2)(x), fastconv.conv2d(x, w, b, 2, 1, 3, 2))
    with pytest.raises(TypeError, match="positional"):
        fastconv.plan(w, b, 2, 1, 3, 2, "circular")
    with pytest.raises(TypeError, match="dilatation"):
        fastconv.explain((1, 9), (1, 1, 3), dilatation=2)


def test_each_function_has_its_rank():
    for rank, function in enumerate([fastconv.conv1d, fastconv.conv2d, fastconv.conv3d], start=1):
        x, weight = np.ones((1, *[4] * rank)), np.ones((1, 1, *[3] * rank))
        np.testing.assert_array_equal(function(x, weight), np.full((1, *[2] * rank), 3.0**rank))
        np.testing.assert_array_equal(fastconv.conv(x, weight), function(x, weight))


@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 3), (2, 1, 3), (1, 1)])
def test_batch_axes(batch):
    x, weight = integers((*batch, 2, 8, 9), "float32", 0), integers((3, 2, 3, 3), "float32", 1)
    y = fastconv.conv2d(x, weight, padding=1)
    assert y.shape == (*batch, 3, 8, 9)
    for entry in np.ndindex(batch):
        np.testing.assert_array_equal(y[entry], fastconv.conv2d(x[entry], weight, padding=1))


def test_batch_axes_that_do_not_collapse():
    x = integers((4, 5, 2, 9), "float32", 0)[::2, ::-1]
    weight = integers((3, 2, 3), "float32", 1)
    np.testing.assert_array_equal(fastconv.conv1d(x, weight), fastconv.conv1d(x.copy(), weight))
    y = np.zeros((2, 9, 3, 7), "float32")
    out = y[:, ::2]
    fastconv.conv1d(x, weight, out=out)
    np.testing.assert_array_equal(out, fastconv.conv1d(x.copy(), weight))
    assert not y[:, 1::2].any()


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (2, 0, 3, 8, 8), (0, 0, 3, 8, 8)])
@pytest.mark.parametrize("algorithm", ["auto", *ALGORITHMS])
def test_empty_batches(shape, algorithm):
    weight = np.ones((4, 3, 3, 3), "float32")
    y = fastconv.conv2d(np.ones(shape, "float32"), weight, activation=np.tanh, algorithm=algorithm)
    assert y.shape == (*shape[:-3], 4, 6, 6)
    assert y.dtype == np.float32
    assert fastconv.explain(shape, weight.shape, algorithm=algorithm).flops == 0


@pytest.mark.parametrize("algorithm", DIRECT_SUMS)
def test_an_empty_axis_is_all_padding(algorithm):
    x, weight = np.ones((2, 3, 0, 4), "float32"), np.ones((5, 3, 2, 2), "float32")
    y = fastconv.conv2d(x, weight, padding=1, padding_value=2.0, algorithm=algorithm)
    np.testing.assert_array_equal(y, np.full((2, 5, 1, 5), 24.0))
    assert fastconv.conv2d(x, weight, padding="same", algorithm=algorithm).shape == (2, 5, 0, 4)


@given(st.integers(1, 50), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_same_is_ceil_of_size_over_stride(size, kernel, stride, dilation):
    arguments = {"stride": stride, "dilation": dilation}
    shape = fastconv.conv_output_shape((1, size), (1, 1, kernel), padding="same", **arguments)
    assert shape == (1, -(-size // stride))
    x, weight = integers((1, size), "float64", 0), integers((1, 1, kernel), "float64", 1)
    np.testing.assert_array_equal(
        fastconv.conv1d(x, weight, padding="same", **arguments),
        fastconv.conv1d(x, weight, padding=(same_pads(size, kernel, stride, dilation),), **arguments),
    )


def test_numpy_integers_count():
    x, weight = integers((1, 9, 9), "float32", 0), integers((2, 1, 3, 3), "float32", 1)
    two = np.int64(2)
    y = fastconv.conv2d(x, weight, None, two, np.uint8(1), np.array([1, 2]), np.int32(1))
    np.testing.assert_array_equal(y, fastconv.conv2d(x, weight, None, 2, 1, (1, 2), 1))
    y = fastconv.conv2d(x, weight, stride=[two, 1], padding=np.array([[1, 2], [0, 1]]))
    np.testing.assert_array_equal(y, fastconv.conv2d(x, weight, stride=(2, 1), padding=((1, 2), (0, 1))))


def test_cached_numbers_do_not_let_their_equals_pass():
    x, weight = np.ones((1, 9)), np.ones((1, 1, 3))
    for good in (1, (1,)):
        fastconv.conv1d(x, weight, None, good, good, good)
    for name in ("stride", "padding", "dilation", "groups"):
        for bad in (1.0, True, (1.0,), (True,), np.float32(1), np.True_):
            with pytest.raises(TypeError, match=name):
                fastconv.conv1d(x, weight, **{name: bad})
    fastconv.conv1d(x, weight, padding=((1, 1),))
    with pytest.raises(TypeError, match="padding"):
        fastconv.conv1d(x, weight, padding=((1, True),))


REFERENCE_ACTIVATIONS = {
    "relu": lambda x: np.where(x > 0, x, 0),
    "relu6": lambda x: np.minimum(np.maximum(x, 0), 6),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "sigmoid": expit,
    "tanh": np.tanh,
    "silu": lambda x: x * expit(x),
    "gelu": lambda x: x * (1 + erf(x / 2**0.5)) / 2,
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
}


@pytest.mark.parametrize("algorithm", DIRECT_SUMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", REFERENCE_ACTIVATIONS)
def test_activations(name, dtype, algorithm):
    x = np.concatenate([np.linspace(-12, 12, 1001), [-700, 700, -1e-9, 1e-9, 0]]).astype(dtype)[None]
    weight, bias = np.ones((1, 1, 1), dtype), np.array([0.25], dtype)
    y = fastconv.conv1d(x, weight, bias, activation=name, algorithm=algorithm)
    # each function is bounded by the size of its argument, or by 1
    before = x.astype("float64") + 0.25 if dtype == "float64" else (x + bias).astype("float64")
    eps = np.finfo(dtype).eps
    assert np.all(np.abs(y - REFERENCE_ACTIVATIONS[name](before)) <= 4 * eps * np.maximum(1, np.abs(before)))


@pytest.mark.parametrize("algorithm", DIRECT_SUMS)
@pytest.mark.parametrize("name", REFERENCE_ACTIVATIONS)
def test_activations_pass_nan(name, algorithm):
    y = fastconv.conv1d(np.array([[1.0, np.nan, 1.0]]), np.ones((1, 1, 1)), activation=name, algorithm=algorithm)
    np.testing.assert_array_equal(np.isnan(y), [[False, True, False]])


def test_callable_activations():
    x, weight = integers((2, 3, 9), "float32", 0), integers((4, 3, 3), "float32", 1)
    expected = np.maximum(fastconv.conv1d(x, weight), 2)
    np.testing.assert_array_equal(fastconv.conv1d(x, weight, activation=lambda y: np.maximum(y, 2)), expected)
    np.testing.assert_array_equal(fastconv.conv1d(x, weight, activation=lambda y: np.maximum(y, 3) * 0), expected * 0)
    pair = (lambda y: np.maximum(y, 2), lambda y: (y > 2) * 1.0)
    np.testing.assert_array_equal(fastconv.conv1d(x, weight, activation=pair), expected)
    in_place = fastconv.conv1d(x, weight, activation=lambda y: np.maximum(y, 2, out=y))
    np.testing.assert_array_equal(in_place, expected)

    class Unhashable:
        __hash__ = None

        def __call__(self, y):
            return y + 1

    y = fastconv.conv1d(x, weight, activation=Unhashable())
    np.testing.assert_array_equal(y, fastconv.conv1d(x, weight) + 1)


def test_a_callable_sees_the_whole_output():
    def softmax(y):
        seen.append(y.shape)
        e = np.exp(y - y.max(axis=-2, keepdims=True))
        return e / e.sum(axis=-2, keepdims=True)

    seen = []
    y = fastconv.conv1d(np.ones((2, 3, 9), "float16"), np.ones((4, 3, 3), "float16"), activation=softmax)
    assert seen == [(2, 4, 7)]
    np.testing.assert_array_equal(y, np.full((2, 4, 7), 0.25))


def test_a_callable_must_keep_the_shape():
    with pytest.raises(ValueError, match="activation returned an array of shape"):
        fastconv.conv1d(np.ones((1, 9)), np.ones((1, 1, 3)), activation=np.sum)


@pytest.mark.parametrize("algorithm", DIRECT_SUMS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_receptive_field(algorithm, bad):
    x = integers((2, 4, 12, 13), "float32", 0)
    x[1, 2, 5, 6] = bad
    weight = integers((6, 2, 3, 3), "float32", 1)
    weight[weight == 0] = 1
    y = fastconv.conv2d(x, weight, padding=1, groups=2, algorithm=algorithm)
    reached = np.zeros(y.shape, bool)
    reached[1, 3:, 4:7, 5:8] = True
    np.testing.assert_array_equal(np.isfinite(y), ~reached)
    x[1, 2, 5, 6] = 0
    np.testing.assert_array_equal(y[~reached], fastconv.conv2d(x, weight, padding=1, groups=2)[~reached])


@pytest.mark.parametrize("algorithm", DIRECT_SUMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_long_sums_are_strict(algorithm, dtype):
    # equal products are the worst: every rounding goes the same way
    x, weight = np.full((512, 3, 3), 0.1, dtype), np.full((1, 512, 3, 3), 0.3, dtype)
    y = fastconv.conv2d(x, weight, precision="strict", algorithm=algorithm)
    exact = 4608 * np.longdouble(x[0, 0, 0]) * np.longdouble(weight[0, 0, 0, 0])
    assert abs(y.item() - exact) <= {"float32": 1e-5, "float64": 1e-13}[dtype] * exact


def test_explain_follows_the_choice():
    shapes = (1, 16, 20, 20), (8, 16, 3, 3)
    for algorithm in ALGORITHMS:
        explanation = fastconv.explain(*shapes, algorithm=algorithm)
        assert explanation.algorithm == algorithm
        assert explanation.flops == 2 * 16 * 8 * 9 * 18 * 18
    chosen = fastconv.explain(*shapes)
    assert chosen.algorithm != "reference"
    assert list(chosen.declined) == ["separable"]  # whose weights a function does not know
    for name in ("algorithm", "kernel", "flops", "workspace_bytes"):
        assert f"{getattr(chosen, name)}" in str(chosen)
    with pytest.raises(AttributeError):
        chosen.algorithm = "another"


def test_the_environment_forces(monkeypatch):
    x, weight = np.ones((1, 1, 9)), np.ones((1, 1, 3))
    fastconv.conv1d(x, weight)
    for algorithm in ALGORITHMS:
        monkeypatch.setenv("FASTCONV_ALGORITHM", algorithm)
        assert fastconv.explain(x.shape, weight.shape).algorithm == algorithm
        assert fastconv.plan(weight).explain(x.shape).algorithm == algorithm
        np.testing.assert_allclose(fastconv.conv1d(x, weight), np.full((1, 1, 7), 3.0), rtol=1e-13)
    assert fastconv.explain(x.shape, weight.shape, algorithm="reference").algorithm == "reference"
    monkeypatch.setenv("FASTCONV_ALGORITHM", "imtocol")
    with pytest.raises(ValueError, match=r"FASTCONV_ALGORITHM.*imtocol.*im2col"):
        fastconv.conv1d(x, weight)
