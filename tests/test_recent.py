"""Calls that are like one before: what they find is theirs, and all others are refused or computed as if new."""

from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import cases, integers, witness

import fastconv
from fastconv import _call

X = integers((2, 3, 9, 8), "float32", 1)
WEIGHT = integers((4, 3, 3, 3), "float32", 2)
Y = fastconv.conv2d(X, WEIGHT, algorithm="reference")


def misaligned(array):
    memory = np.empty(array.nbytes + 1, np.uint8)[1:]
    copy = memory.view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


class Subclass(np.ndarray):
    pass


# The same values in other arrays
ALIKE = {
    "contiguous": lambda x: x,
    "other strides": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "channels last": lambda x: np.ascontiguousarray(np.moveaxis(x, 1, -1)).transpose(0, 3, 1, 2),
    "reversed": lambda x: np.ascontiguousarray(x[..., ::-1])[..., ::-1],
    "byte-swapped": lambda x: x.astype(">f4"),
    "float64": lambda x: x.astype("float64"),
    "integers": lambda x: x.astype("int16"),
    "misaligned": misaligned,
    "subclass": lambda x: x.view(Subclass),
    "list": lambda x: x.tolist(),
    "more axes": lambda x: x[None, :, None],
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
}


@pytest.mark.parametrize("first", ALIKE)
def test_one_plan_by_turns(first):
    plan = fastconv.plan(WEIGHT)
    for second in ALIKE:
        for name in (first, second, first):
            x = ALIKE[name](X)
            y = plan(x)
            assert (type(y), y.dtype) == (np.ndarray, np.float32)
            np.testing.assert_array_equal(y.reshape(Y.shape), Y)
            out = np.full(y.shape, np.nan, "float32")
            assert plan(x, out) is out
            np.testing.assert_array_equal(out, y)
            np.testing.assert_array_equal(plan(x, add=out), 2 * y)


@pytest.mark.parametrize("first", ALIKE)
def test_one_function_by_turns(first):
    for second in ALIKE:
        for of_x, of_weight in ((first, second), (second, first), (first, first)):
            weight = ALIKE[of_weight](WEIGHT)
            if of_weight == "more axes":
                weight = WEIGHT
            y = fastconv.conv2d(ALIKE[of_x](X), weight)
            assert y.dtype == np.result_type(*(np.float64 if name in ("float64", "list") else np.float32
                                               for name in (of_x, of_weight)))
            np.testing.assert_array_equal(y.reshape(Y.shape), Y)


@given(st.data(), cases())
def test_functions_pack_the_weights_that_they_are_given(data, case):
    function = {3: fastconv.conv1d, 4: fastconv.conv2d, 5: fastconv.conv3d}[case.weight.ndim]
    arguments = case.arguments | {"algorithm": data.draw(st.sampled_from(["auto", "direct", "im2col"]))}
    for seed in range(3):
        weight = integers(case.weight.shape, case.weight.dtype, seed)
        expected = witness(case._replace(weight=weight))
        np.testing.assert_array_equal(function(case.x, weight, case.bias, **arguments), expected)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("algorithm", ["auto", "direct", "reference"])
def test_gradients_by_turns(transposed, stride, algorithm):
    kind = "conv_transpose2d" if transposed else "conv2d"
    backward = fastconv.conv_transpose_backward if transposed else fastconv.conv_backward
    arguments = {"stride": stride, "padding": 1, "groups": 2, "flip_kernel": stride == 2}
    for seed in range(3):
        x, weight = integers((2, 4, 7, 6), "float32", seed), integers((4, 2, 3, 3), "float32", seed + 10)
        bias = integers((4,), "float32", seed + 20)
        y = getattr(fastconv, kind)(x, weight, bias, **arguments)
        grad = integers(y.shape, "float32", seed + 30)
        new = backward(grad.astype(">f4"), x, weight, bias, **arguments, algorithm="reference")
        found = backward(grad, x, weight, bias, **arguments, algorithm=algorithm)
        for needs in ((True, False, False), (False, True, True), (True, True, True)):
            again = backward(grad, x, weight, bias, **arguments, algorithm=algorithm, needs=needs)
            for need, *gradients in zip(needs, again, found, new, strict=True):
                if need:
                    for gradient in gradients:
                        np.testing.assert_array_equal(gradient, gradients[-1])
                else:
                    assert gradients[0] is None
        with pytest.raises(ValueError, match="grad_output has shape"):
            backward(grad[..., :-1], x, weight, bias, **arguments, algorithm=algorithm)


def test_weights_that_are_not_finite_now_and_then():
    for value in (1.0, np.nan, 2.0, np.inf, 3.0):
        weight = WEIGHT.copy()
        weight[0, 0, 0, 0] = value
        y = fastconv.conv2d(X, weight, padding=2)
        np.testing.assert_array_equal(y, fastconv.conv2d(X, weight, padding=2, algorithm="reference"))


def test_what_out_must_be_is_looked_at_every_time():
    plan = fastconv.plan(WEIGHT)
    memory = np.zeros(X.size + Y.size, "float32")
    x, out = memory[: X.size].reshape(X.shape), memory[X.size :].reshape(Y.shape)
    x[...] = X
    for call in (plan, lambda x, out: fastconv.conv2d(x, WEIGHT, out=out)):
        for _ in range(2):
            np.testing.assert_array_equal(call(x, out), Y)
        for first in (0, 1, X.size - 1):
            with pytest.raises(ValueError, match="out overlaps the memory of x"):
                call(x, memory[first : first + Y.size].reshape(Y.shape))
        with pytest.raises(TypeError, match="out has dtype >f4"):
            call(x, out.astype(">f4"))
        with pytest.raises(TypeError, match="out has dtype"):
            call(x, out.astype("float64"))
        with pytest.raises(TypeError, match="out has type list"):
            call(x, out.tolist())
        with pytest.raises(ValueError, match="out has shape"):
            call(x, out[0])
        with pytest.raises(ValueError, match="elements that share memory"):
            call(x, np.ndarray(Y.shape, "float32", out, strides=(0, *out.strides[1:])))
        read_only = out.view()
        read_only.flags.writeable = False
        with pytest.raises(ValueError, match="out is read-only"):
            call(x, read_only)
        backwards = np.zeros(Y.shape, "float32")[..., ::-1]
        for _ in range(2):
            np.testing.assert_array_equal(call(x, backwards), Y)
        whole = np.zeros((2, *Y.shape), "float32")
        for _ in range(2):  # apart, though their rows are interleaved elsewhere
            np.testing.assert_array_equal(call(x, whole[1]), Y)
    for _ in range(2):
        with pytest.raises(ValueError, match="out overlaps the memory of weight"):
            weight = memory[: WEIGHT.size].reshape(WEIGHT.shape)
            fastconv.conv2d(X, weight, out=memory[: Y.size].reshape(Y.shape))
        fastconv.conv2d(X, weight, out=out)


def test_a_residual_of_another_shape():
    plan = fastconv.plan(WEIGHT)
    plan(X, add=Y)
    for add in (Y[:1], Y[..., :1], np.broadcast_to(np.float32(1), Y.shape[1:])):
        with pytest.raises(ValueError, match="add has shape"):
            plan(X, add=add)
    np.testing.assert_array_equal(plan(X, add=np.broadcast_to(np.float32(1), Y.shape)), Y + 1)


@pytest.mark.parametrize("name", ["stride", "dilation", "groups"])
def test_numbers_are_told_apart(name):
    for _ in range(2):
        fastconv.conv2d(X, WEIGHT, **{name: 1})
        for wrong in (True, 1.0):
            with pytest.raises(TypeError, match=name):
                fastconv.conv2d(X, WEIGHT, **{name: wrong})
    for _ in range(2):
        fastconv.conv2d(X, WEIGHT, padding=((1, 1), (1, 0)))
        for wrong in (((True, 1), (1, 0)), ((1, 1), (1, 0.0)), ((1, 1), (1, False))):
            with pytest.raises(TypeError, match="padding"):
                fastconv.conv2d(X, WEIGHT, padding=wrong)
    for _ in range(2):
        fastconv.conv2d(X, WEIGHT, flip_kernel=False)
        with pytest.raises(TypeError, match="flip_kernel"):
            fastconv.conv2d(X, WEIGHT, flip_kernel=0)


def test_arguments_that_may_change():
    stride = [1, 1]
    for _ in range(2):
        np.testing.assert_array_equal(fastconv.conv2d(X, WEIGHT, stride=stride), Y)
        stride[0] = 2
        np.testing.assert_array_equal(fastconv.conv2d(X, WEIGHT, stride=stride), Y[:, :, ::2])
        np.testing.assert_array_equal(fastconv.conv2d(X, WEIGHT, stride=(stride[0], 1)), Y[:, :, ::2])
        stride[0] = 1
    Pair = namedtuple("Pair", "h w")
    for steps in (Pair(1, 2), (2, 1), np.array([2, 1]), Pair(2, 1)):
        h, w = steps
        np.testing.assert_array_equal(fastconv.conv2d(X, WEIGHT, stride=steps), Y[:, :, ::h, ::w])
    for factor in (2, 3):
        y = fastconv.conv2d(X, WEIGHT, activation=lambda y, factor=factor: factor * y)
        np.testing.assert_array_equal(y, factor * Y)
    for wrong in ({}, object(), {1: 2}, [[]]):
        for _ in range(2):
            with pytest.raises((TypeError, ValueError), match="stride"):
                fastconv.conv2d(X, WEIGHT, stride=wrong)
    nested = ()
    for _ in range(100_000):
        nested = (nested,)
    with pytest.raises((TypeError, ValueError, RecursionError)):
        fastconv.conv2d(X, WEIGHT, padding=nested)


def test_functions_of_different_rank_and_kind():
    x, weight = X[0], WEIGHT[0]  # signals without a batch, and images with one
    for _ in range(2):
        with pytest.raises(ValueError, match="weight has 3 axes"):
            fastconv.conv2d(x, weight)
        assert fastconv.conv1d(x[:, :3], weight).shape == fastconv.conv(x[:, :3], weight).shape == (3, 3, 6)
        with pytest.raises(ValueError, match="weight has 4 axes"):
            fastconv.conv1d(X, WEIGHT)
    square = integers((3, 3, 3, 3), "float32", 5)
    for _ in range(2):
        assert fastconv.conv2d(X, square).shape == (2, 3, 7, 6)
        assert fastconv.conv_transpose2d(X, square).shape == (2, 3, 11, 10)


def test_the_environment_is_looked_at_every_time(monkeypatch):
    x = np.full((1, 1, 6), 1e8, "float32")
    weight = np.ones((1, 1, 3), "float32")
    for _ in range(2):
        monkeypatch.delenv("FASTCONV_ALGORITHM", raising=False)
        fastconv.conv1d(x, weight)
        monkeypatch.setenv("FASTCONV_ALGORITHM", "nothing")
        with pytest.raises(ValueError, match="FASTCONV_ALGORITHM"):
            fastconv.conv1d(x, weight)
        with pytest.raises(ValueError, match="FASTCONV_ALGORITHM"):
            fastconv.conv_backward(x[..., 2:], x, weight)
        monkeypatch.setenv("FASTCONV_ALGORITHM", "reference")
        fastconv.conv1d(x, weight)
        fastconv.conv_backward(x[..., 2:], x, weight)


def test_the_number_of_threads_is_looked_at_every_time():
    x, weight = integers((4, 16, 40, 40), "float32", 1), integers((16, 16, 3, 3), "float32", 2)
    plan = fastconv.plan(weight)
    for call in (plan, lambda x: fastconv.conv2d(x, weight)):
        with fastconv.num_threads(1):
            expected = call(x)
        for threads in (2, 1, 3, 1):
            with fastconv.num_threads(threads):
                np.testing.assert_array_equal(call(x), expected)
    assert {key.__class__ for key in plan._recent.noted} == {int}
    assert len(plan._recent.noted) == 1


def test_many_threads_by_turns():
    plan = fastconv.plan(WEIGHT)
    inputs = [np.ascontiguousarray(X[:, :, : 4 + i % 6]) for i in range(64)]
    weights = [integers(WEIGHT.shape, "float32", i % 5) for i in range(64)]

    def work(i):
        return [(plan(inputs[i]), fastconv.conv2d(inputs[i], weights[i])) for _ in range(50)]

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(work, range(64)))
    for i, pairs in enumerate(results):
        expected = [fastconv.conv2d(inputs[i], weight, algorithm="reference") for weight in (WEIGHT, weights[i])]
        for pair in pairs:
            np.testing.assert_array_equal(pair[0], expected[0])
            np.testing.assert_array_equal(pair[1], expected[1])


def test_what_is_noted_is_bounded():
    for size in range(3, 400):
        fastconv.conv1d(np.ones((1, size)), np.ones((1, 1, 3)))
    assert all(len(recent.noted) <= 256 for recent in _call._RECENT.values())
