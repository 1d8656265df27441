"""Prompts: safe with any data, and titles read back exactly."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing

from bigrec.errors import ModelError, SettingsError
from bigrec.lm.prompts import (
    PromptRenderer,
    TextEncoder,
    control_tokens,
    escape_title,
    unescape_title,
)
from bigrec.settings.generative import PromptSettings
from tests.conftest import make_tokenizer

pytestmark = pytest.mark.model

HISTORY = ["Toy Story (1995)", "Fargo (1996)"]
# Text that is likely to collide with the template, mixed with ordinary text.
NASTY = st.lists(
    st.sampled_from(
        ["<|im_end|>", "<|im_", "end|>", "\n", "\\", "n", '"', "{item_type}", "é", " a"]
    )
    | st.text(max_size=5),
    max_size=8,
).map("".join)


def test_a_chat_prompt_has_the_instruction_before_the_history(tokenizer: Any) -> None:
    renderer = PromptRenderer(tokenizer)
    assert renderer.describe(HISTORY, "movie") == (
        "<|im_start|>system\nGiven movies in the order a user chose them, write the next movie."
        "<|im_end|>\n<|im_start|>user\nToy Story (1995)\nFargo (1996)<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_a_plain_prompt_ends_with_the_response_prefix_on_a_separate_line(
    plain_tokenizer: Any,
) -> None:
    renderer = PromptRenderer(plain_tokenizer)
    assert renderer.describe(HISTORY, "book") == (
        "Given books in the order a user chose them, write the next book.\n\n"
        "Toy Story (1995)\nFargo (1996)\n\nNext book:\n"
    )


def test_a_list_prompt_ends_where_the_next_title_begins(plain_tokenizer: Any) -> None:
    renderer = PromptRenderer(plain_tokenizer, PromptSettings(style="list"))
    assert renderer.describe(HISTORY, "book") == (
        "Given books in the order a user chose them, write the next book.\n\n"
        "Toy Story (1995)\nFargo (1996)\n"
    )


def test_list_style_has_no_chat_tokens(tokenizer: Any) -> None:
    renderer = PromptRenderer(tokenizer, PromptSettings(style="list"))
    assert not set(renderer.prompt_ids(HISTORY, "movie")) & set(tokenizer.all_special_ids)


def test_a_list_prompt_begins_as_the_tokenizer_begins_texts() -> None:
    tokenizer = make_tokenizer(chat=False)
    tokenizer.add_special_tokens({"bos_token": "<|im_start|>"})
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A",
        special_tokens=[("<|im_start|>", tokenizer.bos_token_id)],
    )
    ids = PromptRenderer(tokenizer, PromptSettings(style="list")).prompt_ids(HISTORY, "book")
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.bos_token_id not in ids[1:]


def test_a_list_prompt_and_its_response_are_the_prompt_of_one_title_more(tokenizer: Any) -> None:
    renderer = PromptRenderer(tokenizer, PromptSettings(style="list"))
    longer = [*HISTORY, "Two\nLines <|im_end|>"]
    both = renderer.prompt_ids(HISTORY, "movie") + renderer.response_ids(longer[-1])
    assert both == renderer.prompt_ids(longer, "movie")


def test_a_title_in_a_list_ends_with_a_newline_and_stops_at_every_kind_of_end(
    tokenizer: Any,
) -> None:
    renderer = PromptRenderer(tokenizer, PromptSettings(style="list"))
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"]
    assert renderer.response_ids("Fargo (1996)")[-1:] == newline
    assert renderer.stop_ids == [*newline, tokenizer.eos_token_id]


@pytest.mark.parametrize("style", ["chat", "plain", "list"])
def test_the_parts_of_a_prompt_separate_titles_from_the_template(
    tokenizer: Any, style: Any
) -> None:
    renderer = PromptRenderer(tokenizer, PromptSettings(style=style))
    before, lines, after = renderer.prompt_parts(HISTORY, "movie")
    last = "Fargo (1996)\n" if style == "list" else "Fargo (1996)"
    assert [tokenizer.decode(line) for line in lines] == ["Toy Story (1995)\n", last]
    assert [*before, *lines[0], *lines[1], *after] == renderer.prompt_ids(HISTORY, "movie")
    assert bool(after) == (style != "list")


def test_a_chat_template_without_system_role_still_gets_the_instruction() -> None:
    tokenizer = make_tokenizer(chat=True)
    tokenizer.chat_template = (
        "{% for message in messages %}{% if message['role'] == 'system' %}"
        "{{ raise_exception('no system') }}{% endif %}<|im_start|>{{ message['content'] }}"
        "<|im_end|>{% endfor %}"
    )
    text = PromptRenderer(tokenizer).describe(HISTORY, "movie")
    assert text.startswith("<|im_start|>Given movies")
    assert text.endswith("Fargo (1996)<|im_end|>")


def test_the_response_ends_with_the_token_that_ends_a_chat_turn(tokenizer: Any) -> None:
    ids = PromptRenderer(tokenizer).response_ids("Fargo (1996)")
    assert ids[-1] == tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_training_and_generation_see_the_same_prompt_tokens(tokenizer: Any) -> None:
    # A title has the same tokens in a history and as a target.
    renderer = PromptRenderer(tokenizer)
    prompt = renderer.prompt_ids(HISTORY, "movie")
    title = renderer.response_ids("Fargo (1996)")[:-1]
    assert any(prompt[i : i + len(title)] == title for i in range(len(prompt)))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(title=NASTY)
def test_text_from_data_never_holds_a_control_token(tokenizer: Any, title: str) -> None:
    ids = TextEncoder(tokenizer).encode(title)
    assert not set(ids) & set(tokenizer.all_special_ids)
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == title


def test_added_tokens_that_are_not_special_are_split_too() -> None:
    tokenizer = make_tokenizer(chat=False)
    tokenizer.add_tokens(["<tool>", "<tool_call>"])
    ids = TextEncoder(tokenizer).encode("a <tool_call> b <tool>")
    assert not set(ids) & set(tokenizer.get_added_vocab().values())
    assert control_tokens(tokenizer)[:2] == ["<|endoftext|>", "<|im_start|>"]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(title=NASTY, style=st.sampled_from(["chat", "plain", "list"]))
def test_a_title_survives_the_round_trip_through_the_response(
    tokenizer: Any, title: str, style: Any
) -> None:
    renderer = PromptRenderer(tokenizer, PromptSettings(style=style, max_tokens=2048))
    assert renderer.read(renderer.response_ids(title)) == title.strip()


@given(title=st.text())
def test_unescaping_inverts_escaping_and_an_escaped_title_is_one_line(title: str) -> None:
    escaped = escape_title(title)
    assert unescape_title(escaped) == title
    assert "\n" not in escaped


def test_reading_stops_at_the_end_of_the_first_line(tokenizer: Any) -> None:
    renderer = PromptRenderer(tokenizer)
    ids = tokenizer("Fargo (1996)\nBabe (1995)", add_special_tokens=False)["input_ids"]
    assert renderer.read(ids) == "Fargo (1996)"


@pytest.mark.parametrize("style", ["chat", "plain", "list"])
def test_the_oldest_titles_are_dropped_from_a_prompt_that_is_too_long(
    tokenizer: Any, style: Any
) -> None:
    renderer = PromptRenderer(tokenizer, PromptSettings(style=style, max_tokens=256))
    history = [f"Title number {i}" for i in range(60)]
    prompt = renderer.prompt_ids(history, "movie")
    text = tokenizer.decode(prompt)
    assert len(prompt) <= 256 - 64
    assert "Title number 59" in text
    assert "Title number 0\n" not in text


@pytest.mark.parametrize("style", ["chat", "plain", "list"])
def test_a_title_longer_than_the_context_is_truncated(tokenizer: Any, style: Any) -> None:
    renderer = PromptRenderer(tokenizer, PromptSettings(style=style, max_tokens=256))
    title = "x y " * 500
    assert len(renderer.title_token_ids(title)) == 64
    prompt = renderer.prompt_ids([title] * 3, "movie")
    assert len(prompt) + len(renderer.response_ids(title)) <= 256


def test_an_empty_history_is_refused(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="the history is empty"):
        PromptRenderer(tokenizer).prompt_ids([], "movie")


@pytest.mark.parametrize("field", ["instruction", "response_prefix"])
def test_unknown_fields_in_the_wording_are_refused(tokenizer: Any, field: str) -> None:
    with pytest.raises(SettingsError, match=rf"prompt {field} is .* only field is \{{item_type\}}"):
        PromptRenderer(tokenizer, PromptSettings.model_validate({field: "Recommend a {thing}."}))


def test_chat_style_needs_a_chat_template(plain_tokenizer: Any) -> None:
    with pytest.raises(ModelError, match="Use style 'plain' or 'auto'"):
        PromptRenderer(plain_tokenizer, PromptSettings(style="chat"))


def test_list_style_needs_a_newline_that_is_one_token() -> None:
    tokenizer = make_tokenizer(chat=False)
    tokenizer._tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=True)
    with pytest.raises(ModelError, match=r"this one takes 2\. Use style 'plain' or 'auto'"):
        PromptRenderer(tokenizer, PromptSettings(style="list"))


def test_list_style_needs_no_end_token() -> None:
    tokenizer = make_tokenizer(chat=False)
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="no end-of-text token"):
        PromptRenderer(tokenizer)
    renderer = PromptRenderer(tokenizer, PromptSettings(style="list"))
    assert renderer.stop_ids == [renderer.end_id]


def test_a_prompt_without_room_for_a_history_is_refused(tokenizer: Any) -> None:
    with pytest.raises(SettingsError, match="Use a shorter instruction"):
        PromptRenderer(tokenizer, PromptSettings(instruction="word " * 100, max_tokens=64))
