"""Gradients: to the bit on small integers, by central differences, as adjoints, of every argument and type."""

import inspect
import tracemalloc

import numpy as np
import pytest
from differences import assert_equal, numerical
from hypothesis import given
from hypothesis import strategies as st
from strategies import DIRECT_SUMS, NUMPY_MODES, cases, gradients_witness, integers, relaid, transposed_cases, witness

import fastconv
from fastconv import _blocks, _grad_input
from fastconv._activations import TABLE as ACTIVATIONS
from fastconv._padding import AxisMap


@pytest.mark.parametrize("algorithm", DIRECT_SUMS)
@given(cases(), st.integers(0, 99))
def test_every_algorithm_to_the_bit(algorithm, case, seed):
    grad_output = integers(witness(case).shape, case.x.dtype, seed)
    gradients = fastconv.conv_backward(
        grad_output, case.x, case.weight, case.bias, **case.arguments, algorithm=algorithm
    )
    assert_equal(gradients, gradients_witness(case, grad_output))


@given(st.data(), cases(), st.integers(0, 99))
def test_channels_last_and_any_strides(data, case, seed):
    rank = case.weight.ndim - 2
    grad_output = integers(witness(case).shape, case.x.dtype, seed)
    grad_x, *others = gradients_witness(case, grad_output)
    gradients = fastconv.conv_backward(
        data.draw(relaid(np.moveaxis(grad_output, -rank - 1, -1))),
        data.draw(relaid(np.moveaxis(case.x, -rank - 1, -1))),
        data.draw(relaid(case.weight)),
        case.bias,
        **case.arguments,
        data_format="channels_last",
    )
    assert_equal(gradients, (np.moveaxis(grad_x, -rank - 1, -1), *others))


@given(st.data(), transposed_cases(), st.integers(0, 99))
def test_transposed_to_the_bit(data, drawn, seed):
    case, y = drawn
    rank = case.weight.ndim - 2
    grad_output = integers(y.shape, y.dtype, seed)
    last = data.draw(st.booleans())
    to = (-rank - 1, -1 if last else -rank - 1)
    arguments = case.arguments | {"data_format": "channels_last" if last else "channels_first"}
    grad_x, grad_weight, grad_bias = fastconv.conv_transpose_backward(
        data.draw(relaid(np.moveaxis(grad_output, *to))),
        data.draw(relaid(np.moveaxis(case.x, *to))),
        data.draw(relaid(case.weight)),
        case.bias,
        **arguments,
    )
    # the forward convolution takes grad_output to grad_x, and its gradient at x is that of the weight
    forward = case._replace(
        x=grad_output, bias=None, arguments={k: v for k, v in case.arguments.items() if k != "output_size"}
    )
    np.testing.assert_array_equal(np.moveaxis(grad_x, *to[::-1]), witness(forward))
    np.testing.assert_array_equal(grad_weight, gradients_witness(forward, case.x)[1])
    if case.bias is not None:
        flat = grad_output.reshape(-1, *grad_output.shape[-rank - 1 :])
        np.testing.assert_array_equal(grad_bias, flat.sum(0 if case.bias.ndim > 1 else (0, *range(2, rank + 2))))
    else:
        assert grad_bias is None


def test_transposed_with_more_output_padding_than_stride():
    x, weight = integers((2, 3), "float64", 0), integers((2, 1, 2), "float64", 1)
    for padding in (0, 1, ((0, 2),), ((4, 0),)):
        arguments = {"dilation": 4, "stride": 2, "padding": padding, "output_padding": 3}
        y = fastconv.conv_transpose1d(x, weight, **arguments)
        grad_output = integers(y.shape, "float64", 2)
        grad_x, grad_weight, _ = fastconv.conv_transpose_backward(grad_output, x, weight, **arguments)
        assert grad_x.shape == x.shape
        # y is linear in both
        assert np.vdot(grad_x, x) == np.vdot(grad_weight, weight) == np.vdot(y, grad_output)
        one = np.zeros_like(x)
        for at in np.ndindex(x.shape):
            one[at] = 1
            assert grad_x[at] == np.vdot(fastconv.conv_transpose1d(one, weight, **arguments), grad_output)
            one[at] = 0


@given(cases(), st.integers(0, 99))
def test_adjoints(case, seed):
    arguments = case.arguments | {"padding_value": 0.0}
    y = fastconv.conv(case.x, case.weight, **arguments)
    grad_output = integers(y.shape, y.dtype, seed)
    grad_x, grad_weight, _ = fastconv.conv_backward(grad_output, case.x, case.weight, **arguments)
    expected = np.vdot(y.astype("float64"), grad_output)
    assert np.vdot(case.x.astype("float64"), grad_x) == expected
    assert np.vdot(case.weight.astype("float64"), grad_weight) == expected


SMOOTH = {name for name in ACTIVATIONS if name in ("sigmoid", "tanh", "silu", "gelu")}
CUBE = (lambda y: y**3, lambda y: 3 * y**2)


@pytest.mark.parametrize("activation", [None, *sorted(SMOOTH), CUBE])
@pytest.mark.parametrize("mode", NUMPY_MODES)
@pytest.mark.parametrize("untied", [False, True])
def test_central_differences(untied, mode, activation):
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, 4, 5, 4)) / 2, rng.standard_normal((4, 2, 3, 2)) / 2
    arguments = {"stride": (1, 2), "padding": ((2, 1), (0, 5)), "dilation": (2, 1), "groups": 2, "padding_mode": mode}
    if mode == "constant":
        arguments["padding_value"] = 0.5
    shape = fastconv.conv_output_shape(x.shape, weight.shape, **arguments)
    bias, grad_output = rng.standard_normal(shape[1:] if untied else 4) / 2, rng.standard_normal(shape)

    def loss():
        return np.vdot(fastconv.conv2d(x, weight, bias, **arguments, activation=activation), grad_output)

    gradients = fastconv.conv_backward(grad_output, x, weight, bias, **arguments, activation=activation)
    for gradient, array in zip(gradients, (x, weight, bias), strict=True):
        wanted = numerical(loss, array, 1e-4)
        assert np.abs(gradient - wanted).max() <= 1e-6 * np.abs(wanted).max()


@pytest.mark.parametrize("activation", [None, *sorted(SMOOTH), CUBE])
@pytest.mark.parametrize("untied", [False, True])
def test_central_differences_transposed(untied, activation):
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, 4, 3, 4)) / 2, rng.standard_normal((4, 2, 3, 2)) / 2
    arguments = {"stride": (2, 3), "padding": ((2, 1), 1), "output_padding": (1, 2), "dilation": (1, 2), "groups": 2}
    shape = fastconv.conv_transpose_output_shape(x.shape, weight.shape, **arguments)
    bias, grad_output = rng.standard_normal(shape[1:] if untied else 4) / 2, rng.standard_normal(shape)

    def loss():
        return np.vdot(fastconv.conv_transpose2d(x, weight, bias, **arguments, activation=activation), grad_output)

    gradients = fastconv.conv_transpose_backward(grad_output, x, weight, bias, **arguments, activation=activation)
    for gradient, array in zip(gradients, (x, weight, bias), strict=True):
        wanted = numerical(loss, array, 1e-4)
        assert np.abs(gradient - wanted).max() <= 1e-6 * np.abs(wanted).max()


@pytest.mark.parametrize("needs", list(np.ndindex(2, 2, 2)))
def test_needs(needs):
    needs = tuple(map(bool, needs))
    x, weight, bias = integers((2, 3, 9), "float32", 0), integers((4, 3, 3), "float32", 1), integers(4, "float32", 2)
    grad_output = integers((2, 4, 7), "float32", 3)
    everything = fastconv.conv_backward(grad_output, x, weight, bias)
    some = fastconv.conv_backward(grad_output, x, weight, bias, needs=needs)
    assert_equal(some, [gradient if need else None for gradient, need in zip(everything, needs, strict=True)])
    assert_equal(fastconv.conv_backward(grad_output, x, weight, needs=needs), [*some[:2], None])


def test_arguments_are_those_of_the_forward_functions():
    for backward, forward in (
        (fastconv.conv_backward, fastconv.conv),
        (fastconv.conv_transpose_backward, fastconv.conv_transpose),
    ):
        names = list(inspect.signature(forward).parameters)
        assert list(inspect.signature(backward).parameters) == ["grad_output", *names[:-1], "needs"]
    x, weight, bias = integers((1, 2, 9, 9), "float64", 0), integers((4, 1, 3, 3), "float64", 1), np.ones(4)
    grad_output = integers((1, 4, 3, 3), "float64", 2)
    assert_equal(
        fastconv.conv_backward(grad_output, x, weight, bias, 2, 1, 3, 2),
        fastconv.conv_backward(grad_output, x, weight, bias, stride=2, padding=1, dilation=3, groups=2),
    )
    x, weight, bias = integers((1, 2, 5, 5), "float64", 0), integers((2, 3, 3, 3), "float64", 1), np.ones(6)
    grad_output = integers((1, 6, 14, 14), "float64", 2)
    named = {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2, "dilation": 3}
    assert_equal(
        fastconv.conv_transpose_backward(grad_output, x, weight, bias, 2, 1, 1, 2, 3),
        fastconv.conv_transpose_backward(grad_output, x, weight, bias, **named),
    )


@pytest.mark.parametrize("dtype", ["float16", "int8", "int64", ">f4", ">f8", "bool"])
def test_types(dtype):
    arrays = [integers(shape, "int8", i) for i, shape in enumerate([(2, 4, 7), (2, 3, 9), (4, 3, 3), (4,)])]
    converted = [array.astype(dtype) for array in arrays]
    computed = "float64" if dtype in ("int64", ">f8") else "float32"
    expected = fastconv.conv_backward(*(array.astype(computed) for array in converted))
    assert_equal(fastconv.conv_backward(*converted), expected)
    # grad_output has no say
    assert_equal(fastconv.conv_backward(converted[0].astype("float64"), *converted[1:]), expected)


@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 3)])
@pytest.mark.parametrize("mode", NUMPY_MODES)
def test_batch_axes(mode, batch):
    x, weight = integers((*batch, 2, 8, 9), "float32", 0), integers((3, 2, 3, 3), "float32", 1)
    arguments = {"padding": 4, "stride": 2, "padding_mode": mode}
    grad_output = integers((*batch, 3, 7, 8), "float32", 2)
    bias = np.ones((3, 7, 8), "float32")
    grad_x, grad_weight, grad_bias = fastconv.conv_backward(grad_output, x, weight, bias, **arguments)
    sums = [np.zeros_like(weight), np.zeros_like(bias)]
    for entry in np.ndindex(batch):
        one, *others = fastconv.conv_backward(grad_output[entry], x[entry], weight, bias, **arguments)
        np.testing.assert_array_equal(grad_x[entry], one)
        sums = [total + other for total, other in zip(sums, others, strict=True)]
    assert_equal((grad_weight, grad_bias), sums)


@pytest.mark.parametrize(
    ("shape", "mode"),
    [*[((*batch, 3, 8, 8), mode) for batch in [(0,), (2, 0)] for mode in NUMPY_MODES], ((2, 3, 0, 8), "constant")],
)
def test_what_is_empty_has_gradients_of_zeros(shape, mode):
    x, weight, bias = np.ones(shape, "float32"), np.ones((4, 3, 3, 3), "float32"), np.ones(4, "float32")
    arguments = {"padding": "same", "padding_mode": mode, "activation": "relu"}
    y = fastconv.conv2d(x, weight, bias, **arguments)
    assert y.size == 0
    gradients = fastconv.conv_backward(y, x, weight, bias, **arguments)
    assert_equal(gradients, [np.zeros_like(array) for array in (x, weight, bias)])
    if mode == "constant":
        weight, bias = weight[:3], bias[:3]
        y = fastconv.conv_transpose2d(x, weight, bias, padding="same")
        gradients = fastconv.conv_transpose_backward(y, x, weight, bias, padding="same", activation="relu")
        assert_equal(gradients, [np.zeros_like(array) for array in (x, weight, bias)])


def test_an_empty_axis_is_all_padding():
    x, weight = np.ones((2, 3, 0, 4), "float32"), np.ones((5, 3, 2, 2), "float32")
    grad_output = integers((2, 5, 1, 5), "float32", 0)
    gradients = fastconv.conv_backward(grad_output, x, weight, padding=1, padding_value=2.0)
    expected = np.broadcast_to(2 * grad_output.sum((0, 2, 3)).reshape(5, 1, 1, 1), weight.shape)
    assert gradients[0].shape == x.shape
    np.testing.assert_array_equal(gradients[1], expected)


@pytest.mark.parametrize("mode", NUMPY_MODES)
def test_what_no_position_covers_has_no_gradient(mode):
    x, weight = np.ones((1, 20)), np.ones((1, 1, 2))
    grad_x, _, _ = fastconv.conv_backward(np.ones((1, 4)), x, weight, stride=5, padding=((1, 0),), padding_mode=mode)
    covered = np.zeros((1, 20))
    covered[0, [0, 4, 5, 9, 10, 14, 15]] = 1
    at = {"replicate": 0, "symmetric": 0, "reflect": 1, "circular": 19}.get(mode)
    if at is not None:
        covered[0, at] += 1
    np.testing.assert_array_equal(grad_x, covered)


@pytest.mark.parametrize("mode", [mode for mode in NUMPY_MODES if mode != "constant"])
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("pads", [(0, 0), (500, 0), (0, 1000), (301, 299), (2, 1)])
@pytest.mark.parametrize("stride", [1, 7, 600])
def test_pads_much_wider_than_the_input(stride, pads, size, mode):
    x, weight = integers((1, size), "float64", 0), integers((1, 1, 2 if sum(pads) else 1), "float64", 1)
    arguments = {"padding": (pads,), "padding_mode": mode, "stride": stride}
    y = fastconv.conv1d(x, weight, **arguments)
    grad_output = integers(y.shape, "float64", 2)
    grad_x, _, _ = fastconv.conv_backward(grad_output, x, weight, **arguments)
    for at in range(size):
        one = np.eye(size)[at : at + 1]
        assert grad_x[0, at] == np.vdot(fastconv.conv1d(one, weight, **arguments), grad_output)


def test_pads_without_end():
    x, weight = integers((1, 5), "float64", 0), integers((1, 1, 3), "float64", 1)
    for mode in NUMPY_MODES:
        arguments = {"padding": ((10**15, 10**15),), "padding_mode": mode, "stride": 2 * 10**15 + 3}
        y = fastconv.conv1d(x, weight, **arguments)
        grad_x, _, _ = fastconv.conv_backward(np.ones_like(y), x, weight, **arguments)
        assert np.vdot(grad_x, x) == y.sum()


def test_the_inverse_of_a_map_is_a_sum_in_short_chains():
    axis_map = AxisMap("replicate", 10**5, 3, 10**5 + 4)
    inverse = axis_map.inverse
    np.testing.assert_array_equal(inverse.elements, [0, 2])
    border = np.ones(10**5 + 4)[inverse.positions]
    for sums in inverse.sums:
        assert np.diff(np.append(sums, len(border))).max() <= 128
        border = np.add.reduceat(border, sums)
    np.testing.assert_array_equal(border, [10**5, 1])
    assert AxisMap("circular", 2, 9, 12).inverse.sums == ()


@given(cases(most=(60, 12, 7)), st.integers(0, 99), st.sampled_from([64, 256, 1024, 4096]))
def test_few_images_at_a_time(case, seed, limit):
    grad_output = integers(witness(case).shape, case.x.dtype, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_grad_input, "LIMIT", limit)
        grad_x, _, _ = fastconv.conv_backward(grad_output, case.x, case.weight, **case.arguments)
    np.testing.assert_array_equal(grad_x, gradients_witness(case, grad_output)[0])


@given(
    cases(dtypes=("float32",)),
    st.integers(0, 99),
    st.sampled_from(["float16", ">f4", "int16"]),
    st.sampled_from([64, 256, 1024, 4096]),
)
def test_conversions_in_blocks(case, seed, dtype, limit):
    grad_output = integers(witness(case).shape, dtype, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_blocks, "LIMIT", limit)
        gradients = fastconv.conv_backward(
            grad_output, case.x.astype(dtype), case.weight.astype(dtype), case.bias, **case.arguments
        )
    assert_equal(gradients, gradients_witness(case, grad_output.astype("float32")))


@given(transposed_cases(dtypes=("float32",)), st.integers(0, 99), st.sampled_from([64, 256, 1024, 4096]))
def test_conversions_in_blocks_transposed(drawn, seed, limit):
    case, y = drawn
    grad_output = integers(y.shape, "int16", seed)
    expected = fastconv.conv_transpose_backward(
        grad_output.astype("float32"), case.x, case.weight, case.bias, **case.arguments
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_blocks, "LIMIT", limit)
        gradients = fastconv.conv_transpose_backward(
            grad_output, case.x.astype("int16"), case.weight.astype("int16"), case.bias, **case.arguments
        )
    assert_equal(gradients, expected)


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_long_sums(dtype, data_format):
    # equal numbers are the worst: every rounding goes the same way
    bound = {"float32": 1e-5, "float64": 1e-13}[dtype]
    to = (1, -1 if data_format == "channels_last" else 1)
    number = np.array(0.1, dtype)
    grad_output = np.moveaxis(np.broadcast_to(number, (3, 2, 150, 1000)), *to)
    x = grad_output[..., :1] if to[1] < 0 else grad_output[:, :1]
    weight, bias = np.ones((2, 1, 1, 1), dtype), np.ones(2, dtype)
    _, _, grad_bias = fastconv.conv_backward(
        grad_output, x, weight, bias, data_format=data_format, needs=(False, False, True)
    )
    exact = 450_000 * np.longdouble(number)
    assert np.all(abs(grad_bias - exact) <= bound * exact)
    # padding of one element by many
    x, weight = np.ones((1, 1, 3), dtype), np.array([[[0.3]]], dtype)
    arguments = {"padding": 10**5, "padding_mode": "replicate", "precision": "strict"}
    grad_x, _, _ = fastconv.conv_backward(np.broadcast_to(number, (1, 1, 2 * 10**5 + 3)), x, weight, **arguments)
    exact = np.longdouble(number) * weight[0, 0, 0] * np.array([10**5 + 1, 1, 10**5 + 1], np.longdouble)
    assert np.all(abs(grad_x - exact) <= bound * exact)
    grad_output, weight = np.full((512, 3, 3), 0.1, dtype), np.full((512, 1, 3, 3), 0.3, dtype)
    grad_x, _, _ = fastconv.conv_backward(
        grad_output, np.ones((1, 5, 5), dtype), weight, precision="strict", needs=(True, False, False)
    )
    exact = 4608 * np.longdouble(number) * np.longdouble(weight[0, 0, 0, 0])
    assert abs(grad_x[0, 2, 2] - exact) <= bound * exact


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("mode", NUMPY_MODES)
def test_what_is_not_finite_goes_where_it_is_used(mode, dtype):
    x, weight = integers((2, 4, 9, 9), dtype, 0), integers((6, 2, 3, 3), dtype, 1)
    weight[weight == 0] = 1
    grad_output = integers((2, 6, 11, 11), dtype, 2)
    for bad in (np.nan, np.inf):
        grad_output[1, 4, 6, 7] = bad  # in the second group
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_blocks, "LIMIT", 1024)
            grad_x, grad_weight, grad_bias = fastconv.conv_backward(
                grad_output, x, weight, np.ones(6), padding=2, padding_mode=mode, groups=2, activation=None
            )
        reached = np.zeros(x.shape, bool)
        reached[1, 2:, 4:7, 5:8] = True
        np.testing.assert_array_equal(np.isfinite(grad_x), ~reached)
        np.testing.assert_array_equal(np.isfinite(grad_weight).all((1, 2, 3)), np.arange(6) != 4)
        np.testing.assert_array_equal(np.isfinite(grad_bias), np.arange(6) != 4)
    grad_output[1, 4, 6, 8] = -np.inf
    for name in ACTIVATIONS:
        fastconv.conv_backward(
            grad_output * 1000, x * 1000, weight, padding=2, padding_mode=mode, groups=2, activation=name
        )


@pytest.mark.parametrize("mode", NUMPY_MODES)
def test_number_of_threads(mode):
    rng = np.random.default_rng(0)
    x, weight = (rng.standard_normal(shape).astype("float32") for shape in [(3, 16, 25, 31), (24, 16, 3, 3)])
    arguments = {"padding": 2, "stride": 2, "padding_mode": mode, "activation": "silu"}
    grad_output = rng.standard_normal((3, 24, 14, 17)).astype("float32")
    with fastconv.num_threads(1):
        alone = fastconv.conv_backward(grad_output, x, weight, np.ones(24), **arguments)
    for threads in (2, 3):
        with fastconv.num_threads(threads):
            assert_equal(fastconv.conv_backward(grad_output, x, weight, np.ones(24), **arguments), alone)


def test_gradients_of_padding_are_not_as_large_as_the_batch():
    x, weight = np.ones((200, 4, 100, 100), "float32"), np.ones((1, 4, 3, 3), "float32")
    arguments = {"padding": 1, "padding_mode": "reflect", "needs": (True, False, False)}
    grad_output = np.ones((200, 1, 100, 100), "float32")
    fastconv.conv_backward(grad_output, x, weight, **arguments)
    tracemalloc.start()
    fastconv.conv_backward(grad_output, x, weight, **arguments)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < x.nbytes + 2 * _grad_input.LIMIT


X, WEIGHT, GRAD = np.ones((2, 6, 9, 8), "float32"), np.ones((4, 6, 3, 3), "float32"), np.ones((2, 4, 7, 6), "float32")

ERRORS = [
    ({"grad_output": GRAD[1:]}, ValueError, r"grad_output has shape \(1, 4, 7, 6\); wanted .* \(2, 4, 7, 6\)"),
    ({"stride": 2}, ValueError, r"grad_output has shape \(2, 4, 7, 6\); wanted .* \(2, 4, 4, 3\)"),
    ({"x": X.astype("complex64")}, TypeError, r"x has dtype complex64; wanted real numbers"),
    ({"weight": WEIGHT.astype("complex128")}, TypeError, r"weight has dtype complex128; wanted real numbers"),
    ({"grad_output": GRAD.astype("complex64")}, TypeError, r"grad_output has dtype complex64; wanted real"),
    ({"bias": np.ones(4, "complex64")}, TypeError, r"bias has dtype complex64; wanted real"),
    ({"grad_output": GRAD.astype(str)}, TypeError, r"grad_output has dtype <U"),
    ({"grad_output": None}, TypeError, r"grad_output has dtype object"),
    ({"bias": np.ones(3)}, ValueError, r"bias has shape \(3,\)"),
    ({"needs": True}, TypeError, r"needs=True; wanted three bools"),
    ({"needs": (1, 1, 1)}, TypeError, r"needs=\(1, 1, 1\); wanted three bools"),
    ({"needs": (True, True)}, ValueError, r"needs=\(True, True\) has 2 entries; wanted three bools"),
    ({"groups": 4}, ValueError, r"groups=4 does not divide in_channels=6"),
    ({"padding_mode": "reflected"}, ValueError, r"padding_mode='reflected' is unknown"),
    ({"activation": "relu7"}, ValueError, r"activation='relu7' is unknown"),
    ({"activation": (abs,)}, TypeError, r"activation=.*a pair must be two callables"),
]


@pytest.mark.parametrize(("changed", "error", "message"), ERRORS, ids=[row[2] for row in ERRORS])
def test_errors(changed, error, message):
    with pytest.raises(error, match=message):
        fastconv.conv_backward(**{"grad_output": GRAD, "x": X, "weight": WEIGHT} | changed)


def test_errors_transposed():
    x, weight = GRAD, WEIGHT
    with pytest.raises(ValueError, match=r"grad_output has shape \(2, 4, 7, 6\); wanted .* \(2, 6, 9, 8\)"):
        fastconv.conv_transpose_backward(GRAD, x, weight)
    with pytest.raises(ValueError, match=r"groups=3 does not divide in_channels=4"):
        fastconv.conv_transpose_backward(X, x, weight, groups=3)
    with pytest.raises(TypeError, match=r"x has dtype complex64; wanted real numbers"):
        fastconv.conv_transpose_backward(X, x.astype("complex64"), weight)


def test_nothing_is_allocated_first():
    x = np.broadcast_to(np.int8(1), (64, 64, 1000, 1000))
    weight = np.broadcast_to(np.float32(1), (512, 64, 101, 101))
    for wrong in ({"stride": 0}, {"groups": 3}, {"bias": np.ones(3)}, {"needs": 1}, {"activation": abs}, {}):
        tracemalloc.start()
        with pytest.raises((ValueError, TypeError)):
            fastconv.conv_backward(np.ones(3), x, weight, **wrong)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2**20
