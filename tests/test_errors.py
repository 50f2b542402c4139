"""Wrong arguments: each is named, with what came and what was wanted, before anything is allocated."""

import tracemalloc

import numpy as np
import pytest

import fastconv

X = np.ones((2, 6, 9, 8), "float32")
WEIGHT = np.ones((4, 6, 3, 3), "float32")

VALUES = [
    ({"groups": 5}, r"groups=5 does not divide out_channels=4"),
    ({"groups": 4, "weight": np.ones((4, 2, 3, 3))}, r"groups=4 does not divide in_channels=6"),
    ({"groups": 2}, r"x has 6 channels .*weight of shape \(4, 6, 3, 3\) with groups=2 wants 12"),
    ({"groups": 0}, r"groups=0 .*at least 1"),
    ({"groups": -1}, r"groups=-1 .*at least 1"),
    ({"stride": 0}, r"stride=0 .*at least 1"),
    ({"stride": -1}, r"stride=-1 .*at least 1"),
    ({"stride": (1, 0)}, r"stride=0 .*at least 1"),
    ({"stride": (1, 1, 1)}, r"stride=\(1, 1, 1\) has 3 entries; wanted 1 for each of 2 spatial axes"),
    ({"stride": ()}, r"stride=\(\) has 0 entries"),
    ({"dilation": 0}, r"dilation=0 .*at least 1"),
    ({"dilation": [2]}, r"dilation=\[2\] has 1 entries"),
    ({"dilation": 5}, r"weight of shape \(4, 6, 3, 3\) with dilation=5 reaches over 11 positions of spatial axis 0"),
    ({"weight": np.ones((4, 6, 3, 9))}, r"weight of shape .*reaches over 9 positions of spatial axis 1.* has 8"),
    ({"weight": np.ones((4, 6, 12, 3)), "padding": 1}, r"weight of shape .*over 12 .*9 and padding adds 1 \+ 1"),
    ({"weight": np.ones((4, 6, 0, 3))}, r"weight has shape \(4, 6, 0, 3\); wanted at least 1"),
    ({"weight": np.ones((0, 6, 3, 3))}, r"weight has shape"),
    ({"weight": np.ones((4, 0, 3, 3))}, r"weight has shape"),
    ({"weight": np.ones((4, 6, 3))}, r"weight has 3 axes .*wanted 4"),
    ({"weight": np.ones((4, 6, 3, 3, 3))}, r"weight has 5 axes .*wanted 4"),
    ({"weight": np.float32(1)}, r"weight has 0 axes"),
    ({"weight": np.ones((4, 5, 3, 3))}, r"x has 6 channels .*weight of shape \(4, 5, 3, 3\) .*wants 5"),
    ({"x": np.ones((5, 9, 8))}, r"x has 5 channels .*weight"),
    ({"x": np.ones((0, 9, 8))}, r"x has 0 channels .*weight"),
    ({"x": np.ones((9, 8))}, r"x has 2 axes .*at least 3.*weight"),
    ({"x": np.float64(3)}, r"x has 0 axes"),
    ({"x": np.ones((2, 6, 0, 8))}, r"weight of shape .*spatial axis 0, where x has 0"),
    ({"data_format": "channels_last"}, r"x has 8 channels .*channels_last.*weight"),
    ({"data_format": "NHWC"}, r"data_format='NHWC' is unknown; wanted one of 'channels_first', 'channels_last'"),
    ({"padding": -1}, r"padding=-1 .*at least 0"),
    ({"padding": ((1, 1), (-1, 1))}, r"padding=-1 .*at least 0"),
    ({"padding": (1, 1, 1)}, r"padding=\(1, 1, 1\) has 3 entries; wanted 1 for each of 2 spatial axes"),
    ({"padding": ((1, 1, 1), 0)}, r"padding has an entry \(1, 1, 1\); wanted an integer or a \(before, after\) pair"),
    ({"padding": "sane"}, r"padding='sane' is unknown; wanted one of 'valid', 'same', 'full'"),
    ({"padding": "SAME"}, r"padding='SAME' is unknown"),
    ({"padding_mode": "reflected"}, r"padding_mode='reflected' is unknown; wanted one of 'constant'"),
    ({"padding_mode": "zeros", "padding_value": 1.0}, r"padding_value=1\.0 with padding_mode='zeros'"),
    ({"padding_mode": "reflect", "padding_value": 1.0}, r"padding_value=1\.0 with padding_mode='reflect'"),
    ({"padding_mode": "wrap", "padding_value": np.nan}, r"padding_value=nan with padding_mode='wrap'"),
    (
        {"x": np.ones((2, 6, 0, 8)), "padding": 2, "padding_mode": "replicate"},
        r"padding_mode='replicate' has nothing to pad an empty axis with \(spatial axis 0 of x\)",
    ),
    ({"bias": np.ones(3)}, r"bias has shape \(3,\); wanted \(4,\)"),
    ({"bias": np.ones((4, 1))}, r"bias has shape \(4, 1\)"),
    ({"bias": np.ones((4, 7, 7))}, r"bias has shape \(4, 7, 7\); wanted \(4,\), or \(4, 7, 6\)"),
    ({"bias": np.float32(1)}, r"bias has shape \(\)"),
    ({"activation": "relu7"}, r"activation='relu7' is unknown; wanted one of 'relu', 'relu6'"),
    ({"precision": "fast"}, r"precision='fast' is unknown; wanted one of 'default', 'strict'"),
    ({"algorithm": "imtocol"}, r"algorithm='imtocol' is unknown; wanted one of 'auto', .*'im2col'.*'reference'"),
    ({"out": np.ones((2, 4, 7, 7), "float32")}, r"out has shape \(2, 4, 7, 7\); wanted \(2, 4, 7, 6\)"),
]

TYPES = [
    ({"groups": 1.0}, r"groups=1\.0 has type float; wanted an integer"),
    ({"groups": True}, r"groups=True has type bool"),
    ({"groups": (1,)}, r"groups=\(1,\) has type tuple"),
    ({"stride": 1.0}, r"stride=1\.0 has type float"),
    ({"stride": "2"}, r"stride='2' has type str"),
    ({"stride": None}, r"stride=None has type NoneType"),
    ({"stride": {1: 2}}, r"stride=\{1: 2\} has type dict"),
    ({"stride": (1, True)}, r"stride=True has type bool"),
    ({"dilation": np.float64(1)}, r"dilation=.*1\.0.* has type float64"),
    ({"dilation": np.array([1.0, 1.0])}, r"dilation=1\.0 has type float"),
    ({"padding": 1.0}, r"padding=1\.0 has type float"),
    ({"padding": None}, r"padding=None has type NoneType"),
    ({"padding": (1, "same")}, r"padding='same' has type str"),
    ({"padding_mode": None}, r"padding_mode=None is a NoneType; wanted one of"),
    ({"padding_mode": ["reflect"]}, r"padding_mode=\['reflect'\] is a list"),
    ({"padding_value": "0"}, r"padding_value='0' has type str; wanted a real number"),
    ({"padding_value": np.zeros(2)}, r"padding_value=.* has type ndarray"),
    ({"padding_value": 1j}, r"padding_value=1j has type complex"),
    ({"flip_kernel": 1}, r"flip_kernel=1 has type int; wanted True or False"),
    ({"flip_kernel": None}, r"flip_kernel=None"),
    ({"activation": 3}, r"activation=3 has type int; wanted a name, None, a callable or a pair"),
    ({"activation": ("relu", None)}, r"activation=\('relu', None\); a pair must be two callables"),
    ({"activation": (abs,)}, r"activation=.*a pair must be two callables"),
    ({"data_format": None}, r"data_format=None"),
    ({"precision": 1}, r"precision=1"),
    ({"algorithm": None}, r"algorithm=None"),
    ({"x": np.array([["a"]])}, r"x has dtype <U1; wanted bool, an integer, float16"),
    ({"weight": WEIGHT.astype(object)}, r"weight has dtype object"),
    ({"bias": ["a", "b", "c", "d"]}, r"bias has dtype <U1"),
    ({"out": np.ones((2, 4, 7, 6))}, r"out has dtype <f8 \(float64\); wanted <f4 \(float32\)"),
]


def shown(value):
    return f"{value.dtype}{value.shape}" if isinstance(value, np.ndarray) else repr(value)


def rows(table):
    """The table with ids that show the arguments, arrays by type and shape."""
    return [
        pytest.param(changed, message, id=", ".join(f"{name}={shown(value)}" for name, value in changed.items()))
        for changed, message in table
    ]


def call(**changed):
    return fastconv.conv2d(**{"x": X, "weight": WEIGHT} | changed)


def as_plan(**changed):
    arguments = {"x": X, "weight": WEIGHT} | changed
    x, out = arguments.pop("x"), arguments.pop("out", None)
    return fastconv.plan(**arguments)(x, out)


@pytest.mark.parametrize(("changed", "message"), rows(VALUES))
def test_values(changed, message):
    with pytest.raises(ValueError, match=message):
        call(**changed)


@pytest.mark.parametrize(("changed", "message"), rows(TYPES))
def test_types(changed, message):
    with pytest.raises(TypeError, match=message):
        call(**changed)


# but a plan takes its rank from the weight
@pytest.mark.parametrize(
    ("changed", "message"), rows(row for row in VALUES + TYPES if np.ndim(row[0].get("weight", WEIGHT)) == 4)
)
def test_plans_say_the_same(changed, message):
    with pytest.raises((ValueError, TypeError), match=message):
        as_plan(**changed)


def test_nothing_is_allocated_first():
    x = np.broadcast_to(np.int8(1), (64, 64, 1000, 1000))
    weight = np.broadcast_to(np.float32(1), (512, 64, 101, 101))
    for wrong in ({"stride": 0}, {"groups": 3}, {"bias": np.ones(3)}, {"out": np.ones(3)}, {"dilation": 10}):
        tracemalloc.start()
        with pytest.raises((ValueError, TypeError)):
            fastconv.conv2d(x, weight, **wrong)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2**20
