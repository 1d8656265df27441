from pathlib import Path

import numpy as np

from bigrec.evaluation.method import MethodId
from bigrec.evaluation.protocol import MethodResult, summarize
from bigrec.experiments.studies.report import StudyReport, write_study

HOSTILE = "\x1b[31m<b>a</b> ![x](http://x.example) `b`\n# c"


def test_names_of_datasets_are_no_markup_in_any_file(tmp_path: Path) -> None:
    users = np.arange(3)
    results = [
        MethodResult(MethodId("A"), exclude_seen=exclude_seen, ranks=np.array([0, 3, 40]))
        for exclude_seen in (True, False)
    ]
    write_study(
        tmp_path,
        StudyReport(
            name="domains",
            claim=f"On {HOSTILE}.",
            exclude_seen=True,
            verdicts={f"On {HOSTILE}": "undecided"},
            findings=(),
            rows=summarize(results, users=users, seed=0),
            notes=[f"{HOSTILE}: 3 users."],
        ),
    )
    page, text = ((tmp_path / f"study.{kind}").read_text() for kind in ("html", "md"))
    assert "\x1b" not in page + text
    assert "<b>" not in page + text
    shown = r"\\x1b\[31m&lt;b>a&lt;/b> !\[x\](http://x.example) \`b\` # c"
    assert text.count(shown) == 3
    assert [line for line in text.splitlines() if line.startswith("# ")] == ["# Study domains"]
