"""Random convolutions for algorithms that do not sum products directly, and how far off their results may be."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from strategies import NUMPY_MODES, relaid

import fastconv

# of the bound, what random data may use up: far more than it does, far less than would hide a defect
SHARE = {"float32": 1e-6, "float64": 1e-14}
BOUND = {"float32": 1e-5, "float64": 1e-13}

KINDS_OF_DATA = {
    "zero mean": lambda rng, shape: rng.standard_normal(shape),
    "positive": lambda rng, shape: rng.random(shape),
    "equal": lambda rng, shape: np.full(shape, 0.3),
    "four decades": lambda rng, shape: rng.standard_normal(shape) * 10.0 ** rng.uniform(-4, 0, shape),
}


def normal(shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def share(y, x, weight, bias=None, add=None, **arguments):
    """The largest error, over the largest sum of absolute products of its image and channel."""
    arguments = {**arguments, "algorithm": "reference"}
    x, weight = x.astype("float64"), weight.astype("float64")
    bias, add = (None if array is None else array.astype("float64") for array in (bias, add))
    activation = arguments.pop("activation", None)
    exact = fastconv.plan(weight, bias, **arguments, activation=activation)(x, add=add)
    bias, add = (None if array is None else abs(array) for array in (bias, add))
    arguments["padding_value"] = abs(arguments.get("padding_value", 0.0))
    sums = fastconv.plan(abs(weight), bias, **arguments)(abs(x), add=add)
    spatial = tuple(range(-weight.ndim + 2, 0))
    if arguments.get("data_format") == "channels_last":
        spatial = tuple(axis - 1 for axis in spatial)
    error = abs(y - exact).max(spatial, initial=0)
    return (error / np.maximum(sums.max(spatial, initial=0), 1e-30)).max(initial=0)


def problem(draw, kernel, stride, dilation, pads, most, channels, outs, weights=normal, whole=False):
    """x, weight, bias, add and the arguments of a convolution; axes have up to `most` elements, or what it reaches.

    Where `whole`, that is without padding: all taps meet the image.
    """
    rank = len(kernel)
    dtype = draw(st.sampled_from(["float32", "float64"]))
    size = tuple(
        max(1, (k - 1) * d + 1 - (0 if whole else sum(p)), draw(st.integers(1, most)))
        for k, d, p in zip(kernel, dilation, pads, strict=True)
    )
    groups = draw(st.integers(1, 3))
    mode = draw(st.sampled_from(list(NUMPY_MODES)))
    arguments = {
        "padding": pads,
        "padding_mode": mode,
        "padding_value": float(draw(st.integers(-2, 2))) if mode == "constant" else 0.0,
        "groups": groups,
        "dilation": dilation,
        "stride": stride,
        "flip_kernel": draw(st.booleans()),
    }
    seed = draw(st.integers(0, 999))
    batch = draw(st.sampled_from([(), (2,), (2, 2)]))
    x = normal((*batch, groups * channels, *size), dtype, seed)
    weight = weights((groups * outs, channels, *kernel), dtype, seed + 1)
    shape = fastconv.conv_output_shape(x.shape, weight.shape, **arguments)
    arguments["activation"] = draw(st.sampled_from([None, "relu", "silu"]))
    bias = draw(st.sampled_from([None, shape[-rank - 1 : -rank], shape[-rank - 1 :]]))
    bias = None if bias is None else normal(bias, dtype, seed + 2)
    add = normal(shape, dtype, seed + 3) if draw(st.booleans()) else None
    return x, weight, bias, add, arguments


def checked(algorithm, problem, limits):
    """The plan of a problem, which is within its limit, by type."""
    x, weight, bias, add, arguments = problem
    plan = fastconv.plan(weight, bias, **arguments, algorithm=algorithm)
    assert share(plan(x, add=add), x, weight, bias, add, **arguments) <= limits[x.dtype.name]
    return plan


def check(algorithm, problems, limits):
    """All that are drawn."""

    @given(problems)
    def each(problem):
        checked(algorithm, problem, limits)

    each()


def check_relaid(algorithm, problems, limits):
    """The same with channels last, and arrays of any strides."""

    @given(st.data(), problems)
    def each(data, problem):
        x, weight, bias, add, arguments = problem
        rank = weight.ndim - 2
        arguments = arguments | {"data_format": "channels_last"}
        x = data.draw(relaid(np.moveaxis(x, -rank - 1, -1)))
        plan = fastconv.plan(weight, bias, **arguments, algorithm=algorithm)
        out = data.draw(relaid(np.zeros(plan.tasks.geometry(x.shape).out_shape, x.dtype)))
        if add is not None:
            add = data.draw(relaid(np.moveaxis(add, -rank - 1, -1)))
        assert plan(x, out, add=add) is out
        assert share(out, x, weight, bias, add, **arguments) <= limits[x.dtype.name]

    each()
