import numpy as np
import pytest
import torch

from bigrec.models.neural.inference import padded_histories
from bigrec.models.neural.sequences import Windows, batches_by_length

PAD = 99
# users 0, 1 and 2 with 6, 1 and 3 interactions
USERS = np.array([0] * 6 + [1] + [2] * 3)
ITEMS = np.array([10, 11, 12, 13, 14, 15, 20, 30, 31, 32])


def rows(windows: Windows) -> list[list[int]]:
    """Items of every window, without padding."""
    batch = windows.batch(torch.arange(len(windows)), padding=PAD)
    return [[item for item in row if item != PAD] for row in batch.tolist()]


def test_chunks_share_one_item_and_the_newest_one_is_full() -> None:
    chunks = Windows.chunks(USERS, ITEMS, max_length=3)
    assert rows(chunks) == [[12, 13, 14, 15], [10, 11, 12], [30, 31, 32]]


def test_a_shift_makes_the_newest_chunk_shorter() -> None:
    chunks = Windows.chunks(USERS, ITEMS, max_length=3, shift=1)
    assert rows(chunks) == [[13, 14, 15], [10, 11, 12, 13], [30, 31, 32]]


@pytest.mark.parametrize("max_length", [1, 2, 3, 10])
def test_every_item_but_a_users_first_is_a_target_once_at_any_shift(
    max_length: int,
) -> None:
    for shift in range(max_length):
        chunks = rows(Windows.chunks(USERS, ITEMS, max_length=max_length, shift=shift))
        assert all(2 <= len(chunk) <= max_length + 1 for chunk in chunks)
        targets = [item for chunk in chunks for item in chunk[1:]]
        assert sorted(targets) == [11, 12, 13, 14, 15, 31, 32]


def test_a_sliding_window_ends_at_every_item_but_a_users_first() -> None:
    assert rows(Windows.sliding(USERS, ITEMS, max_length=2)) == [
        [10, 11],
        [10, 11, 12],
        [11, 12, 13],
        [12, 13, 14],
        [13, 14, 15],
        [30, 31],
        [30, 31, 32],
    ]


def test_a_batch_is_as_wide_as_its_widest_window_and_padded_on_the_left() -> None:
    windows = Windows.sliding(USERS, ITEMS, max_length=2)
    batch = windows.batch(torch.tensor([6, 0]), padding=PAD)
    assert batch.tolist() == [[30, 31, 32], [PAD, 10, 11]]


def test_histories_are_cut_to_the_newest_items_and_padded_on_the_left() -> None:
    histories = [np.array([1, 2, 3, 4]), np.array([-1, 5]), np.zeros(0, dtype=int), np.array([6])]
    numbers, padded = padded_histories(histories, n_items=9, max_length=3)
    assert numbers.tolist() == [0, 1, 3]
    assert padded.tolist() == [[2, 3, 4], [9, 9, 5], [9, 9, 6]]


def test_empty_histories_are_an_empty_batch() -> None:
    numbers, padded = padded_histories([np.array([-1])], n_items=9, max_length=3)
    assert (numbers.tolist(), padded.shape) == ([], (0, 0))


def test_an_item_outside_of_the_catalog_is_refused() -> None:
    with pytest.raises(ValueError, match="a history holds item number 9; expected 0 to 8"):
        padded_histories([np.array([9])], n_items=9, max_length=3)


def test_every_window_is_in_one_batch_with_others_of_its_length() -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(2, 52, (4000,), generator=generator)
    batches = batches_by_length(lengths, lengths - 1, batch_size=200)
    assert torch.cat(batches).sort().values.tolist() == list(range(4000))
    targets = [int((lengths[batch] - 1).sum()) for batch in batches]
    # A batch ends with the window that fills it, so it is off by a window at most.
    assert max(targets) < 200 + 51
    padded = sum(int(lengths[batch].max()) * len(batch) for batch in batches)
    assert padded < 1.1 * int(lengths.sum())
    assert [len(batch) for batch in batches] != sorted(len(batch) for batch in batches)
