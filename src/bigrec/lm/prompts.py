"""The prompt: rendered for training and generation, and titles read from generated tokens.

A history has one title per line, so a title ends where its line ends. Newlines inside a title are
escaped, so that every title is read back exactly; quotes need no escape.

Text from data is tokenized apart from the template, and every control token in it is split, so
that a title such as ``<|im_end|>`` stays a title. Each title is tokenized alone, so it has the same
tokens in a history, as a target and when it is embedded.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain
from string import Formatter
from typing import Any, Literal

from bigrec.errors import ModelError, SettingsError
from bigrec.printable import get_logger
from bigrec.settings.generative import PromptSettings

logger = get_logger(__name__)

_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_UNESCAPES = {escaped: plain for plain, escaped in _ESCAPES.items()}
# Takes the place of the data while a chat template is rendered. No template contains it.
_MARK = "BIGREC8434MARK"


def escape_title(title: str) -> str:
    r"""A title on one line: a newline becomes ``\n``, a carriage return ``\r``, a ``\`` ``\\``."""
    return re.sub(r"[\\\n\r]", lambda match: _ESCAPES[match.group()], title)


def unescape_title(text: str) -> str:
    """The inverse of `escape_title`. A backslash that escapes nothing is kept."""
    return re.sub(r"\\[\\nr]", lambda match: _UNESCAPES[match.group()], text)


def read_title(text: str) -> str:
    """The title in a generated text: its first line, unescaped."""
    return unescape_title(text.split("\n", maxsplit=1)[0]).strip()


def control_tokens(tokenizer: Any) -> list[str]:
    """Spellings of a tokenizer's control tokens, longest first.

    The order lets a search find the outer one of two nested tokens.
    """
    controls = {*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens}
    return sorted((token for token in controls if len(token) > 1), key=lambda t: (-len(t), t))


class TextEncoder:
    """Tokenizes text from data so that no part of it becomes a control token."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._controls = control_tokens(tokenizer)

    @cached_property
    def _control_pattern(self) -> re.Pattern[str] | None:
        return re.compile("|".join(map(re.escape, self._controls))) if self._controls else None

    def encode(self, text: str) -> list[int]:
        """Token IDs of a text, none of them a control token."""
        return [token for span in self._spans(text) for token in self._tokenize(span)]

    def _tokenize(self, text: str) -> list[int]:
        # Not every tokenizer honors split_special_tokens, and none splits added tokens that are
        # not "special": _spans covers those. The option covers what normalizers turn into controls.
        return list(
            self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        )

    def _spans(self, text: str) -> Iterator[str]:
        """Consecutive parts of a text, none of which contains a whole control token."""
        start = 0
        while self._control_pattern and (match := self._control_pattern.search(text, start)):
            # Split inside the token and search on from there: a token may contain another.
            yield text[start : match.start() + 1]
            start = match.start() + 1
        if start < len(text):
            yield text[start:]


class PromptRenderer:
    """Renders histories and titles to token IDs, and reads titles from token IDs.

    A prompt and its response have at most ``max_tokens`` tokens together. The oldest titles are
    dropped from a longer history. A single title takes at most a quarter.

    Args:
        tokenizer: A transformers tokenizer.
        settings: Wording, style and maximum length; by default `PromptSettings()`.

    Attributes:
        max_tokens: Maximum length of prompt and response.
        style: The style in use; ``auto`` is resolved.
        end_id: The token that ends a response: a newline in ``list`` style.

    Raises:
        ModelError: If the tokenizer has no end token; if ``style`` is ``chat`` and it has no chat
            template; if ``style`` is ``list`` and a newline is not one token.
        SettingsError: If the wording has a field other than ``{item_type}``, or ``max_tokens``
            leaves no room for a history.
    """

    def __init__(self, tokenizer: Any, settings: PromptSettings | None = None) -> None:
        self._settings = settings or PromptSettings()
        self.max_tokens = self._settings.max_tokens
        self._tokenizer = tokenizer
        self._encoder = TextEncoder(tokenizer)
        self._titles: dict[str, list[int]] = {}
        self._fixed_parts: dict[str, tuple[list[int], list[int]]] = {}
        self._newline = self._encoder.encode("\n")
        for field in ("instruction", "response_prefix"):
            self._fill(field, "item")
        self.style = self._resolve_style()
        self.end_id = self._find_end_id()
        prefix, suffix = self._prefix_and_suffix("item")
        # A prompt holds its fixed parts and at least one title, and leaves room for the response.
        if len(prefix) + len(suffix) + 2 * self._response_limit > self.max_tokens:
            raise SettingsError(
                f"max_tokens is {self.max_tokens}: the fixed parts of the prompt alone take "
                f"{len(prefix) + len(suffix)}. Use a shorter instruction or more tokens."
            )

    @property
    def stop_ids(self) -> list[int]:
        """Tokens that end a title: ``end_id``, the tokenizer's end token, and a newline."""
        ids = [self.end_id, self._tokenizer.eos_token_id, *self._newline[-1:]]
        return list(dict.fromkeys(token for token in ids if token is not None))

    @property
    def _title_limit(self) -> int:
        return self.max_tokens // 4

    @property
    def _response_limit(self) -> int:
        return self._title_limit + 1

    def title_token_ids(self, title: str) -> list[int]:
        """Tokens of one title, truncated to a quarter of ``max_tokens``."""
        if title not in self._titles:
            ids = self._encoder.encode(escape_title(title))
            if len(ids) > self._title_limit:
                logger.warning(
                    "A title of %d tokens is truncated to %d: %.60r",
                    len(ids),
                    self._title_limit,
                    title,
                )
            self._titles[title] = ids[: self._title_limit]
        return self._titles[title]

    def prompt_parts(
        self, history: Sequence[str], item_type: str
    ) -> tuple[list[int], list[list[int]], list[int]]:
        """Tokens of the prompt, with each title apart from the fixed parts.

        Args:
            history: Titles, oldest first.
            item_type: What the dataset calls an item.

        Returns:
            Tokens before the history; tokens of each title, with the newline that ends it; tokens
            after the history. The last title has its newline in ``list`` style only: in the other
            styles the tokens after the history end it. A history that is too long keeps its most
            recent titles.

        Raises:
            ValueError: If the history is empty.
        """
        if not history:
            raise ValueError("the history is empty: expected at least one title")
        prefix, suffix = self._prefix_and_suffix(item_type)
        room = self.max_tokens - len(prefix) - len(suffix) - self._response_limit
        end = self._newline if self.style == "list" else []
        lines: list[list[int]] = []
        for title in reversed(history):
            line = [*self.title_token_ids(title), *end]
            room -= len(line)
            if lines and room < 0:
                break
            lines.append(line)
            end = self._newline
        return prefix, lines[::-1], suffix

    def prompt_ids(self, history: Sequence[str], item_type: str) -> list[int]:
        """Tokens of the prompt for a history, oldest title first.

        Raises:
            ValueError: If the history is empty.
        """
        prefix, lines, suffix = self.prompt_parts(history, item_type)
        return [*prefix, *chain.from_iterable(lines), *suffix]

    def response_ids(self, title: str) -> list[int]:
        """Tokens of the response for a target: its title and ``end_id``."""
        return [*self.title_token_ids(title), self.end_id]

    def read(self, token_ids: Sequence[int]) -> str:
        """The title in generated tokens: up to the first stop token, unescaped."""
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

    def describe(self, history: Sequence[str], item_type: str) -> str:
        """The prompt as text, for people."""
        return str(self._tokenizer.decode(self.prompt_ids(history, item_type)))

    def _fill(self, field: str, item_type: str) -> str:
        """The wording of a settings field, filled in for an item type."""
        wording: str = getattr(self._settings, field)
        try:
            fields = [tuple(part[1:]) for part in Formatter().parse(wording)]
            # A field's attributes or width, such as {item_type:>1000000000}, are not for wording.
            if not {("item_type", "", None), (None, None, None)}.issuperset(fields):
                raise ValueError("another field")
            return wording.format(item_type=item_type)
        except ValueError as error:
            raise SettingsError(
                f"prompt {field} is {wording!r}: expected text whose only field is {{item_type}} "
                f"(got {error}). Write literal braces as {{{{ and }}}}."
            ) from None

    def _prefix_and_suffix(self, item_type: str) -> tuple[list[int], list[int]]:
        """Tokens before and after the history."""
        if item_type not in self._fixed_parts:
            before, after = (
                self._chat_parts(item_type) if self.style == "chat" else self._line_parts(item_type)
            )
            self._fixed_parts[item_type] = (
                self._tokenize_template(before),
                self._tokenize_template(after),
            )
        return self._fixed_parts[item_type]

    def _line_parts(self, item_type: str) -> tuple[str, str]:
        start = self._tokenizer.bos_token if self._adds_bos() else ""
        before = f"{start}{self._fill('instruction', item_type)}\n\n"
        if self.style == "list":
            return before, ""
        return before, f"\n\n{self._fill('response_prefix', item_type)}\n"

    def _chat_parts(self, item_type: str) -> tuple[str, str]:
        instruction = self._fill("instruction", item_type)
        user = {"role": "user", "content": _MARK}
        try:
            text = self._chat([{"role": "system", "content": instruction}, user])
        except Exception:  # noqa: BLE001 - templates raise errors of any class
            text = ""
        if instruction not in text:
            # Some chat templates have no system role, or drop it silently.
            text = self._chat([{"role": "user", "content": f"{instruction}\n\n{_MARK}"}])
        before, mark, after = text.partition(_MARK)
        if not mark:
            raise ModelError(
                "the tokenizer's chat template does not show the user's message. Use prompt style "
                "'plain' with this model."
            )
        return before, after

    def _chat(self, messages: list[dict[str, str]]) -> str:
        # Templates of reasoning models read enable_thinking; all others ignore it.
        return str(
            self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
            )
        )

    def _tokenize_template(self, text: str) -> list[int]:
        """Tokens of the template's own text, in which control tokens count as such."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _adds_bos(self) -> bool:
        bos = self._tokenizer.bos_token_id
        return bos is not None and bos in self._tokenizer("a")["input_ids"][:1]

    def _resolve_style(self) -> Literal["chat", "plain", "list"]:
        has_chat = bool(getattr(self._tokenizer, "chat_template", None))
        style = self._settings.style
        if style == "auto":
            return "chat" if has_chat else "plain"
        if style == "chat" and not has_chat:
            raise ModelError(
                "prompt style 'chat' needs a tokenizer with a chat template, and this one has "
                "none. Use style 'plain' or 'auto'."
            )
        if style == "list" and len(self._newline) != 1:
            raise ModelError(
                "prompt style 'list' needs a tokenizer that writes a newline as one token, and "
                f"this one takes {len(self._newline)}. Use style 'plain' or 'auto'."
            )
        return style

    def _find_end_id(self) -> int:
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
            tail = self._tokenize_template(str(text).partition(_MARK)[2])
            if tail and tail[0] in set(self._tokenizer.all_special_ids):
                return tail[0]
        end = self._tokenizer.eos_token_id
        if end is None:
            raise ModelError(
                "the tokenizer has no end-of-text token, so the model cannot learn where a title "
                "ends. Set eos_token in its tokenizer_config.json."
            )
        return int(end)
