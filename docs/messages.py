"""The page of all error messages, read from the source of the package so that it is complete."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "bigrec"

_AREAS = {
    "data": "Data",
    "settings": "Settings",
    "storage": "Files and run directories",
    "lm": "Language models and encoders",
    "models": "Models and signals",
    "grounding": "Grounding, index and fusion",
    "evaluation": "Evaluation",
    "experiments": "Comparisons, studies and tuning",
    "recommender": "Recommenders and bundles",
    "serving": "Service",
    "cli": "Command line",
    "console": "Command line",
}
_ERRORS = (
    *("DataError", "SettingsError", "ModelError", "NotFittedError", "StorageError", "BundleError"),
    *("StaleIndexError", "ServiceError", "ValueError", "TypeError"),
)
# Functions that make an error of a file and a reason: their calls hold the reasons.
_OF_FILES = ("unusable", "_unusable", "damaged", "damaged_table")
_HEAD = """# All error messages

Every message of the package with its class, as it stands in the source. Words in *italics* are
filled in. A message ends with its cure.
[Troubleshooting](../troubleshooting.md) explains the classes and the most frequent situations.
"""


@dataclass(frozen=True, order=True, slots=True)
class Message:
    """An error message.

    Attributes:
        area: Heading on the page.
        text: The message as Markdown, in italics what is filled in.
        error: The name of its class.
    """

    area: str
    text: str
    error: str


def messages_page() -> str:
    """The page as Markdown: a table for each area of the package."""
    found = set(messages())
    parts = [_HEAD]
    for area in dict.fromkeys(_AREAS.values()):
        rows = sorted(message for message in found if message.area == area)
        if rows:
            lines = [f"| {message.text} | `{message.error}` |" for message in rows]
            parts.append(f"## {area}\n\n| message | class |\n| :--- | :--- |\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def messages() -> Iterator[Message]:
    """All messages of the package that are written out where their error is made."""
    for path in sorted(SOURCE.rglob("*.py")):
        area = _AREAS.get(path.relative_to(SOURCE).parts[0])
        if area is None:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = _constants(tree)
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            for error, text in _made_by(call, constants):
                yield Message(area, text, error)


def _made_by(call: ast.Call, constants: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Classes and texts of the errors that a call makes."""
    name = _name(call.func)
    if name in _ERRORS and call.args:
        # A service error has its status and code first.
        written = [call.args[-1]] if name == "ServiceError" else call.args[:1]
    elif name in _OF_FILES and len(call.args) > 1:
        name, written = "BundleError", call.args[-1:]
    else:
        return
    for text in _texts(written[0], constants):
        words = re.sub(r"\*[^*]+\*", "", text)
        if re.search(r"[a-z]{2,} ", words):
            yield name, f"*file*: {text}" if _name(call.func) in _OF_FILES else text


def _texts(node: ast.expr, constants: dict[str, str]) -> list[str]:
    """The texts that an expression can be, as Markdown; none if it is no text."""
    if isinstance(node, ast.IfExp):
        return _texts(node.body, constants) + _texts(node.orelse, constants)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        sides = (_texts(node.left, constants), _texts(node.right, constants))
        return [left + right for left in sides[0] for right in sides[1]]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [_escaped(node.value)]
    if isinstance(node, ast.JoinedStr):
        return ["".join(_part(value, constants) for value in node.values)]
    return []


def _part(node: ast.expr, constants: dict[str, str]) -> str:
    """A part of a formatted string as Markdown."""
    if isinstance(node, ast.Constant):
        return _escaped(str(node.value))
    filled = node.value if isinstance(node, ast.FormattedValue) else node
    name = _name(filled)
    return constants.get(name) or f"*{name.strip('_').replace('_', ' ').lower()}*"


def _name(node: ast.expr) -> str:
    """A word for the value of an expression: the last name in it."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript | ast.Starred):
        return _name(node.value)
    if isinstance(node, ast.Call):
        function = _name(node.func)
        if function == "len":
            return "number"
        return _name(node.args[0]) if node.args and function != "join" else function
    return "value"


def _constants(tree: ast.Module, *, imported: bool = False) -> dict[str, str]:
    """Texts of a module that are assigned to names at its top or imported there, as Markdown."""
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and not imported:
            found |= _imported(node)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            texts = _texts(node.value, found)
            if isinstance(node.value, ast.Name) and node.value.id in found:
                texts = [found[node.value.id]]
            if len(texts) == 1:
                found[node.targets[0].id] = texts[0]
    return found


def _imported(node: ast.ImportFrom) -> dict[str, str]:
    """The constants that a statement imports from a module of the package."""
    path = SOURCE.parent.joinpath(*(node.module or "").split(".")).with_suffix(".py")
    if not path.is_file():
        return {}
    there = _constants(ast.parse(path.read_text(encoding="utf-8")), imported=True)
    return {
        alias.asname or alias.name: there[alias.name] for alias in node.names if alias.name in there
    }


def _escaped(text: str) -> str:
    """Text on one line, in which no character means anything in Markdown."""
    return re.sub(r"([\\`*_{}\[\]<>|#~$&])", r"\\\1", " ".join(re.split(r"[\r\n]+ *", text)))
