"""Peaks of memory, and forgetting them."""

import sys

import numpy as np
import pytest

from bigrec.memory import peak_bytes, reset_peak


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a peak")
def test_a_peak_is_forgotten_once_it_is_reset() -> None:
    held = np.ones(100 * 2**20 // 8)
    del held
    before = peak_bytes()
    now = reset_peak()
    assert now is not None
    assert now <= before - 50 * 2**20
    # Twice as much as what was given back and may be taken again without growing.
    again = np.ones(200 * 2**20 // 8)
    del again
    assert peak_bytes() >= now + 50 * 2**20
