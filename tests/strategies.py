"""Random convolutions of small integers, and what they must give.

The sums of small integers are exact in every order and type, so that results can be compared to the bit.
"""

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from fastconv._algorithms import DIRECT, IM2COL, REFERENCE, SEPARABLE, TABLE

ALGORITHMS = [entry.name for entry in TABLE if entry is not SEPARABLE]  # which hardly any weights suit
DIRECT_SUMS = [entry.name for entry in (DIRECT, IM2COL, REFERENCE)]  # which all give the same bits

NUMPY_MODES = {
    "constant": "constant",
    "replicate": "edge",
    "symmetric": "symmetric",
    "reflect": "reflect",
    "circular": "wrap",
}


class Case(NamedTuple):
    """`x` is channels first; `pads` are what `arguments["padding"]` means for it."""

    x: np.ndarray
    weight: np.ndarray
    bias: np.ndarray | None
    arguments: dict
    pads: tuple


def same_pads(size, kernel, stride, dilation):
    total = max(0, (-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size)
    return total // 2, total - total // 2


def witness(case):
    """The convolution by ``numpy.pad`` and one dot product for each output."""
    x, weight, bias, arguments, pads = case
    rank = weight.ndim - 2
    spatial = tuple(range(-rank, 0))
    mode = arguments.get("padding_mode", "constant")
    value = {"constant_values": arguments.get("padding_value", 0)} if mode == "constant" else {}
    x = np.pad(x, [(0, 0)] * (x.ndim - rank) + list(pads), NUMPY_MODES[mode], **value)
    if arguments.get("flip_kernel"):
        weight = np.flip(weight, spatial)
    stride, dilation = (np.broadcast_to(arguments.get(name, 1), rank) for name in ("stride", "dilation"))
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:], strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(x, reach, spatial)
    windows = windows[(..., *(slice(None, None, s) for s in stride), *(slice(None, None, d) for d in dilation))]
    groups = arguments.get("groups", 1)
    x_groups = np.split(windows, groups, -2 * rank - 1)
    parts = [
        np.moveaxis(np.tensordot(part, w, (range(-rank - 1, 0), range(1, rank + 2))), -1, -rank - 1)
        for part, w in zip(
            (np.moveaxis(part, -2 * rank - 1, -rank - 1) for part in x_groups), np.split(weight, groups), strict=True
        )
    ]
    y = np.concatenate(parts, -rank - 1)
    if bias is None:
        return y
    return y + (bias if bias.ndim > 1 else bias.reshape(-1, *[1] * rank))


def integers(shape, dtype, seed):
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


@st.composite
def cases(draw, dtypes=("float32", "float64"), ranks=(1, 2, 3), most=(40, 12, 7)):
    """A `Case` of any geometry; axes of up to `most` elements by rank."""
    rank = draw(st.sampled_from(ranks))
    dtype = draw(st.sampled_from(dtypes))

    def per_axis(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    groups, channels, outs = (draw(st.integers(1, most)) for most in (3, 5, 9))
    kernel, stride, dilation = per_axis(1, 4), per_axis(1, 3), per_axis(1, 3)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    size = per_axis(1, most[rank - 1])
    padding = draw(st.sampled_from(["valid", "same", "full", "number", "pairs"]))
    if padding == "same":
        pads = tuple(map(same_pads, size, kernel, stride, dilation))
    elif padding == "full":
        pads = tuple((r - 1, r - 1) for r in reach)
    elif padding == "number":
        padding = draw(st.integers(0, 9))
        pads = ((padding, padding),) * rank
    elif padding == "pairs":
        padding = pads = tuple(zip(per_axis(0, 9), per_axis(0, 9), strict=True))
    else:
        pads = ((0, 0),) * rank
    # as large as the kernel needs
    size = tuple(max(s, r - sum(p), 1) for s, r, p in zip(size, reach, pads, strict=True))
    if padding == "same":
        pads = tuple(map(same_pads, size, kernel, stride, dilation))
    mode = draw(st.sampled_from(list(NUMPY_MODES)))
    arguments = {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "padding_mode": mode,
        "padding_value": float(draw(st.integers(-2, 2))) if mode == "constant" else 0.0,
        "flip_kernel": draw(st.booleans()),
    }
    batch = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    seed = draw(st.integers(0, 99))
    x = integers((*batch, groups * channels, *size), dtype, seed)
    weight = integers((groups * outs, channels, *kernel), dtype, seed + 1)
    case = Case(x, weight, None, arguments, pads)
    bias = draw(st.sampled_from(["none", "tied", "untied"]))
    if bias == "none":
        return case
    shape = witness(case).shape
    return case._replace(bias=integers(shape[-rank - 1 :][: 1 if bias == "tied" else None], dtype, seed + 2))


@st.composite
def relaid(draw, array):
    """The same values elsewhere in memory: axes in another order, turned round, and with gaps."""
    axes = draw(st.permutations(range(array.ndim)))
    steps = [draw(st.sampled_from([1, 1, 2, -1, -2])) for _ in axes]
    whole = np.zeros([array.shape[axis] * abs(step) for axis, step in zip(axes, steps, strict=True)], array.dtype)
    view = whole[tuple(slice(None, None, step) for step in steps)].transpose(np.argsort(axes))
    view[...] = array
    return view


def gradients_witness(case, grad_output):
    """The gradients of ``sum(witness(case) * grad_output)``: tap by tap, and one by one through the padding."""
    x, weight, bias, arguments, pads = case
    rank = weight.ndim - 2
    grad_output = grad_output.reshape(-1, *grad_output.shape[-rank - 1 :])
    sources = [padded_positions(size, pad, arguments) for size, pad in zip(x.shape[-rank:], pads, strict=True)]
    grad_weight = np.zeros_like(weight)
    if arguments.get("flip_kernel"):
        weight = np.flip(weight, range(2, rank + 2))
    turned = np.flip(grad_weight, range(2, rank + 2)) if arguments.get("flip_kernel") else grad_weight
    # one element more on each axis, for the constant
    constant = arguments.get("padding_value", 0.0)
    whole = np.pad(x.reshape(-1, *x.shape[-rank - 1 :]), [(0, 0)] * 2 + [(0, 1)] * rank, constant_values=constant)
    grad_whole = np.zeros_like(whole)
    groups = arguments.get("groups", 1)
    stride, dilation = (np.broadcast_to(arguments.get(name, 1), rank) for name in ("stride", "dilation"))
    for tap in np.ndindex(weight.shape[2:]):
        read = [
            source[t * d : t * d + (out - 1) * s + 1 : s]
            for source, t, d, s, out in zip(sources, tap, dilation, stride, grad_output.shape[2:], strict=True)
        ]
        for group in range(groups):
            outs, ins = (np.array_split(np.arange(size), groups)[group] for size in (len(weight), whole.shape[1]))
            at = np.ix_(np.arange(len(whole)), ins, *read)
            grad = grad_output[:, outs]
            np.add.at(grad_whole, at, np.einsum("no...,oc->nc...", grad, weight[(outs, slice(None), *tap)]))
            turned[(outs, slice(None), *tap)] = np.einsum(
                "nop,ncp->oc", grad.reshape(*grad.shape[:2], -1), whole[at].reshape(len(whole), len(ins), -1)
            )
    grad_x = grad_whole[(..., *map(slice, x.shape[-rank:]))].reshape(x.shape)
    if bias is not None:
        bias = grad_output.sum((0, *range(2, rank + 2)) if bias.ndim == 1 else 0)
    return grad_x, grad_weight, bias


def padded_positions(size, pad, arguments):
    """The element that stands at each position of a padded axis; `size`, one too many, for the constant."""
    mode = NUMPY_MODES[arguments.get("padding_mode", "constant")]
    return np.pad(np.arange(size), pad, mode, **({"constant_values": size} if mode == "constant" else {}))


@st.composite
def transposed_cases(draw, **options):
    """The `Case` of a transposed convolution, and its result, which is a gradient of the forward convolution."""
    forward = draw(cases(**options))
    arguments = forward.arguments | {"padding_mode": "constant", "padding_value": 0.0}
    forward = forward._replace(arguments=arguments, bias=None)
    rank = forward.weight.ndim - 2
    x = integers(witness(forward).shape, forward.x.dtype, draw(st.integers(0, 99)))
    y, _, _ = gradients_witness(forward, x)
    bias = None
    kind = draw(st.sampled_from(["none", "tied", "untied"]))
    if kind != "none":
        bias = integers(y.shape[-rank - 1 :][: 1 if kind == "tied" else None], y.dtype, draw(st.integers(0, 99)))
        y = y + (bias if kind == "untied" else bias.reshape(-1, *[1] * rank))
    own = {name: arguments[name] for name in ("stride", "padding", "dilation", "groups", "flip_kernel")}
    own["output_size"] = y.shape[-rank:]
    return Case(x, forward.weight, bias, own, forward.pads), y
