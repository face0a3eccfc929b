"""Documents: what they link to and name is there, and every page is reached from the index."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.S)
# A page that a text names by its place in the repository.
NAMED = re.compile(r"(?<![\w./-])docs/[\w./-]*\.(?:md|svg)\b")
# A program of the repository as a reader types it: `./test`, `bench/pause --load idle`, `tests/fuzz/run`.
PROGRAM = re.compile(r"(?<![\w./-])(?:\./([a-z_]+)|((?:bench|tests/fuzz)/[a-z_]+))(?![\w/.-])")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def wrong_links(page: Path, text: str) -> list[str]:
    """Relative links of a page at `page` that lead to nothing: to no file, or to no heading of it."""
    wrong = []
    for link in LINK.findall(CODE.sub("", text)):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = page.parent / place if place else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            wrong.append(link)
    return wrong


def anchors(text: str) -> set[str]:
    """Names by which a page's headings can be linked to."""
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


@cache
def files() -> tuple[str, ...]:
    """All files of the repository, by their place in it."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    return tuple(subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines())


def text_of(place: str) -> str:
    try:
        return (ROOT / place).read_text()
    except (UnicodeDecodeError, FileNotFoundError):
        return ""


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert wrong_links(page, page.read_text()) == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_program_that_a_page_names_is_there(page: Path) -> None:
    """Of the repository; options of `suture` are tests/cli/test_remedies.py's."""
    spans = CODE.findall(page.read_text())
    named = {a or b for span in spans for a, b in PROGRAM.findall(span)}
    # `./server` and the like in an example are the reader's own.
    own = {n for n in named if n in {"demo", "setup", "test"} or "/" in n}
    assert [n for n in sorted(own) if not (ROOT / n).is_file() and not (ROOT / n).is_dir()] == []


def test_every_page_that_source_or_text_names_is_there() -> None:
    wrong = [
        f"{place}: {page}"
        for place in files()
        if place.endswith((".py", ".md", ".toml", ".c", ".S")) or "." not in Path(place).name
        for page in NAMED.findall(text_of(place))
        if not (ROOT / page).is_file()
    ]
    assert wrong == []


def test_the_index_links_to_every_page() -> None:
    index = ROOT / "docs/README.md"
    linked = {(index.parent / link).resolve() for link in LINK.findall(index.read_text())}
    assert [name(p) for p in (ROOT / "docs").rglob("*.md") if p != index and p.resolve() not in linked] == []


def test_a_wrong_link_would_be_found() -> None:
    text = (
        "[a](README.md) [b](nowhere.md) [c](https://example.org/x) `[d](code.md)` [e](README.md#a-session) "
        "[f](README.md#nothing)"
    )
    assert wrong_links(ROOT / "CHANGELOG.md", text) == ["nowhere.md", "README.md#nothing"]
    assert NAMED.findall("(docs/README.md), x/docs/README.md") == ["docs/README.md"]
    assert PROGRAM.findall("./test tests/cli") == [("test", "")]
