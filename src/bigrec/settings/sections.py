"""The sections of the settings: every value that can be chosen, with its effect.

``bigrec info --settings`` prints the texts under the fields.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from bigrec.storage import fingerprint

PositiveInt = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Immutable values that refuse unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def fingerprint(self) -> str:
        """Changes with any value of the section."""
        return fingerprint(self.model_dump(mode="json"))


class SourceSettings(Section):
    """Where interactions and titles are, and what their columns are called."""

    source: str = "ml-100k"
    """A folder, a file of interactions, or the short name ``ml-100k``."""
    items: str | None = None
    """The file of titles, where it is not in the source folder."""
    kind: str = "auto"
    """Format of the files; ``auto`` tells it from what is there."""
    name: str | None = None
    """What the dataset is called in tables; by default from the source."""
    noun: str | None = None
    """What one title is called in the prompt: movie, video game, book."""
    user_id: str | None = None
    """Column of the user."""
    item_id: str | None = None
    """Column of the item, in both files."""
    title: str | None = None
    """Column of the title."""
    category: str | None = None
    """Column of the category, optional."""
    time: str | None = None
    """Column of the timestamp."""
    order: str | None = None
    """Column of the position in the user's history, where there is no timestamp."""
    rating: str | None = None
    """Column of the rating, optional."""
    split: str | None = None
    """Column that says train, valid or test, optional."""
    min_rating: float | None = None
    """Leave out interactions rated lower. None keeps all, as published."""
    decode_html: bool = True
    """Turn ``&amp;`` in titles into ``&``."""
    article_first: bool = False
    """Turn "Matrix, The (1999)" into "The Matrix (1999)"."""


class DataSettings(SourceSettings):
    """The dataset that is recommended from, and how it becomes examples."""

    split_method: Literal["auto", "global_time", "leave_one_out", "given"] = "auto"
    """``auto`` takes the given split where there is one, else global time 8:1:1 (published)."""
    history_length: PositiveInt = 10
    """Most recent items that make a history (published: 10)."""
    min_history: PositiveInt = 1
    """Fewest items before a target. 10 gives the published samples for movies."""
    train_examples: PositiveInt | None = 1024
    """Random training examples, the few shots; None takes all."""
    valid_examples: PositiveInt | None = 2000
    """Random validation examples: what stops training and chooses rules; None takes all. Networks
    among signals are stopped by at least 2,000."""
    test_examples: PositiveInt | None = 5000
    """Random test examples (published: 5,000); None takes all."""
    test_file: str | None = None
    """Published BIGRec examples (JSON) to test on in place of the dataset's own."""
    also_train_on: tuple[SourceSettings, ...] = ()
    """Further datasets whose training examples are mixed in, as many from each."""


class PromptSettings(Section):
    """Wording of the prompt."""

    instruction: str = "Given {noun}s in the order a user chose them, write the next {noun}."
    """What the model is asked; short, because every sample pays for it."""
    cue: str = "Next {noun}:"
    """Plain style only: the line that asks for the answer."""
    style: Literal["auto", "chat", "plain", "list"] = "auto"
    """``auto`` uses the tokenizer's chat template where it has one; ``list`` has the model go on
    with the list of titles, so that every title can be learnt as it is asked for."""
    max_tokens: Annotated[int, Field(ge=32)] = 512
    """Longest prompt and answer; older titles are left out of a longer one."""


class ModelSettings(Section):
    """The base model."""

    base: str = "smollm2-135m"
    """Hub id, local folder, ``.gguf`` file, or the short name ``smollm2-135m``."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """``auto`` is bfloat16 where the device computes in it natively, else float32."""
    device: str = "auto"
    """``auto`` takes CUDA, then Apple's GPU, then the CPU."""
    quantize_bits: Literal[4, 8] | None = None
    """Load the base in 4 or 8 bits (CUDA and bitsandbytes)."""
    trust_remote_code: bool = False
    """Run code that comes with the model. Only for authors you trust."""


class TrainSettings(Section):
    """LoRA fine-tuning."""

    rank: PositiveInt = 8
    """LoRA rank (published: 8)."""
    alpha: PositiveInt = 16
    """LoRA scale, applied as alpha / rank (published: 16)."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """LoRA dropout (published: 0.05)."""
    target_modules: tuple[str, ...] | str | None = None
    """Module names or ``all-linear``; None takes the query and value projections (published)."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate. Published for a 7B model: 1e-4; small models want more."""
    warmup_steps: Annotated[int, Field(ge=0)] = 20
    """Steps to the peak, at most a tenth of all (published: 20)."""
    batch_size: PositiveInt = 32
    """Examples in an optimizer step (published: 128)."""
    micro_batch_size: PositiveInt = 8
    """Examples in one forward pass. Lower it to save memory."""
    epochs: PositiveInt = 5
    """Most passes over the examples (published: 50)."""
    patience: PositiveInt = 2
    """Epochs without a better validation loss before training stops (published: 5)."""
    loss_on: Literal["response", "titles", "all"] = "response"
    """Learn the target only, every title of history and target, or every token (published)."""
    window: Annotated[int, Field(ge=2)] | None = None
    """Dense targets: train on windows of so many titles that do not overlap, cut from users' whole
    training histories, in place of a history and a target. Meant for ``loss_on: titles``."""
    save_every_s: Annotated[float, Field(gt=0)] = 300.0
    """Longest time between two checkpoints."""
    report_to: tuple[str, ...] = ()
    """Experiment trackers: tensorboard, mlflow, wandb, trackio."""


class ServerSettings(Section):
    """A server with the OpenAI completions protocol: vLLM, SGLang or llama.cpp's.

    The key is read from the environment variable OPENAI_API_KEY, never from here.
    """

    base_url: str = "http://localhost:8000/v1"
    """Address of the protocol's root."""
    model: str | None = None
    """What the server calls the fine-tuned model; None asks it and takes its only one."""
    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """Longest time for one prompt."""
    retries: Annotated[int, Field(ge=0)] = 3
    """Times that a prompt is sent again after a failure that may pass."""
    concurrency: PositiveInt = 16
    """Prompts that are under way at once."""


class GenerateSettings(Section):
    """What the model writes for a history."""

    beams: PositiveInt = 4
    """Texts written for each history (published: 4); 1 is greedy, the fast option."""
    max_new_tokens: PositiveInt | None = None
    """Longest text in tokens; None takes the longest title of the catalog, at most 64."""
    batch_size: PositiveInt = 16
    """Histories in a batch. Lower it to save memory."""
    length_penalty: float = 1.0
    """Exponent of the length that divides a beam's log-probability (published: 1)."""
    backend: Literal["auto", "transformers", "ctranslate2", "openai"] = "auto"
    """``auto`` is transformers, and for a single beam on a CPU CTranslate2, where it is installed
    and runs the model rightly: without beams it is the faster one, with them it is not."""
    compute_type: Literal["auto", "float32", "int8", "bfloat16", "float16"] = "auto"
    """CTranslate2 only: ``auto`` computes as the model does; ``int8`` is smaller and inexact, for
    small models so much that other texts are written."""
    titles: Literal["free", "catalog", "unseen"] = "free"
    """What can be written: anything (published); titles of the catalog, which leaves nothing to
    ground; or those that are not in the history. The last two with transformers only."""
    server: ServerSettings = ServerSettings()
    """Where ``openai`` finds the model."""


class EmbedSettings(Section):
    """The space in which generated texts and items meet."""

    embedder: str = "base"
    """``base`` is the base model with its adapter off (published), else the name of a
    sentence-transformers model."""
    pooling: Literal["last", "mean"] = "last"
    """The last token's state (published), or the mean of all."""
    space: Literal["raw", "centred", "standardised", "whitened"] = "raw"
    """``raw`` is as published; the others are fitted on the catalog."""


class RecommendSettings(Section):
    """How texts become a list."""

    beams: Literal["first", "all"] = "all"
    """``first`` grounds the best beam only (published); ``all`` takes an item's best distance
    over the beams, weighted by their probability."""
    exclude_seen: bool = True
    """Leave out what is in the history. The published protocol keeps it; both are reported."""
    inject: tuple[str, ...] | Literal["auto"] = "auto"
    """Signals put into the distances, such as ``[EASE, SASRec]``; they go into the bundle. ``auto``
    is co-occurrence and GRU4Rec, and EASE too in a catalog of up to 5,000 items, where its matrix
    is small. ``[]`` leaves the language model alone."""
    rule: Literal["best", "published"] = "best"
    """How: by what does best on validation, or by the published product on the first beam."""


class SignalSettings(Section):
    """Popularity, collaborative signals and their histories."""

    history: Literal["window", "full"] = "window"
    """Signals see the history that the language model sees, or all that a user did before."""
    new_titles: Literal["likes", "last"] = "likes"
    """What signals give to titles that they never met: with direct grounding what they give to the
    titles most like them, or as little as to any. Signals by themselves are left as they are."""


class DirectSettings(Section):
    """Direct grounding: the model points at the next title instead of writing it."""

    learn_from: Literal["all", "examples"] = "all"
    """All training interactions, or the training examples alone, the few shots."""
    layers: PositiveInt | None = 10
    """First layers of the base model that are used; None is all. A third of SmolLM2's learned more
    in the same time than all of them."""
    rank: PositiveInt = 16
    """LoRA rank."""
    alpha: PositiveInt = 32
    """LoRA scale, applied as alpha / rank."""
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """LoRA dropout; on a CPU it takes a fifth of the time."""
    target_modules: tuple[str, ...] | str | None = "all-linear"
    """Module names or ``all-linear``; None takes the query and value projections."""
    max_length: PositiveInt = 50
    """Longest stretch of a user's titles that is learned from at once."""
    title_size: PositiveInt = 512
    """Size of the part of a point in which like titles are near each other, untrained."""
    size: PositiveInt = 256
    """Size of the part that is learned."""
    hidden_size: PositiveInt = 1024
    """Of the layer between a title's features and the part that is learned."""
    item_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of a title's features left out in training."""
    input_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of what the model reads left out in training."""
    id_dropout: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Beside its features a title has a vector of its own, learned where it occurs: share of titles
    that do without in training, so that new titles are served too. 1 gives none a vector."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate, from which a cosine goes down to 0."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Of AdamW."""
    batch_size: PositiveInt | None = None
    """Targets of an optimizer step, about; None takes about a hundred steps an epoch, with 128 to
    768 targets: every step moves the whole catalog, which small ones would spend their time on."""
    epochs: PositiveInt = 5
    """Passes over the interactions, at most."""
    patience: PositiveInt = 2
    """Epochs without a better validation NDCG@10 before training stops."""


class ExternalSettings(Section):
    """Scores that a model outside of bigrec wrote for the validation and the test examples."""

    name: str
    """What the model is called in tables."""
    valid: str
    """NPY ``[q, n]`` in the order of the examples, or Parquet by user; see the guide."""
    test: str
    """The same for the test examples."""


class CompareSettings(Section):
    """Comparison with signals and injections."""

    reference: str = "auto"
    """Method that the others are compared with, query by query. ``auto`` is the baseline
    on all data that does best on validation."""
    signals: tuple[str, ...] = (
        "popularity",
        "co-occurrence",
        "EASE",
        "SASRec",
        "GRU4Rec",
        "Caser",
        "SASRec, DROS",
    )
    """Baselines, trained on all training data."""
    few_shot: bool = True
    """Also train every baseline on the very examples that the language model got."""
    direct: bool = False
    """With ``grounding: written``, also train the language model to point at titles, on all data
    and on the few shots; it can be injected by the name ``BIGRec, direct``."""
    inject: tuple[str, ...] | Literal["auto"] = "auto"
    """Signals to put into the distances, several at once joined by ``&``. ``auto`` is popularity,
    co-occurrence, EASE, SASRec and GRU4Rec, each by itself, co-occurrence & GRU4Rec, and
    co-occurrence & EASE with neither, either and both of the networks: those of them that are
    compared."""
    external: tuple[ExternalSettings, ...] = ()
    """Scores from files, which can be injected by their name."""
    seeds: tuple[int, ...] = ()
    """Seeds to repeat everything with, training included, beside the run's own."""
