"""Peak memory, and its reset."""

import mmap
import sys

import pytest

from bigrec.memory import peak_bytes, reset_peak

_SIZE = 100 * 2**20


def touch_and_release() -> None:
    """Use pages that are new to the process: those an allocator kept would not raise the peak."""
    with mmap.mmap(-1, _SIZE) as pages:
        for start in range(0, _SIZE, mmap.PAGESIZE):
            pages[start] = 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux resets the peak")
def test_a_reset_lowers_the_peak_to_the_current_memory() -> None:
    touch_and_release()
    before = peak_bytes()
    now = reset_peak()
    assert now is not None
    assert now <= before
    touch_and_release()
    assert peak_bytes() >= now + _SIZE // 2
