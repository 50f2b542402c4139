"""What gradients are held against: others, and central differences."""

import numpy as np


def assert_equal(gradients, expected):
    for gradient, wanted in zip(gradients, expected, strict=True):
        assert (gradient is None) == (wanted is None)
        if wanted is not None:
            assert gradient.dtype == wanted.dtype
            np.testing.assert_array_equal(gradient, wanted)


def numerical(function, array, step):
    """The gradient of a function of one array, which it leaves as it was."""
    gradient = np.empty_like(array)
    for at in np.ndindex(array.shape):
        kept = array[at]
        array[at] = kept + step
        more = function()
        array[at] = kept - step
        gradient[at] = (more - function()) / (2 * step)
        array[at] = kept
    return gradient
