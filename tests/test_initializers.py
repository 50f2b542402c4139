"""Initialisers: published variances, orthogonality, fans, and what may be given for one."""

import copy
import pickle
from math import sqrt

import numpy as np
import pytest
from scipy import stats

from fastconv import initializers
from fastconv.initializers import (
    Constant,
    Custom,
    Glorot,
    GlorotNormal,
    He,
    HeUniform,
    NarrowNormal,
    Ones,
    Orthogonal,
    Zeros,
    fans,
    initializer,
)

SHAPE = (64, 32, 5, 5)
FAN_IN, FAN_OUT = fans(SHAPE)


def values(initial, shape=SHAPE, dtype="float64", seed=0):
    return initial(shape, np.random.default_rng(seed), *fans(SHAPE), dtype)


VARIANCES = {
    Glorot: (2 / (FAN_IN + FAN_OUT), "uniform"),
    GlorotNormal: (2 / (FAN_IN + FAN_OUT), "norm"),
    He: (2 / FAN_IN, "norm"),
    HeUniform: (2 / FAN_IN, "uniform"),
    NarrowNormal: (0.01**2, "norm"),
}


@pytest.mark.parametrize("kind", VARIANCES)
@pytest.mark.parametrize("gain", [1, 0.25, sqrt(2)])
def test_variance_and_distribution(kind, gain):
    variance, distribution = VARIANCES[kind]
    sample = values(kind(gain)).ravel()
    deviation = gain * sqrt(variance)
    # Of n values, the mean is off by deviation / sqrt(n), and the variance by a fraction sqrt((kurtosis - 1) / n), at
    # most sqrt(2 / n), here 0.6 %: five times that is a chance of less than one in a million.
    n = sample.size
    assert abs(sample.mean()) < 5 * deviation / sqrt(n)
    assert abs(sample.var() / deviation**2 - 1) < 5 * sqrt(2 / n)
    unit = {"norm": stats.norm(0, 1), "uniform": stats.uniform(-sqrt(3), 2 * sqrt(3))}[distribution]
    assert stats.kstest(sample / deviation, unit.cdf).pvalue > 1e-6


@pytest.mark.parametrize("kind", [*VARIANCES, Orthogonal])
def test_gain_is_a_factor_on_every_value(kind):
    np.testing.assert_allclose(values(kind(3)), 3 * values(kind()), rtol=1e-15)
    assert not values(kind(0)).any()


@pytest.mark.parametrize("kind", [*VARIANCES, Orthogonal])
def test_the_generator_decides(kind):
    single = values(kind(), dtype="float32")
    assert single.dtype == "float32"
    np.testing.assert_array_equal(single, values(kind()).astype("float32"))
    assert (values(kind(), seed=1) != values(kind())).any()
    rng = np.random.default_rng(0)
    first, second = (kind()(SHAPE, rng, FAN_IN, FAN_OUT, "float64") for _ in range(2))
    assert (first != second).any()


@pytest.mark.parametrize("shape", [(8, 3, 3, 3), (27, 3, 3, 3), (32, 1, 3, 3), (5, 5), (16, 2, 2), (1, 9), (9, 1)])
@pytest.mark.parametrize("gain", [1, 0.5])
def test_orthogonal(shape, gain):
    matrix = values(Orthogonal(gain), shape).reshape(shape[0], -1)
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(gram, gain**2 * np.eye(len(gram)), atol=1e-14)


def test_orthogonal_is_uniform_over_signs():
    # without the correction of QR's signs, the first entry would always be negative; 400 fair coins
    positive = sum(values(Orthogonal(), (3, 3), seed=seed)[0, 0] > 0 for seed in range(400))
    assert 150 < positive < 250  # five standard deviations


def test_orthogonal_wants_a_matrix():
    with pytest.raises(ValueError, match=r"Orthogonal\(gain=1.0\) for shape \(5,\); wanted at least 2 axes"):
        values(Orthogonal(), (5,))


def test_constants():
    np.testing.assert_array_equal(values(Zeros()), np.zeros(SHAPE))
    np.testing.assert_array_equal(values(Ones()), np.ones(SHAPE))
    np.testing.assert_array_equal(values(Constant(0.1), dtype="float32"), np.full(SHAPE, np.float32(0.1)))
    assert values(Ones(), (), "float32").shape == ()


@pytest.mark.parametrize(
    ("shape", "groups", "transposed", "expected"),
    [
        ((16, 3, 5, 5), 1, False, (75, 400)),
        ((16, 3), 1, False, (3, 16)),
        ((6, 4, 3), 2, False, (12, 9)),  # each of 6 outputs sees 4 channels, and each input feeds 3 of them
        ((32, 1, 3, 3), 32, False, (9, 9)),
        ((3, 16, 5, 5), 1, True, (75, 400)),
        ((6, 4, 3), 2, True, (9, 12)),
        ((4, 5, 2, 3, 4), 1, False, (120, 96)),
    ],
)
def test_fans(shape, groups, transposed, expected):
    assert fans(shape, groups, transposed) == expected


@pytest.mark.parametrize("name", initializers.NAMES)
def test_names(name):
    kinds = {"".join(part.capitalize() for part in name.split("-")): name for name in initializers.NAMES}
    found = initializer(name)
    assert kinds[type(found).__name__] == name
    assert found == initializer(type(found)())


def test_what_may_be_given():
    he = He(2)
    assert initializer(he) is he
    assert initializer(3) == Constant(3.0) == initializer(np.float32(3))
    given = initializer(lambda shape: np.arange(np.prod(shape)).reshape(shape))
    assert isinstance(given, Custom)
    result = given((2, 3), None, 1, 1, "float32")
    np.testing.assert_array_equal(result, [[0, 1, 2], [3, 4, 5]])
    assert result.dtype == "float32"
    np.testing.assert_array_equal(initializer(np.ones)((2,), None, 1, 1, "float64"), np.ones(2))


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("hee", ValueError, "weight_init='hee' is unknown; wanted one of 'glorot'"),
        (None, TypeError, "weight_init=None has type NoneType; wanted a name"),
        (True, TypeError, "weight_init=True has type bool"),
        (np.nan, ValueError, "weight_init=nan; wanted a finite number"),
        (1j, TypeError, "weight_init=1j has type complex"),
        (He, TypeError, r"weight_init=<class 'fastconv.initializers.He'> has type .*; wanted .* object such as He\(\)"),
        (np.ones(3), TypeError, "weight_init=array.* has type ndarray"),
    ],
)
def test_what_may_not_be_given(spec, error, message):
    with pytest.raises(error, match=message):
        initializer(spec, "weight_init")


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda shape: np.ones(shape[::-1]), ValueError, r"Custom\(.*\) gives shape \(3, 2\); wanted \(2, 3\)"),
        (lambda shape: 1.0, ValueError, r"gives shape \(\); wanted \(2, 3\)"),
        (lambda shape: np.full(shape, np.inf), ValueError, "gives values that are not finite in float32"),
        (lambda shape: np.full(shape, 1e300), ValueError, "gives values that are not finite in float32"),
        (lambda shape: np.full(shape, 1j), TypeError, "gives dtype complex128; wanted real numbers"),
        (lambda shape: None, TypeError, "gives dtype object; wanted real numbers"),
    ],
)
def test_what_a_function_may_not_give(function, error, message):
    with pytest.raises(error, match=message):
        initializer(function)((2, 3), None, 1, 1, "float32")


@pytest.mark.parametrize(
    ("kind", "argument", "error", "message"),
    [
        (He, -1, ValueError, "gain=-1; wanted a finite number of at least 0"),
        (Glorot, "relu", TypeError, "gain='relu' has type str"),
        (Orthogonal, np.inf, ValueError, "gain=inf"),
        (Constant, np.nan, ValueError, "value=nan; wanted a finite number"),
    ],
)
def test_wrong_arguments(kind, argument, error, message):
    with pytest.raises(error, match=message):
        kind(argument)


@pytest.mark.parametrize("example", [He(2), *initializers.NAMES.values(), Constant(-0.5)])
def test_frozen_and_read_back(example):
    assert eval(repr(example), vars(initializers)) == example
    assert pickle.loads(pickle.dumps(example)) == example == copy.deepcopy(example)
    assert {example: 1}[copy.copy(example)] == 1
    with pytest.raises((AttributeError, TypeError)):
        example.gain = 3


def test_kinds_differ():
    kinds = list(initializers.NAMES.values())
    assert len(set(kinds)) == len(kinds)
    assert He(1) != HeUniform(1)
