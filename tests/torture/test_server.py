import random

import pytest

from torture.server import mutated, shows, tries, valid


def test_tries_survive_and_are_repeated_by_their_number() -> None:
    assert [fault for _, fault in tries(first=4, count=3, seed=1)] == [None] * 3
    assert [number for number, _ in tries(first=2, count=1, seed=1)] == [2]


def test_a_mutation_changes_an_answer_and_not_its_origin() -> None:
    value = valid(random.Random(0), n=2)
    changed = [mutated(value, random.Random(seed)) for seed in range(20)]
    assert value == valid(random.Random(0), n=2)
    assert sum(one != value for one in changed) >= 15


@pytest.mark.parametrize(
    ("text", "is_shown"),
    [
        ("key sk-Ab1_Cd2-Ef3Gh4", True),
        ("Ab1\x1b Cd2 Ef3 Gh4", True),
        ("Ab1_Cd2-Ef3Gh", False),
        ("no key", False),
    ],
)
def test_twelve_letters_of_a_key_are_noticed(text: str, is_shown: bool) -> None:
    assert shows(text, "sk-Ab1_Cd2-Ef3Gh4") == is_shown


def test_a_fault_names_its_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torture.server.attack", lambda *_: "texts that cannot be used")
    ((number, fault),) = tries(first=7, count=1, seed=1)
    assert number == 7
    assert fault == "try 7 (): texts that cannot be used"
