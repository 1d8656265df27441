"""What is put into the distances where the settings leave it open."""

import pytest

from bigrec.recommender.fitted import injected_signals
from bigrec.settings import Settings


@pytest.mark.parametrize(
    ("n_items", "expected"),
    [
        (5_000, ("co-occurrence", "EASE", "GRU4Rec")),
        # EASE's matrix grows with the square of the catalog.
        (5_001, ("co-occurrence", "GRU4Rec")),
    ],
)
def test_the_usual_signals_follow_the_size_of_the_catalog(
    n_items: int, expected: tuple[str, ...]
) -> None:
    assert injected_signals(Settings.read(), n_items=n_items) == expected


def test_signals_that_are_named_are_taken_whatever_the_catalog() -> None:
    settings = Settings.read(overrides=["recommend.inject=[EASE]"])
    assert injected_signals(settings, n_items=1_000_000) == ("EASE",)
