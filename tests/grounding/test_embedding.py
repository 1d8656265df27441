import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bigrec.errors import ModelError
from bigrec.grounding.embedding import embed_checked, embed_in_parts, remove_parts
from tests.grounding.fakes import FakeEmbedder, TableEmbedder

TITLES = [f"title {number}" for number in range(1100)]


class _Interrupted(FakeEmbedder):
    def rows(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        if len(self.calls) == 3:
            raise KeyboardInterrupt
        return super().rows(texts)


def test_embeddings_come_in_the_order_given() -> None:
    table = {"a": [1.0, 2.0], "b": [3.0, 4.0]}
    np.testing.assert_array_equal(
        embed_checked(["b", "a"], TableEmbedder(table)), [[3.0, 4.0], [1.0, 2.0]]
    )


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_broken_embedding_is_refused_with_its_title(broken: float) -> None:
    table = {"a": [1.0, 2.0], "b": [3.0, broken]}
    with pytest.raises(ModelError, match=r"embedding of 'b' holds NaN.*in float32"):
        embed_checked(["a", "b"], TableEmbedder(table))


def test_an_embedder_that_gives_too_few_rows_is_refused() -> None:
    class Short(FakeEmbedder):
        def rows(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
            return super().rows(texts[1:])

    with pytest.raises(ModelError, match=r"shape \(1, 4\) for 2 texts; expected one row per text"):
        embed_checked(["a", "b"], Short())


def test_parts_give_what_one_call_gives(tmp_path: Path) -> None:
    together = FakeEmbedder().embed(TITLES)
    np.testing.assert_array_equal(embed_in_parts(TITLES, FakeEmbedder(), folder=tmp_path), together)


def test_progress_counts_titles() -> None:
    calls: list[tuple[int, int]] = []
    embed_in_parts(TITLES, FakeEmbedder(), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(512, 1100), (1024, 1100), (1100, 1100)]


def test_an_interrupted_run_is_resumed_after_its_finished_parts(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        embed_in_parts(TITLES, _Interrupted(), folder=tmp_path)
    embedder = FakeEmbedder()
    embeddings = embed_in_parts(TITLES, embedder, folder=tmp_path)
    assert embedder.embedded == TITLES[1024:]
    np.testing.assert_array_equal(embeddings, FakeEmbedder().embed(TITLES))


def test_parts_of_another_embedder_are_not_read(tmp_path: Path) -> None:
    embed_in_parts(TITLES, FakeEmbedder(fingerprint="old"), folder=tmp_path)
    embedder = FakeEmbedder(fingerprint="new")
    embed_in_parts(TITLES, embedder, folder=tmp_path)
    assert embedder.embedded == TITLES


def test_a_damaged_part_is_embedded_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    embed_in_parts(TITLES[:512], FakeEmbedder(), folder=tmp_path)
    next(tmp_path.iterdir()).write_bytes(b"damaged")
    embedder = FakeEmbedder()
    with caplog.at_level(logging.WARNING):
        embed_in_parts(TITLES[:512], embedder, folder=tmp_path)
    assert embedder.embedded == TITLES[:512]
    assert "Embedding 512 titles again" in caplog.text


def test_removing_parts_keeps_other_files(tmp_path: Path) -> None:
    embed_in_parts(TITLES[:3], FakeEmbedder(), folder=tmp_path)
    other = tmp_path / "notes.txt"
    other.write_text("mine")
    remove_parts(tmp_path)
    assert list(tmp_path.iterdir()) == [other]


def test_removing_parts_removes_an_empty_folder(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    embed_in_parts(TITLES[:3], FakeEmbedder(), folder=folder)
    remove_parts(folder)
    remove_parts(folder)
    assert not folder.exists()
