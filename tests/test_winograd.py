"""Winograd: every transform and role within its bound, what is not finite where it belongs, and when it is chosen."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inexact import BOUND, KINDS_OF_DATA, check, check_relaid, checked, normal, problem, share
from strategies import integers

import fastconv
from fastconv._algorithms import _winograd

# of the bound a quarter: sums of one channel, four products long, use up 1.7e-6 by F(4, 2)
SHARE = {dtype: bound / 4 for dtype, bound in BOUND.items()}


@pytest.fixture
def restricted(monkeypatch):
    """A function: let Winograd choose only among these numbers of points, a role, and blocks of so many tiles."""
    sizes = _winograd._sizes

    def restrict(points=(1, 4, 6), pixels=None, tiles=_winograd.MOST_TILES):
        def chosen(*arguments):
            return [size for size in sizes(*arguments) if pixels in (None, size[0])]

        monkeypatch.setattr(_winograd, "FORMS", tuple(form for form in _winograd.FORMS if form.points in points))
        monkeypatch.setattr(_winograd, "_sizes", chosen)
        monkeypatch.setattr(_winograd, "MOST_TILES", tiles)
        _winograd.best.cache_clear()

    yield restrict
    _winograd.best.cache_clear()


@st.composite
def problems(draw):
    """Those that Winograd takes; where only small taps meet the image, it is further off, as docs/accuracy.md says."""
    rank = draw(st.sampled_from([1, 2, 2, 2, 3]))
    planes = [(1, 3), (3, 1), (3, 3), (3, 3), (5, 5), (3, 5), (1, 5), (2, 2), (1, 2)]
    plane = draw(st.sampled_from(planes)) if rank > 1 else (3,)
    depth = (draw(st.integers(1, 3)),) * (rank == 3)
    kernel = depth + plane
    pads = tuple((draw(st.integers(0, 5)), draw(st.integers(0, 5))) for _ in kernel)
    stride = tuple(draw(st.integers(1, 2)) if k == 3 else 1 for k in kernel)
    dilation = tuple(draw(st.sampled_from([1, 1, 2, 3, 7])) if s == 1 else 1 for s in stride)
    channels, outs = draw(st.integers(1, 20)), draw(st.integers(1, 40))
    return problem(draw, kernel, stride, dilation, pads, 20, channels, outs, whole=True)


def test_any_problem():
    check("winograd", problems(), SHARE)


@pytest.mark.parametrize("points", [(1, 4), (1, 6)])
@pytest.mark.parametrize("pixels", [False, True])
@pytest.mark.parametrize("tiles", [(1,), (9,), (200,)])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(problem=problems())
def test_every_transform_and_role(restricted, points, pixels, tiles, problem):
    x, weight, *_ = problem
    if points == (1, 4) and 5 in weight.shape[2:]:
        return  # there is no such transform
    restricted((*points, 3, 5), pixels, tiles)
    plan = checked("winograd", problem, SHARE)
    assert plan.explain(x.shape).kernel.endswith("pixels" if pixels else "channels")


def test_channels_last_and_any_strides():
    check_relaid("winograd", problems(), SHARE)


@pytest.mark.parametrize("channels", [1, 128, 129, 300])
@pytest.mark.parametrize("outs", [1, 14, 15, 33])
def test_many_channels(channels, outs):
    x, weight = normal((channels, 18, 15), "float32"), normal((outs, channels, 3, 3), "float32", 1)
    y = fastconv.conv2d(x, weight, padding=1, algorithm="winograd")
    assert share(y, x, weight, padding=1) <= SHARE["float32"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS_OF_DATA)
@pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (3,), (3, 3, 3)])
def test_the_bound_for_every_kind_of_data(kind, kernel, dtype):
    rng = np.random.default_rng(0)
    x = KINDS_OF_DATA[kind](rng, (160, *[14] * len(kernel))).astype(dtype)
    for weights in KINDS_OF_DATA.values():
        weight = weights(rng, (7, 160, *kernel)).astype(dtype)
        y = fastconv.conv(x, weight, padding="same", algorithm="winograd")
        # In 3-D, F(4 × 4, 3 × 3) of data that are all equal is off by up to 3.8e-6: docs/accuracy.md
        assert share(y, x, weight, padding="same") <= BOUND[dtype] / (2.5 if len(kernel) == 3 else 4)


@pytest.mark.parametrize("form", _winograd.FORMS[1:], ids=lambda form: form.name)
def test_transforms_are_a_convolution(restricted, form):
    """Unit vectors as inputs and kernels: every coefficient of one tile."""
    restricted((1, form.points))
    dilation = 2 if form.outputs == 3 else 1  # that one is only used across phases
    arguments = {"stride": form.stride, "dilation": dilation}
    length = ((form.outputs - 1) * form.stride + form.taps) * dilation + dilation - 1
    x, weight = np.eye(length)[:, None], np.eye(form.taps)[:, None]
    expected = fastconv.conv1d(x, weight, **arguments, algorithm="reference")
    plan = fastconv.plan(weight, **arguments, algorithm="winograd")
    np.testing.assert_allclose(plan(x), expected, atol=1e-14)
    assert plan.explain(x.shape).kernel.startswith(form.name)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("shape", [(20, 14, 14), (20, 64, 40), (2, 64, 7, 7), (3, 8, 9, 20, 20)])
def test_threads_do_not_change_bits_not_even_beside_nan(shape, threads):
    rank = 3 if len(shape) == 5 else 2
    x = normal(shape, "float32")
    weight = normal((70, shape[-rank - 1], *[3] * rank), "float32", 1)
    plan = fastconv.plan(weight, padding=1, algorithm="winograd")
    for bad in (0.5, np.nan, np.inf, 3e38):
        x[(..., *[5] * rank)] = bad
        with fastconv.num_threads(1):
            alone = plan(x)
        with fastconv.num_threads(threads):
            np.testing.assert_array_equal(plan(x), alone)


@pytest.mark.parametrize("groups", [1, 3])
def test_threads_that_transform_weights_do_not_change_bits(groups):
    x, weight = normal((96, 9, 9), "float32"), normal((258, 96 // groups, 3, 3), "float32", 1)
    results = []
    for threads in (1, 2, 5):
        with fastconv.num_threads(threads):
            plan = fastconv.plan(weight, groups=groups, algorithm="winograd")
            function = fastconv.conv2d(x, weight, groups=groups, algorithm="winograd")
        with fastconv.num_threads(1):
            np.testing.assert_array_equal(plan(x), function)
        results.append(function)
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])
    assert share(results[0], x, weight, groups=groups) <= SHARE["float32"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (1, 2), (1, 4), (2, 1)])
def test_what_is_not_finite_reaches_its_receptive_field(rank, dtype, bad, stride, dilation):
    x, weight = normal((2, 6, *[11] * rank), dtype), normal((40, 3, *[3] * rank), dtype, 1)
    bias = normal(40, dtype, 2)
    x[(1, 4, *[5] * rank)] = bad
    arguments = {"padding": dilation, "stride": stride, "dilation": dilation, "groups": 2}
    y = fastconv.conv(x, weight, bias, **arguments, algorithm="winograd")
    expected = fastconv.conv(x, weight, bias, **arguments, algorithm="reference")
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-4)
    reached = slice(5 - dilation, 6 + dilation, dilation) if stride == 1 else slice(2, 4)
    assert not np.isfinite(y[(1, slice(20, None), *[reached] * rank)]).any()


def test_weights_that_are_not_finite():
    x, weight = normal((4, 12, 12), "float32"), normal((40, 4, 3, 3), "float32", 1)
    for bad in (np.nan, np.inf):
        weight[17, 2, 1, 1] = bad
        y = fastconv.conv2d(x, weight, padding=1, algorithm="winograd")
        expected = fastconv.conv2d(x, weight, padding=1, algorithm="reference")
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-4)


def test_what_only_a_transform_would_overflow():
    x, weight = np.full((2, 9, 9), 2e38, "float32"), np.zeros((3, 2, 3, 3), "float32")
    weight[:, 0, 1, 1] = [1.0, 1.5, -0.5]
    y = fastconv.conv2d(x, weight, padding=1, algorithm="winograd")
    np.testing.assert_array_equal(y, fastconv.conv2d(x, weight, padding=1, algorithm="reference"))


def test_strides_do_not_change_bits():
    x, weight = normal((5, 16, 15, 37), "float32"), normal((40, 16, 3, 3), "float32", 1)
    x[1, 2, 3, 4] = np.nan
    plan = fastconv.plan(weight, padding="same", algorithm="winograd")
    expected = plan(x)
    for other in (np.repeat(x, 2, -1)[..., ::2], np.asfortranarray(x), x[:, ::-1].copy()[:, ::-1]):
        np.testing.assert_array_equal(plan(other), expected)


def test_nan_does_not_reach_across_what_is_stale():
    """Nothing of one call's working memory reaches the next one."""
    weight = normal((33, 5, 3, 3), "float32")
    plan = fastconv.plan(weight, padding=1, algorithm="winograd")
    fastconv.plan(normal((60, 50, 3, 3), "float32"), algorithm="winograd")(np.full((50, 40, 40), np.nan, "float32"))
    x = normal((5, 13, 17), "float32", 1)
    assert share(plan(x), x, weight, padding=1) <= SHARE["float32"]


DECLINED = {
    "stride": ({"stride": 3}, (3, 3), "stride 3"),
    "stride of many taps": ({"stride": 2}, (5, 5), "5 taps with stride 2"),
    "stride and dilation": ({"stride": 2, "dilation": 2}, (3, 3), "not both"),
    "strict": ({"precision": "strict"}, (3, 3), "strict"),
    "one tap": ({}, (1, 1), "one tap"),
    "many taps": ({}, (3, 7), "for 7 taps"),
}


@pytest.mark.parametrize("name", DECLINED)
def test_what_it_declines(name):
    arguments, kernel, why = DECLINED[name]
    weight = np.ones((4, 4, *kernel), "float32")
    assert why in fastconv.explain((4, 30, 30), weight.shape, **arguments).declined["winograd"]
    with pytest.raises(ValueError, match=f"algorithm='winograd' cannot do this: .*{why}"):
        fastconv.conv2d(np.ones((4, 30, 30), "float32"), weight, **arguments, algorithm="winograd")


def test_it_is_chosen_for_dense_layers_and_not_for_thin_ones():
    def chosen(channels, outs, size, **arguments):
        weight = np.zeros((outs, channels // arguments.get("groups", 1), 3, 3), "float32")
        return fastconv.plan(weight, padding=1, **arguments).explain((channels, size, size)).algorithm

    for channels, size in ((64, 56), (128, 28), (256, 14)):
        assert chosen(channels, channels, size) == "winograd"
    for channels, outs, size, groups in ((1, 1, 200, 1), (32, 32, 56, 32), (1, 8, 28, 1)):
        assert chosen(channels, outs, size, groups=groups) != "winograd"
    assert chosen(64, 64, 56, precision="strict") != "winograd"


def test_packing_counts_where_weights_are_used_once():
    shape, weight_shape = (512, 10, 10), (512, 512, 3, 3)
    plan = fastconv.plan(np.zeros(weight_shape, "float32"), padding=1)
    assert plan.explain(shape).algorithm == "winograd"
    assert fastconv.explain(shape, weight_shape, padding=1).algorithm != "winograd"


@pytest.mark.parametrize("groups", [1, 2])
def test_gradients_and_transposed_convolutions_use_it(groups):
    x, weight = normal((64, 30, 30), "float32"), normal((64, 64 // groups, 3, 3), "float32", 1)
    plan = fastconv.plan(weight, padding=1, groups=groups, transposed=True)
    assert "winograd" in plan.explain(x.shape).algorithm
    y = plan(x)
    expected = fastconv.conv_transpose2d(x, weight, padding=1, groups=groups, precision="strict")
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-3)
    grad_x, _, _ = fastconv.conv_backward(y, x, weight, padding=1, groups=groups)
    expected, _, _ = fastconv.conv_backward(y, x, weight, padding=1, groups=groups, precision="strict")
    np.testing.assert_allclose(grad_x, expected, rtol=0, atol=0.1)


def test_no_allocation_with_out():
    """Beyond small objects: neither arrays nor workspaces."""
    import tracemalloc

    x, weight = normal((64, 28, 28), "float32"), normal((64, 64, 3, 3), "float32", 1)
    plan = fastconv.plan(weight, padding=1, algorithm="winograd")
    out = plan(x)
    plan(x, out)
    tracemalloc.start()
    plan(x, out)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4096


@pytest.mark.parametrize("dilation", [2, 4, 7, 8])
@pytest.mark.parametrize("size", [1, 8, 40, 333, 2000])
def test_dilated_signals(size, dilation):
    """Those of a multiple of the dilation are images with a phase in each column."""
    x, weight = normal((5, size), "float64"), normal((20, 5, 3), "float64", 1)
    bias, add = normal((20, size), "float64", 2), normal((20, size), "float64", 3)
    plan = fastconv.plan(weight, bias, padding="same", dilation=dilation, algorithm="winograd")
    y = plan(x, add=add)
    assert share(y, x, weight, bias, add, padding="same", dilation=dilation) <= SHARE["float64"]


def test_a_tile_of_many_phases():
    """Dilations that reach far: phases with few outputs, cut across."""
    weight = normal((64, 64, 3, 3), "float32", 1)
    for size, dilation in ((33, 12), (33, 6), (40, 18), (65, 24)):
        x = normal((64, size, size), "float32")
        plan = fastconv.plan(weight, padding="same", dilation=dilation, algorithm="winograd")
        assert share(plan(x), x, weight, padding="same", dilation=dilation) <= SHARE["float32"]
    plan = fastconv.plan(np.zeros((256, 512, 3, 3), "float32"), padding=12, dilation=12)
    assert plan.explain((512, 33, 33)).kernel.startswith("F(3,3)")


@pytest.mark.parametrize("h", [1, 2, 4, 5])
@pytest.mark.parametrize("w", [1, 3, 6, 7])
def test_smallest_images(h, w):
    x, weight = normal((3, h, w), "float64"), normal((4, 3, 3, 3), "float64", 1)
    y = fastconv.conv2d(x, weight, padding=2, algorithm="winograd")
    assert share(y, x, weight, padding=2) <= SHARE["float64"]


def test_integers_are_exact_with_four_points(restricted):
    """Halves are exact: the whole way through F(2, 3) to the bit."""
    restricted((1, 4))
    x, weight = integers((2, 9, 23, 18), "float32", 0), integers((21, 9, 3, 3), "float32", 1)
    y = fastconv.conv2d(x, weight, padding=1, algorithm="winograd")
    np.testing.assert_array_equal(y, fastconv.conv2d(x, weight, padding=1, algorithm="reference"))
