"""Transposed convolutions: the adjoint to the bit, sizes and what is cropped, plans, errors."""

import inspect
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import DIRECT_SUMS, integers, relaid, transposed_cases

import fastconv
from fastconv import _blocks


@pytest.mark.parametrize("algorithm", DIRECT_SUMS)
@given(transposed_cases())
def test_every_algorithm_to_the_bit(algorithm, drawn):
    case, expected = drawn
    y = fastconv.conv_transpose(case.x, case.weight, case.bias, **case.arguments, algorithm=algorithm)
    assert y.dtype == case.x.dtype
    np.testing.assert_array_equal(y, expected)


@given(st.data(), transposed_cases())
def test_plans_channels_last_and_any_strides(data, drawn):
    case, expected = drawn
    last = data.draw(st.booleans())
    axes = (-case.weight.ndim + 1, -1 if last else -case.weight.ndim + 1)
    expected = np.moveaxis(expected, *axes)
    arguments = case.arguments | {"data_format": "channels_last" if last else "channels_first"}
    x = data.draw(relaid(np.moveaxis(case.x, *axes)))
    out = data.draw(relaid(np.full_like(expected, np.nan)))
    add = data.draw(relaid(integers(expected.shape, expected.dtype, 0)))
    assert fastconv.conv_transpose(x, case.weight, case.bias, **arguments, out=out) is out
    np.testing.assert_array_equal(out, expected)
    plan = fastconv.plan(data.draw(relaid(case.weight)), case.bias, **arguments, transposed=True)
    for _ in range(2):  # the second time from what the first one prepared
        np.testing.assert_array_equal(plan(x), expected)
        assert plan(x, out, add=add) is out
        np.testing.assert_array_equal(out, expected + add)
    with_shape = fastconv.plan(case.weight, case.bias, **arguments, transposed=True, input_shape=x.shape)
    np.testing.assert_array_equal(with_shape(x), expected)


def test_arguments_stand_in_the_order_of_pytorch():
    names = list(inspect.signature(fastconv.conv_transpose2d).parameters)
    assert names[:8] == ["x", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation"]
    for function in (fastconv.conv_transpose1d, fastconv.conv_transpose3d, fastconv.conv_transpose):
        assert inspect.signature(function) == inspect.signature(fastconv.conv_transpose2d)
    shape_names = list(inspect.signature(fastconv.conv_transpose_output_shape).parameters)
    assert shape_names == ["input_shape", "weight_shape", *names[3:-1]]
    x, w, b = integers((1, 2, 5, 5), "float64", 0), integers((2, 3, 3, 3), "float64", 1), np.arange(6.0)
    y = fastconv.conv_transpose2d(x, w, b, 2, 1, 1, 2, 3)
    named = {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2, "dilation": 3}
    np.testing.assert_array_equal(y, fastconv.conv_transpose2d(x, w, b, **named))
    assert y.shape == fastconv.conv_transpose_output_shape(x.shape, w.shape, 2, 1, 1, 2, 3)


def test_each_function_has_its_rank():
    functions = [fastconv.conv_transpose1d, fastconv.conv_transpose2d, fastconv.conv_transpose3d]
    for rank, function in enumerate(functions, start=1):
        x, weight = np.ones((1, *[1] * rank)), integers((1, 2, *[3] * rank), "float64", 0)
        np.testing.assert_array_equal(function(x, weight), weight[0])
        np.testing.assert_array_equal(fastconv.conv_transpose(x, weight), weight[0])
        with pytest.raises(ValueError, match=rf"weight has {rank + 3} axes .*\(in_channels, out_channels // groups"):
            function(x[..., None], weight[..., None])


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("dilation", [1, 2, 4])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [1, 2, 7])
def test_sizes(size, kernel, dilation, stride):
    x, weight = integers((1, size), "float64", 0), integers((1, 1, kernel), "float64", 1)
    arguments = {"stride": stride, "dilation": dilation}
    reach = dilation * (kernel - 1) + 1
    full = np.zeros((1, (size - 1) * stride + reach))
    for at in range(size):
        for tap in range(kernel):
            full[0, at * stride + tap * dilation] += x[0, at] * weight[0, 0, tap]
    np.testing.assert_array_equal(fastconv.conv_transpose1d(x, weight, **arguments), full)
    for extra in range(max(stride, dilation)):
        longer = np.pad(full, ((0, 0), (0, extra)))
        y = fastconv.conv_transpose1d(x, weight, **arguments, padding="valid", output_padding=extra)
        np.testing.assert_array_equal(y, longer)
        y = fastconv.conv_transpose1d(x, weight, **arguments, output_size=full.shape[1] + extra)
        np.testing.assert_array_equal(y, longer)
        for before, after in [(1, 0), (0, 1), (2, 3), (7, 0), (0, 7)]:
            if before + after <= longer.shape[1]:
                y = fastconv.conv_transpose1d(x, weight, **arguments, padding=((before, after),), output_padding=extra)
                np.testing.assert_array_equal(y, longer[:, before : longer.shape[1] - after])
    y = fastconv.conv_transpose1d(x, weight, **arguments, padding="same")
    cropped = max(0, full.shape[1] - size * stride)
    extended = np.pad(full, ((0, 0), (0, max(0, size * stride - full.shape[1]))))
    np.testing.assert_array_equal(y, extended[:, cropped // 2 : cropped // 2 + size * stride])
    if full.shape[1] >= 2 * (reach - 1):
        y = fastconv.conv_transpose1d(x, weight, **arguments, padding="full")
        np.testing.assert_array_equal(y, full[:, reach - 1 : full.shape[1] - reach + 1])


@given(
    st.integers(1, 40),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(1, 4),
    st.sampled_from(["valid", "same", "full", 1, ((0, 2),)]),
)
def test_the_size_of_a_forward_convolution_is_reachable(size, kernel, stride, dilation, padding):
    arguments = {"stride": stride, "dilation": dilation, "padding": padding}
    try:
        out = fastconv.conv_output_shape((1, size), (1, 1, kernel), **arguments)
    except ValueError:  # the kernel is longer than what there is
        return
    assert fastconv.conv_transpose_output_shape(out, (1, 1, kernel), **arguments, output_size=size) == (1, size)


@pytest.mark.parametrize(
    ("arguments", "least", "most"),
    [
        ({"stride": 3}, 14, 16),
        ({"stride": 3, "padding": 1}, 12, 14),
        ({"stride": 2, "dilation": 4}, 13, 16),
        ({"stride": 3, "padding": "same"}, 13, 17),
        ({}, 6, 6),
        ({"padding": 3}, 0, 0),
    ],
)
def test_unreachable_sizes(arguments, least, most):
    x, weight = np.ones((1, 5)), np.ones((1, 1, 2))
    for size in range(least, most + 1):
        assert fastconv.conv_transpose1d(x, weight, **arguments, output_size=size).shape == (1, size)
    wanted = f"{least}" if least == most else f"a size from {least} to {most}"
    for size in {max(0, least - 1), most + 1} - {least}:
        with pytest.raises(ValueError, match=rf"output_size has {size} .*axis 0, where x has size 5; wanted {wanted}"):
            fastconv.conv_transpose1d(x, weight, **arguments, output_size=size)


@pytest.mark.parametrize("algorithm", DIRECT_SUMS)
@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
@pytest.mark.parametrize("untied", [False, True])
@pytest.mark.parametrize("activation", [None, "sigmoid", lambda y: y * y])
def test_what_no_phase_reaches_is_bias(activation, untied, data_format, algorithm):
    x, weight = integers((2, 3, 4, 5), "float32", 0), integers((3, 2, 1, 2), "float32", 1)
    stride = (3, 4)
    bias = integers((2, 12, 20) if untied else 2, "float32", 2)
    add = integers((2, 2, 12, 20), "float32", 3)
    sums = np.zeros((2, 2, 12, 20), "float32")
    for tap in range(2):
        sums[:, :, ::3, tap::4] = np.einsum("nihw,io->nohw", x, weight[:, :, 0, tap])
    sums += bias if untied else bias.reshape(2, 1, 1)
    function = {None: lambda y: y, "sigmoid": lambda y: 1 / (1 + np.exp(-y))}.get(activation, activation)
    to = (1, -1 if data_format == "channels_last" else 1)
    arguments = {"stride": stride, "padding": "same", "activation": activation, "data_format": data_format}
    y = fastconv.conv_transpose(np.moveaxis(x, *to), weight, bias, **arguments, algorithm=algorithm)
    np.testing.assert_allclose(y, np.moveaxis(function(sums), *to), rtol=1e-6)
    plan = fastconv.plan(weight, bias, **arguments, algorithm=algorithm, transposed=True)
    y = plan(np.moveaxis(x, *to), add=np.moveaxis(add, *to))
    np.testing.assert_allclose(y, np.moveaxis(function(sums + add), *to), rtol=1e-6)


@pytest.mark.parametrize("algorithm", DIRECT_SUMS)
@given(st.data(), st.integers(1, 7), st.integers(1, 5), st.integers(1, 2), st.integers(0, 3), st.booleans())
def test_one_channel_is_as_one_of_two(algorithm, data, taps, stride, dilation, crop, last):
    """Phases of one channel are computed together where they read the same, those of two channels never are."""
    size = data.draw(st.integers(1, 9))
    arguments = {"stride": (2, stride), "dilation": (1, dilation), "data_format": "channels_first"}
    full = (size - 1) * stride + (taps - 1) * dilation + 1
    arguments["padding"] = (0, (min(crop, full // 2), data.draw(st.integers(0, min(3, full // 2)))))
    x = integers((2, 3, 3, size), "float32", 0)
    weight = integers((3, 2, 3, taps), "float32", 1)
    shape = fastconv.conv_transpose_output_shape(x.shape, weight.shape, **arguments)
    bias = integers((2, *shape[2:]) if data.draw(st.booleans()) else (2,), "float32", 2)
    add = integers(shape, "float32", 3)
    expected = fastconv.plan(weight, bias, **arguments, transposed=True)(x, add=add)[:, :1]
    arguments |= {"flip_kernel": data.draw(st.booleans()), "algorithm": algorithm}
    one = weight[:, :1, ::-1, ::-1] if arguments["flip_kernel"] else weight[:, :1]
    if last:
        arguments["data_format"] = "channels_last"
        x, add, expected = (np.moveaxis(array, 1, -1) for array in (x, add, expected))
        add = add[..., :1]
    else:
        add = add[:, :1]
    out = data.draw(relaid(np.full_like(expected, np.nan)))
    fastconv.plan(one, bias[:1], **arguments, transposed=True)(x, add=data.draw(relaid(add)), out=out)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(("taps", "crop", "together"), [(10, 0, [5]), (10, 2, [2, 1, 2]), (7, 0, [2, 3]), (3, 0, [3])])
def test_which_phases_are_computed_together(taps, crop, together):
    """Those of as many taps and positions that read the same elements."""
    tasks = fastconv.plan(np.ones((4, 1, taps)), stride=5, padding=crop, transposed=True).tasks
    channels = [phase.geometry.convolution.out_channels for phase in tasks.geometry((4, 20)).phases]
    assert channels == together


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_what_no_phase_reaches_is_zero_in_large_arrays(threads):
    """Whose zeros several threads write."""
    x, weight = integers((33, 31, 29), "float32", 0), np.eye(33, dtype="float32")[..., None, None]
    out = np.full((33, 61, 57), np.nan, "float32")
    with fastconv.num_threads(threads):
        fastconv.conv_transpose2d(x, weight, stride=2, out=out)
    np.testing.assert_array_equal(out[:, ::2, ::2], x)
    out[:, ::2, ::2] = 0
    assert not out.any()


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (2, 0, 3, 8, 8)])
def test_empty_batches(shape):
    x, weight = np.ones(shape, "float32"), np.ones((3, 4, 3, 3), "float32")
    y = fastconv.conv_transpose2d(x, weight, stride=2, activation=np.tanh)
    assert y.shape == (*shape[:-3], 4, 17, 17)
    assert y.dtype == np.float32


def test_empty_axes():
    assert fastconv.conv_transpose1d(np.ones((2, 0)), np.ones((2, 3, 3)), stride=2, padding="same").shape == (3, 0)
    assert fastconv.conv_transpose1d(np.ones((2, 1)), np.ones((2, 3, 4)), padding=2).shape == (3, 0)
    with pytest.raises(ValueError, match="x has 0 positions along spatial axis 1; wanted at least 1"):
        fastconv.conv_transpose2d(np.ones((2, 3, 0)), np.ones((2, 3, 3, 3)))


def test_enormous_strides():
    x, weight = integers((2, 1), "float64", 0), integers((2, 3, 4), "float64", 1)
    y = fastconv.conv_transpose1d(x, weight, stride=10**30)
    np.testing.assert_array_equal(y, np.einsum("ij,iok->ok", x, weight))
    y = fastconv.conv_transpose1d(x, weight[:, :, :1], stride=10**30, dilation=10**30)
    np.testing.assert_array_equal(y, np.einsum("ij,iok->ok", x, weight[:, :, :1]))
    with pytest.raises(ValueError, match=r"give an output of shape \(3, 10+4\): .* bytes, more than"):
        fastconv.conv_transpose1d(np.ones((2, 2)), weight, stride=10**30)
    y = fastconv.conv_transpose1d(np.ones((1, 2)), np.ones((1, 1, 1)), stride=10**6)
    assert y.shape == (1, 10**6 + 1)
    assert y.sum() == y[0, 0] + y[0, -1] == 2


def test_crops_without_end():
    # 10 taps, of which the first 9 are cropped, and an end of what is only there because of output_padding
    x, weight = np.ones((1, 1)), np.arange(10.0).reshape(1, 1, 10)
    y = fastconv.conv_transpose1d(x, weight, stride=4, padding=((9, 0),), output_padding=3)
    np.testing.assert_array_equal(y, [[9, 0, 0, 0]])
    y = fastconv.conv_transpose1d(x, weight[..., :2], padding=((6, 0),), dilation=4, output_padding=3)
    np.testing.assert_array_equal(y, [[0, 0]])


@pytest.mark.parametrize("algorithm", DIRECT_SUMS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_receptive_field(algorithm, bad):
    x = integers((2, 4, 6, 7), "float32", 0)
    x[1, 2, 3, 4] = bad
    weight = integers((4, 3, 3, 3), "float32", 1)
    weight[weight == 0] = 1
    y = fastconv.conv_transpose2d(x, weight, stride=2, groups=2, algorithm=algorithm)
    reached = np.zeros(y.shape, bool)
    reached[1, 3:, 6:9, 8:11] = True
    np.testing.assert_array_equal(np.isfinite(y), ~reached)


@pytest.mark.parametrize("dtype", ["float16", "int8", "int64", ">f4", "bool"])
def test_types(dtype):
    x, weight = integers((2, 3, 9), "int8", 0).astype(dtype), integers((3, 4, 3), "int8", 1).astype(dtype)
    y = fastconv.conv_transpose1d(x, weight, stride=2)
    assert y.dtype == {"float16": "float16", "int64": "float64"}.get(dtype, "float32")
    np.testing.assert_array_equal(y, fastconv.conv_transpose1d(x.astype("float64"), weight.astype("float64"), stride=2))


@given(
    st.data(),
    transposed_cases(most=(40, 12, 7)),
    st.sampled_from(["float16", ">f4", "float64", "int16"]),
    st.sampled_from([64, 256, 1024, 4096]),
)
def test_blocks_give_the_bits_of_the_undivided_call(data, drawn, dtype, limit):
    case, expected = drawn
    plan = fastconv.plan(case.weight.astype("float32"), case.bias, **case.arguments, transposed=True)
    add = integers(expected.shape, dtype, 7) if data.draw(st.booleans()) else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_blocks, "LIMIT", limit)
        y = plan(case.x.astype(dtype), add=add)
    np.testing.assert_array_equal(y, expected if add is None else expected + add)


def test_conversions_stay_small():
    x = np.broadcast_to(np.arange(700, dtype="int32") % 7, (2, 4, 600, 700))
    weight = integers((4, 2, 3, 2), "float64", 0)
    plan = fastconv.plan(weight, stride=(2, 3), transposed=True)
    out = np.empty(fastconv.conv_transpose_output_shape(x.shape, weight.shape, stride=(2, 3)))
    plan(x, out)
    tracemalloc.start()
    plan(x, out)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * _blocks.LIMIT
    np.testing.assert_array_equal(out, fastconv.conv_transpose2d(x.astype("float64"), weight, stride=(2, 3)))


def test_nothing_is_stuffed_with_zeros():
    x, weight = np.ones((4, 200, 200), "float32"), np.ones((4, 4, 4, 4), "float32")
    plan = fastconv.plan(weight, [1.0] * 4, stride=3, padding=1, activation="relu", transposed=True)
    out = plan(x)
    plan(x, out)
    tracemalloc.start()
    plan(x, out)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**16


def test_complex_numbers():
    rng = np.random.default_rng(0)
    x, weight, bias = (
        rng.integers(-4, 5, (*shape, 2)) @ [1, 1j] for shape in [(2, 3, 5, 6), (3, 2, 3, 3), (2, 10, 12)]
    )
    arguments = {"stride": 2, "padding": "same"}
    y = fastconv.conv_transpose2d(x, weight, bias, **arguments)
    real = fastconv.conv_transpose2d(x.real, weight.real, bias.real, **arguments)
    real = real - fastconv.conv_transpose2d(x.imag, weight.imag, **arguments)
    np.testing.assert_array_equal(y.real, real)
    imag = fastconv.conv_transpose2d(x.real, weight.imag, bias.imag, **arguments)
    imag = imag + fastconv.conv_transpose2d(x.imag, weight.real, **arguments)
    np.testing.assert_array_equal(y.imag, imag)
    out = np.empty_like(y)
    assert fastconv.conv_transpose2d(x, weight, bias, **arguments, out=out) is out
    np.testing.assert_array_equal(out, y)
    y = fastconv.conv_transpose2d(x.astype("complex64"), weight.real.astype("float32"), activation="tanh")
    assert y.dtype == np.complex64
    np.testing.assert_allclose(y, np.tanh(fastconv.conv_transpose2d(x, weight.real)), rtol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", [None, "gelu"])
def test_number_of_threads_and_batch_slices(activation, dtype):
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((5, 16, 13, 12)).astype(dtype), rng.standard_normal((16, 24, 5, 4)).astype(dtype)
    plan = fastconv.plan(weight, np.ones(24), stride=2, dilation=(1, 2), activation=activation, transposed=True)
    with fastconv.num_threads(1):
        alone = plan(x)
    for threads in (2, 3):
        with fastconv.num_threads(threads):
            np.testing.assert_array_equal(plan(x), alone)
    for part in (slice(0, 1), slice(2, 5), slice(None, None, 2), slice(None, None, -1)):
        np.testing.assert_array_equal(plan(x[part]), alone[part])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_long_sums_are_strict(dtype):
    x, weight = np.full((512, 2, 2), 0.1, dtype), np.full((512, 1, 6, 6), 0.3, dtype)
    y = fastconv.conv_transpose2d(x, weight, stride=2, padding=2, precision="strict")
    products = fastconv.conv_transpose2d(np.ones(x.shape), np.ones(weight.shape), stride=2, padding=2)
    exact = products * np.longdouble(x[0, 0, 0]) * np.longdouble(weight[0, 0, 0, 0])
    assert np.all(abs(y - exact) <= {"float32": 1e-5, "float64": 1e-13}[dtype] * exact)


def test_plans_of_any_size():
    plan = fastconv.plan(np.ones((1, 1, 3)), stride=2, transposed=True)
    for size in range(1, 200):
        y = plan(np.ones((1, size)))
        assert y.shape == (1, 2 * size + 1)
        assert y.sum() == 3 * size
    assert len(plan._recent.noted) <= 16
    assert len(plan.tasks.ready) <= 64
    assert len(plan._packed) <= 8
    assert repr(plan) == "<fastconv.Plan: transposed, weight (1, 1, 3), float64, channels_first>"


def test_input_shape_allows_other_batches_only():
    plan = fastconv.plan(np.ones((2, 4, 3, 3)), stride=2, transposed=True, input_shape=(1, 2, 8, 9))
    assert len(plan._packed) == 1
    for batch in [(), (5,), (2, 3), (0,)]:
        assert plan(np.ones((*batch, 2, 8, 9))).shape == (*batch, 4, 17, 19)
    with pytest.raises(ValueError, match=r"plan was made for .*\(1, 2, 8, 9\)"):
        plan(np.ones((2, 8, 8)))
    with pytest.raises(ValueError, match=r"x has 3 channels.*weight"):
        plan(np.ones((3, 8, 9)))
    assert plan.explain() == plan.explain((1, 2, 8, 9))


def test_many_threads_at_once():
    weight = integers((8, 4, 3, 3), "float32", 0)
    plan = fastconv.plan(weight, stride=2, transposed=True)
    inputs = [integers((2, 8, 5 + i % 7, 6), "float32", i) for i in range(28)]
    expected = [fastconv.conv_transpose2d(x, weight, stride=2, algorithm="reference") for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for y, wanted in zip(pool.map(plan, inputs), expected, strict=True):
            np.testing.assert_array_equal(y, wanted)


def test_explain_tells_of_all_phases():
    plan = fastconv.plan(np.ones((8, 4, 3, 3), "float32"), stride=2, transposed=True)
    explanation = plan.explain((8, 14, 14))
    assert explanation.flops == 2 * 8 * 4 * 9 * 14 * 14
    assert explanation.algorithm in ("direct", "im2col", "direct, im2col", "im2col, direct")
    assert explanation.workspace_bytes > 0
    assert f"{explanation.kernel}" in str(explanation)
    for algorithm in DIRECT_SUMS:
        plan = fastconv.plan(np.ones((8, 4, 3, 3)), stride=2, transposed=True, algorithm=algorithm)
        assert plan.explain((8, 14, 14)).algorithm == algorithm
    nothing = fastconv.plan(np.ones((1, 1, 1)), dilation=9, padding=((1, 0),), output_padding=3, transposed=True)
    np.testing.assert_array_equal(nothing(np.ones((1, 1))), np.zeros((1, 3)))
    assert nothing.explain((1, 1)).algorithm == "none"


X, WEIGHT = np.ones((2, 6, 5, 4), "float32"), np.ones((6, 2, 3, 3), "float32")

ERRORS = [
    ({"groups": 4}, ValueError, r"groups=4 does not divide in_channels=6"),
    ({"groups": 0}, ValueError, r"groups=0 .*at least 1"),
    ({"x": np.ones((2, 5, 5, 4))}, ValueError, r"x has 5 channels .*weight of shape \(6, 2, 3, 3\) wants 6"),
    ({"x": np.ones((5, 4))}, ValueError, r"x has 2 axes .*at least 3.*weight"),
    ({"data_format": "channels_last"}, ValueError, r"x has 4 channels .*channels_last.*weight"),
    ({"stride": 0}, ValueError, r"stride=0 .*at least 1"),
    ({"dilation": (1, 2, 3)}, ValueError, r"dilation=\(1, 2, 3\) has 3 entries"),
    ({"padding": "sane"}, ValueError, r"padding='sane' is unknown"),
    ({"padding": 4}, ValueError, r"padding crops 4 \+ 4 positions of spatial axis 0, .* size 5 .*weight.* give 7"),
    ({"padding": ((0, 0), (5, 3))}, ValueError, r"padding crops 5 \+ 3 positions of spatial axis 1, where x of size 4"),
    ({"output_padding": 1}, ValueError, r"output_padding=1 has 1 where the stride is 1 and the dilation 1"),
    ({"output_padding": (0, 3), "stride": 2, "dilation": 3}, ValueError, r"output_padding=\(0, 3\) has 3"),
    ({"output_padding": -1}, ValueError, r"output_padding=-1 .*at least 0"),
    ({"output_padding": 1.0}, TypeError, r"output_padding=1\.0 has type float"),
    ({"output_padding": (1, 1, 1)}, ValueError, r"output_padding=\(1, 1, 1\) has 3 entries"),
    ({"output_size": 9}, ValueError, r"output_size has 9 for spatial axis 0, where x has size 5; wanted 7"),
    ({"output_size": (7, 9), "stride": (1, 3)}, ValueError, r"output_size has 9 .*axis 1.*a size from 12 to 14"),
    ({"output_size": (7, 6), "padding": 7}, ValueError, r"output_size has 7 .*wanted nothing: the padding crops all"),
    ({"output_size": (2, 6, 7, 6)}, ValueError, r"output_size=\(2, 6, 7, 6\) has 4 entries"),
    ({"output_size": True}, TypeError, r"output_size=True has type bool"),
    ({"output_size": 8, "output_padding": 1, "stride": 2}, ValueError, r"output_size=8 with output_padding=1"),
    ({"bias": np.ones(6)}, ValueError, r"bias has shape \(6,\); wanted \(2,\)"),
    ({"bias": np.ones((2, 5, 4))}, ValueError, r"bias has shape \(2, 5, 4\); wanted \(2,\), or \(2, 7, 6\)"),
    ({"weight": np.ones((6, 2, 0, 3))}, ValueError, r"weight has shape \(6, 2, 0, 3\); wanted at least 1"),
    ({"flip_kernel": 1}, TypeError, r"flip_kernel=1"),
    ({"activation": "relu7"}, ValueError, r"activation='relu7' is unknown"),
    ({"algorithm": "imtocol"}, ValueError, r"algorithm='imtocol' is unknown"),
    ({"out": np.ones((2, 2, 7, 6))}, TypeError, r"out has dtype <f8"),
    ({"out": np.ones((2, 2, 7, 7), "float32")}, ValueError, r"out has shape \(2, 2, 7, 7\); wanted \(2, 2, 7, 6\)"),
]


@pytest.mark.parametrize(("changed", "error", "message"), ERRORS, ids=[row[2] for row in ERRORS])
def test_errors(changed, error, message):
    arguments = {"x": X, "weight": WEIGHT} | changed
    with pytest.raises(error, match=message):
        fastconv.conv_transpose2d(**arguments)
    x, out = arguments.pop("x"), arguments.pop("out", None)
    with pytest.raises(error, match=message):
        fastconv.plan(**arguments, transposed=True)(x, out)


def test_arguments_of_the_other_kind_of_plan():
    for wrong in ({"padding_mode": "reflect"}, {"padding_value": 1.0}):
        with pytest.raises(ValueError, match=r"padding_mode=.* wanted 'constant' and 0 in a transposed convolution"):
            fastconv.plan(WEIGHT, **wrong, transposed=True)
    fastconv.plan(WEIGHT, padding_mode="zeros", padding_value=-0.0, transposed=True)
    for wrong in ({"output_padding": 1}, {"output_size": 9}, {"output_padding": (0, 0)}):
        with pytest.raises(ValueError, match="without transposed=True"):
            fastconv.plan(WEIGHT, **wrong)
    with pytest.raises(TypeError, match="transposed=1"):
        fastconv.plan(WEIGHT, transposed=1)


def test_nothing_is_allocated_first():
    x = np.broadcast_to(np.int8(1), (64, 512, 1000, 1000))
    weight = np.broadcast_to(np.float32(1), (512, 64, 101, 101))
    for wrong in ({"stride": 0}, {"groups": 3}, {"bias": np.ones(3)}, {"out": np.ones(3)}, {"output_size": 9}):
        tracemalloc.start()
        with pytest.raises((ValueError, TypeError)):
            fastconv.conv_transpose2d(x, weight, **wrong)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2**20
