"""Configuration of the documentation site: ``make docs``."""

import html
import sys
from pathlib import Path

from sphinx.application import Sphinx

import bigrec
from bigrec.console import settings_help

sys.path.insert(0, str(Path(__file__).parent))

from messages import messages_page

project = "bigrec"
author = "The bigrec authors"
project_copyright = author
version = release = bigrec.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser", "sphinx_copybutton"]

html_theme = "furo"
html_title = "bigrec"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_show_sourcelink = False

default_role = "code"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_ivar = True

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

_GENERATED = Path(__file__).parent / "generated"
_HEAD = """# Settings

Every setting, its default and its effect, as `bigrec config` prints them. Give them in a YAML file
(`--config`), on the command line (`--set retrieval.epochs=3`) or in Python
(`bigrec.Settings.read(overrides=["retrieval.epochs=3"])`). A setting that has no effect in the
chosen mode is refused.
"""


def settings_page() -> str:
    """The reference of all settings as Markdown: a table for each section."""
    sections: dict[str, list[str]] = {}
    for name, setting in settings_help().values.items():
        default = str(setting["default"]) or '""'
        effect = html.escape(" ".join(str(setting["effect"]).split())).replace("|", "\\|")
        section, _, _ = name.rpartition(".")
        sections.setdefault(section, []).append(f"| `{name}` | `{default}` | {effect} |")
    header = "| setting | default | effect |\n| :--- | :--- | :--- |"
    tables = [
        f"## {f'`{section}`' if section else 'Top level'}\n\n{header}\n" + "\n".join(rows)
        for section, rows in sections.items()
    ]
    return "\n\n".join([_HEAD, *tables]) + "\n"


def _write_pages(_: Sphinx) -> None:
    _GENERATED.mkdir(exist_ok=True)
    for name, page in (("settings", settings_page()), ("messages", messages_page())):
        (_GENERATED / f"{name}.md").write_text(page, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Generate the references of settings and messages before pages are read."""
    app.connect("builder-inited", _write_pages)
