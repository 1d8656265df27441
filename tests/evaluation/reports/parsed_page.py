from html.parser import HTMLParser
from typing import Self

_VOID = {"meta", "img"}


class ParsedPage(HTMLParser):
    """Collects text and resources, and checks that tags close in the order they opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.captions: list[str] = []
        self.headings: list[str] = []
        self.cells: list[list[str]] = []
        self.tags: list[str] = []
        self.text = ""

    @classmethod
    def of(cls, page: str) -> Self:
        parser = cls()
        parser.feed(page)
        return parser

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag not in _VOID:
            self.open.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in {"td", "th"}:
            self.cells[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"
        tag = self.open[-1] if self.open else ""
        if tag in {"td", "th"}:
            self.cells[-1][-1] += data
        if tag == "figcaption":
            self.captions.append(data)
        if tag in {"h2", "h3", "summary"}:
            self.headings.append(data)
