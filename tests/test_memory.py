"""Peak memory, and its reset."""

import gc
import mmap
import sys
import weakref
from pathlib import Path

import pytest

from bigrec import memory
from bigrec.memory import peak_bytes, release_freed, reset_peak, settle

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


@pytest.mark.parametrize(
    ("text", "expected"), [("1048576\n", 1048576), ("max\n", None), (None, None)]
)
def test_the_limit_of_a_container_is_that_of_its_control_group(
    text: str | None, expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if text is not None:
        (tmp_path / "memory.max").write_text(text)
    monkeypatch.setattr(memory, "_LIMITS", (tmp_path / "gone", tmp_path / "memory.max"))
    assert memory.limit_bytes() == expected


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc gives memory back")
def test_freed_memory_is_given_back() -> None:
    # Smaller than what the allocator maps by itself, and held in place by what is kept.
    pieces = [bytearray(100_000) for _ in range(1000)]
    kept = pieces[::100]
    held = memory._from_status("VmRSS")
    del pieces
    release_freed()
    left = memory._from_status("VmRSS")
    assert len(kept) == 10
    assert held is not None
    assert left is not None
    assert left < held - _SIZE // 2


def test_what_is_settled_is_passed_over_until_the_next_time() -> None:
    class Node:
        itself: "Node"

    node = Node()
    node.itself = node
    found = weakref.ref(node)
    try:
        settle()
        assert gc.get_freeze_count()
        del node
        gc.collect()
        assert found() is not None
        settle()
        assert found() is None
    finally:
        gc.unfreeze()
