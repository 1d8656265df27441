"""HTML pages from the templates of this package."""

import json
from base64 import b64encode
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bigrec.printable import printable


@cache
def environment() -> Environment:
    """The templates, with all text printable and escaped, and unknown names refused."""
    templates = Environment(
        loader=PackageLoader("bigrec.evaluation.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_shown,
    )
    templates.filters["base64"] = lambda content: b64encode(content).decode("ascii")
    return templates


def _shown(value: object) -> object:
    # Markup is what a macro wrote, from values that went through here.
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value, lines=True)
    return value


def render(template: str, **values: Any) -> str:
    """A whole page that needs no other file.

    Args:
        template: Name of a file in ``templates``.
        values: Values by their names in the template.
    """
    return environment().get_template(template).render(values)


def setting_text(value: Any) -> str:
    """A setting as a table shows it: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
