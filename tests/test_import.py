"""What `import fastconv` brings along."""

from interpreter import output

import fastconv


def test_scipy_is_not_imported():
    names = output("import sys, fastconv; print(*(name for name in sys.modules if name.startswith('scipy')))")
    assert names == ""


def test_public_names_are_there_and_documented():
    for name in set(fastconv.__all__) - {"__version__"}:
        assert getattr(fastconv, name).__doc__
        assert ">>>" in getattr(fastconv, name).__doc__, f"{name} has no example"
