"""What `import fastconv` brings along."""

import os

import pytest
from interpreter import output

import fastconv


def test_only_numpy_and_the_standard_library_are_imported():
    code = """
        import sys
        import numpy
        before = set(sys.modules)
        import fastconv
        names = {name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names
        print(*(name for name in names if "cython" not in name))  # what Cython shares among its modules
    """
    assert output(code) == "fastconv"


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc to read memory from")
def test_memory():
    code = """
        def resident():
            with open("/proc/self/status") as lines:
                return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))  # in kB
        import numpy
        before = resident()
        import fastconv
        print(resident() - before)
    """
    assert int(output(code)) < 10_000


def test_public_names_are_there_and_documented():
    for name in set(fastconv.__all__) - {"__version__"}:
        assert getattr(fastconv, name).__doc__
        assert ">>>" in getattr(fastconv, name).__doc__, f"{name} has no example"
