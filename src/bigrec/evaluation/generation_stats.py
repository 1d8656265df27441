"""Statistics of generated texts."""

from collections.abc import Sequence, Set


def generation_stats(
    texts: Sequence[Sequence[str]], catalog_titles: Set[str], *, histories: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Shares of generated texts that are titles, repeat the history or differ.

    Args:
        texts: Generated texts of each query, most probable first, at least one.
        catalog_titles: Titles of the catalog.
        histories: Titles of each query's history.

    Returns:
        Shares in [0, 1]. ``first_is_title`` and ``all_are_titles``: texts that equal a catalog
        title, among the first texts and among all; ``first_in_history``: first texts that repeat a
        title of the history; ``first_distinct``: different first texts per query.

    Raises:
        ValueError: If there is no query, a query has no text, or the lengths differ.
    """
    if len(texts) == 0 or len(texts) != len(histories) or not all(texts):
        raise ValueError(
            f"Got the texts of {len(texts)} queries, {sum(not beams for beams in texts)} of them "
            f"empty, and {len(histories)} histories; expected as many of each, at least one, and "
            "at least one text for each query."
        )
    first_texts = [beams[0] for beams in texts]
    all_texts = [text for beams in texts for text in beams]
    repeats = [text in history for text, history in zip(first_texts, histories, strict=True)]
    return {
        "first_is_title": sum(text in catalog_titles for text in first_texts) / len(first_texts),
        "all_are_titles": sum(text in catalog_titles for text in all_texts) / len(all_texts),
        "first_in_history": sum(repeats) / len(first_texts),
        "first_distinct": len(set(first_texts)) / len(first_texts),
    }
