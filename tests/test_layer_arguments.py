"""Arguments of layers: signatures, what repr writes and reads, copies, and wrong ones, each of which is named."""

import copy
import inspect
import pickle

import numpy as np
import pytest

import fastconv
from fastconv import Conv, Conv1d, Conv2d, Conv3d, ConvTranspose, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from fastconv.initializers import He

OF_RANK = {Conv: [Conv1d, Conv2d, Conv3d], ConvTranspose: [ConvTranspose1d, ConvTranspose2d, ConvTranspose3d]}

SHARED = {
    "flip_kernel": False,
    "activation": None,
    "untie_biases": False,
    "data_format": "channels_first",
    "precision": "default",
    "algorithm": "auto",
    "weight": None,
    "weight_init": "glorot",
    "bias_init": "zeros",
    "weight_learn_rate_factor": 1.0,
    "bias_learn_rate_factor": 1.0,
    "weight_l2_factor": 1.0,
    "bias_l2_factor": 0.0,
    "input_shape": None,
    "dtype": "float32",
    "rng": None,
    "name": None,
}
SIGNATURES = {
    Conv: (
        {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "bias": True, "padding_mode": "constant"},
        {"padding_value": 0.0} | SHARED,
    ),
    ConvTranspose: (
        {"stride": 1, "padding": 0, "output_padding": 0, "groups": 1, "bias": True, "dilation": 1},
        {"output_size": None} | SHARED,
    ),
}


@pytest.mark.parametrize("direction", OF_RANK)
def test_signatures(direction):
    positional, keywords = SIGNATURES[direction]
    required = ["in_channels", "out_channels", "kernel_size"]
    for kind in [direction, *OF_RANK[direction]]:
        parameters = inspect.signature(kind).parameters.values()
        assert [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD] == [*required, *positional]
        defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        assert defaults == positional | keywords
        assert [p.name for p in parameters if p.kind is p.KEYWORD_ONLY] == list(keywords)


@pytest.mark.parametrize(("direction", "function"), [(Conv, "conv"), (ConvTranspose, "conv_transpose")])
def test_what_functions_and_layers_share_has_the_same_defaults(direction, function):
    of_function = inspect.signature(getattr(fastconv, function)).parameters
    of_layer = inspect.signature(direction).parameters
    assert set(of_function) - set(of_layer) == {"x", "out"}
    for name in set(of_function) - {"x", "out", "weight", "bias"}:
        assert of_layer[name].default == of_function[name].default


def test_a_layer_is_called_with_one_argument():
    assert list(inspect.signature(Conv2d(1, 1, 1)).parameters) == ["x"]


@pytest.mark.parametrize("kind", [Conv2d, ConvTranspose2d])
def test_every_argument_is_an_attribute_and_documented(kind):
    layer = kind(3, 8, 3, name="conv", rng=1)
    for name in inspect.signature(kind).parameters:
        assert hasattr(layer, name)
        assert name in kind.__doc__
    assert (layer.in_channels, layer.out_channels, layer.kernel_size, layer.rank) == (3, 8, (3, 3), 2)
    assert layer.dtype == "float32"
    assert layer.weight.name == "weight" and layer.bias.name == "bias"


# What repr writes


def softplus(x):
    return np.log1p(np.exp(x))


def logistic(x):
    return 1 / (1 + np.exp(-x))


REPRS = [
    (Conv2d(3, 8, 3), "Conv2d(3, 8, (3, 3))"),
    (Conv2d(None, 8, (3, 5), 2, "same"), "Conv2d(None, 8, (3, 5), stride=2, padding='same')"),
    (Conv1d(1, 2, 3, padding=((1, 0),)), "Conv1d(1, 2, (3,), padding=((1, 0),))"),
    (Conv2d(1, 2, 3, stride=np.array([2, 1])), "Conv2d(1, 2, (3, 3), stride=(2, 1))"),
    (Conv2d(1, 2, np.int64(3), stride=np.int64(2)), "Conv2d(1, 2, (3, 3), stride=2)"),
    (Conv2d(1, 2, 3, bias=False), "Conv2d(1, 2, (3, 3), bias=False)"),
    (Conv2d(1, 2, 3, bias=0.5, weight=2), "Conv2d(1, 2, (3, 3), bias=0.5, weight=2)"),
    (Conv2d(1, 2, 3, bias="ones"), "Conv2d(1, 2, (3, 3), bias='ones')"),
    (Conv2d(1, 2, 3, weight=np.ones((2, 1, 3, 3)), bias=[1, 2]), "Conv2d(1, 2, (3, 3))"),
    (Conv(None, None, None, weight=np.ones((2, 1, 3))), "Conv(1, 2, (3,))"),
    (Conv2d(1, 2, 3, weight_init=He(gain=2)), "Conv2d(1, 2, (3, 3), weight_init=He(gain=2.0))"),
    (Conv2d(1, 2, 3, activation=(softplus, logistic)), "Conv2d(1, 2, (3, 3), activation=(softplus, logistic))"),
    (Conv2d(1, 2, 3, activation=softplus), "Conv2d(1, 2, (3, 3), activation=softplus)"),
    (Conv2d(1, 2, 3, rng=3, dtype=np.float64), "Conv2d(1, 2, (3, 3), dtype='float64', rng=3)"),
    (Conv2d(1, 2, 3, rng=np.random.default_rng(0)), "Conv2d(1, 2, (3, 3))"),
    (Conv2d(1, 2, 3, name="conv{:>3}"), "Conv2d(1, 2, (3, 3), name='conv{:>3}')"),
    (Conv2d(1, 2, 3, weight_l2_factor=0), "Conv2d(1, 2, (3, 3), weight_l2_factor=0.0)"),
    (
        ConvTranspose2d(4, 2, 3, 2, output_size=(9, 8), groups=2, data_format="channels_last"),
        "ConvTranspose2d(4, 2, (3, 3), stride=2, groups=2, output_size=(9, 8), data_format='channels_last')",
    ),
    (
        Conv2d(1, 2, 3, untie_biases=True).build((4, 1, 8, 8)),
        "Conv2d(1, 2, (3, 3), untie_biases=True, input_shape=(1, 8, 8))",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "text"), REPRS)
def test_repr_can_be_read_back(layer, text):
    assert repr(layer) == text
    again = eval(text, vars(fastconv) | globals())
    assert repr(again) == text
    assert type(again) is type(layer)
    assert [p.shape for p in again.parameters()] == [p.shape for p in layer.parameters()]
    for name in set(inspect.signature(type(layer)).parameters) - {"name", "rng", "weight", "bias", "stride"}:
        assert getattr(again, name) == getattr(layer, name)


@pytest.mark.parametrize("again", [lambda layer: pickle.loads(pickle.dumps(layer)), copy.deepcopy, copy.copy])
@pytest.mark.parametrize("layer", [layer for layer, _ in REPRS])
def test_copies(again, layer):
    other = again(layer)
    assert repr(other) == repr(layer) and other.name == layer.name
    assert (layer.weight is None) == (other.weight is None)
    for (name, one), (other_name, parameter) in zip(layer.named_parameters(), other.named_parameters(), strict=True):
        assert name == other_name
        np.testing.assert_array_equal(parameter.value, one.value)


@pytest.mark.parametrize("again", [lambda layer: pickle.loads(pickle.dumps(layer)), copy.deepcopy, copy.copy])
def test_copies_work(again):
    layer = Conv2d(2, 3, 3, activation="gelu")
    x = np.random.default_rng(0).standard_normal((2, 6, 6))
    np.testing.assert_array_equal(again(layer)(x), layer(x))
    assert again(Conv2d(None, 3, 3)).build((5, 6, 6)).in_channels == 5


def test_what_copies_share():
    layer = Conv2d(1, 2, 3)
    assert copy.copy(layer).weight is layer.weight
    deep = copy.deepcopy(layer)
    deep.weight.value[...] = 0
    assert layer.weight.value.any()
    pair = [layer, ConvTranspose2d(2, 1, 3, weight=layer.weight)]
    for again in (copy.deepcopy(pair), pickle.loads(pickle.dumps(pair))):
        assert again[0].weight is again[1].weight is not layer.weight


class Edges(Conv2d):
    def __init__(self, channels, **others):
        super().__init__(channels, 4, 3, padding="same", padding_mode="replicate", **others)


def test_classes_of_the_caller():
    layer = Edges(None, activation="relu")
    assert repr(layer) == ("Edges(None, 4, (3, 3), padding='same', padding_mode='replicate', activation='relu')")
    assert layer(np.ones((2, 5, 5))).shape == (4, 5, 5)
    assert layer.name.startswith("edges_") and Edges(2, weight=layer.weight).weight is layer.weight
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(layer)).weight.value, layer.weight.value)


# Wrong arguments

ERRORS = [
    ({"in_channels": 1.0}, TypeError, r"in_channels=1\.0 has type float; wanted an integer"),
    ({"in_channels": True}, TypeError, r"in_channels=True has type bool"),
    ({"in_channels": 0}, ValueError, r"in_channels=0 .*at least 1"),
    ({"out_channels": None}, ValueError, r"out_channels=None; wanted a value, or a weight"),
    ({"out_channels": "8"}, TypeError, r"out_channels='8' has type str"),
    ({"kernel_size": None}, ValueError, r"kernel_size=None; wanted a value, or a weight"),
    ({"kernel_size": 0}, ValueError, r"kernel_size=0 .*at least 1"),
    ({"kernel_size": (3, 3, 3)}, ValueError, r"kernel_size=\(3, 3, 3\) has 3 entries; wanted 1 for each of 2"),
    ({"kernel_size": 3.0}, TypeError, r"kernel_size=3\.0 has type float"),
    ({"groups": 3}, ValueError, r"groups=3 does not divide in_channels=4"),
    ({"groups": 4, "out_channels": 6}, ValueError, r"groups=4 does not divide out_channels=6"),
    ({"groups": 0}, ValueError, r"groups=0"),
    ({"groups": 2.0}, TypeError, r"groups=2\.0 has type float"),
    ({"stride": 0}, ValueError, r"stride=0 .*at least 1"),
    ({"stride": "2"}, TypeError, r"stride='2'"),
    ({"padding": "sane"}, ValueError, r"padding='sane' is unknown"),
    ({"dilation": (1, 1.5)}, TypeError, r"dilation=1\.5"),
    ({"flip_kernel": 1}, TypeError, r"flip_kernel=1"),
    ({"activation": "rulu"}, ValueError, r"activation='rulu' is unknown"),
    ({"activation": (abs,)}, TypeError, r"activation=.*a pair must be two callables"),
    ({"data_format": "NHWC"}, ValueError, r"data_format='NHWC'"),
    ({"precision": None}, TypeError, r"precision=None"),
    ({"algorithm": "imtocol"}, ValueError, r"algorithm='imtocol'"),
    ({"untie_biases": 1}, TypeError, r"untie_biases=1 has type int; wanted True or False"),
    ({"weight": np.ones((8, 4, 3))}, ValueError, r"weight has 3 axes .*wanted 4"),
    ({"weight": np.ones((8, 4, 3, 5))}, ValueError, r"weight has shape .*means kernel_size=\(3, 5\); kernel_size="),
    ({"weight": np.ones((8, 5, 3, 3))}, ValueError, r"weight has shape \(8, 5, 3, 3\)"),
    ({"weight": np.ones((7, 4, 3, 3))}, ValueError, r"weight has shape \(7, 4, 3, 3\)"),
    ({"weight": np.ones((8, 4, 3, 3), complex)}, TypeError, r"weight has dtype complex128"),
    ({"weight": True}, TypeError, r"weight=True has type bool"),
    ({"weight": "glorat"}, ValueError, r"weight='glorat' is unknown"),
    ({"weight": object()}, TypeError, r"weight has dtype object"),
    ({"weight": np.inf}, ValueError, r"weight=inf; wanted a finite number"),
    ({"weight": fastconv.Parameter(np.ones((8, 4, 3, 3)))}, TypeError, r"weight is a Parameter of float64; wanted"),
    ({"weight_init": "gloria"}, ValueError, r"weight_init='gloria' is unknown"),
    ({"weight_init": He}, TypeError, r"weight_init=.*He.*He\(\)"),
    ({"weight_init": None}, TypeError, r"weight_init=None"),
    ({"bias": [1, 2]}, ValueError, r"bias has shape \(2,\); wanted \(8,\)"),
    ({"bias": np.ones((8, 5, 5))}, ValueError, r"bias has shape \(8, 5, 5\); wanted \(8,\), with untie_biases=False"),
    ({"bias": np.ones(8), "untie_biases": True}, ValueError, r"bias has shape \(8,\); wanted \(8, \*output_spatial\)"),
    ({"bias": "eins"}, ValueError, r"bias='eins' is unknown"),
    ({"bias": 1j}, TypeError, r"bias=1j has type complex"),
    ({"bias_init": 1j}, TypeError, r"bias_init=1j"),
    ({"weight_learn_rate_factor": -1}, ValueError, r"weight_learn_rate_factor=-1"),
    ({"bias_learn_rate_factor": "1"}, TypeError, r"bias_learn_rate_factor='1'"),
    ({"weight_l2_factor": np.nan}, ValueError, r"weight_l2_factor=nan"),
    ({"bias_l2_factor": True}, TypeError, r"bias_l2_factor=True"),
    ({"input_shape": 4}, TypeError, r"input_shape=4 has type int; wanted a tuple of sizes"),
    ({"input_shape": (4, 5)}, ValueError, r"x has 2 axes"),
    ({"input_shape": (5, 9, 9)}, ValueError, r"x has 5 channels"),
    ({"dtype": "float16"}, TypeError, r"dtype='float16'; wanted float32 or float64"),
    ({"dtype": None}, TypeError, r"dtype=None"),
    ({"dtype": "real"}, TypeError, r"dtype='real'"),
    ({"rng": "seed"}, TypeError, r"rng='seed'; wanted a NumPy Generator, a seed or None"),
    ({"rng": -1}, ValueError, r"rng=-1"),
    ({"name": 3}, TypeError, r"name=3 has type int"),
    ({"nmae": "conv"}, TypeError, r"nmae"),
]

OF_ONE_DIRECTION = [
    (Conv2d, {"padding_mode": "reflected"}, ValueError, r"padding_mode='reflected'"),
    (Conv2d, {"padding_mode": "reflect", "padding_value": 1}, ValueError, r"padding_value=1"),
    (Conv2d, {"output_padding": 1}, TypeError, r"output_padding"),
    (ConvTranspose2d, {"output_padding": 1}, ValueError, r"output_padding=1"),
    (ConvTranspose2d, {"output_size": "x"}, TypeError, r"output_size='x'"),
    (ConvTranspose2d, {"output_size": (9, 9, 9)}, ValueError, r"output_size=\(9, 9, 9\) has 3 entries"),
    (ConvTranspose2d, {"output_size": 9, "stride": 2, "output_padding": 1}, ValueError, r"output_size=9"),
    (ConvTranspose2d, {"padding_mode": "reflect"}, TypeError, r"padding_mode"),
]


def shown(changed):
    texts = {n: f"{v.dtype}{v.shape}" if isinstance(v, np.ndarray) else repr(v) for n, v in changed.items()}
    return ", ".join(f"{name}={text}" for name, text in texts.items())


def of_direction(kind):
    return [(kind, *row) for row in ERRORS if kind is Conv2d or np.ndim(row[0].get("weight")) < 4]


@pytest.mark.parametrize(
    ("kind", "changed", "error", "message"),
    [
        pytest.param(*row, id=f"{row[0].__name__}: {shown(row[1])}")
        for row in [*of_direction(Conv2d), *of_direction(ConvTranspose2d), *OF_ONE_DIRECTION]
    ],
)
def test_wrong_arguments_are_named(kind, changed, error, message):
    with pytest.raises(error, match=message):
        kind(**{"in_channels": 4, "out_channels": 8, "kernel_size": 3} | changed)


@pytest.mark.parametrize("kind", [Conv2d, ConvTranspose2d])
@pytest.mark.parametrize("changed", [{"stride": 0}, {"activation": "rulu"}, {"rng": "seed"}, {"weight_init": None}])
def test_wrong_arguments_are_not_settled_late(kind, changed):
    with pytest.raises((ValueError, TypeError), match=f"{next(iter(changed))}="):
        kind(None, 8, 3, **changed)


@pytest.mark.parametrize("kernel_size", [3, (), (1, 2, 3, 4), None, "abc"])
def test_a_kernel_that_tells_no_rank(kernel_size):
    with pytest.raises(ValueError, match=r"kernel_size=.* does not tell the number of spatial axes"):
        Conv(1, 1, kernel_size)


def test_a_shared_parameter_has_its_own_factors():
    weight = fastconv.Parameter(np.ones((8, 4, 3, 3), "float32"), learn_rate_factor=0.5)
    assert Conv2d(4, 8, 3, weight=weight).weight_learn_rate_factor == 0.5
    assert Conv2d(4, 8, 3, weight=weight, weight_learn_rate_factor=0.5).weight is weight
    with pytest.raises(ValueError, match=r"weight_learn_rate_factor=2\.0, but weight is a Parameter that has 0\.5"):
        Conv2d(4, 8, 3, weight=weight, weight_learn_rate_factor=2)
