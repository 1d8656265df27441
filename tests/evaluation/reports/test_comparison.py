import json
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from struct import unpack

import pytest

from bigrec.errors import BundleError
from bigrec.evaluation.method import MethodId
from bigrec.evaluation.protocol import SummaryRow
from bigrec.evaluation.reports.comparison import (
    comparison_from_json,
    comparison_json,
    write_comparison,
)
from bigrec.evaluation.reports.data import (
    AgreementRow,
    BeyondRow,
    ChosenRow,
    ComparisonReport,
    GammaPath,
    SeedRow,
    shown_methods,
)
from bigrec.evaluation.segments import SegmentRow
from bigrec.evaluation.significance import ComparisonRow
from tests.evaluation.reports.parsed_page import ParsedPage

OURS = MethodId("BIGRec, all beams")
SIGNALS = ("A", "<b>")
SIGNAL = MethodId("", "tuned", SIGNALS)
PRODUCT = MethodId("BIGRec", "paper", SIGNALS)
TUNED = MethodId("BIGRec", "tuned", SIGNALS)
OTHER = MethodId("other")
NDCG = {OURS: 0.125, SIGNAL: 0.25, PRODUCT: 0.375}


def _rows(ndcg: Mapping[MethodId, float], *, exclude_seen: bool) -> list[SummaryRow]:
    """NDCG@10 as given, HR@10 twice as high, MRR half as high; intervals of 0.125 either side."""
    return [
        SummaryRow(method, exclude_seen, metric, value, value - 0.125, value + 0.125)
        for method, base in ndcg.items()
        for metric, value in (("hr@10", 2 * base), ("ndcg@10", base), ("mrr", base / 2))
    ]


ROWS = [*_rows(NDCG, exclude_seen=False), *_rows(NDCG, exclude_seen=True)]
REPORT = ComparisonReport(
    title="A <comparison>",
    reference=SIGNAL,
    recommenders=[OURS],
    rows=ROWS,
    differences=[
        ComparisonRow(OURS, SIGNAL, True, "hr@10", -0.25, -0.5, -0.125, 0.01, 0.02),
        ComparisonRow(OURS, SIGNAL, True, "ndcg@10", -0.0625, -0.125, 0.03125, 0.2, 0.4),
    ],
    chosen=[
        ChosenRow(PRODUCT, True, "product, gamma 1", {"ndcg@10": 0.875, "hr@10": 0.9375}),
        ChosenRow(TUNED, True, "sum, gamma 2", None),
    ],
    paths=[GammaPath(PRODUCT, True, (0.0, 1.0, 10.0), (0.1, 0.4, 0.2), (0.1, 0.3, 0.2), 1.0)],
    segments={
        "target & <i>": [
            SegmentRow("cold", 40, row) for row in ROWS if row.exclude_seen and row.metric != "mrr"
        ]
    },
    beyond=[BeyondRow(OURS, True, coverage=0.125, novelty=9.5, gini=0.75)],
    agreement=[
        AgreementRow(OURS, SIGNAL, True, overlap=0.25, rate_both=0.5, rate_one=0.125, ratio=4.0),
        AgreementRow(OURS, OTHER, True, overlap=0, rate_both=None, rate_one=0.125, ratio=None),
    ],
    gains=[ComparisonRow(PRODUCT, SIGNAL, True, "ndcg@10", 0.125, 0.0625, 0.25, 0.01, 0.03)],
    validation=[SummaryRow(OURS, True, "ndcg@10", 0.75, 0.625, 0.875)],
    seeds=[SeedRow(OURS, True, "ndcg@10", 0.25, 0.0625, {3: 0.1875, 11: 0.3125})],
    shares={"first_is_title": 0.875},
    settings={"model": "small", "ks": [1, {"x": None}]},
    notes=["Read me < first."],
)
EMPTY = ComparisonReport("Empty", MethodId("none"), [], [], [], [], [], {}, [], [])


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "comparison.html"
    write_comparison(path, REPORT)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def parsed(page: str) -> ParsedPage:
    return ParsedPage.of(page)


def _rewritten(folder: Path, report: ComparisonReport) -> ParsedPage:
    write_comparison(folder / "comparison.html", report)
    return ParsedPage.of((folder / "comparison.html").read_text(encoding="utf-8"))


def test_the_page_is_well_formed_and_needs_no_other_file(parsed: ParsedPage) -> None:
    assert parsed.open == []
    assert all(source.startswith("data:image/png;base64,") for source in parsed.sources)
    assert {"script", "link"}.isdisjoint(parsed.tags)


def test_text_is_escaped(page: str) -> None:
    assert "A &lt;comparison&gt;" in page
    assert "Read me &lt; first." in page
    assert "A &amp; &lt;b&gt;" in page
    assert "target &amp; &lt;i&gt;" in page
    assert "<b>" not in page
    assert "<i>" not in page


def test_excluded_seen_items_come_first(parsed: ParsedPage) -> None:
    protocols = [one for one in parsed.headings if one.startswith("Seen items")]
    assert protocols == [
        "Seen items excluded",
        "Seen items included, as in the paper",
    ]


def test_a_protocol_that_was_not_run_is_omitted(tmp_path: Path) -> None:
    rows = [row for row in ROWS if not row.exclude_seen]
    parsed = _rewritten(tmp_path, replace(REPORT, rows=rows))
    assert "Seen items included, as in the paper" in parsed.headings
    assert not any("excluded" in heading for heading in parsed.headings)


def test_methods_keep_their_order_and_the_best_is_bold(page: str, parsed: ParsedPage) -> None:
    start = parsed.cells.index(["Method", "NDCG@10", "NDCG@10 on validation"])
    labels = [line[0] for line in parsed.cells[start + 1 : start + 4]]
    assert labels == [OURS.label, SIGNAL.label, PRODUCT.label]
    assert '<td class="best">0.375 [0.250, 0.500]</td>' in page
    assert "<td>0.250 [0.125, 0.375]</td>" in page


def test_differences_come_with_interval_and_corrected_p(parsed: ParsedPage) -> None:
    assert ["Method", "HR@10", "p of HR@10", "NDCG@10", "p of NDCG@10"] in parsed.cells
    assert [
        *(OURS.label, "-0.2500 [-0.5000, -0.1250]", "0.0200"),
        *("-0.0625 [-0.1250, +0.0312]", "0.4000"),
    ] in parsed.cells


def test_what_the_model_adds_and_validation_figures_are_there(parsed: ParsedPage) -> None:
    assert [PRODUCT.label, "+0.1250 [+0.0625, +0.2500]", "0.0300"] in parsed.cells
    assert [OURS.label, "0.125 [0.000, 0.250]", "0.750 [0.625, 0.875]"] in parsed.cells
    assert [PRODUCT.label, "0.375 [0.250, 0.500]", ""] in parsed.cells
    assert "Rules and gammas were selected by the figures on validation" in parsed.text


def test_differences_that_may_be_chance_are_pale(page: str) -> None:
    assert '<td class="weak">0.4000</td>' in page
    assert "<td>0.0200</td>" in page


def test_a_difference_that_a_method_lacks_stays_empty(tmp_path: Path) -> None:
    other = replace(REPORT.differences[1], method=OTHER)
    parsed = _rewritten(tmp_path, replace(REPORT, differences=[*REPORT.differences, other]))
    assert ["other", "", "", "-0.0625 [-0.1250, +0.0312]", "0.4000"] in parsed.cells


def test_the_papers_figures_are_labeled_and_beside_the_rule(parsed: ParsedPage) -> None:
    label = "Paper's protocol: a gamma for each metric and K; no single recommender reaches these"
    assert ["Method", "Rule selected on validation", "This rule on test", label] in parsed.cells
    assert [
        *(PRODUCT.label, "product, gamma 1"),
        *("NDCG@10 0.375, HR@10 0.750", "NDCG@10 0.875, HR@10 0.938"),
    ] in parsed.cells
    assert [TUNED.label, "sum, gamma 2", "", ""] in parsed.cells


def test_beyond_accuracy_agreement_and_seeds_are_listed(parsed: ParsedPage) -> None:
    assert [OURS.label, "12.5%", "9.50", "0.750"] in parsed.cells
    assert [OURS.label, SIGNAL.label, "25.0%", "0.5000", "0.1250", "4.0"] in parsed.cells
    assert ["Method", "Metric", "Mean ± deviation", "Seed 3", "Seed 11"] in parsed.cells
    assert [OURS.label, "NDCG@10", "0.2500 ± 0.0625", "0.1875", "0.3125"] in parsed.cells


def test_an_undefined_rate_is_a_dash(parsed: ParsedPage) -> None:
    assert [OURS.label, "other", "0.0%", "-", "0.1250", "-"] in parsed.cells


def test_shares_and_settings_are_listed(parsed: ParsedPage) -> None:
    assert ["first_is_title", "87.5%"] in parsed.cells
    assert ["ks", '[1, {"x": null}]'] in parsed.cells


def test_every_plot_is_a_png_of_sensible_size(parsed: ParsedPage) -> None:
    for source in parsed.sources:
        png = b64decode(source.removeprefix("data:image/png;base64,"))
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = unpack(">II", png[16:24])
        assert 1000 <= width <= 2000
        assert 200 <= height <= 2000


def test_plots_are_there_for_what_was_measured(parsed: ParsedPage) -> None:
    kinds = [caption.split(" ")[:3] for caption in parsed.captions]
    assert kinds == [
        ["HR", "by", "the"],
        ["NDCG", "by", "the"],
        ["NDCG@10", "over", "gamma"],
        ["NDCG@10", "by", "segment:"],
        ["NDCG@10", "of", "every"],
        # With seen items included there are metrics only.
        ["HR", "by", "the"],
        ["NDCG", "by", "the"],
    ]


def test_without_seeds_the_page_does_not_mention_them(tmp_path: Path) -> None:
    parsed = _rewritten(tmp_path, replace(REPORT, seeds=()))
    assert "Seeds" not in parsed.headings
    assert not any("seed" in caption for caption in parsed.captions)


def test_a_report_of_nothing_is_only_its_heading(tmp_path: Path) -> None:
    parsed = _rewritten(tmp_path, EMPTY)
    assert parsed.headings == []
    assert parsed.sources == []


def test_plots_show_the_best_the_reference_and_the_recommender_alone() -> None:
    # Twelve signals, s11 the best; s4 is the eighth. One product would be second best.
    signals = [MethodId(f"s{number}") for number in range(12)]
    ndcg = {OURS: 0.01, **{signal: 0.1 + n / 100 for n, signal in enumerate(signals)}}
    products = [MethodId("BIGRec", "paper", (f"s{number}",)) for number in range(2)]
    rows = _rows({**ndcg, products[0]: 0.205, products[1]: 0.02}, exclude_seen=True)
    report = replace(EMPTY, rows=rows, reference=signals[2], recommenders=[OURS])
    expected = [OURS, signals[2], *signals[5:], products[0]]
    assert shown_methods(report, exclude_seen=True) == expected


def test_captions_name_the_shown_methods(tmp_path: Path) -> None:
    ndcg = {MethodId(f"s{number}"): number / 20 for number in range(12)}
    rows = _rows(ndcg, exclude_seen=True)
    parsed = _rewritten(tmp_path, replace(EMPTY, rows=rows, reference=MethodId("s2")))
    text = "Shown are the 8 best by NDCG@10, s2 and the recommender without signals."
    assert [text in caption for caption in parsed.captions] == [True, True]


def test_captions_say_nothing_where_all_methods_are_shown(parsed: ParsedPage) -> None:
    assert not any("Shown are" in caption for caption in parsed.captions)


def test_json_holds_the_same_content_without_plots() -> None:
    content = comparison_json(REPORT)
    assert content == json.loads(json.dumps(content))
    assert content["format"] == 4
    assert content["reference"] == SIGNAL.to_json()
    assert content["rows"][0]["method"]["label"] == "BIGRec, all beams"
    assert content["chosen"][0]["method"]["signals"] == ["A", "<b>"]
    assert content["chosen"][0]["paper"] == {"ndcg@10": 0.875, "hr@10": 0.9375}
    assert content["paths"][0]["gammas"] == [0.0, 1.0, 10.0]
    assert content["seeds"][0]["values"] == {"3": 0.1875, "11": 0.3125}
    assert content["segments"]["target & <i>"][0]["segment"] == "cold"
    assert set(content) == {
        *("format", "title", "reference", "rows", "differences", "chosen", "paths", "segments"),
        *("beyond", "agreement", "gains", "validation", "seeds", "shares", "settings", "notes"),
        *("recommenders", "fitted_to", "windows", "order"),
    }


@pytest.mark.parametrize("report", [REPORT, EMPTY])
def test_a_comparison_comes_back_from_its_json(report: ComparisonReport) -> None:
    assert comparison_from_json(json.loads(json.dumps(comparison_json(report)))) == report


def test_json_of_another_format_is_refused() -> None:
    with pytest.raises(BundleError, match=r"comparison has format 3; .* reads format 4\. Run the"):
        comparison_from_json({**comparison_json(REPORT), "format": 3})


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"rows": 3}, "rows"),
        ({"rows": [{"method": {"model": "ours"}}]}, r"rows\.0\.exclude_seen"),
        ({"segments": []}, "segments"),
        ({"seeds": [{**comparison_json(REPORT)["seeds"][0], "values": {"x": 1}}]}, "seeds.0.val"),
        ({"paths": [{**comparison_json(REPORT)["paths"][0], "chosen": 7.0}]}, r"paths\.0"),
        ({"title": None}, "title"),
    ],
)
def test_damaged_json_is_refused_at_its_place(changes: dict[str, object], place: str) -> None:
    with pytest.raises(BundleError, match=f"comparison is damaged at {place}.*Run the comparison"):
        comparison_from_json({**comparison_json(REPORT), **changes})


def test_json_that_lacks_a_part_is_refused() -> None:
    content = comparison_json(REPORT)
    del content["reference"]
    with pytest.raises(BundleError, match="comparison is damaged at reference: Field required"):
        comparison_from_json(content)
