import json
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from struct import unpack

import pytest

from bigrec.errors import BundleError
from bigrec.evaluation.protocol import SummaryRow
from bigrec.evaluation.reports.comparison import (
    AgreementRow,
    BeyondRow,
    ChosenRow,
    ComparisonReport,
    GammaPath,
    SeedRow,
    comparison_from_json,
    comparison_json,
    shown_methods,
    write_comparison,
)
from bigrec.evaluation.segments import SegmentRow
from bigrec.evaluation.significance import ComparisonRow
from tests.evaluation.reports.parsed_page import ParsedPage

OURS = "BIGRec, all beams"
SIGNAL = "A & <b>"
PRODUCT = f"BIGRec x {SIGNAL}"
NDCG = {OURS: 0.125, SIGNAL: 0.25, PRODUCT: 0.375}


def _rows(ndcg: Mapping[str, float], *, exclude_seen: bool) -> list[SummaryRow]:
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
    rows=ROWS,
    differences=[
        ComparisonRow(OURS, SIGNAL, True, "hr@10", -0.25, -0.5, -0.125, 0.01, 0.02),
        ComparisonRow(OURS, SIGNAL, True, "ndcg@10", -0.0625, -0.125, 0.03125, 0.2, 0.4),
    ],
    chosen=[
        ChosenRow(PRODUCT, True, "product, gamma 1", {"ndcg@10": 0.875, "hr@10": 0.9375}),
        ChosenRow(f"BIGRec + {SIGNAL}", True, "sum, gamma 2", None),
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
        AgreementRow(OURS, "other", True, overlap=0, rate_both=None, rate_one=0.125, ratio=None),
    ],
    gains=[ComparisonRow(PRODUCT, SIGNAL, True, "ndcg@10", 0.125, 0.0625, 0.25, 0.01, 0.03)],
    validation=[SummaryRow(OURS, True, "ndcg@10", 0.75, 0.625, 0.875)],
    seeds=[SeedRow(OURS, True, "ndcg@10", 0.25, 0.0625, {3: 0.1875, 11: 0.3125})],
    shares={"first_is_title": 0.875},
    settings={"model": "small", "ks": [1, {"x": None}]},
    notes=["Read me < first."],
)
EMPTY = ComparisonReport("Empty", "none", [], [], [], [], {}, [], [])


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


def test_seen_items_left_out_come_first(parsed: ParsedPage) -> None:
    protocols = [one for one in parsed.headings if one.startswith("Seen items")]
    assert protocols == [
        "Seen items left out: what a user would run",
        "Seen items kept, as published",
    ]


def test_a_protocol_that_was_not_run_is_left_out(tmp_path: Path) -> None:
    rows = [row for row in ROWS if not row.exclude_seen]
    parsed = _rewritten(tmp_path, replace(REPORT, rows=rows))
    assert "Seen items kept, as published" in parsed.headings
    assert not any("left out" in heading for heading in parsed.headings)


def test_methods_keep_their_order_and_the_best_is_bold(page: str, parsed: ParsedPage) -> None:
    start = parsed.cells.index(["Method", "NDCG@10"])
    assert [line[0] for line in parsed.cells[start + 1 : start + 4]] == [OURS, SIGNAL, PRODUCT]
    assert '<td class="best">0.375 [0.250, 0.500]</td>' in page
    assert "<td>0.250 [0.125, 0.375]</td>" in page


def test_differences_come_with_interval_and_corrected_p(parsed: ParsedPage) -> None:
    assert ["Method", "HR@10", "p of HR@10", "NDCG@10", "p of NDCG@10"] in parsed.cells
    assert [
        *(OURS, "-0.2500 [-0.5000, -0.1250]", "0.0200"),
        *("-0.0625 [-0.1250, +0.0312]", "0.4000"),
    ] in parsed.cells


def test_what_the_model_adds_and_validation_figures_are_there(parsed: ParsedPage) -> None:
    assert [PRODUCT, "+0.1250 [+0.0625, +0.2500]", "0.0300"] in parsed.cells
    assert [OURS, "0.750 [0.625, 0.875]"] in parsed.cells


def test_differences_that_may_be_chance_are_pale(page: str) -> None:
    assert '<td class="weak">0.4000</td>' in page
    assert "<td>0.0200</td>" in page


def test_a_difference_that_a_method_lacks_stays_empty(tmp_path: Path) -> None:
    other = replace(REPORT.differences[1], method="other")
    parsed = _rewritten(tmp_path, replace(REPORT, differences=[*REPORT.differences, other]))
    assert ["other", "", "", "-0.0625 [-0.1250, +0.0312]", "0.4000"] in parsed.cells


def test_the_published_figures_stand_beside_the_rule_and_are_labelled(parsed: ParsedPage) -> None:
    label = "Published protocol: a gamma for each metric and K; no single recommender reaches these"
    assert ["Method", "Rule chosen on validation", "This rule on test", label] in parsed.cells
    assert [
        *(PRODUCT, "product, gamma 1"),
        *("NDCG@10 0.375, HR@10 0.750", "NDCG@10 0.875, HR@10 0.938"),
    ] in parsed.cells
    assert [f"BIGRec + {SIGNAL}", "sum, gamma 2", "", ""] in parsed.cells


def test_beyond_accuracy_agreement_and_seeds_are_listed(parsed: ParsedPage) -> None:
    assert [OURS, "12.5%", "9.50", "0.750"] in parsed.cells
    assert [OURS, SIGNAL, "25.0%", "0.5000", "0.1250", "4.0"] in parsed.cells
    assert ["Method", "Metric", "Mean ± deviation", "Seed 3", "Seed 11"] in parsed.cells
    assert [OURS, "NDCG@10", "0.2500 ± 0.0625", "0.1875", "0.3125"] in parsed.cells


def test_an_undefined_rate_is_a_dash(parsed: ParsedPage) -> None:
    assert [OURS, "other", "0.0%", "-", "0.1250", "-"] in parsed.cells


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
        # Nothing but metrics is given with seen items kept.
        ["HR", "by", "the"],
        ["NDCG", "by", "the"],
    ]


def test_without_seeds_the_page_says_nothing_of_them(tmp_path: Path) -> None:
    parsed = _rewritten(tmp_path, replace(REPORT, seeds=()))
    assert "Seeds" not in parsed.headings
    assert not any("seed" in caption for caption in parsed.captions)


def test_a_report_of_nothing_is_only_its_heading(tmp_path: Path) -> None:
    parsed = _rewritten(tmp_path, EMPTY)
    assert parsed.headings == []
    assert parsed.sources == []


def test_plots_show_the_best_the_reference_and_the_recommender_alone() -> None:
    # Twelve signals, s11 the best; s4 is the eighth. One product would be second best.
    ndcg = {OURS: 0.01, **{f"s{number}": 0.1 + number / 100 for number in range(12)}}
    rows = _rows({**ndcg, "BIGRec x s0": 0.205, "BIGRec x s1": 0.02}, exclude_seen=True)
    chosen = [ChosenRow(f"BIGRec x s{number}", True, "gamma 1", None) for number in range(2)]
    report = replace(EMPTY, rows=rows, chosen=chosen, reference="s2")
    assert shown_methods(report, exclude_seen=True) == [
        *(OURS, "s2"),
        *("s5", "s6", "s7", "s8", "s9", "s10", "s11"),
        "BIGRec x s0",
    ]


def test_captions_say_which_methods_were_chosen(tmp_path: Path) -> None:
    rows = _rows({f"s{number}": number / 20 for number in range(12)}, exclude_seen=True)
    parsed = _rewritten(tmp_path, replace(EMPTY, rows=rows, reference="s2"))
    text = "Shown are the 8 best by NDCG@10, s2 and BIGRec without signals."
    assert [text in caption for caption in parsed.captions] == [True, True]


def test_captions_say_nothing_where_all_methods_are_shown(parsed: ParsedPage) -> None:
    assert not any("Shown are" in caption for caption in parsed.captions)


def test_json_holds_the_same_content_without_plots() -> None:
    content = comparison_json(REPORT)
    assert content == json.loads(json.dumps(content))
    assert content["format"] == 2
    assert content["chosen"][0]["published"] == {"ndcg@10": 0.875, "hr@10": 0.9375}
    assert content["paths"][0]["gammas"] == [0.0, 1.0, 10.0]
    assert content["seeds"][0]["values"] == {"3": 0.1875, "11": 0.3125}
    assert content["segments"]["target & <i>"][0]["segment"] == "cold"
    assert set(content) == {
        *("format", "title", "reference", "rows", "differences", "chosen", "paths", "segments"),
        *("beyond", "agreement", "gains", "validation", "seeds", "shares", "settings", "notes"),
    }


@pytest.mark.parametrize("report", [REPORT, EMPTY])
def test_a_comparison_comes_back_from_its_json(report: ComparisonReport) -> None:
    assert comparison_from_json(json.loads(json.dumps(comparison_json(report)))) == report


def test_json_of_another_format_is_refused() -> None:
    with pytest.raises(BundleError, match=r"comparison has format 1; .* reads format 2\. Run the"):
        comparison_from_json({**comparison_json(REPORT), "format": 1})


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"rows": 3}, "rows"),
        ({"rows": [{"method": "ours"}]}, r"rows\.0\.exclude_seen"),
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
