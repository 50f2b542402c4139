"""Derivatives of activations: exact, at kinks as PyTorch has them, and of callables as they are given."""

import numpy as np
import pytest
from differences import assert_equal
from strategies import integers

import fastconv
from fastconv._activations import TABLE as ACTIVATIONS


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_derivatives(name, dtype):
    entry = ACTIVATIONS[name]
    x = np.linspace(-12, 12, 1000).astype(dtype)
    derivative = entry.derivative(x)
    assert derivative.dtype == dtype
    y = np.linspace(-12, 12, 1000)
    slope = (entry.function(y + 1e-5) - entry.function(y - 1e-5)) / 2e-5
    np.testing.assert_allclose(entry.derivative(y), slope, atol=1e-9)
    np.testing.assert_allclose(derivative, entry.derivative(x.astype("float64")), atol=8 * np.finfo(dtype).eps)
    grad_output = np.linspace(-1, 1, 1000).astype(dtype)[None]
    grad_x, _, _ = fastconv.conv_backward(grad_output, x[None], np.ones((1, 1, 1), dtype), activation=name)
    np.testing.assert_allclose(grad_x[0], grad_output[0] * derivative, rtol=0, atol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize(
    ("name", "kinks"),
    [
        ("relu", {0: 0}),
        ("relu6", {0: 0, 6: 0}),
        ("leaky_relu", {0: 0.01}),
        ("hardswish", {-3: 0, 3: 1}),
    ],
)
def test_derivatives_at_kinks_are_those_of_pytorch(name, kinks):
    for at, value in kinks.items():
        assert ACTIVATIONS[name].derivative(np.array([at], "float64")) == value


def test_the_derivative_sees_the_whole_pre_activation():
    x, weight, bias = integers((2, 3, 9), "float16", 0), integers((4, 3, 3), "float16", 1), np.arange(4.0)
    before = fastconv.conv1d(x.astype("float32"), weight.astype("float32"), bias)
    seen = []
    pair = (np.square, lambda y: seen.append(y) or 2 * y)
    grad_output = integers(before.shape, "float32", 2)
    gradients = fastconv.conv_backward(grad_output, x, weight, bias, activation=pair)
    assert len(seen) == 1
    np.testing.assert_array_equal(seen[0], before)
    assert_equal(gradients, fastconv.conv_backward(grad_output * 2 * before, x, weight, bias))


def test_a_callable_alone_has_no_gradient():
    def never(y):
        raise AssertionError

    arrays = np.ones((1, 7)), np.ones((1, 9)), np.ones((1, 1, 3))
    for backward in (fastconv.conv_backward, fastconv.conv_transpose_backward):
        with pytest.raises(TypeError, match=r"activation=.*never.* has no derivative; wanted a pair"):
            backward(*arrays, activation=never)
    assert fastconv.conv_backward(*arrays, activation=never, needs=(False, False, True)) == (None, None, None)
    with pytest.raises(ValueError, match=r"activation has a derivative that returned shape \(\); wanted \(1, 7\)"):
        fastconv.conv_backward(*arrays, activation=(np.square, np.sum))
