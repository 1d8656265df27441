import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from bigrec import console
from bigrec.console import answers, steps
from bigrec.errors import BundleError
from bigrec.evaluation.reports.evaluation import ReportExample
from bigrec.evaluation.reports.table import Cell, Table
from bigrec.evaluation.segments import TARGET_COUNTS, SegmentRow
from bigrec.recommender.recommendations import Recommendations
from bigrec.types import Recommendation
from tests.evaluation.reports.test_comparison import REPORT


def printed(view: RenderableType, *, width: int = 120) -> str:
    stream = StringIO()
    Console(file=stream, width=width).print(view)
    return stream.getvalue()


class Clock:
    """Time that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Lines:
    """Progress lines of one step, with the time that passes before each call."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stream = StringIO()
        self._report = steps._Lines("Reading", Console(file=self._stream, width=120))

    def report(self, done: int, total: int, *, after_s: float) -> str:
        """The line that a call prints, if any."""
        before = len(self._stream.getvalue())
        self._clock.now += after_s
        self._report(done, total)
        return self._stream.getvalue()[before:].strip()


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    clock = Clock()
    monkeypatch.setattr(steps, "time", clock)
    return Lines(clock)


def test_the_first_call_gives_no_time_left(lines: Lines) -> None:
    # 40 s of setup for no unit of this run are not its rate
    assert lines.report(16, 10_000, after_s=40) == "Reading: 16 of 10000"


def test_the_time_left_follows_from_the_rate_since_the_first_call(lines: Lines) -> None:
    lines.report(100, 300, after_s=40)
    # 50 units in 60 s, 150 remain
    assert lines.report(150, 300, after_s=60) == "Reading: 150 of 300, 0:03:00 left"
    # 100 units in 160 s, 100 remain
    assert lines.report(200, 300, after_s=100) == "Reading: 200 of 300, 0:02:40 left"


def test_a_repeated_first_call_gives_no_time_left(lines: Lines) -> None:
    lines.report(100, 300, after_s=1)
    assert lines.report(100, 300, after_s=60) == "Reading: 100 of 300"


def test_there_is_a_line_every_30_seconds_and_at_the_end(lines: Lines) -> None:
    assert lines.report(0, 3, after_s=1) == ""
    assert lines.report(1, 3, after_s=10) == ""
    assert lines.report(2, 3, after_s=20) == "Reading: 2 of 3, 0:00:15 left"
    assert lines.report(3, 3, after_s=1) == "Reading: 3 of 3"


HOSTILE = "a\x1b[31m[red]b[/red]:boom:\x9b"
SHOWN = r"a\x1b[31m[red]b[/red]:boom:\x9b"


def test_progress_shows_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = StringIO()
    steps._Lines(HOSTILE, Console(file=stream, width=120))(3, 3)
    assert stream.getvalue() == f"{SHOWN}: 3 of 3\n"
    bars = Console(file=(stream := StringIO()), force_terminal=True, width=120, color_system=None)
    monkeypatch.setattr(steps, "Console", lambda **_: bars)
    with steps.progress() as progress_factory:
        progress_factory(HOSTILE)(1, 1)
    assert SHOWN in stream.getvalue()
    assert "\x1b[31m" not in stream.getvalue()


def test_a_bar_shows_the_time_left_once_it_means_something(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, clock = StringIO(), Clock()
    terminal = Console(file=stream, force_terminal=True, width=120, color_system=None)
    monkeypatch.setattr(steps, "Console", lambda **_: terminal)
    monkeypatch.setattr(steps, "time", clock)
    with steps.progress() as progress_factory:
        report = progress_factory("Reading")
        report(549, 254_885)
        clock.now += 79
        report(550, 254_885)
        terminal.print("so far")
        before = stream.getvalue()
        clock.now += 79
        report(127_000, 254_885)
    assert "left" not in before
    assert "0:02:40 left" in stream.getvalue()


def test_progress_raises_a_ctrl_c_that_was_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def swallowed() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bigrec.storage.interrupts.check", swallowed)
    bars = Console(file=StringIO(), force_terminal=True)
    for terminal in (bars, Console(file=StringIO())):
        monkeypatch.setattr(steps, "Console", lambda terminal=terminal, **_: terminal)
        with steps.progress() as progress_factory, pytest.raises(KeyboardInterrupt):
            progress_factory("Reading")(0, 1)


def test_every_text_of_an_example_is_shown_as_it_is() -> None:
    lines = [Recommendation(1, HOSTILE, HOSTILE, 1.0, 1.0, HOSTILE)]
    query = ReportExample([f"{HOSTILE}\nc"], HOSTILE, [HOSTILE], lines)
    text = printed(console.example(query).view, width=200)
    assert text.count(SHOWN) == 6
    assert rf"{SHOWN}\nc" in text
    assert "\x1b" not in text


def test_an_error_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    console.tell_error(ValueError(HOSTILE))
    assert capsys.readouterr().err == f"Error: {SHOWN}\n"


def test_a_table_has_title_head_intervals_and_note() -> None:
    rows = ((Cell("ours [b]"), Cell("0.500", "[0.400, 0.600]", "best")),)
    table = Table("Title [x]", ("Method", "HR@1"), rows, note="Note [y].")
    text = printed(console.rich_table(table))
    for part in ("Title [x]", "Method", "HR@1", "ours [b]", "0.500", "[0.400, 0.600]", "Note [y]."):
        assert part in text


def test_marks_are_bold_and_dim() -> None:
    stream = StringIO()
    rows = ((Cell("best", mark="best"), Cell("weak", mark="weak")),)
    terminal = Console(file=stream, force_terminal=True, color_system="standard", width=80)
    terminal.print(console.rich_table(Table("", (), rows)))
    assert "\x1b[1mbest" in stream.getvalue()
    assert "\x1b[2mweak" in stream.getvalue()


def test_a_comparison_is_shown_by_protocol_and_its_json_carries_labels(tmp_path: Path) -> None:
    shown = console.comparison(REPORT, tmp_path / "comparison.json")
    text = " ".join(printed(shown.view).split())
    excluded = text.index("NDCG, seen items excluded")
    assert excluded < text.index("NDCG, seen items included, as in the paper")
    for part in ("0.375", "[0.250, 0.500]", "product, gamma 1", "-0.2500", "+0.1250", "± 0.0625"):
        assert part in text
    row = json.loads(json.dumps(shown.values))["rows"][0]
    assert row["method"]["label"] == "BIGRec, all beams"


def test_a_comparison_shows_validation_and_segments_of_the_target(tmp_path: Path) -> None:
    rows = [SegmentRow("cold", 40, row) for row in REPORT.rows if row.metric != "mrr"]
    report = replace(REPORT, segments={TARGET_COUNTS: rows})
    text = printed(console.comparison(report, tmp_path / "comparison.json").view, width=200)
    assert "NDCG@10 on validation" in text
    assert "NDCG@10, cold (40)" in text


def test_a_list_names_generated_texts_where_there_are_any() -> None:
    line = Recommendation(1, "i7", "Dune [1984]", -0.25, 0.25, "Dun")
    shown = answers.recommendations(Recommendations([line], source="llm", version="v"))
    assert shown.values[0]["item_id"] == "i7"
    text = printed(shown.view)
    assert "Dune [1984]" in text
    assert "Grounded from" in text
    assert "Score" in text
    assert "Ranked by the score" in text
    assert (shown.values[0]["score"], shown.values[0]["distance"]) == (-0.25, 0.25)


def test_every_setting_is_listed_with_default_and_effect() -> None:
    shown = console.settings_help()
    assert shown.values["retrieval.epochs"]["default"] == 5
    assert all(setting["effect"] for setting in shown.values.values())
    assert "generative.finetune.lora_r" in printed(shown.view, width=200)


def test_a_folder_that_is_no_run_and_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is neither a bundle nor a run directory"):
        console.folder_info(tmp_path)


def test_training_shows_the_figures_of_each_epoch() -> None:
    log = [
        {"epoch": 0.5, "loss": 3.0},
        {"epoch": 1.0, "eval_loss": 2.5},
        {"epoch": 2.0, "eval_loss": 2.25},
    ]
    text = printed(console.training(Path("run"), log).view)
    assert "Validation loss" in text
    assert "2.5000" in text
    assert "2.2500" in text
    assert "NDCG" not in text
    assert "3.0000" not in text


def test_of_a_very_long_list_the_table_has_the_best_items() -> None:
    lines = [
        Recommendation(n, f"id{n}", f"Title {n}", float(-n), float(n), None) for n in range(1, 1502)
    ]
    listed = Recommendations(lines, source="llm", version="v")
    shown = answers.recommendations(listed)
    text = printed(shown.view)
    assert "Title 1000 " in text
    assert "Title 1001 " not in text
    assert "These are the best 1,000 of 1,501 items: --json has all of them." in text
    assert len(shown.values) == 1501
    assert "These are the best" not in printed(answers.recommendations(listed[:1000]).view)


def test_a_list_tells_what_was_unknown_and_safely() -> None:
    line = Recommendation(1, "i7", "Dune", 12.0, None, None)
    listed = Recommendations(
        [line], source="popularity", unknown=("\x1b[31mi9",), ignored=("i8",), version="v"
    )
    text = printed(answers.recommendations(listed).view)
    assert "Nothing of the history is known: ranked by training interactions." in text
    assert "Not in the catalog: \\x1b[31mi9, i8" in text
