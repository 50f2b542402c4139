"""What layers tell of themselves: shapes, plans, tables, states, names; and numbers published with other systems."""

import numpy as np
import pytest
from hypothesis import given
from strategies import cases

import fastconv
from fastconv import Conv, Conv1d, Conv2d, Conv3d, ConvTranspose2d

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape)


# Shapes


@pytest.mark.parametrize(
    ("layer", "given", "expected"),
    [
        (Conv2d(3, 8, 5, stride=2, padding=2), (3, 32, 32), (8, 16, 16)),
        (Conv2d(3, 8, 5, stride=2, padding=2), (None, 3, None, 32), (None, 8, None, 16)),
        (Conv2d(3, 8, 5), (None, None, None), (8, None, None)),
        (Conv2d(3, 8, (5, 1), dilation=100, padding=3), (3, None, 4), (8, None, 10)),
        (Conv2d(3, 8, 5, padding="full", padding_mode="wrap"), (3, None, 4), (8, None, 8)),
        (Conv2d(3, 8, 5, data_format="channels_last"), (7, None, 9, None), (7, None, 5, 8)),
        (Conv1d(3, 8, 5, groups=1), (2, None, 3, 9), (2, None, 8, 5)),
        (Conv3d(3, 8, 5, padding="same", stride=2), [3, 9, None, 8], (8, 5, None, 4)),
        (ConvTranspose2d(8, 3, 3, stride=2, padding=2), (8, 17, None), (3, 31, None)),
        (ConvTranspose2d(8, 3, 3, stride=2, padding=50), (8, None, 60), (3, None, 21)),
        (ConvTranspose2d(8, 3, 3, stride=2, padding=2, output_size=32), (8, None, 17), (3, None, 32)),
        (ConvTranspose2d(8, 3, 3, stride=3, padding="same"), (None, 8, 5, 5), (None, 3, 15, 15)),
        (ConvTranspose2d(8, 3, 3, stride=2, output_padding=1), (None, 8, None, 5), (None, 3, None, 12)),
    ],
)  # fmt: skip
def test_unknown_sizes_stay_unknown(layer, given, expected):
    assert layer.output_shape(given) == expected


@given(cases())
def test_unknown_sizes_change_no_others(case):
    rank = case.weight.ndim - 2
    layer = Conv(None, None, None, weight=case.weight, **case.arguments)
    expected = layer.output_shape(case.x.shape)
    for axis in [*range(-rank, 0), *range(case.x.ndim - rank - 1)]:
        partly = list(case.x.shape)
        partly[axis] = None
        wanted = list(expected)
        wanted[axis] = None
        assert layer.output_shape(partly) == tuple(wanted)


@pytest.mark.parametrize(
    ("shape", "message"),
    [(5, "input_shape=5 has type int"), ((1, 2.0, 3), "input_shape=2.0 has type float"), ((1, -1, 5), "at least 0")],
)
def test_shapes_that_are_none(shape, message):
    for method in ("output_shape", "build", "info"):
        with pytest.raises((TypeError, ValueError), match=message):
            getattr(Conv2d(1, 1, 1), method)(shape)


# Plans


def test_a_plan_keeps_the_values_it_was_made_with():
    layer = Conv2d(2, 3, 3, activation="relu", padding=1)
    x = normal(2, 8, 8).astype("float32")
    expected = layer(x)
    plan = layer.freeze()
    layer.weight.value = np.zeros_like(layer.weight.value)
    layer.bias.value[...] = 1
    np.testing.assert_array_equal(plan(x), expected)
    np.testing.assert_array_equal(layer(x), np.ones((3, 8, 8)))
    with pytest.raises(ValueError, match="spatial sizes"):
        layer.freeze((2, 8, 8))(normal(2, 8, 9))


# What it says of itself


def test_info_of_a_layer():
    info = Conv2d(3, 8, 5, stride=2, padding=2, name="conv").info((10, 3, 32, 32))
    (row,) = info.rows
    assert (row.name, row.layer, row.output_shape) == ("conv", "Conv2d", (10, 8, 16, 16))
    assert row.parameters == info.total.parameters == 608  # MATLAB's: 75 weights each, and a bias
    assert row.flops == 2 * 10 * 16 * 16 * 8 * 75
    assert row.receptive_field == (5, 5)
    assert row.memory >= 4 * (608 + 10 * 2048)
    assert row.algorithm == fastconv.explain((10, 3, 32, 32), (8, 3, 5, 5), stride=2, padding=2).algorithm
    lines = str(info).splitlines()
    assert len({len(line) for line in (lines[1], lines[3])}) == 1
    assert "(10, 8, 16, 16)" in lines[2] and "608" in lines[2] and "5×5" in lines[2]
    assert lines[-1].startswith("total")


def test_info_of_what_is_not_known():
    layer = Conv2d(None, 8, 5)
    (row,) = layer.info().rows
    assert (row.output_shape, row.parameters, row.flops, row.memory, row.algorithm) == ((8, None, None), *[None] * 4)
    (row,) = layer.info((3, None, 9)).rows
    assert (row.output_shape, row.parameters, row.flops) == ((8, None, 5), 608, None)
    assert layer.info((3, 9, 9)).rows[0].flops == 2 * 8 * 25 * 75
    assert layer.weight is None, "info settles nothing"
    assert "–" in str(layer.info())
    assert Conv2d(3, 8, 5, input_shape=(3, 9, 9)).info().rows[0].output_shape == (8, 5, 5)


def test_info_of_a_transposed_layer():
    (row,) = ConvTranspose2d(512, 256, 4, stride=2, padding=1).info((512, 8, 8)).rows
    assert (row.output_shape, row.flops, row.receptive_field) == ((256, 16, 16), 2 * 512 * 256 * 16 * 64, (2, 2))


# States


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_states_in_files(tmp_path, suffix):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    one, other = Conv2d(2, 3, 3, rng=0, bias="he"), Conv2d(2, 3, 3, rng=1)
    one.save(tmp_path / f"layer{suffix}")
    other.load(tmp_path / f"layer{suffix}")
    for name, array in one.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], array)
    assert list(one.state_dict()) == ["weight", "bias"]


def test_a_state_is_a_copy():
    layer = Conv2d(2, 3, 3)
    state = layer.state_dict()
    state["weight"][...] = 0
    assert layer.weight.value.any()
    layer.load_state_dict(state)
    state["weight"][...] = 1
    assert not layer.weight.value.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("bias"), "no 'bias'"),
        (lambda state: state.update(scale=np.ones(3)), "'scale' is no parameter here"),
        (lambda state: state.update(weight=np.ones((3, 2, 3))), r"'weight' has shape \(3, 2, 3\)"),
        (lambda state: state.update(weight=np.ones((3, 2, 3, 3), int)), "'weight' has dtype int"),
    ],
)
def test_a_bad_state_leaves_the_layer_as_it_was(change, message):
    layer = Conv2d(2, 3, 3)
    before = layer.state_dict()
    state = Conv2d(2, 3, 3).state_dict()
    change(state)
    with pytest.raises((ValueError, TypeError), match=message):
        layer.load_state_dict(state)
    for name, array in before.items():
        np.testing.assert_array_equal(layer.state_dict()[name], array)


# Names


def test_a_layer_that_stands_alone_has_a_name_of_its_own():
    names = {Conv2d(1, 1, 1).name for _ in range(20)}
    assert len(names) == 20 and all(name.startswith("conv2d_") for name in names)
    assert Conv2d(1, 1, 1, name="edges").name == "edges"
    assert Conv2d(1, 1, 1, name="only here {}").name == "only here 1"
    assert Conv2d(1, 1, 1, name="only here {}").name == "only here 2"


@pytest.mark.parametrize("name", ["", "a.b", "{:.1f}", "conv{x}", "conv{", "{}{}", "{:s}", "{0.real.x}", "{[0]}"])
def test_names_that_are_none(name):
    with pytest.raises(ValueError, match="name="):
        Conv2d(1, 1, 1, name=name)


# Numbers published with other systems


def test_fleuret_parameters():
    shapes = {name: parameter.shape for name, parameter in Conv2d(4, 5, (2, 3)).named_parameters()}
    assert shapes == {"weight": (5, 4, 2, 3), "bias": (5,)}


def test_matlab_parameters():
    layer = Conv2d(None, 8, 5, stride=2, padding=2)
    assert layer(np.ones((3, 32, 32))).size == 2048
    assert sum(parameter.size for parameter in layer.parameters()) == (5 * 5 * 3 + 1) * 8 == 608


def test_lasagne_autoencoder():
    encoder = Conv2d(1, 8, 3, stride=2, padding=2)
    assert encoder.output_shape((1, 32, 32)) == (8, 17, 17)
    decoder = ConvTranspose2d(8, 1, 3, stride=2, padding=2, weight=encoder.weight)
    assert decoder.output_shape((8, 17, 17)) == (1, 31, 31)
    decoder = ConvTranspose2d(8, 1, 3, stride=2, padding=2, weight=encoder.weight, output_size=32)
    assert decoder.output_shape((8, 17, 17)) == (1, 32, 32)
