"""Independent witnesses: SciPy, and PyTorch where it is installed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, signal
from strategies import cases, integers

import fastconv
from fastconv._activations import TABLE as ACTIVATIONS

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


def torch_forward(torch, case):
    """PyTorch's tensors of x, weight and bias, and its result; without the modes and pads that it does not have."""
    rank = case.weight.ndim - 2
    arguments = dict(case.arguments)
    mode, sizes = arguments["padding_mode"], case.x.shape[-rank:]
    if mode == "symmetric" or (mode != "constant" and any(max(p) >= s for p, s in zip(case.pads, sizes, strict=True))):
        mode = "constant"
    case = case._replace(arguments=arguments | {"padding_mode": mode})
    x, weight = torch.tensor(case.x, requires_grad=True), torch.tensor(case.weight, requires_grad=True)
    bias = None if case.bias is None else torch.tensor(case.bias, requires_grad=True)
    turned = weight.flip(tuple(range(2, rank + 2))) if arguments["flip_kernel"] else weight
    images = x.flatten(0, -rank - 2) if x.ndim > rank + 1 else x[None]
    padded = torch_padded(torch, images, case.pads, mode, arguments["padding_value"])
    stride, dilation, groups = (arguments[name] for name in ("stride", "dilation", "groups"))
    convolve = getattr(torch.nn.functional, f"conv{rank}d")
    y = convolve(padded, turned, None, stride, 0, dilation, groups)
    if bias is not None:
        y = y + (bias if bias.ndim > 1 else bias.reshape(-1, *[1] * rank))
    return case, (x, weight, bias), y.reshape(*case.x.shape[: -rank - 1], *y.shape[1:])


@given(cases())
def test_torch(case):
    torch = pytest.importorskip("torch", exc_type=ImportError)
    case, _, expected = torch_forward(torch, case)
    y = fastconv.conv(case.x, case.weight, case.bias, **case.arguments)
    np.testing.assert_array_equal(y, expected.detach().numpy())


@given(cases(), st.sampled_from([None, "relu", "relu6"]), st.integers(0, 99))
def test_torch_gradients(case, activation, seed):
    torch = pytest.importorskip("torch", exc_type=ImportError)
    case, tensors, y = torch_forward(torch, case)
    grad_output = integers(y.shape, case.x.dtype, seed)
    (getattr(torch.nn.functional, activation)(y) if activation else y).backward(torch.tensor(grad_output))
    gradients = fastconv.conv_backward(
        grad_output, case.x, case.weight, case.bias, **case.arguments, activation=activation
    )
    assert_gradients(gradients, tensors)


@given(
    cases(),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=3, max_size=3),
    st.sampled_from([None, "relu", "relu6"]),
    st.integers(0, 99),
)
def test_torch_transposed(case, numbers, activation, seed):
    torch = pytest.importorskip("torch", exc_type=ImportError)
    rank = case.weight.ndim - 2
    stride, dilation, groups = (case.arguments[name] for name in ("stride", "dilation", "groups"))
    reach = [d * (k - 1) + 1 for k, d in zip(case.weight.shape[2:], dilation, strict=True)]
    full = [(n - 1) * s + r for n, s, r in zip(case.x.shape[-rank:], stride, reach, strict=True)]
    padding = tuple(min(pad, (size - 1) // 2) for (pad, _), size in zip(numbers, full, strict=False))
    more = tuple(min(extra, max(s, d) - 1) for (_, extra), s, d in zip(numbers, stride, dilation, strict=False))
    weight = np.resize(case.weight, (case.x.shape[-rank - 1], *case.weight.shape[1:]))
    bias = None if case.bias is None else np.arange(weight.shape[1] * groups, dtype=weight.dtype)
    tensors = [None if array is None else torch.tensor(array, requires_grad=True) for array in (case.x, weight, bias)]
    x = tensors[0].flatten(0, -rank - 2) if case.x.ndim > rank + 1 else tensors[0][None]
    convolve = getattr(torch.nn.functional, f"conv_transpose{rank}d")
    expected = convolve(x, *tensors[1:], stride, padding, more, groups, dilation)
    expected = expected.reshape(*case.x.shape[: -rank - 1], *expected.shape[1:])
    if activation:
        expected = getattr(torch.nn.functional, activation)(expected)
    arguments = (case.x, weight, bias, stride, padding, more, groups, dilation)
    y = fastconv.conv_transpose(*arguments, activation=activation)
    np.testing.assert_array_equal(y, expected.detach().numpy())
    grad_output = integers(y.shape, y.dtype, seed)
    expected.backward(torch.tensor(grad_output))
    assert_gradients(fastconv.conv_transpose_backward(grad_output, *arguments, activation=activation), tensors)


def assert_gradients(gradients, tensors):
    for gradient, tensor in zip(gradients, tensors, strict=True):
        assert (gradient is None) == (tensor is None)
        if tensor is not None:
            np.testing.assert_array_equal(gradient, tensor.grad.numpy())


@pytest.mark.parametrize("name", ACTIVATIONS)
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


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_torch_derivatives(name):
    torch = pytest.importorskip("torch", exc_type=ImportError)
    x = np.append(np.linspace(-9, 9, 4001), [-3.0, 0.0, 3.0, 6.0])
    tensor = torch.tensor(x, requires_grad=True)
    getattr(torch.nn.functional, name)(tensor).sum().backward()
    derivative = ACTIVATIONS[name].derivative(x)
    np.testing.assert_allclose(derivative, tensor.grad.numpy(), rtol=0, atol=8 * np.finfo("float64").eps)
