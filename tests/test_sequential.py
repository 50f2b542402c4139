"""Layers one after the other: names, what is shared and settled, the way back through all of them, plans and tables."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from differences import numerical
from strategies import integers

import fastconv
from fastconv import Conv1d, Conv2d, ConvTranspose2d, Sequential


class Scale:
    """A layer that is not this package's: the least that one must have."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return x * self.factor

    def vjp(self, x):
        return self(x), self


class Gain(Scale):
    """One that has everything."""

    def __init__(self, value, name=None):
        self.gain = fastconv.Parameter(np.array([value]))
        if name is not None:
            self.name = name

    def __call__(self, x):
        return x * self.gain.value

    def vjp(self, x):
        def backward(grad):
            self.gain.add_grad(np.array([(grad * x).sum()]))
            return grad * self.gain.value

        return self(x), backward

    def output_shape(self, input_shape):
        return list(input_shape)

    def named_parameters(self):
        return {"gain": self.gain}

    def freeze(self, input_shape=None):
        return Scale(self.gain.value.copy())

    __eq__ = None  # what a chain tells its layers apart by is not equality
    __hash__ = None


def network(**more):
    return Sequential(
        Conv2d(2, 4, 3, activation="relu", name="conv{}", rng=0, **more),
        Conv2d(4, 4, 3, stride=2, activation="tanh", name="conv{}", rng=1, **more),
        ConvTranspose2d(4, 2, 3, stride=2, name="up", rng=2, **more),
    )


def normal(*shape):
    return np.random.default_rng(3).standard_normal(shape)


# Names


def named(*names):
    net = Sequential(*(Conv2d(1, 1, 1, name=name) for name in names))
    found = [name for name, _ in net.named_layers()]
    assert found == [layer.name for layer in net]
    return found


@pytest.mark.parametrize(
    ("given", "filled"),
    [
        (["conv{}", "conv{}"], ["conv1", "conv2"]),
        (["conv{}", "conv2", "conv{}"], ["conv1", "conv2", "conv3"]),
        (["conv{}", "fc{}", "conv{}"], ["conv1", "fc1", "conv2"]),
        ([None, "head", None], ["conv2d_1", "head", "conv2d_2"]),
        (["block-{:>3}", "block-{:02}"], ["block-  1", "block-01"]),
        (["{{}}"], ["{}"]),
        # NeuPy's: by Python's rules zeros are put behind 1, and 10 gives the same as 1
        (["fc-{:<03d}"] * 11, [f"fc-{number}00" for number in range(1, 10)] + ["fc-110", "fc-120"]),
    ],
)
def test_names(given, filled):
    assert named(*given) == filled


def test_names_do_not_depend_on_what_was_made_before():
    assert named(None, "conv{}") == named(None, "conv{}") == ["conv2d_1", "conv1"]


def test_names_that_are_taken():
    with pytest.raises(ValueError, match=r"name='conv1' is the name of 2 layers"):
        named("conv1", "conv1")
    with pytest.raises(ValueError, match=r"name='\{!s:\.1\}' gives no name that is not taken"):
        named(*["{!s:.1}"] * 10)


def test_look_up():
    net = network()
    assert net["conv2"] is net[1] is list(net)[1]
    assert net["up"] is net[-1]
    assert net[1:] == (net[1], net[2])
    assert len(net) == 3
    with pytest.raises(KeyError, match="'conv3' is no layer; there are 'conv1', 'conv2', 'up'"):
        net["conv3"]
    with pytest.raises(IndexError):
        net[3]


def test_errors_name_the_layer_of_the_chain():
    with pytest.raises(ValueError, match=r"^conv2: x has 4 channels"):
        Sequential(Conv2d(2, 4, 3, name="conv{}"), Conv2d(3, 4, 3, name="conv{}"))(np.ones((2, 9, 9)))
    with pytest.raises(ValueError, match=r"^conv2: weight .* where x has 2"):
        Sequential(Conv2d(2, 4, 3, name="conv{}"), Conv2d(4, 4, 3, name="conv{}"))(np.ones((2, 4, 4)))


@pytest.mark.parametrize("layer", [1, None, abs, np.tanh, Conv2d, [Conv2d(1, 1, 1)], fastconv.plan(np.ones((1, 1, 1)))])
def test_what_is_no_layer(layer):
    with pytest.raises(TypeError, match=r"layer 1 is .*wanted an object that can be called and has a vjp"):
        Sequential(Conv2d(1, 1, 1), layer)


# Calls


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_calls_and_plans_are_those_of_the_layers(batch):
    net, x = network(), normal(*batch, 2, 9, 9).astype("float32")
    y = net[2](net[1](net[0](x)))
    np.testing.assert_array_equal(net(x), y)
    np.testing.assert_array_equal(net.freeze()(x), y)
    np.testing.assert_array_equal(net.freeze(x.shape)(x), y)
    assert net.output_shape(x.shape) == y.shape


def test_lists():
    net, inputs = network(), [normal(2, 9, 9), normal(3, 2, 11, 8)]
    for x, y in zip(inputs, net(inputs), strict=True):
        np.testing.assert_array_equal(net(x), y)
    results, backward = net.vjp(inputs)
    gradients = backward(results)
    assert [gradient.shape for gradient in gradients] == [x.shape for x in inputs]


def test_a_frozen_chain_keeps_its_values():
    net, x = network(), normal(2, 9, 9)
    y = net(x)
    chain = net.freeze()
    for parameter in net.parameters():
        parameter.value[...] = 0
    np.testing.assert_array_equal(chain(x), y)
    assert len(chain) == 3 and not net(x).any()
    with pytest.raises(ValueError, match="spatial sizes"):
        net.freeze((2, 9, 9))(normal(2, 9, 11))


def test_the_empty_chain_changes_nothing():
    net = Sequential()
    y, backward = net.vjp(5)
    assert (net(5), y, backward(6), net.freeze()(7)) == (5, 5, 6, 7)
    assert net.output_shape((3, None)) == (3, None)
    assert net.parameters() == [] and net.state_dict() == {} and repr(net) == "Sequential()" and len(net) == 0


def test_gradients_are_central_differences():
    net = Sequential(network(dtype="float64"), Gain(0.7), Scale(0.5))
    x = normal(2, 2, 7, 7)
    y, backward = net.vjp(x)
    factors = np.random.default_rng(4).standard_normal(y.shape)

    def loss():
        return (net(x) * factors).sum()

    grad_x = backward(factors)
    assert len(net.parameters()) == 7
    for array, gradient in [(x, grad_x), *((p.value, p.grad) for p in net.parameters())]:
        np.testing.assert_allclose(gradient, numerical(loss, array, 1e-6), rtol=1e-6, atol=1e-8)


def test_a_function_without_its_derivative_stops_it_before_anything_is_computed():
    class Never(Scale):
        def vjp(self, x):
            raise AssertionError

    net = Sequential(Never(1), Sequential(Conv2d(1, 1, 1, activation=np.tanh, name="odd")))
    with pytest.raises(TypeError, match=r"odd: activation=tanh has no derivative"):
        net.vjp(np.ones((1, 3, 3)))


def test_threads():
    net = Sequential(*(Conv2d(None, 8, 3, padding=1, activation="relu", rng=seed) for seed in range(4)))
    inputs = [integers((3, 12, 12), "float32", seed) for seed in range(16)]
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(net, inputs))
    for x, y in zip(inputs, results, strict=True):
        np.testing.assert_array_equal(net(x), y)


# What is settled late


@pytest.mark.parametrize("how", ["__call__", "vjp", "build"])
def test_all_layers_are_settled_at_once(how):
    net = Sequential(Conv2d(None, 4, 3), Sequential(Conv2d(None, 5, 3, untie_biases=True)), Conv2d(None, 6, 3))
    getattr(net, how)((2, 9, 9) if how == "build" else np.ones((2, 9, 9)))
    assert [layer.in_channels for layer in (net[0], net[1][0], net[2])] == [2, 4, 5]
    assert net[1][0].bias.shape == (5, 5, 5)


@pytest.mark.parametrize(
    "x", [np.ones((2, 5, 6)), np.ones((2, 9, 9), complex), np.ones((9, 9)), [np.ones((2, 9, 9)), np.ones((3, 9, 9))]]
)
@pytest.mark.parametrize("how", ["__call__", "vjp"])
def test_a_bad_first_input_leaves_all_layers_as_they_were(x, how):
    net = Sequential(Conv2d(None, 4, 3), Conv2d(None, 5, 3), Conv2d(None, 5, 3))
    with pytest.raises((ValueError, TypeError)):
        getattr(net, how)(x)
    assert net.parameters() == []


def test_a_failing_initialiser_leaves_all_layers_as_they_were():
    net = Sequential(Conv2d(None, 4, 3), Conv2d(None, 5, 3, weight_init=lambda shape: np.ones(3)))
    with pytest.raises(ValueError, match=r"conv2d_2: .* gives shape"):
        net.build((2, 9, 9))
    assert net.parameters() == []


def test_a_layer_that_stands_twice_is_settled_once():
    layer = Conv2d(None, 2, 3)
    with pytest.raises(ValueError, match=r"x has 2 channels .* wants 3"):
        Sequential(layer, layer).build((3, 9, 9))
    assert layer.weight is None
    net = Sequential(layer, layer).build((2, 9, 9))
    assert len(net.parameters()) == 2 and [name for name, _ in net.named_layers()] == ["conv2d_1", "conv2d_1"]
    gradients = []
    for chain in (net, Sequential(layer, Conv2d(2, 2, 3, weight=layer.weight, bias=layer.bias))):
        y, backward = chain.vjp(np.ones((2, 9, 9)))
        gradients.append([backward(np.ones_like(y)), layer.weight.grad, layer.bias.grad])
        layer.weight.zero_grad()
        layer.bias.zero_grad()
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_unknown_is_named():
    net = Sequential(Conv2d(None, 4, 3, name="conv{}"), Conv2d(4, 4, 3, name="conv{}", untie_biases=True))
    for needs in (net.freeze, net.state_dict, lambda: net.load_state_dict({})):
        with pytest.raises(ValueError, match="not known yet: in_channels of conv1 and the shape of the bias of conv2;"):
            needs()


def test_behind_a_layer_that_tells_no_shape():
    net = Sequential(Conv2d(None, 4, 3, name="first"), Scale(2), Conv2d(None, 5, 3, name="last"))
    net.build((2, 9, 9))
    assert (net["first"].in_channels, net["last"].in_channels) == (2, None)
    with pytest.raises(TypeError, match="has a layer without output_shape"):
        net.output_shape((2, 9, 9))
    assert net(np.ones((2, 9, 9))).shape == (5, 5, 5)
    assert net["last"].in_channels == 4
    rows = net.info((2, 9, 9)).rows
    assert [row.output_shape for row in rows] == [(4, 7, 7), None, (5, None, None)]
    assert rows[2].receptive_field is None and net.info((2, 9, 9)).total.parameters == 2 * 36 + 4 + 4 * 45 + 5


def test_a_first_layer_of_another_kind_may_take_anything():
    class Read:
        def __call__(self, text):
            return np.full((1, 3, 3), float(text))

        vjp = None

        def __init__(self):
            self.vjp = self

    net = Sequential(Read(), Conv2d(None, 1, 3, weight=1))
    assert net("2") == 18


# Parameters


def test_shared_parameters_are_listed_once():
    encoder = Conv2d(1, 8, 3, name="encoder")
    decoder = Sequential(ConvTranspose2d(8, 1, 3, weight=encoder.weight), name="decoder")
    net = Sequential(encoder, decoder, Gain(1.0, "gain"))
    assert [name for name, _ in net.named_parameters()] == [
        "encoder.weight", "encoder.bias", "decoder.convtranspose2d_1.bias", "gain.gain",
    ]  # fmt: skip
    assert net.info((1, 9, 9)).total.parameters == 72 + 8 + 1 + 1
    y, backward = net.vjp(np.ones((1, 9, 9)))
    backward(np.ones_like(y))
    values = {name: p.value.copy() for name, p in net.named_parameters()}
    fastconv.SGD(net.parameters(), 0.5).step()
    for name, parameter in net.named_parameters():
        expected = values[name] - 0.5 * parameter.grad.astype(parameter.dtype)
        np.testing.assert_allclose(parameter.value, expected, rtol=1e-6)


@pytest.mark.parametrize("again", [lambda net: pickle.loads(pickle.dumps(net)), copy.deepcopy])
def test_copies(again):
    encoder = Conv2d(2, 8, 3)
    net = Sequential(Sequential(encoder, name="inner"), ConvTranspose2d(8, 2, 3, weight=encoder.weight), encoder)
    other, x = again(net), normal(2, 9, 9)
    np.testing.assert_array_equal(other(x), net(x))
    assert other["inner"][0] is other[2] is not encoder
    assert other[1].weight is other[2].weight is not encoder.weight
    assert repr(other) == repr(net)
    other[2].weight.value[...] = 0
    assert net(x).any()


def test_states(tmp_path):
    net, other = network(), Sequential(*(type(layer)(2, 2, 1) for layer in network()))
    state = net.state_dict()
    assert list(state) == [f"{layer}.{name}" for layer in ("conv1", "conv2", "up") for name in ("weight", "bias")]
    with pytest.raises(ValueError, match=r"no 'conv2d_1\.weight'.*'conv1\.weight' is no parameter here"):
        other.load_state_dict(state)
    path = tmp_path / "net.npz"
    net.save(path)
    other = network()
    for parameter in other.parameters():
        parameter.value[...] = 0
    other.load(path)
    x = normal(2, 9, 9)
    np.testing.assert_array_equal(other(x), net(x))
    state["up.bias"] = np.ones(3)
    before = net(x)
    with pytest.raises(ValueError, match=r"'up\.bias' has shape"):
        net.load_state_dict({name: np.zeros_like(array) for name, array in state.items()})
    np.testing.assert_array_equal(net(x), before)


def test_a_truncated_file_leaves_the_network_as_it_was(tmp_path):
    net, path = network(), tmp_path / "net.npz"
    net.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    before = net.state_dict()
    with pytest.raises(ValueError, match="cannot load"):
        net.load(path)
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


# What it says of itself


def test_repr_can_be_read_back():
    net = Sequential(network(), Conv1d(None, 2, 3), Sequential(), name="net")
    text = repr(net)
    assert text == (
        "Sequential(\n"
        "    Sequential(\n"
        "        Conv2d(2, 4, (3, 3), activation='relu', rng=0, name='conv{}'),\n"
        "        Conv2d(4, 4, (3, 3), stride=2, activation='tanh', rng=1, name='conv{}'),\n"
        "        ConvTranspose2d(4, 2, (3, 3), stride=2, rng=2, name='up'),\n"
        "    ),\n"
        "    Conv1d(None, 2, (3,)),\n"
        "    Sequential(),\n"
        "    name='net',\n"
        ")"
    )
    again = eval(text, vars(fastconv))
    assert repr(again) == text and again.name == "net"
    x = normal(2, 9, 9)
    np.testing.assert_array_equal(again[0](x), net[0](x))  # the seeds are part of it


def test_info():
    net = Sequential(
        Conv2d(1, 16, 3, padding=1, name="conv{}"),
        Sequential(Conv2d(16, 32, 3, stride=2, padding=1, name="conv{}"), Conv2d(32, 32, 3, dilation=2, name="conv{}")),
        Conv2d(None, 10, 4, name="head"),
    )
    info = net.info((5, 1, 28, 28))
    assert [row.name for row in info.rows] == ["conv1", "sequential_1.conv1", "sequential_1.conv2", "head"]
    assert [row.output_shape for row in info.rows] == [(5, 16, 28, 28), (5, 32, 14, 14), (5, 32, 10, 10), (5, 10, 7, 7)]
    assert [row.receptive_field for row in info.rows] == [(3, 3), (5, 5), (13, 13), (19, 19)]
    assert [row.parameters for row in info.rows] == [160, 4640, 9248, 5130]
    assert info.total.parameters == 19178
    for column in ("flops", "memory"):
        assert getattr(info.total, column) == sum(getattr(row, column) for row in info.rows)
    assert net["head"].weight is None
    lines = str(info).splitlines()
    assert lines[0].split()[:2] == ["name", "layer"] and len(lines) == 8
    assert "19,178" in lines[-1]
    assert net.info().rows[-1].output_shape == (10, None, None)


@pytest.mark.parametrize(
    "layers",
    [
        [Conv2d(1, 1, 3), Conv2d(1, 1, 2, stride=2), Conv2d(1, 1, (3, 1), dilation=2)],
        [Conv2d(1, 1, 5, stride=3), ConvTranspose2d(1, 1, 4, stride=2), Conv2d(1, 1, 2)],
        [ConvTranspose2d(1, 1, 2, stride=2), Conv2d(1, 1, 4)],
        [ConvTranspose2d(1, 1, 3, dilation=2), Conv2d(1, 1, 2)],
    ],
)
def test_receptive_fields_are_where_the_gradient_is(layers):
    net = Sequential(*layers)
    for parameter in net.parameters():
        parameter.value[...] = 1
    y, backward = net.vjp(np.ones((1, 30, 30)))
    fields = []
    for place in np.ndindex(4, 4):  # the extent may differ from one output to the next
        grad = np.zeros_like(y)
        grad[(0, *(size // 2 + offset for size, offset in zip(y.shape[1:], place, strict=True)))] = 1
        reached = np.argwhere(backward(grad)[0])
        fields.append(np.ptp(reached, axis=0) + 1)
    assert net.info().total.receptive_field == tuple(np.max(fields, axis=0))


# An independent witness


def test_torch():
    torch = pytest.importorskip("torch", exc_type=ImportError)
    functional = torch.nn.functional
    dilated = {"stride": 2, "padding": 1, "dilation": 2, "padding_mode": "circular", "groups": 2}
    net = Sequential(
        Conv2d(3, 8, 3, padding=1, activation="gelu", dtype="float64"),
        Conv2d(8, 8, 3, **dilated, activation="silu", dtype="float64"),
        ConvTranspose2d(8, 4, 4, stride=2, padding=1, activation="leaky_relu", dtype="float64"),
        Conv2d(4, 2, 1, bias=False, dtype="float64"),
    )
    x = normal(5, 3, 12, 12)
    y, backward = net.vjp(x)
    grad_y = np.random.default_rng(5).standard_normal(y.shape)
    grad_x = backward(grad_y)

    tensors = [torch.tensor(p.value, requires_grad=True) for p in net.parameters()]
    w1, b1, w2, b2, w3, b3, w4 = tensors
    input_ = torch.tensor(x, requires_grad=True)
    z = functional.gelu(functional.conv2d(input_, w1, b1, padding=1))
    z = functional.pad(z, (1, 1, 1, 1), "circular")
    z = functional.silu(functional.conv2d(z, w2, b2, stride=2, groups=2, dilation=2))
    z = functional.leaky_relu(functional.conv_transpose2d(z, w3, b3, stride=2, padding=1))
    z = functional.conv2d(z, w4)
    z.backward(torch.tensor(grad_y))
    np.testing.assert_allclose(y, z.detach().numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(grad_x, input_.grad.numpy(), rtol=1e-10, atol=1e-12)
    for parameter, tensor in zip(net.parameters(), tensors, strict=True):
        np.testing.assert_allclose(parameter.grad, tensor.grad.numpy(), rtol=1e-10, atol=1e-11)
