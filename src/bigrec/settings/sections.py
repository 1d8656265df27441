"""The sections of the settings: every value that can be chosen, with its effect.

``bigrec config`` prints the texts under the fields.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from bigrec.storage import fingerprint

BASE = "base"
"""The encoder that is the base model, among the names of encoders."""

# A larger one would overflow somewhere below, without a word on its name.
PositiveInt = Annotated[int, Field(ge=1, lt=2**31)]
MAX_GAMMA = 1e6
"""The largest gamma; the paper's grid ends at 99."""
# A name, not a pattern: peft would match a pattern, which can take forever.
ModuleName = Annotated[str, Field(pattern=r"\A[A-Za-z0-9_.-]{1,200}\z")]
# Those that transformers and accelerate both know.
Tracker = Literal[
    "clearml", "comet_ml", "dvclive", "mlflow", "swanlab", "tensorboard", "trackio", "wandb"
]


def _text_with_title(columns: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse a text that does not begin with the title, or has a column twice.

    Raises:
        ValueError: If so.
    """
    if columns[:1] != ("title",) or len(set(columns)) < len(columns):
        raise ValueError("expected title and then further columns of the items, each once")
    return columns


class Section(BaseModel):
    """Immutable values that refuse unknown names."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    def fingerprint(self) -> str:
        """Changes with any value of the section."""
        return fingerprint(self.model_dump(mode="json"))


class SourceSettings(Section):
    """Where interactions and titles are, and what their columns are called."""

    source: str = "ml-100k"
    """A folder, a file of interactions, an address of either such as ``s3://bucket/folder``, or a
    short name: ``ml-100k``, or ``sample``, the data that ships with bigrec."""
    items: str | None = None
    """The file of titles, or its address, if it is not in the source folder."""
    format: str = "auto"
    """Format of the files; ``auto`` detects it."""
    name: str | None = None
    """Name of the dataset in tables; by default from the source."""
    item_type: str | None = None
    """What the prompt calls one item: movie, video game, book."""
    user_id: str | None = None
    """Column of the user."""
    item_id: str | None = None
    """Column of the item, in both files."""
    title: str | None = None
    """Column of the title."""
    category: str | None = None
    """Column of the category, optional."""
    item_columns: tuple[str, ...] = ()
    """Further columns of the items, such as price, by which recommendations can be filtered."""
    time: str | None = None
    """Column of the timestamp."""
    order: str | None = None
    """Column of the position in the user's history, if there is no timestamp or it ties; ``row`` is
    the order of the rows."""
    rating: str | None = None
    """Column of the rating, optional."""
    split: str | None = None
    """Column that says train, valid or test, optional."""
    min_rating: float | None = None
    """Drop interactions rated lower. None keeps all, as in the paper."""
    tie_seed: int = 0
    """Seed of the random order of a user's interactions at one time, unless ``order`` is given.
    The file's order is often that of the items, which a sequential model would learn."""
    decode_html: bool = True
    """Turn ``&amp;`` in titles into ``&`` and remove markup."""
    article_first: bool = False
    """Turn "Matrix, The (1999)" into "The Matrix (1999)"."""

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The columns of a text beside the title."""
        return ()


SelectionMethod = Literal["random", "influence", "influence_effort"]
"""How the few training examples are chosen."""


class ExampleSelectionSettings(Section):
    """How the training examples are chosen, where ``data.max_train_examples`` limits them."""

    method: SelectionMethod = "random"
    """``influence`` scores every example by how much a linear model's risk on all of them would
    rise without it, and draws as many from each range of scores (DEALRec). ``influence_effort``
    adds how far the example would move the untrained language model."""
    n_strata: PositiveInt = 50
    """Equally wide ranges of scores that are drawn from (DEALRec: 50)."""
    effort_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of effort; both scores are scaled to [0, 1] (DEALRec: 0.3 to 1)."""
    effort_pool: PositiveInt | None = 2048
    """Examples whose effort is computed, a forward pass each, drawn by influence; at least
    ``data.max_train_examples`` are. None computes it for all (DEALRec)."""


class DataSettings(SourceSettings):
    """The dataset to recommend from, and how it becomes examples."""

    split_method: Literal["auto", "global_time", "leave_one_out", "predefined"] = "auto"
    """``auto`` takes the predefined split if there is one, else global time 8:1:1 (paper)."""
    max_history_length: PositiveInt = 10
    """Most recent items that make a history (paper: 10)."""
    min_history: PositiveInt = 1
    """Fewest items before a target. 10 gives the paper's samples for movies."""
    max_train_examples: PositiveInt | None = 1024
    """Training examples, the few shots; None takes all. Limits what the language model is trained
    on in generative mode, and in retrieval mode with ``retrieval.train_on: examples``."""
    example_selection: ExampleSelectionSettings = ExampleSelectionSettings()
    max_valid_examples: PositiveInt | None = 2000
    """Random validation examples, for early stopping and for choosing fusion rules; None takes
    all. Sequential baselines stop by at least 2,000."""
    max_test_examples: PositiveInt | None = 5000
    """Random test examples (paper: 5,000); None takes all."""
    test_file: str | None = None
    """BIGRec examples (JSON, the format of the paper's authors) to test on instead of the
    dataset's own."""
    extra_train_sources: tuple[SourceSettings, ...] = ()
    """Further datasets that the language model is trained on too. Generative mode mixes in up to
    ``max_train_examples`` training examples of each. Retrieval mode trains one network on the
    sequences of all, each scored among the titles of its dataset."""
    train_sources: Literal["all", "extra"] = "all"
    """Datasets that the language model is fine-tuned on. ``all`` is this dataset and
    ``extra_train_sources``. ``extra`` is the latter alone, which makes a zero-shot model for this
    dataset. In both cases the catalog, baselines, fusion rules, test examples and the states of
    latent decoding come from this dataset."""
    text: Annotated[tuple[str, ...], AfterValidator(_text_with_title)] = ("title",)
    """Columns of the items that make the text of a title, such as ``[title, category, brand]``,
    with ``title`` first. Encoders and tf-idf read the text, one column a line. Items with the same
    title have the text of the first. Lists show the title, and a language model writes it."""

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The columns of a text beside the title."""
        return self.text[1:]


class ModelSettings(Section):
    """The base model."""

    base: str = "smollm2-135m"
    """Hub id, local folder, ``.gguf`` file, or the short name ``smollm2-135m``."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """``auto`` is bfloat16 if the device computes in it natively, else float32."""
    device: str = "auto"
    """``auto`` takes CUDA, then Apple's GPU, then the CPU."""
    quantize_bits: Literal[4, 8] | None = None
    """Load the base in 4 or 8 bits (CUDA and bitsandbytes)."""
    trust_remote_code: bool = False
    """Run code that comes with the model. Only for authors you trust."""


class TextSettings(Section):
    """Text mode: untrained vectors of titles, grounded by a Gaussian model in closed form.

    Its hyperparameters are those of the model ``Gaussian``, under ``baselines.gaussian``.
    """

    encoder: str = "all-minilm-l6-v2"
    """Encoder of titles, for text kNN and Gaussian in every mode: a sentence encoder's short name,
    hub id or folder, or ``base`` for the text features of the base model."""


class RetrievalSettings(Section):
    """Retrieval mode: the language model encodes a history, and items are ranked by distance."""

    train_on: Literal["interactions", "examples"] = "interactions"
    """Train on all training interactions, or on the training examples alone, the few shots."""
    truncate_layers: PositiveInt | None = 10
    """Keep only the first layers of the base model; None keeps all."""
    lora_r: PositiveInt = 16
    """LoRA rank."""
    lora_alpha: PositiveInt = 32
    """LoRA scale, applied as ``lora_alpha / lora_r``."""
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """LoRA dropout; on a CPU it takes a fifth of the time."""
    target_modules: tuple[ModuleName, ...] | ModuleName | None = "all-linear"
    """Module names or ``all-linear``; None takes the query and value projections."""
    max_length: PositiveInt = 50
    """Longest stretch of a user's items in one training sequence."""
    content_dim: PositiveInt = 512
    """Dimensions of the untrained text part of an item's vector."""
    embedding_dim: PositiveInt = 256
    """Dimensions of the trained part of an item's vector."""
    projection_dim: PositiveInt = 1024
    """Width of the hidden layer between an item's text features and its trained part."""
    feature_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Dropout probability of an item's text features during training."""
    embedding_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Dropout probability of the language model's input embeddings during training."""
    id_embedding_dropout: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Dropout probability of an item's ID embedding during training. Items with the embedding
    dropped are represented by their text alone, so the model also works for cold items. At 1
    there are no ID embeddings."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate, decayed to 0 by a cosine."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Weight decay of AdamW."""
    batch_size: PositiveInt | None = None
    """Approximate number of targets in an optimizer step. None takes a hundredth of all targets,
    between 128 and 768. Every step updates the whole catalog, so small steps take longer in all."""
    per_device_batch_size: PositiveInt | None = None
    """Approximate number of targets in one forward pass of one process. Gradients add up to those
    of ``batch_size``. Lower it to save memory. None takes the share of a process at once."""
    epochs: PositiveInt = 5
    """Maximum passes over the interactions."""
    early_stopping_patience: PositiveInt = 2
    """Epochs without a better validation NDCG@10 before training stops."""
    report_to: tuple[Tracker, ...] = ()
    """Experiment trackers, by the names of their packages, such as ``[tensorboard]``. They get the
    loss by the number of targets trained on, and NDCG@10 on validation after every epoch."""


class GroundingSettings(Section):
    """How the language model's output becomes a ranking of the catalog."""

    beams: Literal["top1", "all"] = "all"
    """Generative mode only. ``top1`` grounds the top beam only (paper); ``all`` takes an item's
    best distance over the beams, weighted by their probability."""
    head: Literal["auto", "l2", "gaussian"] = "auto"
    """Latent decoding and retrieval mode. ``l2`` ranks by distance to the mean of the states before
    an item (L2D), in retrieval mode to its trained vector; ``gaussian`` by the Gaussian model of
    text mode, fitted to the states of the training data. Its hyperparameters are selected on
    validation or, with ``baselines.tune: none``, those of ``baselines.gaussian``. ``auto`` is
    ``gaussian`` with latent decoding, ``l2`` in retrieval mode."""


class IndexSettings(Section):
    """How the nearest titles are found when lists are made. Evaluation ranks all titles."""

    backend: Literal["exact", "usearch", "qdrant"] = "exact"
    """``exact`` computes the distances of all titles. ``usearch`` computes those of candidates,
    which come from an HNSW graph and from the best titles of each signal; the bundle holds the
    graph. ``qdrant`` takes the candidates from the server that the variable ``QDRANT_URL`` names.
    Rules that depend on all titles (``rrf``, z-scores, the mixture for cold titles) and several
    beams stay exact."""
    n_candidates: PositiveInt = 100
    """Candidates of the graph and of each signal, more for longer lists and histories."""
    expansion: PositiveInt = 128
    """Points that a search of the graph keeps open. More points find more of the nearest titles and
    take longer. ``metrics.json`` has the share that is found, the recall."""


class RecommendSettings(Section):
    """Recommended lists."""

    exclude_seen: bool = True
    """Exclude the user's full history. The paper's protocol includes it; both are reported."""


class FusionSettings(Section):
    """Scores of other models fused into the distances."""

    signals: tuple[str, ...] | Literal["auto"] = "auto"
    """Models to fuse, such as ``[EASE, SASRec]``; they are saved in the bundle. ``auto`` is
    co-occurrence; EASE in a catalog of up to 5,000 items; text kNN in text mode; Gaussian and
    GRU4Rec in the other modes. ``[]`` uses the mode's model alone."""
    method: Literal["auto", "paper", "product", "weighted_sum", "rrf"] = "auto"
    """``auto`` tries every method and keeps the best on validation; ``paper`` is the product on
    the top beam; ``product`` may also use a floor and all beams; ``weighted_sum`` subtracts
    min-max or z-score normalized scores; ``rrf`` is reciprocal rank fusion."""
    gammas: Mapping[str, Annotated[float, Field(ge=0, le=MAX_GAMMA)]] = {}
    """Fixed gammas by signal, such as ``{EASE: 0.5}``. Those not named are searched for on
    validation. Needs ``method`` paper, product or weighted_sum."""
    history: Literal["window", "full"] = "window"
    """Signals score the history that the language model reads, or the user's full history."""
    cold_items: Literal["auto", "knn", "lowest"] = "auto"
    """Scores of a signal for items it was not trained on, but not with beams. ``knn`` imputes them
    from the nearest neighbors by title. ``lowest`` ranks such items last. ``auto`` is ``knn`` and,
    if it does better on validation by more than a standard error, a mixture: a signal that reads
    titles ranks the cold titles, and a share of the list goes to them. ``method: paper`` has no
    mixture. A signal that is ranked by itself stays as it is."""

    @property
    def mixes_cold_items(self) -> bool:
        """Whether a mixture for cold titles is tried."""
        return self.cold_items == "auto" and self.method != "paper"


class PrecomputedSettings(Section):
    """Scores that another model wrote for the validation and the test examples."""

    name: str
    """Name of the model in tables."""
    valid: str
    """NPY ``[q, n]`` in the order of the examples, or Parquet with user, item and score."""
    test: str
    """The same for the test examples."""


class EvaluationSettings(Section):
    """What is evaluated on the test examples."""

    refit: Literal["none", "train+valid"] = "none"
    """``none`` tests what was fitted to the training part, as in the literature. ``train+valid``
    selects hyperparameters, epochs and fusion rules by the training and the validation part. Then
    it fits every method once more to both parts before the test."""


class CompareSettings(Section):
    """Comparison with baselines and fusions."""

    reference: str = "auto"
    """Method that the others are compared with, query by query. ``auto`` is the baseline on all
    data that does best on validation."""
    baselines: tuple[str, ...] = (
        "popularity",
        "co-occurrence",
        "EASE",
        "tf-idf",
        "text kNN",
        "Gaussian",
        "SASRec",
        "GRU4Rec",
        "Caser",
        "SASRec, DROS",
    )
    """Models trained on all training data and ranked by themselves."""
    few_shot: bool = True
    """Also train every baseline on the few shots: the examples of generative fine-tuning."""
    retrieval: bool = False
    """Text and generative mode only. Also train the language model for retrieval, on all data and
    on the few shots, and compare it as ``LLM retrieval``."""
    fusions: tuple[str, ...] | Literal["auto"] = "auto"
    """Signals to fuse into the distances, several at once joined by ``&``. ``auto`` takes those
    that are compared: popularity, co-occurrence, EASE, text kNN, Gaussian, SASRec and GRU4Rec, each
    by itself; co-occurrence & GRU4Rec; co-occurrence & EASE alone, with SASRec, with GRU4Rec and
    with both; co-occurrence & EASE & text kNN, without and with Gaussian."""
    precomputed: tuple[PrecomputedSettings, ...] = ()
    """Scores from files, which can be fused by their name."""
    shuffle_history: bool | Literal["auto"] = "auto"
    """Also rank with every history in random order, by the reported protocol
    (``recommend.exclude_seen``). The loss of a method says what the order tells it. ``auto`` does
    so except with beams, where all texts of the test would be written again."""
    seeds: tuple[int, ...] = ()
    """Further seeds. Everything is repeated with them, training included."""
