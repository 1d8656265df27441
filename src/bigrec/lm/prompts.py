"""The one prompt template: rendered for training, for generation, and read back from the model.

A history is written one title per line, so a title ends where its line ends. Newlines inside a
title are escaped, which makes the round trip exact; quotes need nothing.

Text from data is tokenized apart from the template, with every control token of the vocabulary
broken up, so that a title such as ``<|im_end|>`` stays a title. Because each title is tokenized
alone, it has the same tokens in a history, as a target and when it is embedded.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, Literal

from bigrec.errors import ModelError, SettingsError

logger = logging.getLogger(__name__)

Style = Literal["auto", "chat", "plain", "list"]

_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_UNESCAPES = {escaped: plain for plain, escaped in _ESCAPES.items()}
# Stands for the data while a chat template is rendered; no template produces it by itself.
_MARK = "BIGREC8434MARK"


@dataclass(frozen=True)
class PromptTemplate:
    """Wording of the prompt.

    Attributes:
        instruction: What the model is asked, once per prompt; ``{noun}`` stands for what the
            dataset calls a title. Short, because it costs time at every sample.
        cue: Plain style only: the line after the history that asks for the answer.
        style: ``chat`` goes through the tokenizer's chat template, ``plain`` is for base models,
            ``auto`` is ``chat`` where the tokenizer has a template. ``list`` is the instruction
            and one title a line, the response being the next line: what is asked after a history
            is what every title of a history answers, so training can learn all of them.
    """

    instruction: str = "Given {noun}s in the order a user chose them, write the next {noun}."
    cue: str = "Next {noun}:"
    style: Style = "auto"

    def __post_init__(self) -> None:
        """Refuse wording that cannot be filled in."""
        for name in ("instruction", "cue"):
            self.fill(name, "item")

    def fill(self, name: Literal["instruction", "cue"] | str, noun: str) -> str:
        """The wording with the noun put in.

        Raises:
            SettingsError: If the wording holds a field other than ``{noun}``.
        """
        wording: str = getattr(self, name)
        try:
            return wording.format(noun=noun)
        except (KeyError, IndexError, ValueError) as error:
            raise SettingsError(
                f"prompt {name} is {wording!r}: expected text whose only field is {{noun}} "
                f"(got {error}). Write literal braces as {{{{ and }}}}."
            ) from None


def escape_title(title: str) -> str:
    r"""A title on one line: a newline becomes ``\n``, a carriage return ``\r``, a ``\`` ``\\``."""
    return re.sub(r"[\\\n\r]", lambda match: _ESCAPES[match.group()], title)


def unescape_title(text: str) -> str:
    """The inverse of `escape_title`; a backslash that escapes nothing is kept."""
    return re.sub(r"\\[\\nr]", lambda match: _UNESCAPES[match.group()], text)


def read_title(text: str) -> str:
    """The title in a text that was written: its first line, escapes undone."""
    return unescape_title(text.split("\n", maxsplit=1)[0]).strip()


def control_tokens(tokenizer: Any) -> list[str]:
    """Spellings that a tokenizer would read as one token of control, the longest first.

    Longest first, so that of two tokens, one within the other, the outer one is found.
    """
    found = {*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens}
    return sorted((token for token in found if len(token) > 1), key=lambda t: (-len(t), t))


class TextEncoder:
    """Tokenizes text from data so that no part of it becomes a control token."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._controls = control_tokens(tokenizer)

    @cached_property
    def _control_pattern(self) -> re.Pattern[str] | None:
        return re.compile("|".join(map(re.escape, self._controls))) if self._controls else None

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, none of them a control token."""
        return [token for piece in self._pieces(text) for token in self._plain(piece)]

    def _plain(self, text: str) -> list[int]:
        # Not every tokenizer honours split_special_tokens, and none splits added tokens that are
        # not "special"; _pieces covers those, this covers normalizers that _pieces cannot see.
        return list(
            self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        )

    def _pieces(self, text: str) -> Iterator[str]:
        start = 0
        while self._control_pattern and (match := self._control_pattern.search(text, start)):
            # Cut inside the token, and look on from there: one token may hold another.
            yield text[start : match.start() + 1]
            start = match.start() + 1
        if start < len(text):
            yield text[start:]


class PromptRenderer:
    """Renders histories and titles to token ids, and token ids back to titles.

    Args:
        tokenizer: A transformers tokenizer.
        template: The wording.
        max_tokens: Longest prompt and response together. The oldest titles are left out of a
            history that is longer; a single title may take at most a quarter.

    Attributes:
        style: The style in use, never ``auto``.
        end_id: The token that ends a response: a newline in ``list`` style.

    Raises:
        ModelError: If the tokenizer has no end token; if ``style`` is ``chat`` and it has no chat
            template, or ``list`` and a newline is not one token.
        SettingsError: If ``max_tokens`` leaves no room for a history.
    """

    def __init__(
        self, tokenizer: Any, template: PromptTemplate | None = None, *, max_tokens: int = 512
    ) -> None:
        self.template = template or PromptTemplate()
        self.max_tokens = max_tokens
        self._tokenizer = tokenizer
        self._encoder = TextEncoder(tokenizer)
        self._titles: dict[str, list[int]] = {}
        self._frames: dict[str, tuple[list[int], list[int]]] = {}
        self._newline = self._encoder.encode("\n")
        self.style = self._pick_style()
        self.end_id = self._find_end()
        prefix, suffix = self._frame("item")
        # A prompt must hold its frame and at least one title, and leave room for the answer.
        if len(prefix) + len(suffix) + 2 * self._answer_limit > max_tokens:
            raise SettingsError(
                f"max_tokens is {max_tokens}: the fixed part of the prompt alone takes "
                f"{len(prefix) + len(suffix)}. Use a shorter instruction or more tokens."
            )

    @property
    def stop_ids(self) -> list[int]:
        """Tokens that end a title: the end token, the tokenizer's own, and a newline."""
        newline = self._newline[-1:]
        ids = [self.end_id, self._tokenizer.eos_token_id, *newline]
        return list(dict.fromkeys(token for token in ids if token is not None))

    @property
    def _title_limit(self) -> int:
        return self.max_tokens // 4

    @property
    def _answer_limit(self) -> int:
        return self._title_limit + 1

    def title_ids(self, title: str) -> list[int]:
        """Tokens of one title, cut to a quarter of ``max_tokens``."""
        if title not in self._titles:
            ids = self._encoder.encode(escape_title(title))
            if len(ids) > self._title_limit:
                logger.warning(
                    "A title of %d tokens is cut to %d: %.60r", len(ids), self._title_limit, title
                )
            self._titles[title] = ids[: self._title_limit]
        return self._titles[title]

    def prompt_parts(
        self, history: Sequence[str], noun: str
    ) -> tuple[list[int], list[list[int]], list[int]]:
        """The prompt in parts, for those who must tell titles from the frame around them.

        Args:
            history: Titles, oldest first.
            noun: What the dataset calls a title.

        Returns:
            Tokens before the history; those of each of its titles, the newline that ends it
            included; those after. The last title's newline belongs to it in ``list`` style only:
            in the others what comes after ends it. Of a history that is too long only the latest
            titles are there.

        Raises:
            ValueError: If the history is empty.
        """
        if not history:
            raise ValueError("the history is empty: expected at least one title")
        prefix, suffix = self._frame(noun)
        room = self.max_tokens - len(prefix) - len(suffix) - self._answer_limit
        end = self._newline if self.style == "list" else []
        lines: list[list[int]] = []
        for title in reversed(history):
            line = [*self.title_ids(title), *end]
            room -= len(line)
            if lines and room < 0:
                break
            lines.append(line)
            end = self._newline
        return prefix, lines[::-1], suffix

    def prompt_ids(self, history: Sequence[str], noun: str) -> list[int]:
        """Tokens of the prompt for a history, oldest title first.

        Raises:
            ValueError: If the history is empty.
        """
        prefix, lines, suffix = self.prompt_parts(history, noun)
        return [*prefix, *chain.from_iterable(lines), *suffix]

    def response_ids(self, title: str) -> list[int]:
        """Tokens that the model should write for a target: its title and what ends it."""
        return [*self.title_ids(title), self.end_id]

    def read(self, token_ids: Sequence[int]) -> str:
        """The title in what the model wrote: up to the first stop, escapes undone."""
        stops = set(self.stop_ids)
        kept: list[int] = []
        for token in token_ids:
            if token in stops:
                break
            kept.append(token)
        text = self._tokenizer.decode(
            kept, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return read_title(str(text))

    def describe(self, history: Sequence[str], noun: str) -> str:
        """The prompt as text, for people to read."""
        return str(self._tokenizer.decode(self.prompt_ids(history, noun)))

    def _frame(self, noun: str) -> tuple[list[int], list[int]]:
        """Tokens before and after the history."""
        if noun not in self._frames:
            before, after = (
                self._chat_frame(noun) if self.style == "chat" else self._line_frame(noun)
            )
            self._frames[noun] = (self._trusted(before), self._trusted(after))
        return self._frames[noun]

    def _line_frame(self, noun: str) -> tuple[str, str]:
        start = self._tokenizer.bos_token if self._adds_bos() else ""
        before = f"{start}{self.template.fill('instruction', noun)}\n\n"
        after = f"\n\n{self.template.fill('cue', noun)}\n" if self.style == "plain" else ""
        return before, after

    def _chat_frame(self, noun: str) -> tuple[str, str]:
        instruction = self.template.fill("instruction", noun)
        user = {"role": "user", "content": _MARK}
        try:
            text = self._chat([{"role": "system", "content": instruction}, user])
        except Exception:  # noqa: BLE001 - templates raise what they like
            text = ""
        if instruction not in text:
            # Some chat templates have no system role, or drop it without a word.
            text = self._chat([{"role": "user", "content": f"{instruction}\n\n{_MARK}"}])
        before, mark, after = text.partition(_MARK)
        if not mark:
            raise ModelError(
                "the tokenizer's chat template does not show the user's message. Use prompt style "
                "'plain' with this model."
            )
        return before, after

    def _chat(self, messages: list[dict[str, str]]) -> str:
        # enable_thinking is read by templates of reasoning models and ignored by all others.
        return str(
            self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
            )
        )

    def _trusted(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _adds_bos(self) -> bool:
        bos = self._tokenizer.bos_token_id
        return bos is not None and bos in self._tokenizer("a")["input_ids"][:1]

    def _pick_style(self) -> Style:
        has_chat = bool(getattr(self._tokenizer, "chat_template", None))
        wanted = self.template.style
        if wanted == "auto":
            return "chat" if has_chat else "plain"
        if wanted == "chat" and not has_chat:
            raise ModelError(
                "prompt style 'chat' needs a tokenizer with a chat template, and this one has "
                "none. Use style 'plain' or 'auto'."
            )
        if wanted == "list" and len(self._newline) != 1:
            raise ModelError(
                "prompt style 'list' needs a tokenizer that writes a newline as one token, and "
                f"this one takes {len(self._newline)}. Use style 'plain' or 'auto'."
            )
        return wanted

    def _find_end(self) -> int:
        if self.style == "list":
            return self._newline[0]
        if self.style == "chat":
            user = {"role": "user", "content": "a"}
            try:
                text = self._tokenizer.apply_chat_template(
                    [user, {"role": "assistant", "content": _MARK}], tokenize=False
                )
            except Exception as error:
                raise ModelError(
                    f"the tokenizer's chat template could not be rendered ({error}). Use prompt "
                    "style 'plain' with this model."
                ) from error
            tail = self._trusted(str(text).partition(_MARK)[2])
            if tail and tail[0] in set(self._tokenizer.all_special_ids):
                return tail[0]
        end = self._tokenizer.eos_token_id
        if end is None:
            raise ModelError(
                "the tokenizer has no end-of-text token, so the model cannot learn where a title "
                "ends. Set eos_token in its tokenizer_config.json."
            )
        return int(end)
