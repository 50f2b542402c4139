"""Central differences, which exact gradients are held against."""

import numpy as np


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
