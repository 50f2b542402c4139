"""Runs Python code in an interpreter of its own: for what is decided when the package is imported."""

import os
import subprocess
import sys
import textwrap


def run(code, **environment):
    """Run the code with these environment variables and none of the package's others; return the finished process."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("FASTCONV_", "OMP_"))}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def output(code, **environment):
    """Run the code, which must succeed, and return what it printed."""
    process = run(code, **environment)
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()
