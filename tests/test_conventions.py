"""Weights from elsewhere: every system's convolution by its own definition, element by element, against ours.

Weights, inputs and gradients are small integers, so that all results are equal to the bit.
"""

import re

import numpy as np
import pytest
from scipy.io import loadmat, savemat
from strategies import integers

import fastconv
from fastconv import Parameter, load_weights
from fastconv.conventions import CONVENTIONS, convert_bias, convert_weight

KERNELS = [(3,), (2, 3), (3, 1), (2, 1, 3)]
SIZES = (7, 6, 5)

# The weight with which tap k of input channel i of a group counts for output channel o of that group, by the systems'
# definitions; n is o among all output channels, and the size of the kernel turns k round.
FORWARD = {
    "pytorch": lambda w, group, o, i, k, n, size: w[(n, i, *k)],
    "keras": lambda w, group, o, i, k, n, size: w[(*k, i, n)],
    "keras-depthwise": lambda w, group, o, i, k, n, size: w[(*k, group, o)],
    "neupy": lambda w, group, o, i, k, n, size: w[(*k, i, n)],
    "matlab": lambda w, group, o, i, k, n, size: w[(*k, i, o, group)],
    "lasagne": lambda w, group, o, i, k, n, size: w[(n, i, *(s - 1 - a for s, a in zip(size, k, strict=True)))],
    "lasagne-dilated": lambda w, group, o, i, k, n, size: w[(i, n, *k)],
    "wolfram": lambda w, group, o, i, k, n, size: w[(n, i, *k)],
}
# The same for transposed convolutions, in which tap k of an input at p adds to the output at p * stride + k.
TRANSPOSED = {
    "pytorch": lambda w, o, i, k, size: w[(i, o, *k)],
    "keras": lambda w, o, i, k, size: w[(*k, o, i)],
    "neupy": lambda w, o, i, k, size: w[(*k, o, i)],
    "matlab": lambda w, o, i, k, size: w[(*k, o, i)],
    "lasagne": lambda w, o, i, k, size: w[(i, o, *(s - 1 - a for s, a in zip(size, k, strict=True)))],
    "wolfram": lambda w, o, i, k, size: w[(i, o, *k)],
}


def shape(convention, kernel, groups, ins, outs):
    """Of a weight with `ins` and `outs` channels in each group."""
    return {
        "keras": (*kernel, ins, groups * outs),
        "keras-depthwise": (*kernel, groups, outs),
        "neupy": (*kernel, ins, groups * outs),
        "matlab": (*kernel, ins, outs, groups),
        "lasagne-dilated": (ins, outs, *kernel),
    }.get(convention, (groups * outs, ins, *kernel))


def transposed_shape(convention, kernel, ins, outs):
    return (*kernel, outs, ins) if convention in ("keras", "neupy", "matlab") else (ins, outs, *kernel)


def forward(x, tap, kernel, groups, outs, stride, dilation):
    ins = len(x) // groups
    spatial = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(x.shape[1:], kernel, stride, dilation, strict=True)]
    y = np.zeros((groups * outs, *spatial))
    for (n, *p), i in ((index, i) for index in np.ndindex(y.shape) for i in range(ins)):
        group, o = divmod(n, outs)
        for k in np.ndindex(kernel):
            at = [a * s + b * d for a, s, b, d in zip(p, stride, k, dilation, strict=True)]
            y[(n, *p)] += tap(group, o, i, k, n) * x[(group * ins + i, *at)]
    return y


def transposed(x, tap, kernel, outs, stride):
    y = np.zeros((outs, *((n - 1) * s + k for n, s, k in zip(x.shape[1:], stride, kernel, strict=True))))
    for (i, *p), o in ((index, o) for index in np.ndindex(x.shape) for o in range(outs)):
        for k in np.ndindex(kernel):
            y[(o, *(a * s + b for a, s, b in zip(p, stride, k, strict=True)))] += tap(o, i, k) * x[(i, *p)]
    return y


GROUPS = [(name, 1, 3, 2) for name in FORWARD if name != "keras-depthwise"]
GROUPS += [(name, 3, 2, 2) for name in ("pytorch", "keras", "matlab", "wolfram")]
GROUPS += [("keras-depthwise", 4, 1, 3), ("keras-depthwise", 1, 1, 2), ("matlab", 4, 1, 1), ("matlab", 1, 1, 1)]


@pytest.mark.parametrize(("convention", "groups", "ins", "outs"), GROUPS)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("flip_kernel", [False, True])
def test_convolutions(convention, groups, ins, outs, kernel, flip_kernel):
    rank = len(kernel)
    weight = integers(shape(convention, kernel, groups, ins, outs), "float64", 0)
    x = integers((groups * ins, *SIZES[:rank]), "float64", 1)
    stride, dilation = (2, 1, 1)[:rank], (1, 2, 1)[:rank]

    def tap(group, o, i, k, n):
        return FORWARD[convention](weight, group, o, i, k, n, kernel)

    expected = forward(x, tap, kernel, groups, outs, stride, dilation)
    given, before = weight, weight.copy()
    while convention == "matlab" and given.ndim > 2 and given.shape[-1] == 1:
        given = given[..., 0]  # as MATLAB does with its arrays
    ours = convert_weight(given, convention, rank=rank, flip_kernel=flip_kernel)
    assert ours.flags.c_contiguous and not np.shares_memory(ours, weight)
    y = fastconv.conv(x, ours, None, stride, 0, dilation, groups, flip_kernel=flip_kernel)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(weight, before)


@pytest.mark.parametrize("convention", TRANSPOSED)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("flip_kernel", [False, True])
@pytest.mark.parametrize(("ins", "outs"), [(3, 2), (1, 2), (2, 1)])
def test_transposed_convolutions(convention, kernel, flip_kernel, ins, outs):
    rank = len(kernel)
    weight = integers(transposed_shape(convention, kernel, ins, outs), "float64", 0)
    x = integers((ins, *SIZES[:rank]), "float64", 1)
    stride = (2, 1, 3)[:rank]
    y = transposed(x, lambda o, i, k: TRANSPOSED[convention](weight, o, i, k, kernel), kernel, outs, stride)
    given = weight[..., 0] if convention == "matlab" and ins == 1 else weight
    ours = convert_weight(given, convention, rank=rank, transposed=True, flip_kernel=flip_kernel)
    # It is the adjoint of the convolution with this very weight: <y, z> = <x, conv(z)> for every z.
    for seed in range(5):
        z = integers(y.shape, "float64", seed)
        convolved = fastconv.conv(z, ours, stride=stride, flip_kernel=flip_kernel)
        assert np.sum(y * z) == np.sum(x * convolved)


def test_every_convention_is_tested():
    assert FORWARD.keys() == CONVENTIONS.keys()
    assert TRANSPOSED.keys() == {name for name, convention in CONVENTIONS.items() if convention.transposed}


def test_filters_that_are_not_flipped_as_usual():
    """Lasagne's layers may be told to flip, or not to, against their defaults."""
    weight = integers((2, 3, 4), "float64", 0)
    np.testing.assert_array_equal(convert_weight(weight, "lasagne", flipped=False), weight)
    np.testing.assert_array_equal(convert_weight(weight, "lasagne", flipped=True), weight[..., ::-1])
    np.testing.assert_array_equal(convert_weight(weight, "lasagne", flip_kernel=True), weight)
    np.testing.assert_array_equal(convert_weight(weight, "pytorch", flipped=True), weight[..., ::-1])


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_biases(rank):
    bias = np.arange(6.0)
    for convention in CONVENTIONS:
        given = bias.reshape(*[1] * max(1, rank), 6) if convention == "matlab" else bias
        found = convert_bias(given, convention)
        np.testing.assert_array_equal(found, bias)
        assert not np.shares_memory(found, bias)
    grouped = bias.reshape(3, 2).T.reshape(1, 1, 2, 3)  # 2 channels of each of 3 groups
    np.testing.assert_array_equal(convert_bias(grouped, "matlab"), bias)
    np.testing.assert_array_equal(convert_bias(np.array([[5.0]]), "matlab"), [5.0])
    untied = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(convert_bias(untied, "lasagne"), untied)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"convention": "caffe"}, ValueError, "convention='caffe' is unknown; wanted one of 'pytorch', 'keras'"),
        ({"convention": None}, TypeError, "convention=None is a NoneType"),
        ({"rank": 3}, ValueError, r"weight has shape \(2, 3, 4, 5\); wanted the axes out, in, spatial0, spatial1"),
        ({"rank": 1}, ValueError, r"weight has shape \(2, 3, 4, 5\); wanted the axes out, in, spatial0"),
        ({"rank": 0}, ValueError, "rank=0 is too small"),
        ({"rank": 2.0}, TypeError, "rank=2.0 has type float"),
        ({"weight": np.ones((2, 3))}, ValueError, r"weight has shape \(2, 3\); wanted the axes out, in, spatial0"),
        ({"weight": np.float64(1)}, ValueError, r"weight has shape \(\); wanted"),
        ({"convention": "matlab"}, ValueError, "rank=None with convention='matlab'; wanted a number"),
        ({"convention": "matlab", "rank": 1, "weight": np.ones((1,) * 5)}, ValueError, "wanted the axes spatial0, in"),
        ({"convention": "keras-depthwise", "transposed": True}, ValueError, "has no transposed convolutions"),
        ({"convention": "lasagne-dilated", "transposed": True}, ValueError, "has no transposed convolutions"),
        ({"transposed": 1}, TypeError, "transposed=1 has type int; wanted True or False"),
        ({"flip_kernel": None}, TypeError, "flip_kernel=None"),
        ({"flipped": "no"}, TypeError, "flipped='no'"),
        ({"weight": [[1], [2, 3]]}, TypeError, "weight has type list"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        convert_weight(**{"weight": np.ones((2, 3, 4, 5)), "convention": "pytorch"} | arguments)


# Into layers


class Layer:
    """What `load_weights` knows of a layer."""

    def __init__(self, weight_shape, bias_shape=None, flip_kernel=False):
        self.weight = Parameter(np.zeros(weight_shape))
        self.bias = None if bias_shape is None else Parameter(np.zeros(bias_shape))
        self.flip_kernel = flip_kernel

    def named_parameters(self):
        return [(name, value) for name in ("weight", "bias") if (value := getattr(self, name)) is not None]


class Transposed(Layer):
    output_padding = 0


class Chain(dict):
    def named_parameters(self):
        return [(f"{name}.{own}", value) for name, layer in self.items() for own, value in layer.named_parameters()]


def chain():
    return Chain(
        first=Layer((4, 3, 2, 5), 4),
        block=Chain(flipped=Layer((6, 4, 1, 3), flip_kernel=True), last=Transposed((6, 2, 3, 2), 2)),
    )


SHAPES = {"first.weight": (2, 5, 3, 4), "first.bias": (4,), "block.flipped.weight": (1, 3, 4, 6)}
SHAPES |= {"block.last.weight": (3, 2, 2, 6), "block.last.bias": (2,)}


def keras_source():
    return {name: integers(shape, "float32", seed) for seed, (name, shape) in enumerate(SHAPES.items())}


def values(net):
    return {name: parameter.value for name, parameter in net.named_parameters()}


def assert_loaded(net, source):
    first, block = net["first"], net["block"]
    np.testing.assert_array_equal(first.weight.value, source["first.weight"].transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(first.bias.value, source["first.bias"])
    turned = source["block.flipped.weight"].transpose(3, 2, 0, 1)[..., ::-1, ::-1]
    np.testing.assert_array_equal(block["flipped"].weight.value, turned)
    np.testing.assert_array_equal(block["last"].weight.value, source["block.last.weight"].transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(block["last"].bias.value, source["block.last.bias"])


def test_layers_in_layers():
    net, source = chain(), keras_source()
    load_weights(net, source, "keras")
    assert_loaded(net, source)


def test_layers_that_are_no_convolutions():
    class Scale:
        def __init__(self):
            self.weight, self.factor = Parameter(np.zeros((2, 3))), Parameter(np.zeros((1, 4)))

        def named_parameters(self):
            return [("weight", self.weight), ("factor", self.factor)]

    scale = Scale()
    source = {"scale.weight": np.arange(6.0).reshape(2, 3), "scale.factor": np.ones((1, 4))}
    load_weights(Chain(scale=scale), source, "keras")
    np.testing.assert_array_equal(scale.weight.value, source["scale.weight"])
    np.testing.assert_array_equal(scale.factor.value, source["scale.factor"])


def test_other_names():
    net, source = chain(), keras_source()
    names = {name: f"model/{number}" for number, name in enumerate(source)}
    other = {names[name]: array for name, array in source.items()} | {"more": "that is not looked at"}
    load_weights(net, other, "keras", names=names)
    assert_loaded(net, source)


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_files(tmp_path, suffix):
    """Files that others wrote, and that say nothing about themselves."""
    net, source, path = chain(), keras_source(), tmp_path / f"net.{suffix}"
    if suffix == "npz":
        np.savez_compressed(path, **source)
    else:
        pytest.importorskip("safetensors.numpy").save_file(source, path)
    load_weights(net, str(path), "keras")
    assert_loaded(net, source)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("compressed", [False, True])
def test_matlab_files(tmp_path, groups, compressed):
    ins, outs, kernel = 2, 4, (5, 3)
    weight = integers((*kernel, ins, outs, groups), "float32", 0)
    bias = integers((1, 1, outs, groups), "float32", 1)
    path = tmp_path / "layer.mat"
    savemat(
        path, {"weight": weight.squeeze(), "bias": bias.squeeze(-1) if groups == 1 else bias}, do_compression=compressed
    )
    layer = Layer((groups * outs, ins, *kernel), groups * outs)
    load_weights(layer, path, "matlab")
    for n in range(groups * outs):
        group, o = divmod(n, outs)
        np.testing.assert_array_equal(layer.weight.value[n], weight[..., o, group].transpose(2, 0, 1))
        assert layer.bias.value[n] == bias[0, 0, o, group]


def test_a_matlab_layer_with_one_filter(tmp_path):
    weight = integers((5, 3, 1, 1), "float32", 0)
    path = tmp_path / "layer.mat"
    savemat(path, {"weight": weight[..., 0, 0], "bias": 5.0})
    assert loadmat(path)["weight"].shape == (5, 3)
    layer = Layer((1, 1, 5, 3), 1)
    load_weights(layer, path, "matlab")
    np.testing.assert_array_equal(layer.weight.value[0, 0], weight[..., 0, 0])
    assert layer.bias.value == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda source: source.pop("first.bias"), "state does not fit: no 'first.bias'"),
        (lambda source: source.update(more=np.ones(1)), "state does not fit: 'more' is no parameter here"),
        (
            lambda source: source.update({"first.weight": np.ones((2, 5, 3, 3))}),
            "'first.weight' has shape (3, 3, 2, 5), wanted (4, 3, 2, 5)",
        ),
        (
            lambda source: source.update({"first.weight": np.ones((2, 3, 4))}),
            "first.weight has shape (2, 3, 4); wanted the axes spatial0, spatial1, in, out",
        ),
        (lambda source: source.update({"first.bias": np.ones(4, int)}), "'first.bias' has dtype int64"),
        (lambda source: source.update({"first.bias": ["a"] * 4}), "'first.bias' has dtype <U1"),
    ],
)
def test_a_source_that_does_not_fit(change, message):
    net, source = chain(), keras_source()
    before = values(net)
    change(source)
    with pytest.raises(ValueError, match=re.escape(message)):
        load_weights(net, source, "keras")
    assert all(value is before[name] for name, value in values(net).items())


def test_names_that_do_not_fit():
    net, source = chain(), keras_source()
    names = {name: name for name in source}
    with pytest.raises(ValueError, match=r"source has no 'x' for 'first\.bias', no 'y' for 'first\.weight'"):
        load_weights(net, source, "keras", names={"first.bias": "x", "first.weight": "y"})
    with pytest.raises(ValueError, match="'second' is no parameter here"):
        load_weights(net, source, "keras", names=names | {"second": "first.bias"})
    del names["first.bias"]
    with pytest.raises(ValueError, match=r"no 'first\.bias'"):
        load_weights(net, source, "keras", names=names)


def test_what_is_no_source(tmp_path):
    with pytest.raises(TypeError, match="source has type list; wanted a mapping of names to arrays, or a path"):
        load_weights(chain(), [np.ones(3)], "keras")
    with pytest.raises(ValueError, match="layer has no parameters"):
        load_weights(Chain(), keras_source(), "keras")
    path = tmp_path / "net.pt"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"net\.pt' ends in '\.pt'; wanted \.npz or \.safetensors or \.mat"):
        load_weights(chain(), path, "pytorch")
    with pytest.raises(FileNotFoundError):
        load_weights(chain(), tmp_path / "nowhere.mat", "matlab")


def test_damaged_matlab_files(tmp_path):
    path = tmp_path / "layer.mat"
    layer = Layer((4, 3, 2, 5), 4)
    savemat(path, {"weight": np.ones((2, 5, 3, 4)), "bias": np.ones((1, 1, 4))})
    content = path.read_bytes()
    hdf5 = content[:116] + bytes(8) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n"  # which newer versions of MATLAB write
    before = values(layer)
    for damaged in [*(content[:length] for length in range(0, len(content), 11)), hdf5, b"text" * 99]:
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"cannot load .*layer\.mat|state does not fit"):
            load_weights(layer, path, "matlab")
    assert all(value is before[name] for name, value in values(layer).items())
    path.write_bytes(content)
    load_weights(layer, path, "matlab")


def test_torch_state_dict():
    torch = pytest.importorskip("torch", exc_type=ImportError)
    module = torch.nn.Conv2d(6, 4, (3, 2), groups=2, dtype=torch.float64)
    layer = Layer((4, 3, 3, 2), 4)
    x = torch.randn(5, 6, 8, 9, dtype=torch.float64)
    expected = module(x).detach().numpy()
    for source in (module.state_dict(), dict(module.named_parameters())):  # the second ones require gradients
        load_weights(layer, source, "pytorch")
        y = fastconv.conv2d(x, layer.weight, layer.bias, groups=2)
        np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
        layer.weight.value = 0 * layer.weight.value
    module = torch.nn.ConvTranspose1d(4, 6, 3, groups=2)
    layer = Transposed((4, 3, 3), 6)
    load_weights(layer, module.state_dict(), "pytorch")
    np.testing.assert_array_equal(layer.weight.value, module.weight.detach().numpy())
