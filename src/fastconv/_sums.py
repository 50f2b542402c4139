"""Sums in chains that are short enough for their rounding to stay within the bounds."""

import numpy as np

CHAIN = 128  # numbers that are added one after the other; longer chains lose too much in float32


def chained_sum(array, axis):
    """The sum along one axis, in float64."""
    if array.shape[axis] <= CHAIN:
        return np.add.reduce(array, axis, np.float64)
    array = np.moveaxis(array, axis, -1)
    while array.shape[-1] > CHAIN:
        whole = array.shape[-1] // CHAIN * CHAIN
        chains = array[..., :whole].reshape(*array.shape[:-1], -1, CHAIN)  # a view
        rest = array[..., whole:].sum(-1, dtype=np.float64, keepdims=True)
        array = np.append(chains.sum(-1, dtype=np.float64), rest, -1)
    return array.sum(-1, dtype=np.float64)
