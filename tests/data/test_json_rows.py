import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bigrec.data import json_rows
from bigrec.data.json_rows import json_keys, parse_json, scan_json
from bigrec.errors import DataError


def write(folder: Path, content: str | bytes, *, name: str = "t.json") -> Path:
    raw = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(gzip.compress(raw, mtime=0) if name.endswith(".gz") else raw)
    return folder / name


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        scan_json(path).collect()
    return str(caught.value)


VALUES = st.none() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=3)


@given(
    objects=st.lists(st.dictionaries(st.sampled_from("abcd"), VALUES), min_size=1, max_size=6),
    is_array=st.booleans(),
    ascii_only=st.booleans(),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_object_and_every_key_is_read(
    tmp_path: Path, objects: list[dict[str, object]], is_array: bool, ascii_only: bool
) -> None:
    lines = [json.dumps(value, ensure_ascii=ascii_only) for value in objects]
    path = write(tmp_path, f"[{', '.join(lines)}]" if is_array else "\n".join(lines))
    keys = list(dict.fromkeys(key for value in objects for key in value))
    if not keys:
        assert "there is no object with a key" in refusal(path)
        return
    frame = scan_json(path).collect()
    assert frame.columns == keys
    assert frame.rows() == [
        tuple(None if value.get(key) is None else str(value[key]) for key in keys)
        for value in objects
    ]


def test_types_and_keys_may_change_after_any_number_of_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_rows, "_BATCH_ROWS", 2)
    path = write(tmp_path, '{"i": 1}\n' * 5 + '{"i": "X1", "rating": 2.5}\n', name="t.jsonl.gz")
    assert scan_json(path).collect().rows() == [("1", None)] * 5 + [("X1", "2.5")]
    assert scan_json(path).select("rating").collect()["rating"].to_list() == [None] * 5 + ["2.5"]


def test_values_of_every_type_become_text(tmp_path: Path) -> None:
    values = '[true, NaN, 12345678901234567890123, 12.0, ["a", null, "b"], [["a", "b"], ["c"]], {}]'
    path = write(tmp_path, "\n".join(f'{{"v": {value}}}' for value in json_values(values)))
    assert scan_json(path).collect()["v"].to_list() == [
        "true",
        None,
        "12345678901234567890123",
        "12.0",
        "a > b",
        "a > b, c",
        "{}",
    ]


def json_values(text: str) -> list[str]:
    return [json.dumps(value) for value in json.loads(text)]


def test_named_columns_are_null_where_the_file_has_no_such_key(tmp_path: Path) -> None:
    path = write(tmp_path, '{"a": "x", "p": 1}\n\n{"p": [2], "q": {}}\n')
    assert scan_json(path, columns=["a", "z"]).collect().rows() == [("x", None), (None, None)]
    assert json_keys(path) == ["a", "p"]


def test_lines_of_python_are_read_as_json_is(tmp_path: Path) -> None:
    path = write(tmp_path, "{'asin': '1', 'title': 'Bob\\'s \\d', 'c': [['x', 'y']], 'n': None}\n")
    assert scan_json(path).collect().rows() == [("1", "Bob's \\d", "x > y", None)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 1}\nnot json\n', "line 2, character 2: expected ident. Expected one JSON object"),
        ('{"a": 1}\n{"é": 1, "b"\n', "line 2, character 12: EOF while parsing an object"),
        ('{"a": 1} {"a": 2}\n', "line 1, character 10: trailing characters"),
        ('{\n  "a": 1\n}\n', "line 1, character 1: EOF while parsing an object"),
        ("[1, 2]", "element 1 is 1. Expected one JSON object in each line"),
        ('[{"a": 1},\n {"a": }]', "line 2, character 8: expected value"),
        ('{"a": 1}\n7\n', "line 2 is 7. Expected one JSON object"),
        ("{'a': 1}\n{'a', 2}\n", "line 2 is {"),
        ("{'a': 1}\n{'a': \n", "line 2, character 2: key must be a string"),
        ("{'a': '\\ud800'}\n", "line 1, character 2: key must be a string"),
        ('{"a": 1,}\n', "line 1, character 9: trailing comma"),
        ('{"a": "x" "y"}\n', "line 1, character 11: expected `,` or `}`"),
        ('{"a": ' + "[" * 100_000, "line 1, character 207: recursion limit exceeded"),
        ("(" * 100_000, "line 1, character 1: expected value"),
        ("[" * 100_000, "line 1, character 202: recursion limit exceeded"),
        ('{"a": "\\ud800"}', "line 1, character 14: unexpected end of hex escape"),
        ('{"u": {"0": 1}, "i": [2]}', "its first object holds lists or objects alone, under u, i"),
        ("", "there is no object with a key. Expected one JSON object in each line, or one array"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, content: str, message: str) -> None:
    assert refusal(write(tmp_path, content)).startswith(message)


def test_an_error_of_a_text_names_its_line() -> None:
    assert parse_json(b'{"a": [1]}') == {"a": [1]}
    with pytest.raises(DataError, match="line 2, character 3: expected value"):
        parse_json(b"[1,\n  x]")
