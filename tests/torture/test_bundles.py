"""The attack on bundles, a few tries of each kind, and that it tells a fault from a refusal."""

import random
import shutil
from pathlib import Path

import pytest

from bigrec.errors import BundleError
from tests.conftest import UNTRACED
from torture.bundles import WITH_GRAPH, Outcome, answer, make_bundles, outcome
from torture.damage import DAMAGES, GRAPHS_EDITED

pytestmark = [pytest.mark.model, UNTRACED]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_bundles(tmp_path_factory.mktemp("bundles"))


@pytest.mark.parametrize("kind", sorted(DAMAGES))
def test_a_damaged_bundle_is_refused_by_name_or_answers(
    kind: str, bundles: dict[str, Path], tmp_path: Path
) -> None:
    names = [WITH_GRAPH] * 8 if kind == GRAPHS_EDITED else sorted(bundles)
    for number, name in enumerate(names):
        bundle = tmp_path / f"{number}"
        shutil.copytree(bundles[name], bundle)
        told = DAMAGES[kind](bundle, random.Random(f"{kind} {number}"))
        found = outcome(bundle, [])
        assert found.kind in {"refused", "other answer"}, (told, found.reason)


def test_outcomes_are_told_apart(
    bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = bundles["alone"]
    assert outcome(sound, answer(sound)) == Outcome("same answer")
    assert outcome(sound, []) == Outcome("other answer")
    assert outcome(tmp_path, []).kind == "refused"

    def fail(error: Exception) -> None:
        def load_fitted(*_: object) -> None:
            raise error

        monkeypatch.setattr("bigrec.recommender.bigrec.load_fitted", load_fitted)

    fail(BundleError("some file is damaged"))
    assert outcome(sound, []) == Outcome("fault", "some file is damaged")
    fail(KeyError("format"))
    assert outcome(sound, []).kind == "fault"
