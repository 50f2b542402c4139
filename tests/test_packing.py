"""Weights in any memory order are packed alike, and none that is not finite is overlooked."""

import numpy as np
import pytest
from fastconv._recent import Recent
from hypothesis import given
from hypothesis import strategies as st
from strategies import integers

import fastconv
from fastconv import _call
from fastconv._algorithms import _tiled
from fastconv._cache import Bounded

ORDERS = {  # how (out_channels, in_channels, height, width) lie in memory
    "contiguous": lambda weight: weight,
    "output channels side by side": lambda weight: np.asfortranarray(weight),
    "input channels side by side": lambda weight: np.moveaxis(np.moveaxis(weight, 1, -1).copy(), -1, 1),
    "input channels first": lambda weight: weight.swapaxes(0, 1).copy().swapaxes(0, 1),
    "taps turned round": lambda weight: weight[:, :, ::-1, ::-1].copy()[:, :, ::-1, ::-1],
    "every second tap": lambda weight: np.repeat(weight, 2, 3)[..., ::2],
    "output channels turned round": lambda weight: weight[::-1].copy()[::-1],
    "output channels first, turned round": lambda weight: np.asfortranarray(weight[..., ::-1])[..., ::-1],
}
SHAPES = [(40, 123, 3, 3), (5, 2050, 1, 1), (33, 20, 2, 1), (3, 1, 40, 40), (1, 7, 3, 3), (17, 130, 4, 4)]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_orders(dtype, shape, order):
    x, weight = integers((1, shape[1], shape[2] + 2, shape[3] + 5), dtype, 0), integers(shape, dtype, 1)
    lies = ORDERS[order](weight)
    np.testing.assert_array_equal(lies, weight)
    for algorithm in ("direct", "im2col"):
        got = fastconv.conv2d(x, lies, algorithm=algorithm)
        np.testing.assert_array_equal(got, fastconv.conv2d(x, weight, algorithm="reference"))
    back = fastconv.conv_transpose2d(got, lies, algorithm="im2col")
    np.testing.assert_array_equal(back, fastconv.conv_transpose2d(got, weight, algorithm="reference"))


@pytest.mark.parametrize("groups", [1, 4])
@given(order=st.sampled_from(list(ORDERS)), data=st.data())
def test_what_is_not_finite_is_found_anywhere(groups, order, data):
    """Products with padding may only be left out if all weights are finite."""
    weight = np.ones((8, 260 // groups, 3, 3), "float32")
    at = data.draw(st.tuples(*(st.integers(0, size - 1) for size in weight.shape)))
    weight[at] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    x = np.ones((1, 260, 7, 7), "float32")
    arguments = {"padding": 6, "dilation": 6, "groups": groups}
    with np.errstate(invalid="ignore"):
        expected = fastconv.conv2d(x, weight, **arguments, algorithm="reference")
        got = fastconv.conv2d(x, ORDERS[order](weight), **arguments, algorithm="im2col")
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kernel, flip", [((1, 1), False), ((3, 3), False), ((3, 2), True), ((2, 70), False)])
def test_blocks_that_pack_for_themselves(kernel, flip, groups, order, dtype, threads, monkeypatch):
    """Functions on small maps, whose weights are multiplied once: the bits of a plan, which packs them beforehand."""
    decisions = []

    def packs_itself(*of, decide=_tiled.packs_itself):
        decisions.append(decide(*of))
        return decisions[-1]

    monkeypatch.setattr(_tiled, "packs_itself", packs_itself)
    monkeypatch.setattr(_call, "_KEPT", Bounded(4))
    monkeypatch.setattr(_call, "_RECENT", {kind: Recent(4) for kind in _call._RECENT})
    shape = (groups * 45, 150, *kernel)
    x = np.random.default_rng(0).standard_normal((groups * 150, 7, kernel[1] + 3)).astype(dtype)
    weight = ORDERS[order](np.random.default_rng(1).standard_normal(shape).astype(dtype))
    arguments = {"groups": groups, "padding": (1, 0), "flip_kernel": flip, "algorithm": "im2col"}
    with fastconv.num_threads(threads):
        expected = fastconv.plan(weight, **arguments)(x)
        for _ in range(2):  # the long way, and the short one of a call like it
            np.testing.assert_array_equal(fastconv.conv2d(x, weight, **arguments), expected)
            weight = -weight  # contiguous then, in its own order
            expected = -expected
        back = fastconv.conv_transpose2d(expected, weight, **arguments)  # whose products lie far apart
        np.testing.assert_array_equal(back, fastconv.plan(weight, **arguments, transposed=True)(expected))
    assert decisions[0] or threads > 1  # which may cut the map
    assert any(decisions)
