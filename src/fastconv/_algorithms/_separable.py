"""Kernels of low rank: one pass along depth and height and one along the row, for each outer product.

The weights of a channel, taken as a matrix (taps along d and h, taps along w), are a sum of `terms` outer products.
Only a plan knows the values of its weights: it finds the number of terms once. `_passes.py` computes them.
"""

from itertools import product
from math import inf, prod

import numpy as np

from ._passes import Factor, Task, seconds

LEAST_TAPS = 25  # smaller kernels are not worth two passes
# What the sum of all left over may be, over the largest weight, beside as much of each weight itself: a part of the
# bound on errors, so that the rest is left to rounding
TOLERANCE = {"float32": 2e-6, "float64": 2e-14}
WORTH = 1.1  # the cost of direct sums over that of separate passes, from which on they are chosen


def terms_of(convolution, weight):
    """How many outer products make the weights of every channel, or None where it makes no difference."""
    if _unfit(convolution):
        return None
    rank = min(prod(convolution.kernel[:2]), convolution.kernel[2])
    if not np.isfinite(weight).all():
        return rank
    matrices, _ = _scaled(_matrices(convolution, weight))
    tolerance = TOLERANCE[convolution.dtype.name]
    values = np.linalg.svd(matrices, compute_uv=False)
    # those that are larger cannot be left over
    least = int((values > 2 * tolerance * rank**0.5 * values[..., :1]).sum(-1).max())
    size = abs(matrices)
    most = tolerance * size.max((-2, -1))
    for terms in range(max(1, least), rank):
        first, second = _factors(matrices, terms)
        rest = abs(matrices - first @ second)
        if (np.maximum(rest - tolerance * size, 0).sum((-2, -1)) <= most).all():
            return terms
    return rank


def _scaled(matrices):
    """Each channel's largest weight near 1, so that no square of one leaves the range, and what it was divided by."""
    _, exponents = np.frexp(abs(matrices).max((-2, -1), keepdims=True))
    size = np.ldexp(1.0, exponents - 1)
    return matrices / size, size


def _factors(matrices, terms):
    """The closest (…, rows, terms) times (…, terms, columns).

    What LAPACK finds is as far off for small weights as for large ones. Made from the matrices again, each row and
    column is precise for its own size.
    """
    _, _, second = np.linalg.svd(matrices, full_matrices=False)
    first = matrices @ np.swapaxes(second[..., :terms, :], -2, -1)
    return first, np.linalg.pinv(first) @ matrices


def _matrices(convolution, weight):
    """(groups, out, taps along d and h, taps along w), in float64."""
    weight = convolution.canonical(weight).astype(np.float64)
    return weight.reshape(*weight.shape[:2], -1, weight.shape[-1])


def _unfit(convolution):
    """Why no values of the weights would do, or None."""
    if convolution.precision == "strict":
        return "precision='strict' wants products summed directly"
    if convolution.in_channels != convolution.groups:
        return "it takes one input channel in each group"
    if 1 in (prod(convolution.kernel[:2]), convolution.kernel[2]):
        return "a kernel along one axis is no product of two"
    if prod(convolution.kernel) < LEAST_TAPS:
        return f"a kernel of fewer than {LEAST_TAPS} taps has nothing to save"
    return None


class Separable:
    name = "separable"

    def declines(self, geometry):
        convolution = geometry.convolution
        why = _unfit(convolution)
        if why is not None:
            return why
        if convolution.terms is None:
            return "it is for plans, which know the values of their weights"
        *_, columns = convolution.kernel
        rows = prod(convolution.kernel[:2])
        if convolution.terms * (rows + columns) >= rows * columns:
            return f"weights of rank {convolution.terms} have nothing to save"
        return None

    def cost(self, geometry):
        """Rounding errors count for something, too."""
        return seconds(geometry) * WORTH

    def packing_cost(self, geometry):
        return inf  # never for one call

    def pack(self, convolution, weight, packing):
        """For each group and term the weights of both passes."""
        matrices, size = _scaled(_matrices(convolution, weight))
        first, second = _factors(matrices, packing)
        # the first pass sums with weights as large as those of the kernel: it overflows where the kernel does
        scale = abs(second).max(-1)
        scale[scale == 0] = 1
        factors = np.swapaxes(first * scale[..., None, :] * size, -2, -1), second / scale[..., None]
        return [
            [tuple(Factor(factor[group, :, term].astype(weight.dtype)) for factor in factors) for term in terms]
            for group, terms in product(range(convolution.groups), [range(packing)])
        ]

    def task(self, geometry, layout, threads, once=False):
        return Task(geometry, layout, threads)


SEPARABLE = Separable()
