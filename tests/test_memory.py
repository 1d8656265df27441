"""Peaks of memory, and forgetting them."""

import mmap
import sys

import pytest

from bigrec.memory import peak_bytes, reset_peak

_SIZE = 100 * 2**20


def touch_and_give_back() -> None:
    """Hold pages that are new to the process: what an allocator kept would not show."""
    with mmap.mmap(-1, _SIZE) as pages:
        for start in range(0, _SIZE, mmap.PAGESIZE):
            pages[start] = 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a peak")
def test_a_peak_is_forgotten_once_it_is_reset() -> None:
    touch_and_give_back()
    before = peak_bytes()
    now = reset_peak()
    assert now is not None
    assert now <= before
    touch_and_give_back()
    assert peak_bytes() >= now + _SIZE // 2
