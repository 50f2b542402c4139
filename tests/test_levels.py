"""Every instruction set level that may run here gives the same bits, over sizes that hit every tail."""

from pathlib import Path

import pytest
from interpreter import run

from fastconv import _isa

EXACT = Path(__file__).with_name("test_functional.py")


@pytest.mark.parametrize("level", [name for name in _isa.available if name != _isa.level])
def test_every_algorithm_at_every_level(level):
    tests = [f"{EXACT}::{name}" for name in ("test_every_algorithm_to_the_bit", "test_channels_last_and_any_strides")]
    code = f"import pytest; raise SystemExit(pytest.main({[*tests, '-p', 'no:cacheprovider']}))"
    finished = run(code, FASTCONV_ISA=level)
    assert finished.returncode == 0, finished.stdout
