"""Padding modes: the published matrices, `numpy.pad`, and what is tabulated of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import NUMPY_MODES

import fastconv
from fastconv._padding import ALIASES, MODES, AxisMap, canonical_mode

SQUARE = np.array([[3, 1, 4], [1, 5, 9], [2, 6, 5]])

SYMMETRIC = [
    [5, 1, 1, 5, 9, 9, 5],
    [1, 3, 3, 1, 4, 4, 1],
    [1, 3, 3, 1, 4, 4, 1],
    [5, 1, 1, 5, 9, 9, 5],
    [6, 2, 2, 6, 5, 5, 6],
    [6, 2, 2, 6, 5, 5, 6],
    [5, 1, 1, 5, 9, 9, 5],
]
REFLECT = [
    [5, 6, 2, 6, 5, 6, 2],
    [9, 5, 1, 5, 9, 5, 1],
    [4, 1, 3, 1, 4, 1, 3],
    [9, 5, 1, 5, 9, 5, 1],
    [5, 6, 2, 6, 5, 6, 2],
    [9, 5, 1, 5, 9, 5, 1],
    [4, 1, 3, 1, 4, 1, 3],
]
REPLICATE = [
    [3, 3, 3, 1, 4, 4, 4],
    [3, 3, 3, 1, 4, 4, 4],
    [3, 3, 3, 1, 4, 4, 4],
    [1, 1, 1, 5, 9, 9, 9],
    [2, 2, 2, 6, 5, 5, 5],
    [2, 2, 2, 6, 5, 5, 5],
    [2, 2, 2, 6, 5, 5, 5],
]

LINES = {
    "constant": [7, 7, 3, 1, 4, 7, 7],
    "zeros": [0, 0, 3, 1, 4, 0, 0],
    "replicate": [3, 3, 3, 1, 4, 4, 4],
    "edge": [3, 3, 3, 1, 4, 4, 4],
    "nearest": [3, 3, 3, 1, 4, 4, 4],
    "symmetric": [1, 3, 3, 1, 4, 4, 1],
    "symmetric-include-edge": [1, 3, 3, 1, 4, 4, 1],
    "reflect": [4, 1, 3, 1, 4, 1, 3],
    "symmetric-exclude-edge": [4, 1, 3, 1, 4, 1, 3],
    "mirror": [4, 1, 3, 1, 4, 1, 3],
    "circular": [1, 4, 3, 1, 4, 3, 1],
    "wrap": [1, 4, 3, 1, 4, 3, 1],
}


def test_every_name_has_its_line():
    assert set(LINES) == set(MODES) | set(ALIASES)


@pytest.mark.parametrize("mode", LINES)
def test_contract_lines(mode):
    value = 7.0 if mode == "constant" else 0.0
    x = np.array([[3.0, 1.0, 4.0]])
    padded = fastconv.conv1d(x, np.ones((1, 1, 1)), padding=2, padding_mode=mode, padding_value=value)
    np.testing.assert_array_equal(padded, [LINES[mode]])


@pytest.mark.parametrize(
    ("mode", "matrix"),
    [("symmetric-include-edge", SYMMETRIC), ("symmetric-exclude-edge", REFLECT), ("replicate", REPLICATE)],
)
def test_published_matrices(mode, matrix):
    padded = fastconv.conv2d(SQUARE[None], np.ones((1, 1, 1, 1)), padding=2, padding_mode=mode)
    np.testing.assert_array_equal(padded, [matrix])


@given(st.sampled_from(list(MODES)), st.integers(1, 7), st.integers(0, 30), st.integers(0, 30))
def test_map_is_numpy_pad(mode, size, before, after):
    x = np.arange(1, size + 1)
    axis_map = AxisMap(mode, before, size, before + size + after)
    with_constant = np.append(x, 0)  # index -1
    np.testing.assert_array_equal(
        with_constant[axis_map.source(0, axis_map.read)], np.pad(x, (before, after), NUMPY_MODES[mode])
    )


@given(st.sampled_from(list(MODES)), st.integers(1, 9), st.integers(0, 9), st.integers(0, 30))
def test_head_and_tail_are_what_is_read(mode, size, before, read):
    axis_map = AxisMap(mode, before, size, read)
    whole = axis_map.source(0, read)
    np.testing.assert_array_equal(axis_map.head, whole[:before])
    np.testing.assert_array_equal(axis_map.tail, whole[before + size :])
    np.testing.assert_array_equal(
        np.concatenate([axis_map.head, np.arange(size)[: max(0, read - before)], axis_map.tail]), whole
    )
    assert axis_map.border == len(axis_map.head) + len(axis_map.tail)


@pytest.mark.parametrize("algorithm", ["auto", "reference"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_input_that_no_output_reaches(mode, size, algorithm):
    x = np.arange(1.0, size + 1)
    weight = np.array([[[1.0, 10.0]]])
    for before in range(1, 15):
        first, second = np.pad(x, (before, 1), NUMPY_MODES[mode])[:2]
        for pad, stride in [(before, 99), (before + 24 * 10**30, 10**32)] if before > 1 else [(before, 99)]:
            y = fastconv.conv1d(
                x[None], weight, stride=stride, padding=((pad, 1),), padding_mode=mode, algorithm=algorithm
            )
            np.testing.assert_array_equal(y, [[first + 10 * second]])


def test_one_element_repeats_in_every_mode_but_constant():
    for mode in set(MODES) - {"constant"}:
        assert not AxisMap(mode, 5, 1, 12).source(0, 12).any()


def test_maps_are_read_only():
    with pytest.raises(ValueError, match="read-only"):
        AxisMap("circular", 2, 3, 7).head[0] = 1


@pytest.mark.parametrize("mode", sorted((set(MODES) | set(ALIASES)) - {"constant"}))
def test_only_constant_takes_a_value(mode):
    with pytest.raises(ValueError, match=r"padding_value=1\.5 .*padding_mode"):
        canonical_mode(mode, 1.5)
