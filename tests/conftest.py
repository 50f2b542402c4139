"""Settings of the property tests."""

from hypothesis import settings

# A first call compiles nothing but may start threads: times say nothing here.
settings.register_profile("fastconv", deadline=None, max_examples=60)
settings.load_profile("fastconv")
