"""Activations of whole arrays, compiled: as the table's functions of NumPy arrays say."""

import numpy as np
import pytest

import fastconv
from fastconv import _activations, _elementwise

KINKS = [0.0, -0.0, 3.0, -3.0, 6.0, 1e-30, 90.0, -90.0, 800.0, -800.0, np.inf, -np.inf, np.nan]
RELATIVE = {"float32": 4e-7, "float64": 1e-15}  # some units in the last place of the largest values in between


def values(dtype, count=300):
    return np.concatenate([KINKS, np.random.default_rng(1).normal(0, 3, count)]).astype(dtype)


@pytest.mark.parametrize("dtype", RELATIVE)
@pytest.mark.parametrize("name", _activations.TABLE)
def test_function_and_derivative_of_the_table(name, dtype):
    activation, x = _activations.TABLE[name], values(dtype)
    grad = np.random.default_rng(2).uniform(1, 2, x.shape).astype(dtype)
    exactly = x.astype("float64")
    with np.errstate(all="ignore"):
        expected = activation.function(exactly), activation.derivative(exactly) * grad
    results = _elementwise.activate(activation, x), _elementwise.pull_back(activation, x, grad)
    for result, wanted in zip(results, expected, strict=True):
        assert result.dtype == dtype
        scale = np.maximum(1, np.abs(x, where=np.isfinite(x), out=np.ones_like(x)))
        np.testing.assert_allclose(result / scale, wanted / scale, rtol=0, atol=2 * RELATIVE[dtype])


@pytest.mark.parametrize("count", [1, 3, 4, 7, 8, 15, 16, 17, 33, 4095, 4096, 4097, 70_000])
def test_every_length_and_number_of_threads(count):
    activation = _activations.TABLE["hardswish"]
    room = np.full(count + 64, 77, "float32")
    x = room[32 : 32 + count]
    x[...] = np.random.default_rng(3).integers(-5, 6, count)
    for threads in (1, 2, 3):
        with fastconv.num_threads(threads):
            y = _elementwise.activate(activation, x)
            grad = _elementwise.pull_back(activation, x, x[::-1])  # a gradient of any strides
        np.testing.assert_allclose(y, activation.function(x), rtol=3e-7)
        np.testing.assert_allclose(grad, activation.derivative(x) * x[::-1], rtol=3e-7)
    assert (room[:32] == 77).all()
    assert (room[32 + count :] == 77).all()


def test_functions_of_the_caller():
    activation = _activations.parse((np.sin, np.cos))
    x = np.linspace(-1, 1, 7)
    np.testing.assert_array_equal(_elementwise.activate(activation, x), np.sin(x))
    np.testing.assert_array_equal(_elementwise.pull_back(activation, x, x), np.cos(x) * x)
