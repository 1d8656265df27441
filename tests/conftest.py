"""Fixtures shared by all tests: a language model of a few layers, made on the spot."""

import gc
import importlib.metadata
import os
import signal
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import hypothesis
import pytest

# The machine's speed decides no test.
hypothesis.settings.register_profile("bigrec", deadline=None)
hypothesis.settings.load_profile("bigrec")

Mode = Literal["text", "retrieval", "generative", "latent", "likelihood"]
"""The modes of the settings, and generative mode with latent decoding."""

# Nothing in the tests may reach for the hub: what is not local is an error at once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

TITLES = [
    "Toy Story (1995)",
    "GoldenEye (1995)",
    "Twelve Monkeys (1995)",
    "Babe (1995)",
    "Dead Man Walking (1995)",
    "Seven (1995)",
    "The Usual Suspects (1995)",
    "Mighty Aphrodite (1995)",
    'A "Quoted" Title',
    "Two\nLines",
    "Star Trek: First Contact (1996)",
    "Fargo (1996)",
]

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer(*, chat: bool) -> Any:
    """A byte-level BPE tokenizer trained on a few titles."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    controls = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=controls,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(TITLES, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        eos_token="<|im_end|>" if chat else "<|endoftext|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=["<|im_start|>", "<|im_end|>"],
    )
    if chat:
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


@pytest.fixture(scope="session", autouse=True)
def _float32() -> Iterator[None]:
    """Figures are compared to many digits: what is computed by default is in float32 everywhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bigrec.lm.hardware._cpu_has_bf16", lambda: False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _frozen_imports() -> None:
    """No collection of garbage looks at what is imported: half a second each on slow cores."""
    import bigrec.experiments.compare  # noqa: F401

    gc.collect()
    gc.freeze()


_PIXEL = b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


@pytest.fixture(scope="module")
def plots_of_a_pixel() -> Iterator[None]:
    """Reports of runs without their plots, which take longer than all the rest.

    The tests of the reports draw them, and those of hostile text draw the reports of commands.
    """
    import bigrec.evaluation.reports.comparison
    import bigrec.experiments.pipeline

    with pytest.MonkeyPatch.context() as patch:
        for module in (bigrec.evaluation.reports.comparison, bigrec.experiments.pipeline):
            for name in [name for name in vars(module) if name.startswith("draw_")]:
                patch.setattr(module, name, lambda *_, **__: None)
            patch.setattr(module, "to_png", lambda _: _PIXEL)
        yield


@pytest.fixture
def handled_sigint() -> Iterator[None]:
    """Python's handling of Ctrl-C, which is ignored where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a two-layer Llama of random weights and a chat tokenizer."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny"), chat=True)


def save_tiny_model(folder: Path, *, chat: bool, seed: int = 0) -> Path:
    """Write a two-layer Llama of random weights, tokenizer included."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer(chat=chat)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """The chat tokenizer alone."""
    return make_tokenizer(chat=True)


@pytest.fixture(scope="session")
def plain_tokenizer() -> Any:
    """A base model's tokenizer, without a chat template."""
    return make_tokenizer(chat=False)


def installed(package: str) -> bool:
    """Whether a package is installed, without importing it."""
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


UNTRACED = pytest.mark.no_cover
"""Of tests that read files or repeat lines that others cover: without tracing they take half."""


def needs(package: str) -> pytest.MarkDecorator:
    """Skips a test, visibly, where a package is not installed."""
    return pytest.mark.skipif(not installed(package), reason=f"{package} is not installed")


def tiny_frames() -> tuple[Any, Any]:
    """Interactions of 20 users with 12 items over time, and the items."""
    import polars as pl

    rows = [
        {
            "user_id": f"u{user}",
            "item_id": f"i{(user * 5 + step) % 12}",
            "timestamp": 100 * step + user,
        }
        for user in range(20)
        for step in range(8)
    ]
    items = [{"item_id": f"i{number}", "title": title} for number, title in enumerate(TITLES)]
    return pl.DataFrame(rows), pl.DataFrame(items)


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `tiny_frames` as CSV."""
    folder = tmp_path_factory.mktemp("data")
    interactions, items = tiny_frames()
    interactions.write_csv(folder / "interactions.csv")
    items.write_csv(folder / "items.csv")
    return folder


MODES: tuple[Mode, ...] = ("text", "retrieval", "generative", "latent", "likelihood")
"""Every end-to-end fixture runs all."""


@pytest.fixture(scope="module", params=MODES)
def mode(request: pytest.FixtureRequest) -> Mode:
    """Each mode in turn."""
    found: Mode = request.param
    return found


TRAINED_MODES: tuple[Mode, ...] = ("retrieval", "generative", "latent", "likelihood")
"""The modes with a language model."""

_TINY: dict[Mode, list[str]] = {
    "text": ["fusion.cold_items=knn"],
    "retrieval": [
        "retrieval.truncate_layers=1",
        "retrieval.lora_r=2",
        "retrieval.content_dim=8",
        "retrieval.embedding_dim=8",
        "retrieval.projection_dim=16",
        "retrieval.epochs=2",
        "retrieval.batch_size=16",
    ],
    "generative": [
        "data.max_train_examples=8",
        "generative.finetune.batch_size=4",
        "generative.finetune.per_device_batch_size=4",
        "generative.finetune.epochs=1",
        "generative.decoding.num_beams=2",
        "generative.decoding.max_new_tokens=8",
    ],
    "latent": [
        "generative.truncate_layers=1",
        "data.max_train_examples=8",
        "generative.finetune.batch_size=4",
        "generative.finetune.per_device_batch_size=4",
        "generative.finetune.epochs=1",
    ],
    "likelihood": [
        "generative.truncate_layers=1",
        "generative.finetune.softmax=trie",
        "data.max_train_examples=8",
        "generative.finetune.batch_size=4",
        "generative.finetune.per_device_batch_size=4",
        "generative.finetune.epochs=1",
    ],
}


def mode_overrides(mode: Mode) -> list[str]:
    """The settings that choose a mode."""
    if mode in {"latent", "likelihood"}:
        return ["mode=generative", f"generative.decoding.method={mode}"]
    return [f"mode={mode}"]


def tiny_overrides(
    model: Path, *changes: str, mode: Mode = "generative", signals: str = "[]"
) -> list[str]:
    """Settings under which a whole run takes seconds."""
    uses_model = mode != "text" or "compare.retrieval=true" in changes
    return [
        *mode_overrides(mode),
        f"fusion.signals={signals}",
        f"text.encoder={model}",
        *([f"model.base={model}", "model.dtype=float32"] if uses_model else []),
        "model.device=cpu",
        "data.max_valid_examples=4",
        "data.max_test_examples=6",
        "data.item_type=movie",
        *_TINY[mode],
        *changes,
    ]


def tiny_settings(
    model: Path, *changes: str, mode: Mode = "generative", signals: str = "[]"
) -> Any:
    """The settings of `tiny_overrides`."""
    from bigrec.settings import Settings

    return Settings.read(overrides=tiny_overrides(model, *changes, mode=mode, signals=signals))


def tiny_dataset() -> Any:
    """The dataset of `tiny_frames`."""
    from bigrec.data.dataset import Dataset

    return Dataset.from_frames(*tiny_frames(), item_type="movie")


def wait_for(condition: Callable[[], object], *, timeout_s: float = 90) -> None:
    """Wait until something another process does has happened."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.05)
