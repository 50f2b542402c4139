"""Settings of the property tests, and what all tests have in common."""

import pytest
from hypothesis import HealthCheck, settings

from fastconv import _call, _grad_weight, gradients
from fastconv._algorithms import _cuts, _fft, _separable, _winograd

# Times say nothing about the package here: the machine may be busy.
settings.register_profile(
    "fastconv", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("fastconv")


@pytest.fixture(autouse=True, scope="module")
def direct_sums(request):
    """Small integers are exact where products are summed directly: elsewhere the others run only by name."""
    if any(name in request.module.__name__ for name in ("winograd", "fft", "separable")):
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        for module in (_winograd, _fft, _separable, _cuts):
            patch.setattr(module, "WORTH", 1e9)
        recent = [kept.noted for module in (_call, gradients) for kept in module._RECENT.values()]
        for kept in (_call._KEPT, *recent, _grad_weight._TASKS, _grad_weight._LARGE):
            kept.clear()
        yield
