"""Ways to damage a bundle, by accident or on purpose."""

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from safetensors.numpy import load_file, save

from bigrec.recommender.approximate import GRAPH_FILE
from bigrec.recommender.bundle import MANIFEST
from bigrec.storage import file_digest

Damage = Callable[[Path, random.Random], str]
"""Damages a bundle and says how."""

_SIGNATURES = ("manifest.sig", MANIFEST)
# Digests of other files that a description holds, by its name.
_INNER = {
    "index.json": ("embeddings_sha256", "embeddings.safetensors"),
    "model.json": ("arrays_sha256", "arrays.safetensors"),
}
# Where the graph's sizes and the levels of its nodes begin, after the vectors.
_HEAD_OF_GRAPH, _LEVELS_OF_GRAPH = 64, 104
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 10**6, 2**31, 2**63, 10**30, -(10**30)),
    *(0.5, -0.5, 1e-300, 1e300, "", "x", "1", "auto", "all-linear", "(a+)+$", "../..", "/etc"),
    *("a" * 10_000, "\x1b[2J", "\u202e", "{item_type:>1000000000}", "{0}", "{", "float32"),
    *([], {}, [[]], [None], [1], ["x"], {"x": 1}, [["x"] * 3] * 3, {"format": 2}),
)


def resign(bundle: Path) -> None:
    """Let all digests of a bundle be those of its files, as who edits it on purpose would."""
    for name, (key, other) in _INNER.items():
        for path in bundle.rglob(name):
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                if key in content:
                    content[key] = file_digest(path.with_name(other))
                    path.write_text(json.dumps(content), encoding="utf-8")
            except (OSError, ValueError, TypeError, RecursionError):
                continue
    try:
        manifest = json.loads((bundle / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return
    manifest["files"] = {
        path.relative_to(bundle).as_posix(): file_digest(path)
        for path in sorted(bundle.rglob("*"))
        if path.is_file() and path.name not in _SIGNATURES
    }
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def flip_bytes(bundle: Path, rng: random.Random) -> str:
    """Change some bytes of a file."""
    path = _file(bundle, rng)
    content = bytearray(path.read_bytes())
    places = [rng.randrange(len(content)) for _ in range(rng.choice((1, 1, 4, 32)))]
    for place in places:
        content[place] ^= rng.randrange(1, 256)
    path.write_bytes(content)
    return f"{_name(bundle, path)}: bytes {places} changed"


def change_bytes_of_header(bundle: Path, rng: random.Random) -> str:
    """Change some of the first or last bytes of a file, where formats describe themselves."""
    path = _file(bundle, rng)
    content = bytearray(path.read_bytes())
    at_end = path.suffix == ".parquet"
    places = [rng.randrange(min(200, len(content))) for _ in range(rng.choice((1, 2, 8)))]
    for place in places:
        content[-1 - place if at_end else place] = rng.choice((0, 1, 127, 128, 255, 0x30, 0x39))
    path.write_bytes(content)
    return f"{_name(bundle, path)}: bytes {places} set, from the end: {at_end}"


def cut(bundle: Path, rng: random.Random) -> str:
    """Cut, empty, extend, remove or swap a file."""
    path = _file(bundle, rng)
    how = rng.choice(("cut", "empty", "extend", "remove", "swap"))
    content = path.read_bytes()
    if how == "cut":
        path.write_bytes(content[: rng.randrange(len(content))])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "extend":
        path.write_bytes(content + rng.randbytes(rng.choice((1, 100))))
    elif how == "remove":
        path.unlink()
    else:
        path.write_bytes(_file(bundle, rng).read_bytes())
    return f"{_name(bundle, path)}: {how}"


def add_file(bundle: Path, rng: random.Random) -> str:
    """Add a file, a link or a folder that does not belong there."""
    name = rng.choice(("extra.json", "code.py", "adapter/adapter_model.bin", "a/b/c.json", ".x"))
    path = bundle / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if rng.random() < 0.3:
        path.symlink_to("/etc/hostname")
    else:
        path.write_text("{}")
    return f"{name} added"


def edit_manifest(bundle: Path, rng: random.Random) -> str:
    """Change a value of the manifest."""
    return _edit_json(bundle / MANIFEST, rng)


def edit_json(bundle: Path, rng: random.Random) -> str:
    """Change a value of a JSON file."""
    paths = [path for path in _files(bundle, ".json") if path.name != MANIFEST]
    path = rng.choice(paths)
    return f"{_name(bundle, path)}: {_edit_json(path, rng)}"


def edit_settings(bundle: Path, rng: random.Random) -> str:
    """Change a value of the settings."""
    path = bundle / "settings.yaml"
    if rng.random() < 0.1:
        text = rng.choice(
            (
                "[" * 10_000,
                "a: &a [*a]",
                "x: !!python/object:os.system {}",
                "seed: !!timestamp x",
                "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
                "- " * 5_000,
                "\x00",
                "",
            )
        )
        path.write_text(text)
        return f"settings: {text[:40]!r}"
    values = yaml.safe_load(path.read_text())
    told = _change(values, rng)
    path.write_text(yaml.safe_dump(values))
    return f"settings: {told}"


def edit_table(bundle: Path, rng: random.Random) -> str:
    """Change the rows, columns or types of a table."""
    path = rng.choice(_files(bundle, ".parquet"))
    frame = pl.read_parquet(path)
    column = rng.choice(frame.columns)
    changes: Mapping[str, Callable[[], pl.DataFrame]] = {
        "no rows": frame.clear,
        "a row less": lambda: frame[:-1],
        "a row twice": lambda: pl.concat([frame, frame[:1]]),
        "reversed": frame.reverse,
        "no column": lambda: frame.drop(column),
        "another name": lambda: frame.rename({column: "other"}),
        "one more column": lambda: frame.with_columns(other=pl.lit("x")),
        "missing values": lambda: frame.with_columns(
            pl.lit(None, dtype=frame[column].dtype).alias(column)
        ),
        "one missing value": lambda: frame.with_columns(
            pl.when(pl.int_range(pl.len()) == 1).then(None).otherwise(pl.col(column)).alias(column)
        ),
        "one value": lambda: frame.with_columns(pl.lit(frame[column][0]).alias(column)),
        "lists": lambda: frame.with_columns(pl.concat_list(column).alias(column)),
        "floats": lambda: frame.with_columns(pl.lit(float("nan")).alias(column)),
        "bytes": lambda: frame.with_columns(pl.lit(b"\xff\xfe").alias(column)),
        "categories": lambda: frame.with_columns(
            pl.col(column).cast(pl.String).cast(pl.Categorical)
        ),
        "many rows": lambda: pl.DataFrame(
            {column: pl.repeat(frame[column][0], 5_000_000, eager=True)}
        ),
        "long texts": lambda: frame.with_columns(pl.lit("x" * 20_000_000).alias(column)),
        "negative numbers": lambda: frame.with_columns(pl.lit(-5).alias(column)),
        "other texts": lambda: frame.with_columns(pl.lit("\x1b]0;x\x07").alias(column)),
    }
    how = rng.choice(sorted(changes))
    changes[how]().write_parquet(path)
    return f"{_name(bundle, path)}: {column}: {how}"


def edit_arrays(bundle: Path, rng: random.Random) -> str:
    """Change values, shapes, types or names of arrays."""
    # A description alone needs no arrays.
    loaded = {path: load_file(path) for path in _files(bundle, ".safetensors")}
    path, arrays = rng.choice([pair for pair in loaded.items() if pair[1]])
    name = rng.choice(sorted(arrays))
    array = arrays[name].copy()
    value = rng.choice((np.nan, np.inf, -np.inf, 0, -1, 1e30, -1e30, 3e38, 1e12, 1e-30, 2**31 - 1))
    changes: Mapping[str, Callable[[], Any]] = {
        "one value": lambda: _with_value(array, rng.randrange(max(array.size, 1)), value),
        "all values": lambda: _with_value(array, slice(None), value),
        "flat": lambda: array.reshape(-1),
        "one more axis": lambda: array[None],
        "transposed": lambda: np.ascontiguousarray(array.T),
        "a row less": lambda: array[:-1],
        "twice": lambda: np.concatenate([array, array]),
        "empty": lambda: array[:0],
        "no rows of any width": lambda: np.zeros((0, 10**9), dtype=array.dtype),
        "float64": lambda: array.astype(np.float64),
        "float16": lambda: array.astype(np.float16),
        "int64": lambda: np.nan_to_num(array).astype(np.int64),
        "bool": lambda: array.astype(np.bool_),
        "scalar": lambda: np.zeros((), dtype=array.dtype),
    }
    how = rng.choice((*sorted(changes), "missing", "one more", "another name"))
    if how == "missing":
        del arrays[name]
    elif how == "one more":
        arrays["other"] = array
    elif how == "another name":
        arrays["other"] = arrays.pop(name)
    else:
        with np.errstate(all="ignore"):
            arrays[name] = changes[how]()
    path.write_bytes(save(arrays))
    return f"{_name(bundle, path)}: {name}: {how} ({value})"


def edit_graph(bundle: Path, rng: random.Random) -> str:
    """Change a number of a graph of titles, or several of its links."""
    path = bundle / GRAPH_FILE
    content = bytearray(path.read_bytes())
    rows, columns = np.frombuffer(content[:8], dtype="<u4")
    head = 8 + int(rows) * int(columns)
    places = {
        "size of vectors": [rng.choice((0, 4))],
        "vector": [rng.randrange(8, head, 2)],
        "header": [head + rng.randrange(34)],
        "graph": [head + _HEAD_OF_GRAPH + 8 * rng.randrange(5)],
        "levels": [rng.randrange(head + _LEVELS_OF_GRAPH, head + _LEVELS_OF_GRAPH + 2 * int(rows))],
        "links": [
            rng.randrange(head + _LEVELS_OF_GRAPH + 2 * int(rows), len(content))
            for _ in range(rng.choice((1, 8, 64)))
        ],
    }
    how = rng.choice(sorted(places))
    values = (
        b"\x00",
        b"\x01",
        b"\x07",
        b"\xff",
        b"\xff\xff\xff\xff",
        b"\x00\x7e",
        rng.randbytes(8),
    )
    value = rng.choice(values)
    for place in places[how]:
        content[place : place + len(value)] = value[: len(content) - place]
    path.write_bytes(content)
    return f"{GRAPH_FILE}: {how}: bytes {places[how]} = {value.hex()}"


def resigned(damage: Damage) -> Damage:
    """The damage, with digests that match."""

    def apply(bundle: Path, rng: random.Random) -> str:
        told = damage(bundle, rng)
        resign(bundle)
        return told

    return apply


GRAPHS_EDITED = "graphs edited, signed again"
"""Name of the damage of graphs, which not every bundle has."""

DAMAGES: Mapping[str, Damage] = {
    "bytes": flip_bytes,
    "cut or missing files": cut,
    "files added": add_file,
    "manifest edited": edit_manifest,
    "bytes, signed again": resigned(flip_bytes),
    "headers, signed again": resigned(change_bytes_of_header),
    "cut files, signed again": resigned(cut),
    "files added, signed again": resigned(add_file),
    "JSON edited, signed again": resigned(edit_json),
    "settings edited, signed again": resigned(edit_settings),
    "tables edited, signed again": resigned(edit_table),
    "arrays edited, signed again": resigned(edit_arrays),
    GRAPHS_EDITED: resigned(edit_graph),
}
"""Every kind of damage by its name."""


def _with_value(array: Any, place: Any, value: float) -> Any:
    flat = array.reshape(-1)
    if flat.size:
        flat[place] = np.array(value).astype(array.dtype)
    return array


def _edit_json(path: Path, rng: random.Random) -> str:
    if rng.random() < 0.1:
        text = rng.choice(
            ("[" * 100_000, "{", "null", "[]", "3", '{"format": NaN}', '"\\ud800"', "")
        )
        path.write_text(text)
        return repr(text[:40])
    values = json.loads(path.read_text(encoding="utf-8"))
    told = _change(values, rng)
    path.write_text(json.dumps(values), encoding="utf-8")
    return told


def _change(values: Any, rng: random.Random) -> str:
    """Change one value somewhere within nested ones."""
    place: list[str] = []
    while True:
        keys = list(values) if isinstance(values, dict) else list(range(len(values)))
        key = rng.choice(keys)
        place.append(str(key))
        inner = values[key]
        if isinstance(inner, dict | list) and inner and rng.random() < 0.8:
            values = inner
            continue
        break
    how = rng.choice(("value", "value", "value", "missing", "more", "nested"))
    where = ".".join(place)
    if how == "missing":
        del values[key]
        return f"{where} removed"
    if how == "more":
        extra = rng.choice(_VALUES)
        if isinstance(values, dict):
            values[rng.choice(("more", "", "\x00", "trust_remote_code"))] = extra
        else:
            values.insert(0, extra)
        return f"{where}: {str(extra)[:40]!r} added beside"
    value = rng.choice(_VALUES)
    if how == "nested":
        for _ in range(rng.choice((1, 50, 200))):
            value = [value]
    elif isinstance(inner, int | float) and not isinstance(inner, bool) and rng.random() < 0.5:
        value = rng.choice((inner + 1, inner - 1, -inner, inner * 1000, inner / 7))
    values[key] = value
    return f"{where} = {str(value)[:40]!r}"


def _files(bundle: Path, suffix: str) -> list[Path]:
    return sorted(bundle.rglob(f"*{suffix}"))


def _file(bundle: Path, rng: random.Random) -> Path:
    return rng.choice([path for path in _files(bundle, "") if path.is_file()])


def _name(bundle: Path, path: Path) -> str:
    return path.relative_to(bundle).as_posix()
