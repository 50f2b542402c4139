"""The layers of convolutions: that they are the functions, with parameters, settled once, and with a way back."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import cases, integers

import fastconv
from fastconv import Conv, Conv1d, Conv2d, Conv3d, ConvTranspose, ConvTranspose2d
from fastconv.initializers import He, Initializer

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape)


# Calls


@given(cases(), st.booleans())
def test_calls_are_those_of_the_function(case, frozen):
    kind = (Conv1d, Conv2d, Conv3d)[case.weight.ndim - 3]
    layer = kind(
        None, None, None, weight=case.weight, bias=case.bias, dtype=case.weight.dtype,
        untie_biases=case.bias is not None and case.bias.ndim > 1, **case.arguments,
    )  # fmt: skip
    call = layer.freeze(case.x.shape) if frozen else layer
    np.testing.assert_array_equal(call(case.x), fastconv.conv(case.x, case.weight, case.bias, **case.arguments))


TRANSPOSED = [
    {},
    {"stride": 2},
    {"stride": (2, 3), "padding": ((1, 0), (0, 2)), "output_padding": (1, 0)},
    {"stride": 2, "padding": "same", "activation": "relu"},
    {"dilation": 2, "padding": 1, "flip_kernel": True},
    {"stride": 2, "output_size": (12, 16)},
]


@pytest.mark.parametrize("arguments", TRANSPOSED)
@pytest.mark.parametrize("frozen", [False, True])
def test_transposed_calls_are_those_of_the_function(arguments, frozen):
    x, weight, bias = integers((2, 4, 5, 7), "float32", 0), integers((4, 3, 3, 3), "float32", 1), np.arange(6.0)
    layer = ConvTranspose2d(4, 6, 3, groups=2, weight=weight, bias=bias, **arguments)
    expected = fastconv.conv_transpose(x, weight, bias.astype("float32"), groups=2, **arguments)
    np.testing.assert_array_equal((layer.freeze() if frozen else layer)(x), expected)
    assert layer.output_shape(x.shape) == expected.shape


@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
@pytest.mark.parametrize("kind", [Conv2d, ConvTranspose2d])
def test_batch_axes(batch, data_format, kind):
    layer = kind(3, 4, (2, 3), data_format=data_format)
    shape = (5, 6, 3) if data_format == "channels_last" else (3, 5, 6)
    x = np.ones((*batch, *shape), "float32")
    y = layer(x)
    assert y.shape == layer.output_shape(x.shape) == (*batch, *layer(x[(0,) * len(batch)]).shape)


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "int64", "bool", ">f4", ">f8"])
@pytest.mark.parametrize("own", ["float32", "float64"])
def test_input_is_cast_to_the_type_of_the_layer(dtype, own):
    layer = Conv2d(2, 3, 3, dtype=own)
    x = integers((2, 6, 6), dtype, 0)
    y = layer(x)
    assert y.dtype == own and y.dtype.isnative
    np.testing.assert_array_equal(y, layer(x.astype(own)))
    z, backward = layer.vjp(x)
    np.testing.assert_array_equal(z, y)
    for grad_y in (y, y.astype("float64"), y.astype("float16")):
        assert backward(grad_y).dtype == layer.weight.grad.dtype == own


@pytest.mark.parametrize("x", [np.ones((2, 5, 5), complex), np.full((2, 5, 5), "a"), object()])
def test_input_that_is_no_real_array_is_refused_by_name(x):
    layer = Conv2d(None, 3, 3, name="first")
    with pytest.raises(TypeError, match=r"first: x has"):
        layer(x)
    assert layer.weight is None


def test_a_list_is_a_list_of_inputs_of_any_sizes():
    layer = Conv2d(1, 2, 3)
    inputs = [normal(1, 4, 9), normal(5, 1, 6, 3), normal(1, 3, 3)]
    for many in (inputs, tuple(inputs)):
        outputs = layer(many)
        assert type(outputs) is list
        for x, y in zip(inputs, outputs, strict=True):
            np.testing.assert_array_equal(y, layer(x))
    assert layer([]) == []
    assert len(layer([inputs[0]])) == 1


def test_a_call_keeps_nothing_of_its_input():
    class Array(np.ndarray):  # whose references can be counted
        pass

    layer = Conv2d(1, 2, 3, activation="tanh")
    x = np.ones((1, 9, 9), "float32").view(Array)
    gone = weakref.ref(x)
    layer(x)
    del x
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones((2, 9, 9)), r"edges: x has 2 channels \(shape \(2, 9, 9\).* wants 1"),
        (np.ones((9, 9)), r"edges: x has 2 axes"),
        (np.ones((1, 9, 2)), r"edges: weight of shape \(4, 1, 3, 3\) .* where x has 2"),
        ([np.ones((1, 9, 9)), np.ones((2, 9, 9))], r"edges: x has 2 channels"),
        ("image.png", r"edges: x has dtype <U9"),
    ],
)
@pytest.mark.parametrize("call", ["__call__", "vjp"])
def test_disagreement_is_told_by_the_name_of_the_layer(x, message, call):
    with pytest.raises((ValueError, TypeError), match=message) as error:
        getattr(Conv2d(1, 4, 3, name="edges"), call)(x)
    assert str(error.value).count("edges") == 1


# What is settled late

LATE = {
    "input_shape": lambda **more: Conv2d(None, 4, 3, input_shape=(None, 2, None, None), **more),
    "build": lambda **more: Conv2d(None, 4, 3, **more).build((2, None, None)),
    "weight": lambda **more: Conv2d(None, None, None, weight=np.ones((4, 2, 3, 3)), **more),
    "call": lambda **more: called(Conv2d(None, 4, 3, **more), "__call__"),
    "vjp": lambda **more: called(Conv2d(None, 4, 3, **more), "vjp"),
}


def called(layer, how):
    getattr(layer, how)(np.ones((2, 5, 5)))
    return layer


@pytest.mark.parametrize("how", LATE)
def test_in_channels_is_settled_by(how):
    layer = LATE[how](name="late")
    assert layer.in_channels == 2
    assert layer.weight.shape == (4, 2, 3, 3)
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    weight = layer.weight
    with pytest.raises(ValueError, match="late: x has 3 channels"):
        layer(np.ones((3, 5, 5)))
    with pytest.raises(ValueError, match="late: x has 3 channels"):
        layer.build((3, 5, 5))
    assert layer.build((2, 5, 5)).weight is weight


def test_before_it_is_settled():
    layer = Conv2d(None, 4, 3, name="late")
    assert repr(layer) == "Conv2d(None, 4, (3, 3), name='late')"
    assert layer.parameters() == layer.named_parameters() == []
    assert layer.weight is layer.bias is layer.in_channels is None
    for needs in (layer.freeze, layer.state_dict, lambda: layer.load_state_dict({}), lambda: layer.save("a.npz")):
        with pytest.raises(ValueError, match="in_channels of late"):
            needs()
    assert layer.output_shape((None, 7, 9, 9)) == (None, 4, 7, 7)
    assert layer.output_shape((None, None, 9)) == (4, None, 7)
    assert layer.weight is None


BAD_FIRST = [
    np.ones((5, 5)),
    np.ones((2, 2, 5)),
    np.ones((0, 5, 5)),
    np.ones((3, 5, 5)),  # does not go into 2 groups
    np.ones((2, 5, 5), complex),
    [np.ones((2, 5, 5)), np.ones((4, 5, 5))],
    [np.ones((2, 5, 5)), np.ones((2, 5, 5), complex)],
]


@pytest.mark.parametrize("x", BAD_FIRST)
@pytest.mark.parametrize("call", ["__call__", "vjp"])
def test_a_bad_first_input_leaves_the_layer_as_it_was(x, call):
    layer = Conv2d(None, 4, 3, groups=2)
    with pytest.raises((ValueError, TypeError)):
        getattr(layer, call)(x)
    assert layer.weight is None and layer.parameters() == []
    assert layer(np.ones((8, 5, 5))).shape == (4, 3, 3)
    assert layer.in_channels == 8


def test_a_failing_initialiser_leaves_the_layer_as_it_was():
    sizes = [3, 4]
    layer = Conv2d(None, 4, 3, bias_init=lambda shape: np.ones(sizes.pop(0)), name="late")
    with pytest.raises(ValueError, match=r"late: .* gives shape \(3,\); wanted \(4,\)"):
        layer.build((1, 5, 5))
    assert layer.weight is None
    assert layer.build((1, 5, 5)).bias.shape == (4,)


def test_an_input_without_channels_settles_nothing():
    with pytest.raises(ValueError, match=r"late: x has 0 channels \(shape \(0, 5, 5\)\)"):
        Conv2d(None, 4, 3, name="late").build((0, 5, 5))


def test_a_shape_that_does_not_tell_enough():
    with pytest.raises(ValueError, match="late: the shape of the input does not tell in_channels"):
        Conv2d(None, 4, 3, name="late").build((None, 5, 5))
    layer = Conv2d(1, 4, 3, untie_biases=True, name="late")
    with pytest.raises(ValueError, match="late: the shape of the input does not tell the shape of the bias"):
        layer.build((1, None, 5))
    with pytest.raises(ValueError, match="a plan wants what is not known yet: the shape of the bias of late"):
        layer.freeze()


@pytest.mark.parametrize("kind", [Conv2d, ConvTranspose2d])
def test_untied_biases(kind):
    layer = kind(2, 4, 3, stride=2, untie_biases=True, bias_init=lambda shape: np.arange(np.prod(shape)).reshape(shape))
    assert layer.parameters() == []
    spatial = layer.output_shape((2, 9, 7))[1:]
    x = normal(5, 2, 9, 7)
    y, backward = layer.vjp(x)
    assert layer.bias.shape == (4, *spatial)  # as in Lasagne
    assert layer.input_shape == (2, 9, 7)
    plain = kind(2, 4, 3, stride=2, weight=layer.weight, bias=False)
    np.testing.assert_allclose(y, plain(x) + layer.bias.value, rtol=1e-5, atol=1e-5)
    backward(np.ones_like(y))
    np.testing.assert_array_equal(layer.bias.grad, np.full((4, *spatial), 5))
    with pytest.raises(ValueError, match="bias has shape"):
        layer(normal(2, 9, 10))
    with pytest.raises(ValueError, match="bias has shape"):
        layer.build((2, 9, 12))
    assert layer.output_shape((2, None, 7)) == (4, None, spatial[1])


def test_untied_biases_of_given_values():
    bias = normal(4, 3, 5)
    layer = Conv2d(2, 4, 3, untie_biases=True, bias=bias)
    np.testing.assert_array_equal(layer.bias.value, bias.astype("float32"))
    with pytest.raises(ValueError, match=r"bias has shape \(4, 3, 5\).*\(4, 5\)"):
        layer.build((2, 6, 7))


def test_an_input_shape_that_does_not_tell_enough_leaves_the_layer_open():
    for layer, shape in [
        (Conv2d(None, 4, 3, input_shape=(None, 5, 5)), (2, 5, 5)),
        (Conv2d(2, 4, 3, input_shape=(2, None, 5), untie_biases=True), (2, 7, 5)),
    ]:
        assert layer.parameters() == []
        assert layer(np.ones(shape)).shape == layer.output_shape(shape)
        assert len(layer.parameters()) == 2


def test_channels_last_settles_by_the_last_axis():
    layer = Conv2d(None, 4, 3, data_format="channels_last", untie_biases=True)
    assert layer(np.ones((6, 7, 5))).shape == (4, 5, 4)
    assert (layer.in_channels, layer.bias.shape) == (5, (4, 4, 5))


@pytest.mark.parametrize("call", ["__call__", "vjp", "build"])
def test_many_threads_settle_once(call):
    for _ in range(10):
        layer, start = Conv2d(None, 8, 3), Barrier(16)

        def first(_, layer=layer, start=start):
            start.wait()
            getattr(layer, call)((2, 5, 5) if call == "build" else np.ones((2, 5, 5)))
            return layer.weight, layer.bias

        with ThreadPoolExecutor(16) as pool:
            assert len(set(pool.map(first, range(16)))) == 1


# Weights and biases


def test_given_values_are_copied():
    weight, bias = normal(4, 2, 3), normal(4)
    before = weight.copy(), bias.copy()
    layer = Conv1d(2, 4, 3, weight=weight, bias=bias, dtype="float64")
    layer.weight.value[...] = 0
    layer.bias.value[...] = 0
    np.testing.assert_array_equal(weight, before[0])
    np.testing.assert_array_equal(bias, before[1])


@pytest.mark.parametrize(
    ("given", "values"),
    [
        (0.5, [0.5, 0.5]),
        (0, [0, 0]),
        (np.float32(2), [2, 2]),
        ([1, 2], [1, 2]),
        (np.array([1, 2], ">i4"), [1, 2]),
        ("ones", [1, 1]),
        (fastconv.initializers.Constant(3), [3, 3]),
        (lambda shape: np.arange(*shape), [0, 1]),
        (True, [0, 0]),
        (np.True_, [0, 0]),
        (False, None),
        (np.False_, None),
        (None, None),
    ],
)
def test_biases(given, values):
    layer = Conv2d(1, 2, 1, bias=given, weight=0)
    if values is None:
        assert layer.bias is None and len(layer.parameters()) == 1
    else:
        np.testing.assert_array_equal(layer.bias.value, values)
        np.testing.assert_array_equal(layer(np.zeros((1, 1, 1)))[:, 0, 0], values)


def test_numbers_and_initialisers_fill_weights():
    np.testing.assert_array_equal(Conv2d(3, 2, 2, weight=0.25).weight.value, np.full((2, 3, 2, 2), 0.25))
    np.testing.assert_array_equal(Conv2d(3, 2, 2, weight="ones").weight.value, np.ones((2, 3, 2, 2)))
    np.testing.assert_array_equal(Conv2d(3, 2, 2, weight_init="zeros").weight.value, 0)


class Told(Initializer):
    """An initialiser that remembers what it was asked."""

    def _values(self, shape, rng, fan_in, fan_out):
        self.asked = shape, fan_in, fan_out
        return np.zeros(shape)


@pytest.mark.parametrize(("kind", "shape"), [(Conv2d, (12, 4, 3, 5)), (ConvTranspose2d, (8, 6, 3, 5))])
def test_fans_are_counted_by_group(kind, shape):
    told = Told()
    assert kind(8, 12, (3, 5), groups=2, weight_init=told).weight.shape == shape
    assert told.asked == (shape, 4 * 15, 6 * 15)


def test_gain_multiplies_the_deviation():
    plain, twice = (Conv2d(8, 64, 3, weight_init=He(gain=gain), rng=0).weight.value for gain in (1, 2))
    np.testing.assert_allclose(twice, 2 * plain, rtol=1e-6)
    assert abs(plain.var() / (2 / 72) - 1) < 0.1


def test_seeds():
    one, same, other = (Conv2d(2, 4, 3, rng=seed).weight.value for seed in (7, 7, 8))
    np.testing.assert_array_equal(one, same)
    assert np.any(one != other)
    rng = np.random.default_rng(7)
    first, second = (Conv2d(2, 4, 3, rng=rng).weight.value for _ in range(2))
    np.testing.assert_array_equal(first, one)
    assert np.any(first != second)
    assert np.any(Conv2d(2, 4, 3).weight.value != Conv2d(2, 4, 3).weight.value)
    late = Conv2d(None, 4, 3, rng=7).build((2, 5, 5))
    np.testing.assert_array_equal(late.weight.value, one)


def test_factors_are_those_of_the_parameters():
    layer = Conv2d(1, 2, 3, weight_learn_rate_factor=2, bias_l2_factor=0.5)
    weight, bias = layer.parameters()
    assert (weight.learn_rate_factor, weight.l2_factor, bias.learn_rate_factor, bias.l2_factor) == (2, 1, 1, 0.5)
    weight.learn_rate_factor = 0
    assert layer.weight_learn_rate_factor == 0
    layer.bias_l2_factor = 3
    assert bias.l2_factor == 3
    late = Conv2d(None, 2, 3, weight_l2_factor=4)
    late.weight_learn_rate_factor = 5
    late.build((1, 3, 3))
    assert (late.weight.l2_factor, late.weight.learn_rate_factor) == (4, 5)
    assert Conv2d(1, 2, 3, bias=False, bias_l2_factor=4).bias_l2_factor == 4


def test_shared_parameters():
    encoder = Conv2d(1, 8, 3, stride=2, padding=2)
    decoder = ConvTranspose2d(8, 1, 3, stride=2, padding=2, weight=encoder.weight)
    assert decoder.weight is encoder.weight
    x = normal(1, 32, 32)
    code, back_code = encoder.vjp(x)
    y, back_y = decoder.vjp(code)
    assert (code.shape, y.shape) == ((8, 17, 17), (1, 31, 31))
    back_code(back_y(np.ones_like(y)))
    grad_y = np.ones_like(y)
    grad_code, by_decoder, _ = fastconv.conv_transpose_backward(
        grad_y, code, encoder.weight.value, decoder.bias.value, stride=2, padding=2
    )
    _, by_encoder, _ = fastconv.conv_backward(
        grad_code, x.astype("float32"), encoder.weight.value, encoder.bias.value, stride=2, padding=2
    )
    np.testing.assert_allclose(encoder.weight.grad, by_decoder + by_encoder, rtol=1e-6)
    fastconv.SGD([*encoder.parameters(), *decoder.parameters()], 0.1).step()
    assert decoder.weight is encoder.weight


def test_a_shared_weight_tells_the_sizes():
    weight = Conv3d(4, 6, (1, 2, 3), groups=2).weight
    layer = ConvTranspose(None, None, None, groups=2, weight=weight)
    assert (layer.rank, layer.in_channels, layer.out_channels, layer.kernel_size) == (3, 6, 4, (1, 2, 3))


def test_rank_is_inferred():
    assert [Conv(1, 1, (3,) * rank).rank for rank in (1, 2, 3)] == [1, 2, 3]
    assert Conv(3, 8, 5, weight=np.ones((8, 3, 5, 5))).rank == 2


# The way back


def numeric_gradient(loss, array, step=1e-6):
    """Central differences; `array` is changed in place and put back."""
    gradient = np.empty_like(array)
    for at in np.ndindex(array.shape):
        value = array[at]
        array[at] = value + step
        above = loss()
        array[at] = value - step
        gradient[at] = (above - loss()) / (2 * step)
        array[at] = value
    return gradient


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
        np.testing.assert_allclose(gradient, numeric_gradient(loss, array), rtol=1e-6, atol=1e-8)


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


# Shapes


@pytest.mark.parametrize(
    ("layer", "given", "expected"),
    [
        (Conv2d(3, 8, 5, stride=2, padding=2), (3, 32, 32), (8, 16, 16)),
        (Conv2d(3, 8, 5, stride=2, padding=2), (None, 3, None, 32), (None, 8, None, 16)),
        (Conv2d(3, 8, 5), (None, None, None), (8, None, None)),
        (Conv2d(3, 8, (5, 1), dilation=100, padding=3), (3, None, 4), (8, None, 10)),
        (Conv2d(3, 8, 5, padding="full", padding_mode="wrap"), (3, None, 4), (8, None, 8)),
        (Conv2d(3, 8, 5, data_format="channels_last"), (7, None, 9, None), (7, None, 5, 8)),
        (Conv1d(3, 8, 5, groups=1), (2, None, 3, 9), (2, None, 8, 5)),
        (Conv3d(3, 8, 5, padding="same", stride=2), [3, 9, None, 8], (8, 5, None, 4)),
        (ConvTranspose2d(8, 3, 3, stride=2, padding=2), (8, 17, None), (3, 31, None)),
        (ConvTranspose2d(8, 3, 3, stride=2, padding=50), (8, None, 60), (3, None, 21)),
        (ConvTranspose2d(8, 3, 3, stride=2, padding=2, output_size=32), (8, None, 17), (3, None, 32)),
        (ConvTranspose2d(8, 3, 3, stride=3, padding="same"), (None, 8, 5, 5), (None, 3, 15, 15)),
        (ConvTranspose2d(8, 3, 3, stride=2, output_padding=1), (None, 8, None, 5), (None, 3, None, 12)),
    ],
)  # fmt: skip
def test_unknown_sizes_stay_unknown(layer, given, expected):
    assert layer.output_shape(given) == expected


@given(cases())
def test_unknown_sizes_change_no_others(case):
    rank = case.weight.ndim - 2
    layer = Conv(None, None, None, weight=case.weight, **case.arguments)
    expected = layer.output_shape(case.x.shape)
    for axis in [*range(-rank, 0), *range(case.x.ndim - rank - 1)]:
        partly = list(case.x.shape)
        partly[axis] = None
        wanted = list(expected)
        wanted[axis] = None
        assert layer.output_shape(partly) == tuple(wanted)


@pytest.mark.parametrize(
    ("shape", "message"),
    [(5, "input_shape=5 has type int"), ((1, 2.0, 3), "input_shape=2.0 has type float"), ((1, -1, 5), "at least 0")],
)
def test_shapes_that_are_none(shape, message):
    for method in ("output_shape", "build", "info"):
        with pytest.raises((TypeError, ValueError), match=message):
            getattr(Conv2d(1, 1, 1), method)(shape)


# Plans


def test_a_plan_keeps_the_values_it_was_made_with():
    layer = Conv2d(2, 3, 3, activation="relu", padding=1)
    x = normal(2, 8, 8).astype("float32")
    expected = layer(x)
    plan = layer.freeze()
    layer.weight.value = np.zeros_like(layer.weight.value)
    layer.bias.value[...] = 1
    np.testing.assert_array_equal(plan(x), expected)
    np.testing.assert_array_equal(layer(x), np.ones((3, 8, 8)))
    with pytest.raises(ValueError, match="spatial sizes"):
        layer.freeze((2, 8, 8))(normal(2, 8, 9))


# What it says of itself


def test_info_of_a_layer():
    info = Conv2d(3, 8, 5, stride=2, padding=2, name="conv").info((10, 3, 32, 32))
    (row,) = info.rows
    assert (row.name, row.layer, row.output_shape) == ("conv", "Conv2d", (10, 8, 16, 16))
    assert row.parameters == info.total.parameters == 608  # MATLAB's: 75 weights each, and a bias
    assert row.flops == 2 * 10 * 16 * 16 * 8 * 75
    assert row.receptive_field == (5, 5)
    assert row.memory >= 4 * (608 + 10 * 2048)
    assert row.algorithm == fastconv.explain((10, 3, 32, 32), (8, 3, 5, 5), stride=2, padding=2).algorithm
    lines = str(info).splitlines()
    assert len({len(line) for line in (lines[1], lines[3])}) == 1
    assert "(10, 8, 16, 16)" in lines[2] and "608" in lines[2] and "5×5" in lines[2]
    assert lines[-1].startswith("total")


def test_info_of_what_is_not_known():
    layer = Conv2d(None, 8, 5)
    (row,) = layer.info().rows
    assert (row.output_shape, row.parameters, row.flops, row.memory, row.algorithm) == ((8, None, None), *[None] * 4)
    (row,) = layer.info((3, None, 9)).rows
    assert (row.output_shape, row.parameters, row.flops) == ((8, None, 5), 608, None)
    assert layer.info((3, 9, 9)).rows[0].flops == 2 * 8 * 25 * 75
    assert layer.weight is None, "info settles nothing"
    assert "–" in str(layer.info())
    assert Conv2d(3, 8, 5, input_shape=(3, 9, 9)).info().rows[0].output_shape == (8, 5, 5)


def test_info_of_a_transposed_layer():
    (row,) = ConvTranspose2d(512, 256, 4, stride=2, padding=1).info((512, 8, 8)).rows
    assert (row.output_shape, row.flops, row.receptive_field) == ((256, 16, 16), 2 * 512 * 256 * 16 * 64, (2, 2))


# States


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_states_in_files(tmp_path, suffix):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    one, other = Conv2d(2, 3, 3, rng=0, bias="he"), Conv2d(2, 3, 3, rng=1)
    one.save(tmp_path / f"layer{suffix}")
    other.load(tmp_path / f"layer{suffix}")
    for name, array in one.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], array)
    assert list(one.state_dict()) == ["weight", "bias"]


def test_a_state_is_a_copy():
    layer = Conv2d(2, 3, 3)
    state = layer.state_dict()
    state["weight"][...] = 0
    assert layer.weight.value.any()
    layer.load_state_dict(state)
    state["weight"][...] = 1
    assert not layer.weight.value.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("bias"), "no 'bias'"),
        (lambda state: state.update(scale=np.ones(3)), "'scale' is no parameter here"),
        (lambda state: state.update(weight=np.ones((3, 2, 3))), r"'weight' has shape \(3, 2, 3\)"),
        (lambda state: state.update(weight=np.ones((3, 2, 3, 3), int)), "'weight' has dtype int"),
    ],
)
def test_a_bad_state_leaves_the_layer_as_it_was(change, message):
    layer = Conv2d(2, 3, 3)
    before = layer.state_dict()
    state = Conv2d(2, 3, 3).state_dict()
    change(state)
    with pytest.raises((ValueError, TypeError), match=message):
        layer.load_state_dict(state)
    for name, array in before.items():
        np.testing.assert_array_equal(layer.state_dict()[name], array)


# Names


def test_a_layer_that_stands_alone_has_a_name_of_its_own():
    names = {Conv2d(1, 1, 1).name for _ in range(20)}
    assert len(names) == 20 and all(name.startswith("conv2d_") for name in names)
    assert Conv2d(1, 1, 1, name="edges").name == "edges"
    assert Conv2d(1, 1, 1, name="only here {}").name == "only here 1"
    assert Conv2d(1, 1, 1, name="only here {}").name == "only here 2"


@pytest.mark.parametrize("name", ["", "a.b", "{:.1f}", "conv{x}", "conv{", "{}{}", "{:s}", "{0.real.x}", "{[0]}"])
def test_names_that_are_none(name):
    with pytest.raises(ValueError, match="name="):
        Conv2d(1, 1, 1, name=name)


# Numbers published with other systems


def test_fleuret_parameters():
    shapes = {name: parameter.shape for name, parameter in Conv2d(4, 5, (2, 3)).named_parameters()}
    assert shapes == {"weight": (5, 4, 2, 3), "bias": (5,)}


def test_matlab_parameters():
    layer = Conv2d(None, 8, 5, stride=2, padding=2)
    assert layer(np.ones((3, 32, 32))).size == 2048
    assert sum(parameter.size for parameter in layer.parameters()) == (5 * 5 * 3 + 1) * 8 == 608


def test_lasagne_autoencoder():
    encoder = Conv2d(1, 8, 3, stride=2, padding=2)
    assert encoder.output_shape((1, 32, 32)) == (8, 17, 17)
    decoder = ConvTranspose2d(8, 1, 3, stride=2, padding=2, weight=encoder.weight)
    assert decoder.output_shape((8, 17, 17)) == (1, 31, 31)
    decoder = ConvTranspose2d(8, 1, 3, stride=2, padding=2, weight=encoder.weight, output_size=32)
    assert decoder.output_shape((8, 17, 17)) == (1, 32, 32)
