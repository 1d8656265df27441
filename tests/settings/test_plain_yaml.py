"""YAML without references, in bounded size and depth; every failure is one error."""

from pathlib import Path

import pytest

from bigrec.errors import SettingsError
from bigrec.settings import Settings
from bigrec.settings.plain_yaml import parse_yaml


def test_plain_values_are_read() -> None:
    assert parse_yaml("a: [1, 2.5, x]\nb: {c: null}") == {"a": [1, 2.5, "x"], "b": {"c": None}}
    assert parse_yaml("[" * 31 + "]" * 31)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "more than 32 levels"),
        ("- " * 20_000, "more than 32 levels"),
        ("a: &a [*a]", "references are not supported"),
        ("a: &a [x, x]\nb: [*a, *a]", "references are not supported"),
        ("!!timestamp x", "a value does not fit its type"),
        ("!!bool x", "a value does not fit its type"),
        ("!!int x", "invalid literal"),
        ("2001-99-99", "month must be in"),
        ("1" * 5000, "Exceeds the limit"),
        ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("\x00", "special characters are not allowed"),
        ("a: [", "expected"),
    ],
)
def test_everything_else_is_one_error(text: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_yaml(text)
    (tmp_path / "settings.yaml").write_text(text)
    with pytest.raises(SettingsError, match=r"settings\.yaml is not valid YAML: "):
        Settings.read(tmp_path / "settings.yaml")


def test_a_file_too_large_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("# " + "x" * (1 << 16))
    with pytest.raises(SettingsError, match="it has more than 65,536 bytes"):
        Settings.read(tmp_path / "settings.yaml")


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("retrieval.learning_rate=.inf", "finite number"),
        ("seed=-1", "greater than or equal to 0"),
        ("retrieval.epochs=99999999999999999999", "less than 2147483648"),
        ("retrieval.target_modules=(a+)+$", "String should match pattern"),
        ("seed=[[", "not valid YAML"),
    ],
)
def test_values_without_limits_are_refused(override: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        Settings.read(overrides=[override])


def test_many_problems_are_told_in_few_lines() -> None:
    with pytest.raises(SettingsError, match="and 80 more") as told:
        Settings.checked({f"x{number}": 1 for number in range(100)})
    assert len(str(told.value).splitlines()) == 22
