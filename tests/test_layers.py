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
