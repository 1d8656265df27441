"""Items are added, changed, hidden, removed and bundles swapped in any order, across restarts."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from bigrec.recommender.bigrec import BIGRec
from bigrec.serving.app import create_app
from bigrec.serving.options import ServingOptions
from tests.conftest import TITLES, UNTRACED, tiny_dataset, tiny_settings, wait_for

pytestmark = [pytest.mark.model, UNTRACED]

IDS = st.sampled_from([*(f"i{number}" for number in range(0, 12, 3)), "a", "b", "c/d e"])
NAMES = st.sampled_from(["Heat (1995)", "Casino (1995)", TITLES[3]])
EVERYTHING = {"history": ["i1"], "k": 100, "exclude_seen": False}


@pytest.fixture(scope="module")
def bundles(text_bundle: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two bundles."""
    folder = tmp_path_factory.mktemp("bundles")
    shutil.copytree(text_bundle, folder / "first")
    settings = tiny_settings(tiny_model, "baselines.tune=none", mode="text")
    BIGRec(settings).fit(tiny_dataset()).save(folder / "second")
    return folder


def test_the_items_are_as_after_the_same_changes_of_a_dictionary(bundles: Path) -> None:
    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.folder = Path(tempfile.mkdtemp(dir=bundles))
            for name in ("first", "second"):
                (self.folder / name).symlink_to(bundles / name)
            self.items = {f"i{number}": title for number, title in enumerate(TITLES)}
            self.hidden: set[str] = set()
            self.removed: set[str] = set()
            self.start()

        def start(self) -> None:
            options = ServingOptions(
                bundles=(self.folder / "first",),
                journal=self.folder / "journal.jsonl",
                device="cpu",
                window_ms=0,
                compact_bytes=1,
                follow_s=0.01,
            )
            self.client = TestClient(create_app(options)).__enter__()
            wait_for(lambda: self.client.get("/health/ready").status_code == 200)

        def teardown(self) -> None:
            self.client.__exit__(None, None, None)

        def listed(self) -> list[Any]:
            answer = self.client.post("/v1/recommend", json=EVERYTHING)
            assert answer.status_code == 200
            return [(item["item_id"], item["title"]) for item in answer.json()["items"]]

        @rule(item=IDS, title=NAMES)
        def add(self, item: str, title: str) -> None:
            known = self.items.get(item)
            status = 201 if known is None else 200 if known == title else 409
            answer = self.client.post("/v1/items", json={"item_id": item, "title": title})
            assert answer.status_code == status
            self.items.setdefault(item, title)
            self.removed.discard(item)

        @rule(item=IDS, title=NAMES)
        def rename(self, item: str, title: str) -> None:
            answer = self.client.patch(f"/v1/items/{item}", json={"title": title})
            assert answer.status_code == (200 if item in self.items else 404)
            if item in self.items:
                self.items[item] = title

        @rule(item=IDS, hidden=st.booleans())
        def hide(self, item: str, hidden: bool) -> None:
            answer = self.client.patch(f"/v1/items/{item}", json={"hidden": hidden})
            assert answer.status_code == (200 if item in self.items else 404)
            if item in self.items:
                (self.hidden.add if hidden else self.hidden.discard)(item)

        @rule(item=IDS)
        def remove(self, item: str) -> None:
            is_known = item in self.items or item in self.removed
            status = self.client.delete(f"/v1/items/{item}").status_code
            assert status == (204 if is_known else 404)
            if self.items.pop(item, None) is not None:
                self.removed.add(item)
            self.hidden.discard(item)

        @rule(item=IDS)
        def take(self, item: str) -> None:
            rows = [{"user_id": "anna", "item_id": item}]
            answer = self.client.post("/v1/interactions", json={"interactions": rows})
            assert answer.status_code == (200 if item in self.items else 422)

        @rule(name=st.sampled_from(["first", "second"]))
        def swap(self, name: str) -> None:
            answer = self.client.post("/v1/bundle:swap", json={"folder": name})
            assert answer.status_code == 200

        @rule()
        def restart(self) -> None:
            before = self.listed()
            self.teardown()
            self.start()
            assert self.listed() == before

        @invariant()
        def lists_hold_exactly_the_shown_items(self) -> None:
            shown = {item: self.items[item] for item in self.items if item not in self.hidden}
            listed = self.listed()
            assert all(shown[item] == title for item, title in listed)
            assert sorted(title for _, title in listed) == sorted(set(shown.values()))

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=10,
            stateful_step_count=15,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
