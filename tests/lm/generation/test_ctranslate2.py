"""Generation with CTranslate2: the texts and probabilities of transformers."""

from pathlib import Path
from typing import TypedDict

import pytest
import torch

from bigrec.errors import ModelError
from bigrec.lm.generation.ct2_convert import converted_folder
from bigrec.lm.generation.ctranslate2 import ComputeType
from bigrec.lm.model import LanguageModel
from bigrec.lm.prompts import PromptRenderer
from tests.conftest import TITLES
from tests.lm.generation.ct2_parts import Counting, attach_adapter
from tests.lm.generation.generators import (
    assert_same_texts,
    ctranslate2_generator,
    transformers_generator,
)

ctranslate2 = pytest.importorskip("ctranslate2", reason="the ctranslate2 package is not installed")
pytestmark = pytest.mark.model


class Options(TypedDict, total=False):
    """Arguments of both generators."""

    num_beams: int
    max_new_tokens: int
    length_penalty: float


class EndsEasily(PromptRenderer):
    """Has many stop tokens: a model of random weights seldom generates the real ones."""

    every = 20

    @property
    def stop_ids(self) -> list[int]:
        return list(range(0, len(self._tokenizer), self.every))


class EndsAtOnce(EndsEasily):
    """Has every token as a stop token."""

    every = 1


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all tests; the tests of the conversion cover it."""
    return tmp_path_factory.mktemp("ct2")


@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize("num_beams", [1, 4])
def test_texts_and_probabilities_are_those_of_transformers(
    lm: LanguageModel, prompts: list[list[int]], cache: Path, num_beams: int, adapter: bool
) -> None:
    renderer = PromptRenderer(lm.tokenizer)
    if adapter:
        attach_adapter(lm, seed=1)
    options: Options = {"num_beams": num_beams, "max_new_tokens": 8}
    texts = ctranslate2_generator(lm, renderer, cache=cache, **options).generate(prompts)
    expected = transformers_generator(lm, renderer, **options).generate(prompts)
    assert_same_texts(texts, expected)


def test_a_batch_gives_what_each_prompt_gives_alone(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]], cache: Path
) -> None:
    generator = ctranslate2_generator(
        lm, renderer, num_beams=4, max_new_tokens=8, batch_size=4, cache=cache
    )
    together = generator.generate(prompts)
    alone = [generator.generate([prompt])[0] for prompt in prompts]
    assert_same_texts(together, alone)


def test_texts_do_not_depend_on_the_prefix_of_earlier_prompts(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]], cache: Path
) -> None:
    generator = ctranslate2_generator(lm, renderer, num_beams=2, max_new_tokens=8, cache=cache)
    generator.generate(prompts)
    others = [[5], [5, 6, 7], renderer.prompt_ids(TITLES[:2], "book")]
    fresh = ctranslate2_generator(lm, renderer, num_beams=2, max_new_tokens=8, cache=cache)
    assert_same_texts(generator.generate(others), fresh.generate(others))
    assert_same_texts(generator.generate(prompts), fresh.generate(prompts))


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_texts_end_at_any_stop_token_as_with_transformers(
    lm: LanguageModel, prompts: list[list[int]], cache: Path, length_penalty: float
) -> None:
    renderer = EndsEasily(lm.tokenizer)
    options: Options = {"num_beams": 4, "max_new_tokens": 8, "length_penalty": length_penalty}
    texts = ctranslate2_generator(lm, renderer, cache=cache, **options).generate(prompts)
    expected = transformers_generator(lm, renderer, **options).generate(prompts)
    assert_same_texts([best[:1] for best in texts], [best[:1] for best in expected])


def test_nothing_is_generated_after_a_stop_token(
    lm: LanguageModel, prompts: list[list[int]], cache: Path
) -> None:
    # Every token is a stop, so a text is one token, and has its probability.
    renderer = EndsAtOnce(lm.tokenizer)
    generator = ctranslate2_generator(lm, renderer, num_beams=4, max_new_tokens=8, cache=cache)
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
    calls: list[tuple[int, int]] = []
    generator = ctranslate2_generator(lm, renderer, num_beams=1, max_new_tokens=2, cache=cache)
    # Two of one length share a batch, the third is far longer.
    generator.generate(
        [prompts[0], prompts[0], prompts[0] * 2], progress=lambda *a: calls.append(a)
    )
    assert calls == [(1, 3), (3, 3)]


def test_no_prompts_give_no_texts(lm: LanguageModel, renderer: PromptRenderer, cache: Path) -> None:
    assert ctranslate2_generator(lm, renderer, cache=cache).generate([]) == []


def test_impossible_arguments_are_refused(
    lm: LanguageModel, renderer: PromptRenderer, cache: Path
) -> None:
    with pytest.raises(ValueError, match="num_beams is 0: expected at least 1"):
        ctranslate2_generator(lm, renderer, num_beams=0, cache=cache)
    with pytest.raises(ValueError, match="a prompt is empty"):
        ctranslate2_generator(lm, renderer, cache=cache).generate([[]])
    with pytest.raises(ValueError, match="this generator is unconstrained: make a Transformers"):
        ctranslate2_generator(lm, renderer, cache=cache).generate([[1]], excluded=[[]])


def test_int8_uses_the_same_converted_model(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]], tmp_path: Path
) -> None:
    convert = Counting()
    options: Options = {"num_beams": 2, "max_new_tokens": 6}
    for compute_type in ("float32", "int8"):
        generator = ctranslate2_generator(
            lm, renderer, cache=tmp_path, convert=convert, compute_type=compute_type, **options
        )
        texts = generator.generate(prompts)
        assert all(0 < len(of_prompt) <= 2 for of_prompt in texts)
        assert max(text.log_prob for of_prompt in texts for text in of_prompt) <= 0
    assert convert.calls == 1


def test_a_precision_that_the_device_does_not_support_is_refused(
    lm: LanguageModel, renderer: PromptRenderer, cache: Path
) -> None:
    missing: ComputeType = "float16"
    if missing in ctranslate2.get_supported_compute_types("cpu"):
        pytest.skip("this CPU computes in float16")
    with pytest.raises(ModelError, match=r"compute_type is 'float16'.* expected auto or one of"):
        ctranslate2_generator(lm, renderer, cache=cache, compute_type=missing)


def test_a_damaged_converted_model_is_refused(
    lm: LanguageModel, renderer: PromptRenderer, tmp_path: Path
) -> None:
    (weights,) = converted_folder(lm, cache=tmp_path).glob("model.bin")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(
        ModelError, match=r"could not load the converted model .* Remove that folder"
    ):
        ctranslate2_generator(lm, renderer, cache=tmp_path)
