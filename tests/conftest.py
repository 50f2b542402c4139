"""Settings of the property tests."""

from hypothesis import HealthCheck, settings

# Times say nothing about the package here: the machine may be busy.
settings.register_profile(
    "fastconv", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("fastconv")
