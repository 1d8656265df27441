import pytest

from bigrec.evaluation.generation_stats import generation_stats


def test_shares_count_titles_repeats_and_different_texts() -> None:
    shares = generation_stats(
        [["Alien", "Dune"], ["Alien", "no film"], ["nor this", "Brazil"], ["nor this", "x"]],
        {"Alien", "Brazil", "Dune"},
        histories=[["Alien"], ["Brazil"], ["nor this"], []],
    )
    assert shares == {
        "first_is_title": 2 / 4,
        "all_are_titles": 4 / 8,
        "first_in_history": 2 / 4,
        "first_distinct": 2 / 4,
    }


@pytest.mark.parametrize(
    ("texts", "histories"), [([], []), ([["a"]], []), ([["a"], []], [["b"], ["c"]])]
)
def test_missing_texts_are_refused(texts: list[list[str]], histories: list[list[str]]) -> None:
    with pytest.raises(ValueError, match="at least one text for each query"):
        generation_stats(texts, {"a"}, histories=histories)
