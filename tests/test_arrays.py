"""Arrays at the door: types, array-likes, `out`, and conversion in blocks."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import cases, integers, witness

import fastconv
from fastconv import _blocks
from fastconv._arrays import COMPUTED, contiguous_strides, promote

NARROW = ["bool", "int8", "uint8", "int16", "uint16"]
WIDE = ["int32", "uint32", "int64", "uint64"]
FLOATS = ["float16", "float32", "float64"]
COMPLEX = ["complex64", "complex128"]
RESULT = {name: name for name in FLOATS + COMPLEX} | dict.fromkeys(NARROW, "float32") | dict.fromkeys(WIDE, "float64")


def misaligned(array):
    """The same values, one byte off."""
    buffer = np.empty(array.nbytes + 1, "uint8")
    view = buffer[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    assert not view.flags.aligned
    return view


@pytest.mark.parametrize("x_dtype", RESULT)
@pytest.mark.parametrize("weight_dtype", RESULT)
def test_promotion(x_dtype, weight_dtype):
    x, weight = np.array([[1, 0, 1, 1]]).astype(x_dtype), np.array([[[1, 1]]]).astype(weight_dtype)
    y = fastconv.conv1d(x, weight)
    assert y.dtype == RESULT[np.result_type(x, weight).name]
    assert y.dtype.isnative
    np.testing.assert_array_equal(y, [[1, 1, 2]])


@pytest.mark.parametrize("dtype", ["longdouble", "clongdouble", "object", "U3", "S3", "M8[s]", "m8[s]", "i4,f4"])
@pytest.mark.parametrize("name", ["x", "weight", "bias"])
def test_other_types_are_named(name, dtype):
    if np.dtype(dtype).kind in "fc" and (np.dtype(dtype).kind, np.dtype(dtype).itemsize) in COMPUTED:
        dtype = "object"  # where long doubles are doubles
    arguments = {"x": np.ones((1, 9)), "weight": np.ones((1, 1, 3)), "bias": np.ones(1)}
    arguments[name] = np.zeros(arguments[name].shape, dtype)
    with pytest.raises(TypeError, match=f"{name} has dtype"):
        fastconv.conv1d(**arguments)


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i2", ">f2", ">c8", "<f4"])
def test_byte_order(dtype):
    x, weight = integers((2, 3, 9), dtype, 0), integers((4, 3, 3), dtype, 1)
    y = fastconv.conv1d(x, weight, integers(4, dtype, 2))
    native = [a.astype(a.dtype.newbyteorder("=")) for a in (x, weight, integers(4, dtype, 2))]
    np.testing.assert_array_equal(y, fastconv.conv1d(*native))
    assert y.dtype.isnative


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "complex64"])
def test_misaligned(dtype):
    x, weight, bias = integers((2, 3, 9), dtype, 0), integers((4, 3, 3), dtype, 1), integers((4, 7), dtype, 2)
    expected = fastconv.conv1d(x, weight, bias)
    out = misaligned(np.zeros_like(expected))
    assert fastconv.conv1d(misaligned(x), misaligned(weight), misaligned(bias), out=out) is out
    np.testing.assert_array_equal(out, expected)


def test_read_only_and_fortran():
    x, weight = integers((2, 3, 9, 8), "float32", 0), integers((4, 3, 3, 2), "float32", 1)
    expected = fastconv.conv2d(x, weight)
    x.flags.writeable = weight.flags.writeable = False
    np.testing.assert_array_equal(fastconv.conv2d(x, weight), expected)
    np.testing.assert_array_equal(fastconv.conv2d(np.asfortranarray(x), np.asfortranarray(weight)), expected)


class WithArray:
    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


class WithDLPack:
    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class Elsewhere(WithDLPack):
    def __dlpack__(self, **options):
        raise BufferError("the array is on a device")

    def __dlpack_device__(self):
        return (2, 0)


@pytest.mark.parametrize("wrap", [WithArray, WithDLPack, np.ndarray.tolist, memoryview])
def test_array_likes(wrap):
    x, weight, bias = integers((3, 9), "float64", 0), integers((4, 3, 3), "float64", 1), integers(4, "float64", 2)
    expected = fastconv.conv1d(x, weight, bias)
    np.testing.assert_array_equal(fastconv.conv1d(wrap(x), wrap(weight), wrap(bias)), expected)
    np.testing.assert_array_equal(
        fastconv.plan(wrap(weight), wrap(bias))(wrap(x), add=wrap(expected)), expected + expected
    )


@pytest.mark.parametrize("wrap", [WithArray, WithDLPack])
def test_array_likes_are_not_copied(wrap):
    x = np.ones((1, 2**20), "float32")
    plan = fastconv.plan(np.ones((1, 1, 1), "float32"))
    out = np.empty_like(x)
    plan(wrap(x), out)
    tracemalloc.start()
    plan(wrap(x), out)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**18
    with pytest.raises(ValueError, match="out overlaps the memory of x"):
        plan(wrap(x), x)


@pytest.mark.parametrize("bad", [Elsewhere(np.ones((1, 9))), [[1.0], [1.0, 2.0]], object(), "text", None])
def test_what_is_no_array(bad):
    with pytest.raises(TypeError, match="x has"):
        fastconv.conv1d(bad, np.ones((1, 1, 3)))


def test_memory_maps(tmp_path):
    x = np.memmap(tmp_path / "x", "float32", "w+", shape=(1, 9))
    x[...] = 2
    out = np.memmap(tmp_path / "out", "float32", "w+", shape=(1, 7))
    assert fastconv.conv1d(x, np.ones((1, 1, 3), "float32"), out=out) is out
    np.testing.assert_array_equal(out, np.full((1, 7), 6.0))


def test_bias_and_padding_value_are_cast_to_the_result():
    x, weight = np.zeros((1, 1), "float32"), np.ones((1, 1, 2), "float32")
    y = fastconv.conv1d(x, weight, np.array([0.1]), padding=1, padding_value=0.2)
    np.testing.assert_array_equal(y, [[np.float32(0.2) + np.float32(0.1)] * 2])
    half = [array.astype("float16") for array in (x, weight)]
    y = fastconv.conv1d(*half, np.array([0.1]), padding=1, padding_value=0.2)
    np.testing.assert_array_equal(y, [[np.float16(0.1) + np.float16(0.2)] * 2])


@given(cases(ranks=(1, 2)), st.booleans(), st.booleans())
def test_complex(case, complex_x, complex_weight):
    def turned(array, seed):
        return array + 1j * integers(array.shape, array.dtype, seed)

    x = turned(case.x, 3) if complex_x else case.x
    weight = turned(case.weight, 4) if complex_weight else case.weight
    bias = None if case.bias is None or not (complex_x or complex_weight) else turned(case.bias, 5)
    expected = witness(case._replace(x=x, weight=weight, bias=bias))
    y = fastconv.conv(x, weight, bias, **case.arguments)
    np.testing.assert_array_equal(y, expected)
    if complex_x or complex_weight:
        out = np.zeros((*y.shape[:-1], 2 * y.shape[-1]), y.dtype)[..., ::-2]
        assert fastconv.conv(x, weight, bias, **case.arguments, out=out) is out
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("x", [np.ones((1, 2)), np.ones((1, 2), complex)])
def test_complex_padding_value(x):
    y = fastconv.conv1d(x, np.array([[[1, 1j]]]), padding=1, padding_value=2 - 1j)
    np.testing.assert_array_equal(y, [[2 - 1j + 1j, 1 + 1j, 1 + 1j * (2 - 1j)]])
    with pytest.raises(ValueError, match="padding_value"):
        fastconv.conv1d(x, np.array([[[1, 1j]]]), padding=1, padding_value=1j, padding_mode="reflect")
    with pytest.raises(TypeError, match="padding_value"):
        fastconv.conv1d(np.ones((1, 2)), np.ones((1, 1, 2)), padding_value=1j)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "silu"])
def test_complex_activations(name):
    x = np.array([[0.5 + 0.25j, -1j, 2]])
    functions = {"tanh": np.tanh, "sigmoid": lambda z: 1 / (1 + np.exp(-z)), "silu": lambda z: z / (1 + np.exp(-z))}
    y = fastconv.conv1d(x, np.ones((1, 1, 1)), activation=name)
    np.testing.assert_allclose(y, functions[name](x), rtol=1e-15)
    np.testing.assert_array_equal(fastconv.conv1d(x, np.ones((1, 1, 1)), activation=np.conj), x.conj())
    with pytest.raises(TypeError, match="activation='relu'"):
        fastconv.conv1d(x, np.ones((1, 1, 1)), activation="relu")


def test_complex_infinity_is_quiet():
    x, kernel = np.array([[1, np.inf + 1j, 1, 1]]), np.array([[[1j, 1]]])
    np.testing.assert_array_equal(np.isfinite(fastconv.conv1d(x, kernel)), [[False, False, True]])
    np.testing.assert_array_equal(np.isnan(fastconv.conv1d(x, kernel, activation="sigmoid")), [[False, True, False]])
    with pytest.raises(TypeError, match="bias has dtype object"):
        fastconv.conv1d(x, kernel, np.array([None]))
    empty = fastconv.conv1d(np.ones((0, 1, 4), complex), kernel, activation=lambda y: 1 / 0)
    assert empty.shape == (0, 1, 3)


def test_complex_bias_needs_a_complex_result():
    with pytest.raises(TypeError, match="bias has dtype complex128"):
        fastconv.conv1d(np.ones((1, 9)), np.ones((1, 1, 3)), np.ones(1, complex))


@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        (np.zeros((2, 6), "float32"), ValueError, r"out has shape \(2, 6\); wanted \(2, 7\)"),
        (np.zeros((1, 2, 7), "float32"), ValueError, "out has shape"),
        (np.zeros((2, 7), "float64"), TypeError, "out has dtype"),
        (np.zeros((2, 7), ">f4"), TypeError, "out has dtype"),
        (np.zeros((2, 7), "float32").tolist(), TypeError, "out has type list"),
        (np.broadcast_to(np.float32(0), (2, 7)), ValueError, "out is read-only"),
    ],
)
def test_out_that_cannot_be(out, error, message):
    x, weight = np.ones((1, 9), "float32"), np.ones((2, 1, 3), "float32")
    with pytest.raises(error, match=message):
        fastconv.conv1d(x, weight, out=out)
    with pytest.raises(error, match=message):
        fastconv.plan(weight)(x, out)


def test_out_must_not_touch_an_input():
    memory = np.ones(64, "float32")
    x, weight, bias = memory[:9].reshape(1, 9), memory[16:22].reshape(2, 1, 3), memory[30:32]
    for name, first in (("x", 0), ("weight", 10), ("bias", 31)):
        out = memory[first : first + 14].reshape(2, 7)
        with pytest.raises(ValueError, match=f"out overlaps the memory of {name}"):
            fastconv.conv1d(x, weight, bias, out=out)
    # bounds count, not elements
    memory = np.ones((7, 2, 2), "float32")
    with pytest.raises(ValueError, match="out overlaps the memory of x"):
        fastconv.conv1d(memory[..., 0].T, np.ones((2, 2, 1), "float32"), out=memory[..., 1].T)
    memory = np.ones(23, "float32")
    fastconv.conv1d(memory[:9].reshape(1, 9), np.ones((2, 1, 3), "float32"), out=memory[9:].reshape(2, 7))


def test_out_with_gaps_is_taken_whatever_its_strides():
    # NumPy's search for shared elements would give up on these
    shape, strides = (3, 2, 3, 29, 116, 32), (27376, 7884308, 2628096, 472, 4, 82128)
    last = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    memory = np.zeros(last // 4 + 1, np.float32)
    out = np.lib.stride_tricks.as_strided(memory, shape, strides)
    x = np.ones((3, 2, 1, 29, 116, 32), np.float32)
    fastconv.conv3d(x, np.ones((3, 1, 1, 1, 1), np.float32), out=out)
    assert memory.sum() == out.size


@pytest.mark.parametrize(
    ("shape", "strides", "overlaps"),
    [
        ((2, 7), (4, 8), False),
        ((2, 7), (8, 4), True),
        ((2, 7), (0, 4), True),
        ((2, 3), (12, 8), False),  # 0 8 16 12 20 28: interleaved, but apart
        ((2, 4), (12, 8), False),
        ((3, 4), (12, 8), True),
        ((2, 7), (28, 4), False),
        ((2, 7), (2, 4), True),
    ],
)
def test_out_must_not_touch_itself(shape, strides, overlaps):
    memory = np.zeros(64, "float32")
    out = np.ndarray(shape, "float32", memory, 0, strides)
    x, weight = np.ones((1, shape[1] + 2), "float32"), np.ones((shape[0], 1, 3), "float32")
    if overlaps:
        with pytest.raises(ValueError, match="out has elements that share memory"):
            fastconv.conv1d(x, weight, out=out)
    else:
        fastconv.conv1d(x, weight, out=out)
        np.testing.assert_array_equal(out, np.full(shape, 3.0))


@given(
    st.data(),
    cases(most=(40, 12, 7)),
    st.sampled_from(["float16", ">f4", "float64", "int16"]),
    st.sampled_from([64, 256, 1024, 4096]),
)
def test_blocks_give_the_bits_of_the_undivided_call(data, case, dtype, limit):
    weight, arguments = case.weight.astype("float32"), case.arguments
    plan = fastconv.plan(weight, case.bias, **arguments)
    expected = plan(case.x.astype("float32"))
    add = integers(expected.shape, dtype, 7) if data.draw(st.booleans()) else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_blocks, "LIMIT", limit)
        y = plan(case.x.astype(dtype), add=add)
        out = misaligned(np.zeros_like(expected))
        plan(case.x.astype("float32"), out)
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(y, expected if add is None else expected + add)


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
@pytest.mark.parametrize("mode", ["constant", "circular"])
def test_conversions_stay_small(mode, data_format):
    shape = (2, 4, 1200, 1500) if data_format == "channels_first" else (2, 1200, 1500, 4)
    x = np.broadcast_to(np.arange(shape[-1], dtype="int32") % 7, shape)
    weight = integers((3, 4, 3, 5), "float64", 0)
    arguments = {"padding": (1, 2), "padding_mode": mode, "data_format": data_format}
    plan = fastconv.plan(weight, **arguments)
    out = np.empty(fastconv.conv_output_shape(shape, weight.shape, **arguments))
    plan(x, out)
    tracemalloc.start()
    plan(x, out)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * _blocks.LIMIT
    np.testing.assert_array_equal(out, fastconv.conv2d(x.astype("float64"), weight, **arguments))


def test_enormous_halves_overflow_quietly():
    x = np.full((1, 3), 60000, "float16")
    y = fastconv.conv1d(x, np.ones((1, 1, 2), "float16"))
    np.testing.assert_array_equal(y, [[np.inf, np.inf]])


def test_contiguous_strides():
    for shape in [(), (3,), (2, 3, 4), (1, 1, 5)]:
        assert contiguous_strides(shape, 8) == np.empty(shape).strides


def test_result_types_are_the_types_of_new_arrays():
    for dtype in ("float32", ">f4", "<f8", "float16"):
        types = promote(weight=np.dtype(dtype))
        assert types.result is np.empty(1, types.result).dtype is np.dtype(types.result.name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_new_arrays_begin_with_a_cache_line(dtype):
    x, weight = np.ones((3, 80, 80), dtype), np.ones((7, 3, 3, 3), dtype)
    kept = [fastconv.conv2d(x, weight) for _ in range(5)] + [fastconv.plan(weight)(x) for _ in range(5)]
    kept += [gradients[0] for gradients in (fastconv.conv_backward(kept[0], x, weight) for _ in range(5))]
    assert {y.ctypes.data % 64 for y in kept} == {0}
    assert all(y.flags.c_contiguous and y.flags.writeable for y in kept)
