"""Generation with CTranslate2: the texts and probabilities of transformers."""

from pathlib import Path
from typing import TypedDict

import pytest
import torch

from bigrec.errors import ModelError
from bigrec.lm.generation.ct2_convert import converted_folder
from bigrec.lm.generation.ctranslate2 import ComputeType, CTranslate2Generator
from bigrec.lm.generation.transformers import TransformersGenerator
from bigrec.lm.model import LanguageModel
from bigrec.lm.prompts import PromptRenderer
from bigrec.types import GeneratedText
from tests.conftest import TITLES
from tests.lm.generation.ct2_parts import Counting, attach_adapter

ctranslate2 = pytest.importorskip("ctranslate2", reason="the ctranslate2 package is not installed")
pytestmark = pytest.mark.model


class Options(TypedDict, total=False):
    """What both generators are made with."""

    beams: int
    max_new_tokens: int
    length_penalty: float


class EndsEasily(PromptRenderer):
    """Reads every few tokens of the vocabulary as a stop: random models seldom write real ones."""

    every = 20

    @property
    def stop_ids(self) -> list[int]:
        return list(range(0, len(self._tokenizer), self.every))


class EndsAtOnce(EndsEasily):
    """Reads every token as a stop."""

    every = 1


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all tests: what is kept there is tested with the conversion."""
    return tmp_path_factory.mktemp("ct2")


def assert_same(found: list[list[GeneratedText]], expected: list[list[GeneratedText]]) -> None:
    for some, others in zip(found, expected, strict=True):
        assert [text.text for text in some] == [text.text for text in others]
        assert [text.log_prob for text in some] == pytest.approx(
            [text.log_prob for text in others], abs=1e-4
        )


@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize("beams", [1, 4])
def test_texts_and_probabilities_are_those_of_transformers(
    lm: LanguageModel, prompts: list[list[int]], cache: Path, beams: int, adapter: bool
) -> None:
    renderer = PromptRenderer(lm.tokenizer)
    if adapter:
        attach_adapter(lm, seed=1)
    options: Options = {"beams": beams, "max_new_tokens": 8}
    found = CTranslate2Generator(lm, renderer, cache=cache, **options).generate(prompts)
    expected = TransformersGenerator(lm, renderer, **options).generate(prompts)
    assert_same(found, expected)


def test_a_batch_gives_what_each_prompt_gives_alone(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]], cache: Path
) -> None:
    generator = CTranslate2Generator(
        lm, renderer, beams=4, max_new_tokens=8, batch_size=4, cache=cache
    )
    together = generator.generate(prompts)
    alone = [generator.generate([prompt])[0] for prompt in prompts]
    assert_same(together, alone)


def test_texts_do_not_depend_on_what_earlier_prompts_began_with(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]], cache: Path
) -> None:
    generator = CTranslate2Generator(lm, renderer, beams=2, max_new_tokens=8, cache=cache)
    generator.generate(prompts)
    others = [[5], [5, 6, 7], renderer.prompt_ids(TITLES[:2], "book")]
    fresh = CTranslate2Generator(lm, renderer, beams=2, max_new_tokens=8, cache=cache)
    assert_same(generator.generate(others), fresh.generate(others))
    assert_same(generator.generate(prompts), fresh.generate(prompts))


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_texts_end_at_any_stop_as_with_transformers(
    lm: LanguageModel, prompts: list[list[int]], cache: Path, length_penalty: float
) -> None:
    renderer = EndsEasily(lm.tokenizer)
    options: Options = {"beams": 4, "max_new_tokens": 8, "length_penalty": length_penalty}
    found = CTranslate2Generator(lm, renderer, cache=cache, **options).generate(prompts)
    expected = TransformersGenerator(lm, renderer, **options).generate(prompts)
    assert_same([texts[:1] for texts in found], [texts[:1] for texts in expected])


def test_nothing_is_written_past_a_stop(
    lm: LanguageModel, prompts: list[list[int]], cache: Path
) -> None:
    # Every token is a stop, so a text is one token, and its probability that of the token.
    renderer = EndsAtOnce(lm.tokenizer)
    generator = CTranslate2Generator(lm, renderer, beams=4, max_new_tokens=8, cache=cache)
    (texts,) = generator.generate(prompts[:1])
    with torch.inference_mode():
        logits = lm.model(input_ids=torch.tensor(prompts[:1])).logits[0, -1]
    likeliest = logits.log_softmax(dim=-1).topk(4).values
    # All of them read as the empty text.
    assert [text.text for text in texts] == [""]
    assert texts[0].log_prob == pytest.approx(float(likeliest.logsumexp(dim=0)), abs=1e-4)


def test_progress_counts_prompts(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]], cache: Path
) -> None:
    seen: list[tuple[int, int]] = []
    generator = CTranslate2Generator(lm, renderer, beams=1, max_new_tokens=2, cache=cache)
    # Two of one length share a batch, the third is far longer.
    generator.generate([prompts[0], prompts[0], prompts[0] * 2], progress=lambda *a: seen.append(a))
    assert seen == [(1, 3), (3, 3)]


def test_no_prompts_give_no_texts(lm: LanguageModel, renderer: PromptRenderer, cache: Path) -> None:
    assert CTranslate2Generator(lm, renderer, cache=cache).generate([]) == []


def test_impossible_arguments_are_refused(
    lm: LanguageModel, renderer: PromptRenderer, cache: Path
) -> None:
    with pytest.raises(ValueError, match="beams is 0: expected at least 1"):
        CTranslate2Generator(lm, renderer, beams=0, cache=cache)
    with pytest.raises(ValueError, match="a prompt is empty"):
        CTranslate2Generator(lm, renderer, cache=cache).generate([[]])


def test_int8_writes_from_the_same_converted_model(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]], tmp_path: Path
) -> None:
    convert = Counting()
    options: Options = {"beams": 2, "max_new_tokens": 6}
    for compute_type in ("float32", "int8"):
        generator = CTranslate2Generator(
            lm, renderer, cache=tmp_path, convert=convert, compute_type=compute_type, **options
        )
        texts = generator.generate(prompts)
        assert all(0 < len(beams) <= 2 for beams in texts)
        assert max(beam.log_prob for beams in texts for beam in beams) <= 0
    assert convert.calls == 1


def test_a_precision_that_the_device_has_not_is_refused(
    lm: LanguageModel, renderer: PromptRenderer, cache: Path
) -> None:
    missing: ComputeType = "float16"
    if missing in ctranslate2.get_supported_compute_types("cpu"):
        pytest.skip("this CPU computes in float16")
    with pytest.raises(ModelError, match=r"compute_type is 'float16'.* expected auto or one of"):
        CTranslate2Generator(lm, renderer, cache=cache, compute_type=missing)


def test_a_damaged_converted_model_is_told(
    lm: LanguageModel, renderer: PromptRenderer, tmp_path: Path
) -> None:
    (weights,) = converted_folder(lm, cache=tmp_path).glob("model.bin")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"could not load the model .* Remove that folder"):
        CTranslate2Generator(lm, renderer, cache=tmp_path)
