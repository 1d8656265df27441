"""Bodies of requests and answers."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from bigrec.serving.entries import Flag, Number, Value, Whole
from bigrec.serving.problems import Problem

MAX_HISTORY = 1000
MAX_K = 1000
MAX_REQUESTS = 256
MAX_INTERACTIONS = 1000
MAX_CONDITIONS = 50
MAX_COLUMNS = 50
MAX_TEXT = 1000
MAX_TEXTS = 100
# Times of years 1 to 9999.
_MAX_TIME = 253_402_300_799

Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
"""An id or a title."""

_TextValue = Annotated[str, Field(strict=True, max_length=MAX_TEXT)]
_Texts = Annotated[list[_TextValue], Field(strict=True, max_length=MAX_TEXTS)]
GivenValue = Flag | Whole | Number | _TextValue | _Texts
"""A value of a column that a caller gives."""


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _OfBundle(_Request):
    bundle: str | None = Field(None, description="Name of the bundle to ask; the first by default.")


class _OfHistory(_OfBundle):
    history: list[Text] | None = Field(
        None, max_length=MAX_HISTORY, description="Item ids or titles, oldest first."
    )
    user_id: Text | None = Field(
        None,
        description="In place of a history: what POST /v1/interactions told of the user.",
    )
    exclude_seen: bool | None = Field(
        None, description="Exclude the history; null for the bundle's setting."
    )
    gammas: dict[str, float] | None = Field(
        None, max_length=MAX_CONDITIONS, description="Other gammas of fused signals, by name."
    )


class _OfCandidates(_OfBundle):
    k: int = Field(10, ge=1, le=MAX_K, description="Length of the list.")
    exclude: list[Text] = Field(
        [], max_length=MAX_HISTORY, description="Ids or titles never to list."
    )
    items: list[Text] | None = Field(
        None, max_length=10 * MAX_HISTORY, description="Ids or titles of the only candidates."
    )
    where: dict[str, Any] | None = Field(
        None,
        max_length=MAX_CONDITIONS,
        description='Conditions on columns: {"in_stock": true, "price": {"lt": 20}}.',
    )


class RecommendRequest(_OfHistory, _OfCandidates):
    """What to recommend from."""


class SimilarRequest(_OfCandidates):
    """An item to find others like it."""

    item: Text = Field(description="Id or title.")


class ExplainRequest(_OfHistory):
    """An item whose place in a list is asked."""

    item: Text = Field(description="Id or title, in the list or not.")


class ListedItem(BaseModel):
    """One item of a list."""

    rank: int
    item_id: str
    title: str
    score: float = Field(description="What the list is ranked by; comparable within it only.")
    distance: float | None = Field(
        description="From the title to the query; null for a list by popularity."
    )
    generated_text: str | None = Field(description="The text it was grounded from; null mostly.")


class RecommendAnswer(BaseModel):
    """A recommended list."""

    items: list[ListedItem]
    source: str = Field(description="llm, text, fused or popularity.")
    unknown: list[str] = Field(description="Entries of the history that are not in the catalog.")
    ignored: list[str] = Field(description="Entries of exclude and items that are not in it.")
    version: str = Field(description="Of the bundle that gave the list.")
    revision: int = Field(description="Number of changes that the list knows of.")


class SimilarAnswer(BaseModel):
    """The items nearest to an item."""

    items: list[ListedItem]
    version: str = Field(description="Of the bundle that gave the list.")


class Part(BaseModel):
    """What one of the models adds to an item's score."""

    name: str = Field(description="The bundle's model, or a fused signal.")
    gamma: float | None = Field(description="The signal's gamma; null for the bundle's model.")
    weight: float = Field(description="From 0 for the title it ranks last to 1 for the first.")
    above: float | None = Field(
        description="Its term of the score above that of the title it ranks last; null: infinite."
    )
    share: float = Field(description="Share of all parts' terms.")


class NearItem(BaseModel):
    """An item beside its distance to the explained one."""

    item_id: str
    title: str
    distance: float


class WrittenText(BaseModel):
    """A text that the language model wrote."""

    text: str
    log_prob: float


class ExplainAnswer(BaseModel):
    """Why an item is where it is in the ranking for a history."""

    item_id: str
    title: str
    rank: int | None = Field(description="Null if the history holds it and is excluded.")
    score: float
    distance: float | None
    generated_text: str | None
    source: str
    rule: str | None = Field(description="How signals are fused; null without.")
    parts: list[Part]
    texts: list[WrittenText] = Field(description="None but in generative mode.")
    nearest: list[NearItem] = Field(description="Items whose titles are nearest to the item's.")
    history: list[NearItem] = Field(description="The history, nearest to the item first.")
    unknown: list[str]
    version: str


class BatchRequest(_Request):
    """Several requests at once."""

    requests: list[RecommendRequest] = Field(min_length=1, max_length=MAX_REQUESTS)


class BatchElement(BaseModel):
    """The answer to one of several requests: a list, or an error."""

    status: int
    answer: RecommendAnswer | None = None
    error: Problem | None = None


class BatchAnswer(BaseModel):
    """An answer for each request, in their order."""

    results: list[BatchElement]


class InvocationRequest(BaseModel):
    """What SageMaker or MLflow asks: one of the lists of requests, or the fields of one request."""

    model_config = ConfigDict(extra="allow")

    instances: list[RecommendRequest] | None = Field(None, max_length=MAX_REQUESTS)
    dataframe_records: list[RecommendRequest] | None = Field(None, max_length=MAX_REQUESTS)


class InvocationAnswer(BaseModel):
    """A prediction for each request."""

    predictions: list[BatchElement]


class Interaction(_Request):
    """A user took an item."""

    user_id: Text
    item_id: Text
    timestamp: int | None = Field(
        None, ge=0, le=_MAX_TIME, description="Unix time in seconds; the present by default."
    )


class InteractionsRequest(_Request):
    """What users did, each user's oldest first, later than all that was told before."""

    interactions: list[Interaction] = Field(min_length=1, max_length=MAX_INTERACTIONS)


class InteractionsAnswer(BaseModel):
    """What became of interactions. They are on the disk."""

    accepted: int
    learned_at_once: dict[str, list[str]] = Field(
        description="By bundle: what recommends with them from now on."
    )
    at_next_fit: dict[str, list[str]] = Field(
        description="By bundle: what knows of them once it is fitted again."
    )
    revision: int


class NewItem(_Request):
    """An item to add."""

    item_id: Text
    title: Text
    columns: dict[Text, GivenValue] = Field(
        {}, max_length=MAX_COLUMNS, description="Values of further columns, such as a price."
    )


class ItemChange(_Request):
    """What to change of an item; what is missing stays."""

    title: Text | None = None
    columns: dict[Text, GivenValue | None] = Field(
        {}, max_length=MAX_COLUMNS, description="New values of columns; null removes a value."
    )
    hidden: bool | None = Field(None, description="Hidden items are never recommended.")


class ItemAnswer(BaseModel):
    """An item."""

    item_id: str
    title: str
    columns: dict[str, Value] = Field(description="Those that are not missing.")
    hidden: bool


class ItemsAnswer(BaseModel):
    """A page of items."""

    items: list[ItemAnswer]
    total: int = Field(description="Number of all that match.")
    next: int | None = Field(description="The next page's start; null on the last one.")


class SwapRequest(_Request):
    """A bundle to serve from now on."""

    bundle: str | None = Field(None, description="Name of the one to replace; the first's.")
    folder: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}$",
        description="Folder beside the present one; the present one, loaded again, by default.",
    )
    includes_interactions: bool = Field(
        False, description="Whether the new one was fitted to all interactions so far."
    )


class BundleInfo(BaseModel):
    """A bundle that is served."""

    name: str
    version: str
    mode: str
    item_type: str
    n_items: int
    n_titles: int
    signals: dict[str, float] = Field(description="Gamma of each fused signal.")


class InfoAnswer(BaseModel):
    """What is served."""

    bigrec: str = Field(description="Version of the package.")
    bundles: list[BundleInfo]
    n_hidden: int
    revision: int


class HealthAnswer(BaseModel):
    """Whether the service can be asked."""

    status: Literal["ok"] = "ok"
