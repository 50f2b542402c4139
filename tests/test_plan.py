"""Plans: what they keep, what they refuse, and that nothing about a call changes them."""

import gc
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import cases, integers, witness

import fastconv
from fastconv import _call
from fastconv._cache import Bounded, typed


@given(st.data(), cases())
def test_plans_are_the_functions(data, case):
    plan = fastconv.plan(case.weight, case.bias, **case.arguments)
    expected = witness(case)
    np.testing.assert_array_equal(plan(case.x), expected)
    np.testing.assert_array_equal(plan(case.x), expected)  # from what the first call prepared
    add = integers(expected.shape, expected.dtype, 5)
    out = np.full_like(expected, np.nan)
    for _ in range(2):
        assert plan(case.x, out, add=add) is out
        np.testing.assert_array_equal(out, expected + add)
    with_shape = fastconv.plan(case.weight, case.bias, **case.arguments, input_shape=case.x.shape)
    np.testing.assert_array_equal(with_shape(case.x), expected)


def test_add_comes_before_the_activation():
    plan = fastconv.plan(np.ones((1, 1, 1)), bias=[1.0], activation="relu")
    np.testing.assert_array_equal(plan(np.array([[1.0, 2.0]]), add=np.array([[-5.0, 5.0]])), [[0, 8]])
    plan = fastconv.plan(np.ones((1, 1, 1)), bias=[1.0], activation=np.square)
    np.testing.assert_array_equal(plan(np.array([[1.0, 2.0]]), add=np.array([[-5.0, 5.0]])), [[9, 64]])


def test_weights_are_copied():
    weight, bias = np.ones((2, 1, 3)), np.zeros(2)
    plan = fastconv.plan(weight, bias)
    weight[...], bias[...] = 7, 7
    np.testing.assert_array_equal(plan(np.ones((1, 5))), np.full((2, 3), 3.0))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "bool"])
@pytest.mark.parametrize("weight_dtype", ["float16", "float32", "float64", "int16", "int32"])
def test_computes_in_the_type_of_the_weights(weight_dtype, dtype):
    x = integers((2, 3, 9), "int8", 0).astype(dtype)
    weight = integers((4, 3, 3), weight_dtype, 1)
    y = fastconv.plan(weight)(x)
    assert y.dtype == {"int16": "float32", "int32": "float64"}.get(weight_dtype, weight_dtype)
    np.testing.assert_array_equal(y, fastconv.conv1d(x.astype("float64"), weight.astype("float64")))


def test_real_plans_take_no_complex_input():
    with pytest.raises(TypeError, match="x has dtype complex64"):
        fastconv.plan(np.ones((1, 1, 3)))(np.ones((1, 9), "complex64"))
    with pytest.raises(TypeError, match="weight has dtype complex128"):
        fastconv.plan(np.ones((1, 1, 3), "complex128"))


def test_input_shape_allows_other_batches_only():
    plan = fastconv.plan(np.ones((4, 2, 3, 3)), padding=1, input_shape=(1, 2, 8, 9))
    for batch in [(), (5,), (2, 3), (0,)]:
        assert plan(np.ones((*batch, 2, 8, 9))).shape == (*batch, 4, 8, 9)
    for shape in [(1, 2, 8, 8), (2, 9, 8), (1, 2, 16, 9)]:
        with pytest.raises(ValueError, match=r"plan was made for .*\(1, 2, 8, 9\)"):
            plan(np.ones(shape))
    with pytest.raises(ValueError, match=r"x has 3 channels.*weight"):
        plan(np.ones((3, 8, 9)))
    assert plan.explain() == plan.explain((1, 2, 8, 9))
    with pytest.raises(ValueError, match=r"x has 3 channels.*weight"):
        fastconv.plan(np.ones((4, 2, 3, 3)), input_shape=(3, 8, 9))


def test_without_input_shape_any_size():
    plan = fastconv.plan(np.ones((1, 1, 3)))
    for size in range(3, 200):
        np.testing.assert_array_equal(plan(np.ones((1, size))), np.full((1, size - 2), 3.0))
    assert len(plan._recent.noted) <= 16
    assert len(plan.tasks.ready) <= 64
    with pytest.raises(ValueError, match="x_shape=None"):
        plan.explain()


def test_an_untied_bias_fixes_the_size():
    plan = fastconv.plan(np.ones((2, 1, 3)), integers((2, 4), "float64", 0))
    assert plan(np.ones((1, 6))).shape == (2, 4)
    with pytest.raises(ValueError, match=r"bias has shape \(2, 4\)"):
        plan(np.ones((1, 7)))


def test_a_slip_after_the_first_call_is_still_found():
    plan = fastconv.plan(np.ones((2, 1, 3), "float32"))
    x = np.ones((1, 6), "float32")
    out, add = np.zeros((2, 4), "float32"), np.ones((2, 4), "float32")
    plan(x, out, add=add)
    for bad in (np.ones((4, 2), "float32").T[:, :3], np.ones((2, 1), "float32"), np.ones(4, "float32")):
        with pytest.raises(ValueError, match="add has shape"):
            plan(x, add=bad)
    with pytest.raises(ValueError, match="out overlaps the memory of add"):
        plan(x, out, add=out)
    with pytest.raises(ValueError, match="out overlaps the memory of x"):
        plan(x, np.ndarray((2, 4), "float32", x.data, strides=(4, 4)))
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out is read-only"):
        plan(x, out)


def test_many_threads_at_once():
    weight = integers((8, 4, 3, 3), "float32", 0)
    plan = fastconv.plan(weight, padding=1, activation=lambda y: y + 1)
    inputs = [integers((2, 4, 10 + i % 7, 9), "float32", i) for i in range(28)]
    expected = [fastconv.conv2d(x, weight, padding=1, algorithm="reference") + 1 for x in inputs]
    start = threading.Barrier(4)

    def work(first):
        start.wait()
        return [plan(x) for x in inputs[first::4]]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, range(4)))
    for i, y in enumerate(expected):
        np.testing.assert_array_equal(results[i % 4][i // 4], y)


def test_functions_keep_no_weights():
    weight = np.ones((256, 64, 3, 3))
    x = np.ones((64, 4, 4))
    fastconv.conv2d(x, weight)
    gc.collect()
    tracemalloc.start()
    try:
        for stride in (1, 2, 3, 4):
            fastconv.conv2d(x, weight, stride=stride)
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < weight.nbytes / 4


def test_caches_are_bounded():
    x = np.ones((1, 40))
    for value in range(300):
        fastconv.conv1d(x, np.ones((1, 1, 3)), padding=1, padding_value=float(value))
    assert len(_call._KEPT) <= _call._KEPT.limit == 256
    cache = Bounded(3)
    for i in range(10):
        cache.put(i, i)
    assert list(cache) == [7, 8, 9]


def test_bounded_cache_among_threads():
    cache = Bounded(4)

    def work(seed):
        for i in range(2000):
            cache.put((seed, i % 11), i)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert len(cache) <= 4 + 4  # each thread may be one ahead


def test_keys_tell_types_apart():
    values = [1, 1.0, True, "1", None, (1,), (1.0,), (True,), ((1, 1),), np.int64(1), np.True_, 0, False, abs]
    assert len({typed(value) for value in values}) == len(values)
    assert typed([1, (2, 3)]) == typed((1, [2, 3])) == typed((1, (2, 3)))
    assert typed(np.array([[1, 2]])) == typed(((1, 2),))


def test_repr_tells_the_weights():
    assert repr(fastconv.plan(np.ones((2, 1, 3), "float16"))) == (
        "<fastconv.Plan: weight (2, 1, 3), float16, channels_first>"
    )
