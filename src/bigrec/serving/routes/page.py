"""The page for people, and the files that it consists of."""

from functools import cache
from importlib.resources import files
from typing import Literal

from fastapi import APIRouter, Response
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from bigrec.printable import UNSAFE
from bigrec.serving.routes.common import State

router = APIRouter(include_in_schema=False)

_FOLDER = "page"
_PAGE_SIZE = 20
_ASCII = range(0x20, 0x7F)
# Nothing of another host, and no script or style but those of the files below.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_TYPES = {"js": "text/javascript", "css": "text/css"}


@router.get("/")
async def page(state: State) -> Response:
    """The page. It holds nothing of the catalog, which it asks for with its user's key."""
    text = _template().render(
        asks_key=state.keys.are_asked, unsafe=_unsafe_for_browsers(), page_size=_PAGE_SIZE
    )
    return Response(text, media_type="text/html", headers=_HEADERS)


@router.get("/page/{name}")
async def part(name: Literal["page.js", "lists.js", "service.js", "style.css"]) -> Response:
    """A script or the style of the page."""
    content = files("bigrec.serving").joinpath(_FOLDER, name).read_bytes()
    return Response(content, media_type=_TYPES[name.rpartition(".")[2]], headers=_HEADERS)


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("bigrec.serving", _FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html.j2")


@cache
def _unsafe_for_browsers() -> str:
    """The pattern of unsafe characters in ASCII, as regular expressions of browsers read it."""
    return "".join(
        character if ord(character) in _ASCII else f"\\u{ord(character):04x}"
        for character in UNSAFE.pattern
    )
