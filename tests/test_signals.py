"""Signals are looked for in the midst of long calls, not only at their end."""

import signal
import time

import numpy as np
import pytest
from test_grad_weight import FORMS, cut, grad_weight

import fastconv
from fastconv._algorithms import _cuts


def longest_wait(call):
    """The longest time in which no signal would have been looked for, as a part of all the time."""
    seen = []
    earlier = signal.signal(signal.SIGALRM, lambda *_: seen.append(time.perf_counter()))
    signal.setitimer(signal.ITIMER_REAL, 1e-3, 1e-3)
    try:
        seen.append(time.perf_counter())
        call()
        seen.append(time.perf_counter())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)
    return np.diff(seen).max() / (seen[-1] - seen[0])


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
@pytest.mark.parametrize("form", FORMS)
def test_signals_are_looked_for(form):
    x, grad_output = (np.broadcast_to(np.float32(1), (64, 4, 256, size)) for size in (262, 256))
    weight_shape = (4, 4, 1, 7)
    with cut(form, ITEM_FLOPS=1_000_000) as made:
        grad_weight(grad_output, x, weight_shape)
        assert made[0][1].rounds > 50
        # the machine may be busy with other things
        assert min(longest_wait(lambda: grad_weight(grad_output, x, weight_shape)) for _ in range(5)) < 1 / 2
    assert _cuts.ITEM_FLOPS <= 2_000_000_000


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
def test_signals_are_looked_for_between_the_phases_of_a_stride():
    plan = fastconv.plan(np.ones((256, 64, 16, 16), "float32"), transposed=True, stride=8)
    x = np.broadcast_to(np.float32(1), (1, 256, 40, 40))
    with fastconv.num_threads(1):
        plan(x)
        assert min(longest_wait(lambda: plan(x)) for _ in range(5)) < 1 / 2
