"""The way back through the layers of convolutions: exact gradients that add up, and a wrong one changes nothing."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
from differences import numerical
from strategies import integers

import fastconv
from fastconv import Conv2d, ConvTranspose2d

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape)


def softplus(x):
    return np.log1p(np.exp(x))


def logistic(x):
    return 1 / (1 + np.exp(-x))


NAMES = ["relu", "leaky_relu", "relu6", "sigmoid", "tanh", "silu", "gelu", "hardswish"]
ACTIVATIONS = [None, *NAMES, (softplus, logistic)]


@pytest.mark.parametrize("kind", [Conv2d, ConvTranspose2d])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("untied", [False, True])
def test_gradients_are_central_differences(kind, activation, untied):
    rng = np.random.default_rng(1)
    layer = kind(
        2, 4, (2, 3), stride=2, padding=1, groups=2, activation=activation, untie_biases=untied, rng=rng,
        bias_init="narrow-normal", dtype="float64", input_shape=(2, 4, 5),
    )  # fmt: skip
    x = rng.standard_normal((3, 2, 4, 5))
    y, backward = layer.vjp(x)
    np.testing.assert_allclose(y, layer(x), rtol=1e-14, atol=1e-14)
    factors = rng.standard_normal(y.shape)

    def loss():
        return (layer(x) * factors).sum()

    grad_x = backward(factors)
    for array, gradient in [(x, grad_x), *((p.value, p.grad) for p in layer.parameters())]:
        np.testing.assert_allclose(gradient, numerical(loss, array, 1e-6), rtol=1e-6, atol=1e-8)


def test_gradients_add_up():
    layer = Conv2d(1, 2, 3, activation="tanh", dtype="float64")
    x = normal(1, 6, 6)
    y, backward = layer.vjp(x)
    first = backward(y)
    weight, bias = (parameter.grad.copy() for parameter in layer.parameters())
    np.testing.assert_array_equal(backward(y), first)
    np.testing.assert_array_equal(layer.weight.grad, 2 * weight)
    np.testing.assert_array_equal(layer.bias.grad, 2 * bias)


def test_lists_go_back_as_lists():
    inputs = [normal(1, 4, 9), normal(5, 1, 6, 3)]
    one, many = (Conv2d(1, 2, 3, activation="silu", dtype="float64", rng=0) for _ in range(2))
    results, backward = many.vjp(inputs)
    assert type(results) is list
    gradients = backward(tuple(results))
    for x, y, gradient in zip(inputs, results, gradients, strict=True):
        own, back = one.vjp(x)
        np.testing.assert_array_equal(own, y)
        np.testing.assert_array_equal(back(y), gradient)
    np.testing.assert_allclose(many.weight.grad, one.weight.grad, rtol=1e-14)
    nothing, backward = many.vjp([])
    assert nothing == backward([]) == []


@pytest.mark.parametrize(
    ("grad_y", "message"),
    [
        (np.ones((2, 4, 5)), r"edges: grad_y has shape \(2, 4, 5\); wanted that of the output, \(2, 4, 4\)"),
        (np.ones((2, 4, 4), complex), r"edges: grad_y has dtype complex128"),
        (None, r"edges: grad_y has dtype object"),
    ],
)
def test_a_wrong_gradient_changes_nothing(grad_y, message):
    layer = Conv2d(1, 2, 3, name="edges")
    _, backward = layer.vjp(np.ones((1, 6, 6)))
    with pytest.raises((ValueError, TypeError), match=message):
        backward(grad_y)
    assert layer.weight.grad is layer.bias.grad is None


@pytest.mark.parametrize(
    "grad_y", [np.ones((2, 4, 4)), [], [np.ones((2, 4, 4))], [np.ones((2, 4, 4)), np.ones((2, 9, 9))]]
)
def test_wrong_lists_of_gradients_change_nothing(grad_y):
    layer = Conv2d(1, 2, 3, name="edges")
    _, backward = layer.vjp([np.ones((1, 6, 6)), np.ones((1, 5, 5))])
    with pytest.raises((ValueError, TypeError), match="edges: grad_y has"):
        backward(grad_y)
    assert layer.weight.grad is layer.bias.grad is None


def test_a_function_without_its_derivative_has_no_way_back():
    calls = []

    def function(x):
        calls.append(x)
        return x

    layer = Conv2d(None, 2, 3, activation=function, name="edges")
    with pytest.raises(TypeError, match=r"edges: activation=function has no derivative"):
        layer.vjp(np.ones((1, 6, 6)))
    assert not calls and layer.weight is None
    layer(np.ones((1, 6, 6)))
    assert len(calls) == 1


def test_a_derivative_of_the_wrong_shape():
    layer = Conv2d(1, 2, 3, activation=(np.tanh, lambda x: x[0]), name="edges")
    _, backward = layer.vjp(np.ones((1, 6, 6)))
    with pytest.raises(ValueError, match=r"edges: activation has a derivative that returned shape \(4, 4\)"):
        backward(np.ones((2, 4, 4)))
    assert layer.weight.grad is None


def test_a_function_may_work_in_place():
    def halve(x):
        x *= 0.5
        return x

    layer = Conv2d(1, 2, 3, activation=(halve, lambda x: np.where(x > 0, 0.5, 0.5)))
    x = normal(1, 6, 6)
    plain = Conv2d(1, 2, 3, weight=layer.weight)
    y, backward = layer.vjp(x)
    np.testing.assert_array_equal(y, plain(x) * 0.5)
    np.testing.assert_array_equal(y, layer(x))
    np.testing.assert_allclose(backward(np.ones_like(y)), 0.5 * plain.vjp(x)[1](np.ones_like(y)), rtol=1e-6)


def test_a_step_between_does_not_change_the_way_back():
    layer = Conv2d(1, 2, 3, dtype="float64")
    x = normal(1, 6, 6)
    y, backward = layer.vjp(x)
    before = backward(y)
    fastconv.SGD(layer.parameters(), 0.1).step()
    np.testing.assert_array_equal(backward(y), before)


def test_sixteen_threads():
    layer = Conv2d(3, 8, 3, padding=1, activation="relu", rng=0)
    inputs = [integers((2, 3, 16, 16), "float32", seed) for seed in range(16)]
    expected = [layer(x) for x in inputs]
    start = Barrier(16)

    def work(at):
        start.wait()
        for _ in range(20):
            np.testing.assert_array_equal(layer(inputs[at]), expected[at])
            y, backward = layer.vjp(inputs[at])
            np.testing.assert_array_equal(y, expected[at])
            backward(np.ones_like(y))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    positions = 16 * 20 * 2 * 16 * 16
    assert 0 < layer.bias.grad.max() <= positions
    np.testing.assert_array_equal(layer.bias.grad, 20 * sum((y > 0).sum(axis=(0, 2, 3)) for y in expected))
