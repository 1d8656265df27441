"""The sections of generative mode: prompt, fine-tuning, decoding and embedding."""

from typing import Annotated, Literal

from pydantic import Field

from bigrec.settings.sections import ModuleName, PositiveInt, Section, Tracker


class PromptSettings(Section):
    """Wording of the prompt."""

    instruction: str = (
        "Given {item_type}s in the order a user chose them, write the next {item_type}."
    )
    """The task, stated once in every prompt. A short one saves time in every sample."""
    response_prefix: str = "Next {item_type}:"
    """Plain style only: the line that asks for the answer."""
    style: Literal["auto", "chat", "plain", "list"] = "auto"
    """``list`` lets the model continue the list of titles, so that every title can be a training
    target. ``auto`` is ``list`` with latent decoding, else the tokenizer's chat template if it has
    one."""
    max_tokens: Annotated[int, Field(ge=32, le=1_000_000)] = 512
    """Longest prompt and answer; older titles are dropped from a longer one."""


class FinetuneSettings(Section):
    """Fine-tuning."""

    method: Literal["lora", "full"] = "lora"
    """``lora`` trains an adapter (paper). ``full`` trains a copy of all weights in float32; the
    bundle then has as many weights as the base model. ``lora_*`` and ``target_modules`` belong to
    the adapter."""
    lora_r: PositiveInt = 8
    """LoRA rank (paper: 8)."""
    lora_alpha: PositiveInt = 16
    """LoRA scale, applied as ``lora_alpha / lora_r`` (paper: 16)."""
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """LoRA dropout (paper: 0.05)."""
    target_modules: tuple[ModuleName, ...] | ModuleName | None = None
    """Module names or ``all-linear``; None takes the query and value projections (paper)."""
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Peak learning rate. None is 1e-3 with LoRA (paper, for a 7B model: 1e-4) and 1e-4 if all
    weights are trained."""
    warmup_steps: Annotated[int, Field(ge=0)] = 20
    """Steps to the peak, at most a tenth of all (paper: 20)."""
    batch_size: PositiveInt = 32
    """Examples in an optimizer step (paper: 128)."""
    per_device_batch_size: PositiveInt = 8
    """Examples in one forward pass. Lower it to save memory."""
    epochs: Annotated[int, Field(ge=0, lt=2**31)] = 5
    """Maximum passes over the examples (paper: 50); 0 leaves the model untrained."""
    early_stopping_patience: PositiveInt = 2
    """Epochs without a better validation loss before training stops (paper: 5)."""
    loss: Literal["completion", "titles", "full"] = "completion"
    """Tokens in the loss: the target's, those of every title in history and target, or all
    (paper)."""
    loss_tokens: Literal["all", "branching"] = "all"
    """Tokens of a title in the loss: all, or only those where several could stand in some title of
    the catalog. Decoding with ``constraint`` does not choose the others."""
    softmax: Literal["vocabulary", "titles", "trie"] = "vocabulary"
    """What a token's probability is relative to: the model's vocabulary (paper), the tokens that
    the catalog's titles are written with, or those that lead from what is written so far to some
    title. Fewer are faster to compute. With ``trie`` the loss of a title is its log-probability
    among all titles of the catalog, and decoding needs a ``constraint``."""
    window: Annotated[int, Field(ge=2)] | None = None
    """All-position targets: train on non-overlapping windows of so many titles, cut from users'
    training histories, instead of on a history and a target. Meant for ``loss: titles``."""
    save_every_s: Annotated[float, Field(gt=0)] = 300.0
    """Longest time between two checkpoints, in seconds."""
    report_to: tuple[Tracker, ...] = ()
    """Experiment trackers, by the names of their packages, such as ``[tensorboard]``. They get both
    losses by optimizer step."""

    @property
    def reads_catalog(self) -> bool:
        """Whether the loss depends on titles that are in no example."""
        return self.loss_tokens == "branching" or self.softmax != "vocabulary"

    @property
    def peak_learning_rate(self) -> float:
        """The peak learning rate, that of the method if none is given."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 1e-3 if self.method == "lora" else 1e-4


class ServerSettings(Section):
    """A server with the OpenAI completions protocol: vLLM, SGLang or llama.cpp's.

    The key is read from the environment variable OPENAI_API_KEY, never from here.
    """

    base_url: str = "http://localhost:8000/v1"
    """Address of the protocol's root."""
    model: str | None = None
    """The server's name for the fine-tuned model; None takes its only one."""
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    """Longest time for one prompt, retries included, in seconds."""
    retries: Annotated[int, Field(ge=0, le=100)] = 3
    """Times that a prompt is sent again after a transient failure."""
    concurrency: Annotated[int, Field(ge=1, le=1024)] = 16
    """Prompts in flight at once."""


class DecodingSettings(Section):
    """How the model writes titles for a history."""

    method: Literal["beams", "latent", "both", "likelihood"] = "beams"
    """``beams`` writes titles and embeds them (paper). ``latent`` writes nothing: the query is the
    model's state after the history, and items are placed at its states before them (L2D). ``both``
    ranks by the weighted sum of both squared distances; the weight is selected on validation.
    ``likelihood`` writes nothing: it ranks titles by the log-probability of each among all, meant
    for ``finetune.softmax: trie``."""
    max_read: PositiveInt = 512
    """Likelihood only: most tokens of titles that are read for a history. Where more matter, the
    likeliest beginnings of titles are read on first."""
    num_beams: Annotated[int, Field(ge=1, le=64)] = 4
    """Texts written for each history (paper: 4). 1 is greedy and takes the least time."""
    max_new_tokens: Annotated[int, Field(ge=1, le=256)] | None = None
    """Longest text in tokens; None takes the longest title of the catalog, at most 64."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 16
    """Histories in a batch, with likelihood at most. Lower it to save memory."""
    length_penalty: float = 1.0
    """Exponent of the length that divides a beam's log-probability (paper: 1)."""
    backend: Literal["auto", "transformers", "ctranslate2", "openai"] = "auto"
    """``auto`` is transformers. For a single beam on a CPU it is CTranslate2, if that is installed
    and supports the model."""
    compute_type: Literal["auto", "float32", "int8", "bfloat16", "float16"] = "auto"
    """CTranslate2 only: ``auto`` computes as the model does; ``int8`` is smaller but inexact, so
    that a small model writes other texts."""
    constraint: Literal["none", "catalog", "unseen"] = "none"
    """What can be written: anything (paper); titles of the catalog only, which leaves nothing to
    ground; or titles of the catalog that are not in the history. The last two need the transformers
    backend."""
    server: ServerSettings = ServerSettings()
    """The server of the ``openai`` backend."""


class LatentSettings(Section):
    """Latent decoding: the states that items are placed by.

    Prompts of ``list`` style, the default of latent decoding, give the states before all titles of
    a sequence in one pass.
    """

    train_on: Literal["interactions", "examples"] = "interactions"
    """Place items at the states of all training interactions, or of the training examples alone,
    the few shots."""


class EmbeddingSettings(Section):
    """The space in which generated texts and items are compared."""

    embedder: str = "base"
    """``base`` is the base model with its adapter off (paper), else the name of a
    sentence-transformers model."""
    pooling: Literal["last", "mean"] = "last"
    """The last token's state (paper), or the mean of all. Base model only."""
    normalization: Literal["none", "center", "standardize", "whiten"] = "none"
    """``none`` is the paper's; the others are fitted on the catalog."""


class GenerativeSettings(Section):
    """Generative mode, the paper's: the language model writes titles, which are embedded."""

    truncate_layers: PositiveInt | None = None
    """Keep only the first layers of the base model; None keeps all (paper)."""
    prompt: PromptSettings = PromptSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    decoding: DecodingSettings = DecodingSettings()
    latent: LatentSettings = LatentSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
