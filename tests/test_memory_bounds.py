"""Nothing is read or written outside arrays: they lie beside pages whose touch ends the process.

The process is one of its own, so that such an end is a test that fails.
"""

import shutil
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from guarded import at_the_bounds, mprotect, pages
from interpreter import run
from strategies import NUMPY_MODES, integers

import fastconv
from fastconv import _driver, _grad_weight, _isa
from fastconv._algorithms import _cuts, _fft, _tiled, _tiling, _winograd
from fastconv._algorithms._lines import lines
from fastconv._algorithms._reference import grad_weight as reference
from fastconv._algorithms._tiles import PACKED, POINTWISE, TILES
from fastconv._arrays import contiguous_strides
from fastconv._cache import Bounded
from fastconv._layout import Layout

pytestmark = pytest.mark.skipif(mprotect is None, reason="no mprotect here")

CANARY = -777
MOST_PRODUCTS = 3_000_000


def geometry(rng):
    """The shapes of x and weight, the arguments, and the batch: of any kind, with few enough products."""

    def one_of(*values):
        return values[rng.integers(len(values))]

    rank = int(rng.integers(1, 4))
    kind = one_of("one group", "groups", "depthwise", "depthwise")
    if kind == "depthwise":
        groups, channels, outs = one_of(2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40, 65), 1, one_of(1, 1, 1, 2)
    else:
        groups = 1 if kind == "one group" else one_of(2, 3)
        channels, outs = one_of(1, 1, 2, 3, 5, 16, 33), one_of(1, 2, 3, 4, 5, 7, 14, 17, 33)
    kernel = tuple(one_of(*((1, 2, 3, 5, 16, 140), (1, 2, 3, 3, 5, 12), (1, 2, 3, 3))[rank - 1]) for _ in range(rank))
    stride = tuple(one_of(1, 1, 1, 2, 3) for _ in range(rank))
    dilation = tuple(one_of(1, 1, 1, 2, 3) for _ in range(rank))
    padding = one_of("valid", "same", "full", tuple(tuple(map(int, rng.integers(0, 7, 2))) for _ in range(rank)))
    least = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    if padding in ("same", "full"):
        least = [1] * rank
    most = (200, 30, 9)[rank - 1]
    size = tuple(n + int(rng.integers(0, one_of(3, most))) for n in least)
    mode = one_of("constant", "constant", *NUMPY_MODES)
    arguments = {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "padding_mode": mode,
        "padding_value": float(one_of(0, 0, 3)) if mode == "constant" else 0.0,
        "flip_kernel": one_of(False, True),
        "activation": one_of(None, "relu"),
        "data_format": one_of("channels_first", "channels_last"),
    }
    batch = one_of((), (1,), (2,), (2, 2))
    channels_first = (*batch, groups * channels, *size)
    x = channels_first if arguments["data_format"] == "channels_first" else (*batch, *size, groups * channels)
    weight = (groups * outs, channels, *kernel)
    out = fastconv.conv_output_shape(x, weight, **{k: v for k, v in arguments.items() if k != "activation"})
    if np.prod(out) * channels * np.prod(kernel) > MOST_PRODUCTS:
        return geometry(rng)
    return x, weight, out, arguments


def unpadded(rng):
    """The same of what is read where it lies, up to the last element: pointwise convolutions, and small kernels."""
    rank = int(rng.integers(1, 4))
    kernel = tuple(int(rng.choice([1, 1, 1, 2, 3])) for _ in range(rank))
    size = tuple(k + int(rng.integers(0, (90, 20, 8)[rank - 1])) for k in kernel)
    groups = int(rng.choice([1, 1, 2]))
    channels, outs = int(rng.choice([1, 3, 16, 33, 130])), int(rng.choice([3, 14, 33]))
    x, weight = (int(rng.integers(1, 3)), groups * channels, *size), (groups * outs, channels, *kernel)
    arguments = {"padding": "valid", "groups": groups, "data_format": "channels_first"}
    return x, weight, fastconv.conv_output_shape(x, weight, **arguments), arguments


def check(seed, geometry=geometry):
    """One geometry, by each compiled algorithm and the one that is chosen, with one thread and with two."""
    rng = np.random.default_rng(seed)
    x_shape, weight_shape, out_shape, arguments = geometry(rng)
    dtype = ("float32", "float64")[rng.integers(2)]

    def filled(shape):
        array, memory = at_the_bounds(rng, shape, dtype, np.nan)
        array[...] = integers(shape, dtype, rng)
        return array, memory

    # of the memory around the arrays nothing may be read, let alone reach a result
    (x, x_memory), (weight, _), (add, _) = filled(x_shape), filled(weight_shape), filled(out_shape)
    if rng.random() < 0.2:
        add = None
    rank, bias = len(weight_shape) - 2, None
    last = arguments["data_format"] == "channels_last"
    spatial = out_shape[-rank - 1 : -1] if last else out_shape[-rank:]
    kind = rng.integers(3)
    if kind:
        bias, _ = filled((weight_shape[0], *(spatial if kind == 2 else ())))
    before = x_memory.copy()
    print(seed, dtype, x.shape, x.strides, weight.shape, arguments, flush=True)
    expected = fastconv.plan(weight, bias, **arguments, algorithm="reference")(x, add=add)
    winograd = fastconv.explain(x_shape, weight_shape, **arguments).declined.get("winograd") is None
    sums = fastconv.plan(abs(weight), bias if bias is None else abs(bias), **arguments, algorithm="reference")
    allowed = {"float32": 1e-5, "float64": 1e-13}[dtype] * sums(abs(x)).max()
    for algorithm, threads in (("direct", 1), ("im2col", 1), ("winograd", 1), ("fft", 2), ("auto", 1), ("auto", 2)):
        if algorithm == "winograd" and not winograd:
            continue
        plan = fastconv.plan(weight, bias, **arguments, algorithm=algorithm)
        out, memory = at_the_bounds(rng, out_shape, dtype, CANARY)
        print(algorithm, threads, plan.explain(x.shape).kernel, out.strides, flush=True)
        with fastconv.num_threads(threads):
            plan(x, out, add=add)
            new = plan(x, add=add)
            call = None if add is not None else fastconv.conv(x, weight, bias, **arguments, algorithm=algorithm)
        exact = not {"winograd", "fft"} & {plan.explain(x.shape).algorithm, algorithm}
        for result in (out, new, call):
            if result is not None:
                np.testing.assert_allclose(result, expected, rtol=0, atol=0 if exact else allowed)
        out[...] = CANARY
        np.testing.assert_array_equal(memory, np.full_like(memory, CANARY))
    np.testing.assert_array_equal(x_memory, before)


def check_gradients(seed):
    """The transposed convolution and the gradients of one geometry."""
    rng = np.random.default_rng(seed)
    x_shape, weight_shape, out_shape, arguments = geometry(rng)
    dtype = ("float32", "float64")[rng.integers(2)]

    def filled(shape):
        array, _ = at_the_bounds(rng, shape, dtype, np.nan)
        array[...] = integers(shape, dtype, rng)
        return array

    # the transposed one has the size of x, or one that the forward convolution would have another output for
    own = {name: value for name, value in arguments.items() if not name.startswith("padding_")}
    rank, last = len(weight_shape) - 2, arguments["data_format"] == "channels_last"
    if rng.integers(2):
        own["output_size"] = x_shape[-rank - 1 : -1] if last else x_shape[-rank:]
    else:
        own["output_padding"] = tuple(
            int(rng.integers(max(pair))) for pair in zip(own["stride"], own["dilation"], strict=True)
        )
    try:
        large_shape = fastconv.conv_transpose_output_shape(out_shape, weight_shape, **own)
    except ValueError:  # all of it is cropped
        return
    x, weight, y, large = filled(x_shape), filled(weight_shape), filled(out_shape), filled(large_shape)
    _fft.WORTH = _winograd.WORTH = 1e9  # in this process, by itself: integers stay exact where they are summed directly
    print(seed, dtype, x.shape, weight.shape, y.strides, arguments, own, flush=True)
    results = {}
    for algorithm in ("reference", "direct", "im2col", "auto"):
        print(algorithm, flush=True)
        out, memory = at_the_bounds(rng, large_shape, dtype, CANARY)
        fastconv.conv_transpose(y, weight, **own, algorithm=algorithm, out=out)
        results[algorithm] = [
            out.copy(),
            *fastconv.conv_backward(y, x, weight, **arguments, algorithm=algorithm),
            *fastconv.conv_transpose_backward(large, y, weight, **own, algorithm=algorithm),
        ]
        out[...] = CANARY
        np.testing.assert_array_equal(memory, np.full_like(memory, CANARY))
        for got, expected in zip(results[algorithm], results["reference"], strict=True):
            np.testing.assert_array_equal(got, expected)


def check_packed(seed):
    """im2col by packed tiles alone, in this process."""
    TILES["im2col"] = (PACKED,)
    check(seed, unpadded)


def pointwise(rng):
    """The same of one tap and channels that lie side by side, for the most part."""
    rank = int(rng.integers(1, 4))
    size = tuple(int(rng.integers(1, (90, 20, 8)[rank - 1])) for _ in range(rank))
    groups = int(rng.choice([1, 1, 2]))
    channels, outs = int(rng.choice([1, 3, 16, 33, 130, 300])), int(rng.choice([3, 14, 32, 33]))
    x, weight = (int(rng.integers(1, 3)), *size, groups * channels), (groups * outs, channels, *(1,) * rank)
    stride = tuple(int(rng.choice([1, 1, 2, 3])) for _ in range(rank))
    arguments = {"padding": "valid", "stride": stride, "groups": groups, "data_format": "channels_last"}
    return x, weight, fastconv.conv_output_shape(x, weight, **arguments), arguments


def check_pointwise(seeds):
    """im2col by pointwise tiles wherever there are any, in this process: in one block of one thread, and in many."""
    met = []

    def others(shape, block):
        met.append(POINTWISE.sizes(shape, block))
        return [] if met[-1] else PACKED.sizes(shape, block)

    TILES["im2col"] = (POINTWISE, PACKED._replace(sizes=others))
    for seed in seeds:
        with pytest.MonkeyPatch.context() as patch:
            if seed % 2:
                patch.setattr(_tiling, "PIXELS", (8, 16))
                patch.setattr(_tiled, "SERIAL", 0)
            _tiling.cheapest.cache_clear()
            check(seed, pointwise)
    assert sum(map(bool, met)) > len(met) / 3


class Guarded:
    """NumPy, whose new arrays end at a page or begin behind one."""

    def __init__(self, rng):
        self.rng = rng

    def __getattr__(self, name):
        return getattr(np, name)

    def empty(self, shape, dtype):
        memory = pages(np.prod(shape) * np.dtype(dtype).itemsize).view(dtype)
        memory[...] = CANARY
        return (memory[-np.prod(shape) :] if self.rng.integers(3) else memory[: np.prod(shape)]).reshape(shape)


class GuardedPacking:
    """NumPy, as the driver takes memory for packed weights from it, which are aligned within it."""

    def __getattr__(self, name):
        return getattr(np, name)

    def zeros(self, size, dtype):
        return self.filled(size, dtype, 0)

    def empty(self, size, dtype):
        return self.filled(size, dtype, 1)

    def filled(self, size, dtype, value):
        self.value = value
        self.memory = np.full(size + 128, CANARY % 256, dtype)
        self.memory[64:-64] = value
        return self.memory[64:-64]


@contextmanager
def one_form(name):
    """grad_weight in one of its forms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_cuts, "FORMS", {name: _cuts.FORMS[name]})
        patch.setattr(_grad_weight, "_TASKS", Bounded(4))
        yield patch


def forms_for(convolution, layout):
    """Names of the forms that can, which depends on no strides."""
    axes = lines(convolution, layout)
    return [name for name, form in _cuts.FORMS.items() if list(form(convolution, axes))]


def contiguous_layout(convolution):
    shapes = convolution.x_shape, convolution.out_shape
    return Layout(*(convolution.strides(contiguous_strides(shape, 1), 1) for shape in shapes), None, None)


def check_grad_weight(seed):
    """Every form of grad_weight of one geometry, with one thread and with two."""
    rng = np.random.default_rng(seed)
    x_shape, weight_shape, out_shape, arguments = geometry(rng)
    dtype = ("float32", "float64")[rng.integers(2)]
    (x, x_memory), (y, y_memory) = (at_the_bounds(rng, shape, dtype, np.nan) for shape in (x_shape, out_shape))
    x[...], y[...] = integers(x_shape, dtype, rng), integers(out_shape, dtype, rng)
    before = x_memory.copy(), y_memory.copy()
    print(seed, dtype, x.shape, x.strides, weight_shape, y.strides, arguments, flush=True)
    convolution = fastconv.plan(np.zeros(weight_shape, dtype), **arguments).tasks.geometry(x_shape)
    expected = reference(convolution, x, y)
    allowed = {"float32": 1e-5, "float64": 1e-13}[dtype] * reference(convolution, abs(x), abs(y)).max()
    for form in forms_for(convolution, contiguous_layout(convolution)):
        with one_form(form) as patch:
            patch.setattr(_grad_weight, "np", Guarded(rng))
            patch.setattr(_grad_weight, "SERIAL_FLOPS", 0)
            for threads in (1, 2):
                print(form, threads, flush=True)
                with fastconv.num_threads(threads):
                    result = _grad_weight.grad_weight(convolution, x, y)
                np.testing.assert_allclose(result, expected, rtol=0, atol=allowed if form == "winograd" else 0)
    np.testing.assert_array_equal(x_memory, before[0])
    np.testing.assert_array_equal(y_memory, before[1])


def check_packing(seed):
    """Weights of any shape and strides, packed for tiles of any width."""
    rng = np.random.default_rng(seed)
    dtype = ("float32", "float64")[rng.integers(2)]
    sizes = ((1, 2, 3), (1, 2, 7, 16, 17, 33, 64), (1, 2, 5, 16), (1, 2), (1, 2, 3, 5), (1, 2, 3, 7, 8, 9, 16, 17, 33))
    shape = tuple(int(rng.choice(of_axis)) for of_axis in sizes)
    weight, _ = at_the_bounds(rng, shape, dtype, np.nan)
    weight[...] = rng.standard_normal(shape)
    if rng.integers(2):
        weight = weight[..., ::-1, ::-1, ::-1]
    if rng.integers(4) == 0:
        weight = weight.swapaxes(0, 1)
    groups, channels, *products = weight.shape
    width = int(rng.choice([1, 2, 3, 4, 6, 8, 14, 16, 32]))
    print(seed, dtype, weight.shape, weight.strides, width, flush=True)
    tiles = -(-channels // width)
    expected = np.zeros((groups, tiles * width, np.prod(products)), dtype)
    expected[:, :channels] = weight.reshape(groups, channels, -1)
    expected = expected.reshape(groups, tiles, width, -1).swapaxes(2, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_driver, "np", GuardedPacking())
        _driver.Packed(_isa.forward.PACK[dtype], weight, width)
        memory, value = _driver.np.memory, _driver.np.value
    first = 64 + -memory[64:].ctypes.data % 64
    packed, around = memory[first : first + expected.nbytes], np.delete(memory, np.s_[first : first + expected.nbytes])
    np.testing.assert_array_equal(packed.view(dtype).reshape(expected.shape), expected)
    assert np.all(around[:64] == CANARY % 256)
    assert np.all(around[-64:] == CANARY % 256)
    assert np.all(around[64:-64] == value)


def check_workspaces(seeds):
    """Geometries in the order of their workspaces, so that each is given one of just its size."""
    calls = []
    with fastconv.num_threads(1):
        for seed in seeds:
            rng = np.random.default_rng(seed)
            x, weight, _, arguments = (geometry, unpadded, pointwise)[seed % 3](rng)
            weight = rng.standard_normal(weight).astype(("float32", "float64")[rng.integers(2)])
            for algorithm in ("direct", "im2col"):
                own = arguments | {"algorithm": algorithm}
                plan = fastconv.plan(weight, **own)
                function = partial(fastconv.conv, weight=weight, **own)  # which may pack weights to its workspace
                of_function = fastconv.explain(x, weight.shape, **own, dtype=weight.dtype)
                for explanation, call in ((plan.explain(x), plan), (of_function, function)):
                    calls.append((explanation.workspace_bytes, seed, explanation.kernel, call, x, weight.dtype))
        for *name, call, x, dtype in sorted(calls, key=lambda call: call[0]):
            print(*name, flush=True)
            call(np.ones(x, dtype))


def check_workspaces_of_grad_weight(seeds):
    """The same of grad_weight, by its tasks."""
    calls = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        x, weight, out, arguments = geometry(rng)
        dtype = np.dtype(("float32", "float64")[rng.integers(2)])
        convolution = fastconv.plan(np.empty(weight, dtype), **arguments).tasks.geometry(x)
        layout = contiguous_layout(convolution)
        for form in forms_for(convolution, layout):
            with one_form(form):
                task, splits, *_ = _grad_weight._task(convolution, layout, 1)
            calls.append((task.workspace_bytes, seed, form, task, x, out, (splits, *weight), dtype))
    for *name, task, x, out, parts, dtype in sorted(calls, key=lambda call: call[0]):
        print(*name, flush=True)
        task.run_grad_weight(np.ones(x, dtype), np.ones(out, dtype), np.empty(parts, dtype), 0)


def in_a_process(code, **environment):
    """Run code that uses this file in a process of its own, which must come to its end."""
    here = str(Path(__file__).parent)
    code = f"import sys; sys.path.insert(0, {here!r}); import test_memory_bounds as bounds; {code}"
    finished = run(code, **environment)
    assert finished.returncode == 0, f"{finished.stdout[-1000:]}\n{finished.stderr}"


@pytest.mark.parametrize("first", [0, 100])
@pytest.mark.parametrize("level", _isa.available)
def test_arrays_that_end_at_a_page(level, first):
    in_a_process(f"[bounds.check(seed) for seed in range({first}, {first + 100})]", FASTCONV_ISA=level)


@pytest.mark.parametrize("level", _isa.available)
def test_unpadded_arrays_that_end_at_a_page(level):
    in_a_process("[bounds.check_packed(seed) for seed in range(100)]", FASTCONV_ISA=level)


@pytest.mark.parametrize("level", _isa.available)
def test_pixels_that_end_at_a_page(level):
    in_a_process("bounds.check_pointwise(range(150))", FASTCONV_ISA=level)


@pytest.mark.parametrize("level", _isa.available)
def test_gradients_of_arrays_that_end_at_a_page(level):
    in_a_process("[bounds.check_gradients(seed) for seed in range(100)]", FASTCONV_ISA=level)


@pytest.mark.parametrize("level", _isa.available)
def test_grad_weight_of_arrays_that_end_at_a_page(level):
    in_a_process("[bounds.check_grad_weight(seed) for seed in range(200)]", FASTCONV_ISA=level)


@pytest.mark.parametrize("level", _isa.available)
def test_packing_of_weights_that_end_at_a_page(level):
    in_a_process("[bounds.check_packing(seed) for seed in range(300)]", FASTCONV_ISA=level)


@pytest.fixture(scope="session")
def guarded_malloc(tmp_path_factory):
    """A library to preload, under which workspaces end at a page."""
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("no compiler, or no library can be preloaded here")
    library = tmp_path_factory.mktemp("guarded") / "guarded_malloc.so"
    source = Path(__file__).with_name("guarded_malloc.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return str(library)


@pytest.mark.parametrize("level", _isa.available)
def test_workspaces_that_end_at_a_page(level, guarded_malloc):
    in_a_process("bounds.check_workspaces(range(200))", FASTCONV_ISA=level, LD_PRELOAD=guarded_malloc)


@pytest.mark.parametrize("level", _isa.available)
def test_workspaces_of_grad_weight_that_end_at_a_page(level, guarded_malloc):
    code = "bounds.check_workspaces_of_grad_weight(range(200))"
    in_a_process(code, FASTCONV_ISA=level, LD_PRELOAD=guarded_malloc)
