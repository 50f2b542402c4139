"""Parameters: what may be set, gradients from many threads, copies that share nothing."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fastconv import Parameter

VALUE = np.arange(6, dtype="float32").reshape(2, 3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_attributes(dtype):
    parameter = Parameter(VALUE.astype(dtype), name="weight", learn_rate_factor=2, l2_factor=np.float32(0.5))
    assert (parameter.shape, parameter.size, parameter.dtype) == ((2, 3), 6, dtype)
    assert (parameter.name, parameter.learn_rate_factor, parameter.l2_factor) == ("weight", 2.0, 0.5)
    assert parameter.grad is None
    assert "weight" in repr(parameter) and "(2, 3)" in repr(parameter) and dtype in repr(parameter)


def test_value_is_copied_in():
    given = VALUE.copy()
    parameter = Parameter(given)
    given[...] = 7
    np.testing.assert_array_equal(parameter.value, VALUE)
    before, other = parameter.value, VALUE + 1
    parameter.value = other
    other[...] = 7
    np.testing.assert_array_equal(parameter.value, VALUE + 1)
    np.testing.assert_array_equal(before, VALUE)


def test_memory_order_and_byte_order_are_native():
    parameter = Parameter(np.asfortranarray(VALUE).astype(">f4"))
    assert parameter.value.flags.c_contiguous and parameter.dtype.isnative
    parameter.value = np.asfortranarray(VALUE + 1).astype(">f4")
    assert parameter.value.flags.c_contiguous and parameter.value.dtype.isnative
    np.testing.assert_array_equal(parameter.value, VALUE + 1)


def test_array():
    parameter = Parameter(VALUE)
    np.testing.assert_array_equal(np.asarray(parameter), VALUE)
    assert np.asarray(parameter, "float64").dtype == "float64"


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (VALUE.astype(int), TypeError, "value has dtype int64; wanted float32 or float64"),
        (VALUE.astype("float16"), TypeError, "value has dtype float16"),
        (VALUE.astype("complex64"), TypeError, "value has dtype complex64"),
        ("weight", TypeError, "value has dtype"),
        ([[1.0], [1.0, 2.0]], TypeError, "value has type list"),
    ],
)
def test_what_is_no_value(value, error, message):
    with pytest.raises(error, match=message):
        Parameter(value)


@pytest.mark.parametrize(
    ("attribute", "value", "error", "message"),
    [
        ("value", VALUE[:1], ValueError, r"value of parameter 'w' has shape \(1, 3\); wanted \(2, 3\)"),
        ("value", VALUE.astype("float64"), TypeError, "value of parameter 'w' has dtype float64; wanted float32"),
        ("value", 3.0, TypeError, "value of parameter 'w' has dtype float64; wanted float32"),
        ("value", None, TypeError, "value of parameter 'w' has dtype object"),
        ("grad", VALUE.T, ValueError, r"grad of parameter 'w' has shape \(3, 2\); wanted \(2, 3\)"),
        ("grad", VALUE.astype(int), TypeError, "grad of parameter 'w' has dtype int64; wanted float32 or float64"),
        ("grad", VALUE > 0, TypeError, "grad of parameter 'w' has dtype bool"),
        ("name", 3, TypeError, "name=3 has type int; wanted a string or None"),
        ("learn_rate_factor", -1, ValueError, "learn_rate_factor=-1; wanted a finite number of at least 0"),
        ("learn_rate_factor", np.nan, ValueError, "learn_rate_factor=nan; wanted a finite number"),
        ("l2_factor", np.inf, ValueError, "l2_factor=inf; wanted a finite number of at least 0"),
        ("l2_factor", 10**400, ValueError, "l2_factor=10+; wanted a finite number"),
        ("l2_factor", True, TypeError, "l2_factor=True has type bool; wanted a finite number"),
        ("l2_factor", "1", TypeError, "l2_factor='1' has type str"),
    ],
)
def test_what_cannot_be_set(attribute, value, error, message):
    parameter = Parameter(VALUE, name="w")
    parameter.add_grad(VALUE)
    state = parameter.__getstate__()
    with pytest.raises(error, match=message):
        setattr(parameter, attribute, value)
    assert all(parameter.__getstate__()[key] is state[key] for key in state)
    if attribute not in ("value", "grad"):
        with pytest.raises(error, match=message):
            Parameter(VALUE, **{attribute: value})


@pytest.mark.parametrize("attribute", ["shape", "dtype", "size"])
def test_what_is_fixed(attribute):
    with pytest.raises(AttributeError):
        setattr(Parameter(VALUE), attribute, None)


def test_gradients_add_up_in_the_type_of_the_value():
    parameter = Parameter(VALUE)
    first = VALUE.astype("float64")
    parameter.add_grad(first)
    first[...] = 7
    second = VALUE.copy()
    parameter.add_grad(second)
    np.testing.assert_array_equal(parameter.grad, 2 * VALUE)
    np.testing.assert_array_equal(second, VALUE)
    assert parameter.grad.dtype == "float32"
    parameter.zero_grad()
    assert parameter.grad is None
    with pytest.raises(ValueError, match=r"grad has shape \(3,\); wanted \(2, 3\)"):
        parameter.add_grad(np.ones(3))
    assert parameter.grad is None


def test_a_gradient_that_is_set_is_copied():
    parameter, given = Parameter(VALUE), VALUE.copy()
    parameter.grad = given
    parameter.add_grad(VALUE)
    np.testing.assert_array_equal(given, VALUE)
    parameter.grad = None
    assert parameter.grad is None


def test_gradients_from_many_threads():
    parameter = Parameter(np.zeros(50_000))
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(parameter.add_grad, [np.full(50_000, float(n)) for n in range(200)]))
    np.testing.assert_array_equal(parameter.grad, np.full(50_000, sum(range(200))))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda parameter: pickle.loads(pickle.dumps(parameter))])
@pytest.mark.parametrize("grad", [None, VALUE])
def test_copies_share_nothing(copied, grad):
    parameter = Parameter(VALUE, name="w", learn_rate_factor=2.0, l2_factor=3.0)
    parameter.grad = grad
    other = copied(parameter)
    assert repr(other) == repr(parameter)
    np.testing.assert_array_equal(other.value, VALUE)
    assert (other.grad is None) == (grad is None)
    other.add_grad(VALUE)
    other.value[...] = 7
    np.testing.assert_array_equal(parameter.value, VALUE)
    if grad is not None:
        np.testing.assert_array_equal(parameter.grad, grad)


def test_a_shared_parameter_stays_one():
    parameter = Parameter(VALUE)
    for one, other in (copy.deepcopy([parameter, parameter]), pickle.loads(pickle.dumps([parameter, parameter]))):
        assert one is other and one is not parameter
