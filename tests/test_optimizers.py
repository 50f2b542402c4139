"""Optimisers: PyTorch's formulas, factors, shared and frozen parameters, steps that fail."""

import copy
import pickle

import numpy as np
import pytest

import fastconv
from fastconv import SGD, Adam, Parameter

SGDS = [
    {"learning_rate": 0.1},
    {"learning_rate": 0.1, "l2": 0.3},
    {"learning_rate": 0.1, "momentum": 0.9},
    {"learning_rate": 0.1, "momentum": 0.9, "l2": 0.3},
    {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True},
    {"learning_rate": 0.1, "momentum": 0.5, "nesterov": True, "l2": 0.3},
]
ADAMS = [
    {},
    {"learning_rate": 0.1, "l2": 0.3},
    {"learning_rate": 0.1, "betas": (0.5, 0.7), "eps": 1e-3},
    {"learning_rate": 0.1, "betas": (0.0, 0.0)},
]
OPTIMIZERS = [(SGD, arguments) for arguments in SGDS] + [(Adam, arguments) for arguments in ADAMS]
# The formulas are the same; the roundings are not, and grow with the steps.
RTOL = {"float32": 1e-5, "float64": 1e-13}


def gradients(shape, dtype="float64", seed=0, steps=10):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for _ in range(steps)]


def run(optimizer, parameter, grads):
    for grad in grads:
        optimizer.zero_grad()
        parameter.add_grad(grad)
        optimizer.step()
    return parameter.value


@pytest.mark.parametrize(("kind", "arguments"), OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_torch(kind, arguments, dtype):
    torch = pytest.importorskip("torch", exc_type=ImportError)
    start, *grads = gradients((3, 4), dtype, steps=21)
    parameter = Parameter(start)
    value = run(kind([parameter], **arguments), parameter, grads)
    names = {"learning_rate": "lr", "l2": "weight_decay"}
    tensor = torch.tensor(start, requires_grad=True)
    witness = getattr(torch.optim, kind.__name__)(
        [tensor], **{names.get(name, name): argument for name, argument in arguments.items()}
    )
    for grad in grads:
        tensor.grad = torch.tensor(grad)
        witness.step()
    assert value.dtype == dtype
    np.testing.assert_allclose(value, tensor.detach().numpy(), rtol=RTOL[dtype], atol=RTOL[dtype])


@pytest.mark.parametrize(("kind", "arguments"), OPTIMIZERS)
def test_factors_multiply(kind, arguments):
    start, *grads = gradients(5)
    arguments = {"learning_rate": 1e-3, "l2": 0.0} | arguments
    parameter = Parameter(start, learn_rate_factor=0.25, l2_factor=3.0)
    plain = Parameter(start)
    value = run(kind([parameter], **arguments), parameter, grads)
    arguments["learning_rate"] *= 0.25
    arguments["l2"] *= 3
    np.testing.assert_allclose(value, run(kind([plain], **arguments), plain, grads), rtol=1e-13)


def test_biases_can_go_without_l2():
    weight, bias = Parameter(np.ones(2)), Parameter(np.ones(2), l2_factor=0)
    optimizer = SGD([weight, bias], 0.5, l2=1.0)
    for parameter in (weight, bias):
        parameter.add_grad(np.zeros(2))
    optimizer.step()
    np.testing.assert_array_equal(weight.value, [0.5, 0.5])
    np.testing.assert_array_equal(bias.value, [1.0, 1.0])


@pytest.mark.parametrize(("kind", "arguments"), OPTIMIZERS)
def test_a_factor_of_zero_freezes_to_the_bit(kind, arguments):
    value = np.array([-0.0, 0.0, 1.0, np.nan, 5e-324])
    frozen, free = Parameter(value, learn_rate_factor=0), Parameter(np.ones(2))
    optimizer, before = kind([frozen, free], **arguments), frozen.value
    for _ in range(3):
        frozen.add_grad(np.array([1.0, -1.0, np.inf, np.nan, 1e300]))
        free.add_grad(np.ones(2))
        optimizer.step()
    assert frozen.value is before
    assert frozen.value.tobytes() == value.tobytes()
    assert (free.value != 1).all()


@pytest.mark.parametrize(("kind", "arguments"), OPTIMIZERS)
def test_a_parameter_without_gradient_is_left_out(kind, arguments):
    start, *grads = gradients(3, steps=6)
    idle, parameter, alone = (Parameter(start) for _ in range(3))
    optimizer = kind([idle, parameter], **arguments)
    for grad in grads:  # the parameter's own count of steps is what matters to Adam
        run(optimizer, parameter, [grad])
        optimizer.zero_grad()
        optimizer.step()
    np.testing.assert_array_equal(idle.value, start)
    np.testing.assert_array_equal(parameter.value, run(kind([alone], **arguments), alone, grads))


@pytest.mark.parametrize(("kind", "arguments"), OPTIMIZERS)
def test_a_shared_parameter_is_stepped_once(kind, arguments):
    start, *grads = gradients(3)
    shared, alone = Parameter(start), Parameter(start)
    optimizer = kind(iter([shared, shared]), **arguments)
    assert optimizer.parameters == (shared,)
    np.testing.assert_array_equal(run(optimizer, shared, grads), run(kind([alone], **arguments), alone, grads))


@pytest.mark.parametrize(("kind", "arguments"), OPTIMIZERS)
def test_earlier_gradients_are_not_the_callers_arrays(kind, arguments):
    """Gradients that add up over steps, without zero_grad, change in place."""
    start, *grads = gradients(3)
    parameter, other = Parameter(start), Parameter(start)
    optimizer, witness = kind([parameter], **arguments), kind([other], **arguments)
    total = np.zeros(3)
    for grad in grads:
        total = total + grad
        parameter.add_grad(grad)
        given = parameter.grad.copy()
        optimizer.step()
        np.testing.assert_array_equal(parameter.grad, given)
        run(witness, other, [total])
    np.testing.assert_allclose(parameter.value, other.value, rtol=1e-12)


@pytest.mark.parametrize(("kind", "arguments"), OPTIMIZERS)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))])
def test_copies_go_on_alike(kind, arguments, copied):
    start, *grads = gradients(3)
    parameter = Parameter(start)
    optimizer = kind([parameter], **arguments)
    run(optimizer, parameter, grads[:4])
    copied_parameter, copied_optimizer = copied((parameter, optimizer))
    halfway = parameter.value.copy()
    expected = run(optimizer, parameter, grads[4:])
    np.testing.assert_array_equal(copied_parameter.value, halfway)
    np.testing.assert_array_equal(run(copied_optimizer, copied_parameter, grads[4:]), expected)


@pytest.mark.parametrize(("kind", "arguments"), OPTIMIZERS)
def test_a_step_that_fails_changes_nothing(kind, arguments):
    start, *grads = gradients((4, 3))
    first, last = Parameter(start, name="first"), Parameter(start, name="last")
    optimizer = kind([first, last], **arguments)
    untouched = copy.deepcopy((optimizer, first, last))
    first.add_grad(grads[0])
    last.add_grad(grads[0])
    last.grad.resize((1, 3), refcheck=False)  # a shape that NumPy would stretch to the value's
    with pytest.raises(ValueError, match=r"grad of parameter 'last' has shape \(1, 3\); wanted \(4, 3\)"):
        optimizer.step()
    np.testing.assert_array_equal(first.value, start)
    np.testing.assert_array_equal(last.value, start)
    optimizer.zero_grad()
    other_optimizer, other_first, _ = untouched  # earlier gradients are as they were, too
    np.testing.assert_array_equal(run(optimizer, first, grads), run(other_optimizer, other_first, grads))


def test_attributes_take_effect_at_the_next_step():
    parameter = Parameter(np.ones(1))
    optimizer = SGD([parameter], 0.5)
    optimizer.learning_rate = 0.25
    run(optimizer, parameter, [np.ones(1)])
    assert parameter.value == 0.75
    with pytest.raises(ValueError, match="learning_rate=-1; wanted a finite number of at least 0"):
        optimizer.learning_rate = -1
    with pytest.raises(TypeError, match=r"betas=0.9; wanted a pair"):
        Adam([parameter]).betas = 0.9
    assert optimizer.learning_rate == 0.25


def test_values_are_new_arrays():
    """Whoever still holds a value, for a backward pass, keeps it as it was."""
    parameter = Parameter(np.ones(2))
    before = parameter.value
    run(SGD([parameter], 0.5), parameter, [np.ones(2)])
    np.testing.assert_array_equal(before, [1.0, 1.0])


@pytest.mark.parametrize(
    ("kind", "arguments", "error", "message"),
    [
        (SGD, {"learning_rate": -0.1}, ValueError, "learning_rate=-0.1; wanted a finite number of at least 0"),
        (SGD, {"learning_rate": np.nan}, ValueError, "learning_rate=nan"),
        (SGD, {"learning_rate": "fast"}, TypeError, "learning_rate='fast' has type str; wanted a finite number"),
        (SGD, {"learning_rate": 1, "l2": -1}, ValueError, "l2=-1"),
        (SGD, {"learning_rate": 1, "momentum": 1.0}, ValueError, "momentum=1.0; wanted .* at least 0, less than 1"),
        (SGD, {"learning_rate": 1, "nesterov": True}, ValueError, "nesterov=True with momentum=0.0; wanted a momentum"),
        (SGD, {"learning_rate": 1, "momentum": 0.9, "nesterov": 1}, TypeError, "nesterov=1 has type int"),
        (Adam, {"betas": 0.9}, TypeError, "betas=0.9; wanted a pair"),
        (Adam, {"betas": (0.9,)}, TypeError, r"betas=\(0.9,\); wanted a pair"),
        (Adam, {"betas": (0.9, 1.0)}, ValueError, "betas=1.0; wanted .* less than 1"),
        (Adam, {"eps": -1e-8}, ValueError, "eps=-1e-08"),
        (Adam, {"parameters": []}, ValueError, "parameters is empty"),
        (Adam, {"parameters": None}, TypeError, "parameters has type NoneType; wanted several"),
        (Adam, {"parameters": Parameter(np.ones(1))}, TypeError, "parameters has type Parameter; wanted several"),
        (Adam, {"parameters": [np.ones(3)]}, TypeError, "parameters has an entry of type ndarray; wanted Parameter"),
        (Adam, {"parameters": {"w": 1}.items()}, TypeError, "parameters has an entry of type tuple"),
    ],
)
def test_wrong_arguments(kind, arguments, error, message):
    with pytest.raises(error, match=message):
        kind(**{"parameters": [Parameter(np.ones(1))]} | arguments)


def test_a_convolution_learns():
    """The filter that made y of x is found again."""
    rng = np.random.default_rng(0)
    x, true = rng.standard_normal(200), np.array([0.5, -1.0, 2.0])
    y = fastconv.conv1d(x[None], true[None, None])
    for kind, arguments in [(SGD, {"learning_rate": 0.3, "momentum": 0.5}), (Adam, {"learning_rate": 0.1})]:
        weight = Parameter(np.zeros((1, 1, 3)))
        optimizer = kind([weight], **arguments)
        for _ in range(300):
            error = fastconv.conv1d(x[None], weight) - y
            grad = fastconv.conv1d(x[None], error[None]) / error.size
            run(optimizer, weight, [grad[None]])
        np.testing.assert_allclose(weight.value.ravel(), true, atol=1e-3)
