"""What must not change the bits of a result: threads, the batch, and with strict precision how an input is cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inexact import normal
from strategies import ALGORITHMS, DIRECT_SUMS

import fastconv


@pytest.mark.parametrize("algorithm", ["auto", *ALGORITHMS])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("groups", "channels", "outs"), [(1, 3, 20), (1, 40, 33), (6, 1, 1), (3, 4, 5)])
def test_number_of_threads(algorithm, dtype, groups, channels, outs):
    x = normal((3, groups * channels, 25, 31), dtype, 0)
    weight = normal((groups * outs, channels, 3, 3), dtype, 1)
    plan = fastconv.plan(weight, groups=groups, padding=1, algorithm=algorithm)
    with fastconv.num_threads(1):
        alone = plan(x)
    for threads in (2, 3, 7):
        with fastconv.num_threads(threads):
            np.testing.assert_array_equal(plan(x), alone)


@pytest.mark.parametrize("algorithm", ["auto", *DIRECT_SUMS])
def test_batch_slices(algorithm):
    x = normal((7, 5, 14, 13), "float32", 0)
    plan = fastconv.plan(normal((9, 5, 3, 3), "float32", 1), padding="same", precision="strict", algorithm=algorithm)
    whole = plan(x)
    for part in (slice(0, 1), slice(2, 5), slice(None, None, 2), slice(None, None, -1)):
        np.testing.assert_array_equal(plan(x[part]), whole[part])


@pytest.mark.parametrize("algorithm", ["auto", *DIRECT_SUMS])
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 40), st.sampled_from([1, 2]), st.sampled_from(["f4", "f8"]))
def test_strict_chunks(algorithm, stride, dilation, chunk, groups, dtype):
    x, weight = normal((4, 9, 97), dtype, 0), normal((6, 4 // groups, 3, 5), dtype, 1)
    arguments = {"dilation": dilation, "groups": groups, "precision": "strict", "algorithm": algorithm}
    whole = fastconv.conv2d(x, weight, stride=(1, stride), **arguments)
    for first in range(0, whole.shape[-1], chunk):
        outputs = whole[..., first : first + chunk]
        read = x[..., first * stride : (first + outputs.shape[-1] - 1) * stride + 4 * dilation + 1]
        np.testing.assert_array_equal(fastconv.conv2d(read, weight, stride=(1, stride), **arguments), outputs)


@pytest.mark.parametrize("algorithm", ["auto", *DIRECT_SUMS])
def test_translation(algorithm):
    x, weight = normal((3, 30, 40), "float32", 0), normal((8, 3, 3, 3), "float32", 1)
    arguments = {"padding": 1, "padding_mode": "circular", "precision": "strict", "algorithm": algorithm}
    y = fastconv.conv2d(x, weight, **arguments)
    moved = fastconv.conv2d(np.roll(x, (7, -11), (-2, -1)), weight, **arguments)
    np.testing.assert_array_equal(moved, np.roll(y, (7, -11), (-2, -1)))


def test_direct_and_im2col_agree_to_the_bit():
    x, weight = normal((2, 20, 17, 19), "float32", 0), normal((24, 20, 3, 3), "float32", 1)
    results = [fastconv.conv2d(x, weight, stride=2, padding=2, algorithm=name) for name in ("direct", "im2col")]
    np.testing.assert_array_equal(*results)
