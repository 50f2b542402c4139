"""Independent witnesses: SciPy, and PyTorch where it is installed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, signal
from strategies import cases, integers

import fastconv

# SciPy's "reflect" is "symmetric" here, and its "mirror" is "reflect"
NDIMAGE_MODES = {
    "constant": "constant",
    "replicate": "nearest",
    "symmetric": "reflect",
    "reflect": "mirror",
    "circular": "wrap",
}


@given(
    st.sampled_from(list(NDIMAGE_MODES)),
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5)), min_size=1, max_size=3),
    st.booleans(),
    st.integers(0, 99),
)
def test_ndimage_in_every_mode(mode, sizes, flip, seed):
    x = integers([size for size, _ in sizes], "float64", seed)
    kernel = integers([size for _, size in sizes], "float64", seed + 1)
    value = 3.0 if mode == "constant" else 0.0
    filtered = ndimage.convolve if flip else ndimage.correlate
    # of an even kernel's two centres SciPy takes the one on the right, and turns it round with the kernel
    pads = tuple((size - 1 - size // 2, size // 2) if flip else (size // 2, size - 1 - size // 2) for _, size in sizes)
    y = fastconv.conv(
        x[None], kernel[None, None], padding=pads, padding_mode=mode, padding_value=value, flip_kernel=flip
    )
    expected = filtered(x, kernel, mode=NDIMAGE_MODES[mode], cval=value)
    np.testing.assert_array_equal(y[0], expected)


@given(
    st.sampled_from(["valid", "same", "full"]),
    st.lists(st.tuples(st.integers(5, 9), st.sampled_from([1, 3, 5])), min_size=1, max_size=3),
    st.booleans(),
    st.integers(0, 99),
)
def test_signal_in_every_size(mode, sizes, flip, seed):
    x = integers([size for size, _ in sizes], "float64", seed)
    kernel = integers([size for _, size in sizes], "float64", seed + 1)
    witness = signal.convolve if flip else signal.correlate
    y = fastconv.conv(x[None], kernel[None, None], padding=mode, flip_kernel=flip)
    np.testing.assert_array_equal(y[0], witness(x, kernel, mode, method="direct"))


def test_signal_of_complex_numbers():
    rng = np.random.default_rng(0)
    x, kernel = (rng.integers(-4, 5, (n, 2)) @ [1, 1j] for n in (20, 5))
    np.testing.assert_array_equal(
        fastconv.conv1d(x[None], kernel[None, None], padding="full", flip_kernel=True)[0], np.convolve(x, kernel)
    )


TORCH_MODES = {"constant": "constant", "replicate": "replicate", "reflect": "reflect", "circular": "circular"}


def torch_padded(torch, x, pads, mode, value):
    """PyTorch pads by less than the size of the input, the last axis first, and only 3-D to 5-D arrays."""
    flat = [pad for pair in reversed(pads) for pad in pair]
    options = {"value": value} if mode == "constant" else {}
    return torch.nn.functional.pad(x, flat, TORCH_MODES[mode], **options)


@given(cases())
def test_torch(case):
    torch = pytest.importorskip("torch", exc_type=ImportError)
    rank = case.weight.ndim - 2
    arguments = dict(case.arguments)
    mode, sizes = arguments["padding_mode"], case.x.shape[-rank:]
    if mode == "symmetric" or (mode != "constant" and any(max(p) >= s for p, s in zip(case.pads, sizes, strict=True))):
        arguments |= {"padding_mode": "constant"}
        mode = "constant"
    x = torch.tensor(case.x.reshape(-1, *case.x.shape[-rank - 1 :]))
    weight = torch.tensor(case.weight).flip(tuple(range(2, rank + 2))) if arguments["flip_kernel"] else case.weight
    x = torch_padded(torch, x, case.pads, mode, arguments["padding_value"])
    stride, dilation, groups = (arguments[name] for name in ("stride", "dilation", "groups"))
    convolve = getattr(torch.nn.functional, f"conv{rank}d")
    y = convolve(x, torch.as_tensor(weight), None, stride, 0, dilation, groups).numpy()
    if case.bias is not None:
        y = y + (case.bias if case.bias.ndim > 1 else case.bias.reshape(-1, *[1] * rank))
    expected = y.reshape(*case.x.shape[: -rank - 1], *y.shape[1:])
    np.testing.assert_array_equal(fastconv.conv(case.x, case.weight, case.bias, **arguments), expected)


@pytest.mark.parametrize(
    "name", ["relu", "relu6", "leaky_relu", "sigmoid", "tanh", "silu", "gelu", "hardswish"]
)
def test_torch_activations(name):
    torch = pytest.importorskip("torch", exc_type=ImportError)
    x = np.linspace(-9, 9, 4001)[None]
    y = fastconv.conv1d(x, np.ones((1, 1, 1)), activation=name)
    expected = getattr(torch.nn.functional, name)(torch.tensor(x)).numpy()
    assert np.all(np.abs(y - expected) <= 4 * np.finfo("float64").eps * np.maximum(1, np.abs(x)))


def test_torch_tensors_are_arrays():
    torch = pytest.importorskip("torch", exc_type=ImportError)
    x, weight = torch.ones(2, 3, 9), torch.ones(4, 3, 3)
    np.testing.assert_array_equal(fastconv.conv1d(x, weight), np.full((2, 4, 7), 9.0))
    np.testing.assert_array_equal(fastconv.conv1d(x, weight, stride=torch.Size([2])), np.full((2, 4, 4), 9.0))
    with pytest.raises(TypeError, match="weight has type Parameter"):
        fastconv.conv1d(x, torch.nn.Parameter(weight))
