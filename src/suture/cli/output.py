"""What a person or a program sees: tables and JSON on stdout, progress on stderr.

`main` puts `suture.visible.Visible` over both, so that what `print` writes is one harmless line, whatever it holds.

rich is imported only when stderr or stdout is a terminal and there is something to draw, because its import alone
would take half of the time that a short command has. It comes with the extra `make`: a host that only applies patches
may be without it, and then a terminal gets the lines that a pipe gets.
"""

from __future__ import annotations

import argparse
import dataclasses
import enum
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from suture.progress import Progress, silent
from suture.visible import MOST_CELL, beneath, visible

if TYPE_CHECKING:
    from suture.report.document import Document


def print_document(document: Document) -> None:
    """A report on stdout, as JSON (docs/reference/report.md)."""
    from suture.report.encoding import encode

    print_json(encode(document))


def print_json(value: object) -> None:
    """One JSON document on stdout. Dataclasses, enums, paths, bytes (as hex) and sets are understood."""
    # ASCII: json escapes what a terminal could obey
    beneath(sys.stdout).write(json.dumps(value, indent=2, default=_plain, sort_keys=False) + "\n")


def _plain(value: Any) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, bytes | bytearray):
        return bytes(value).hex()
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows under headings on stdout. On a terminal the cells wrap to its width; in a pipe each row is one line."""
    cells = [[visible(str(cell), MOST_CELL) for cell in row] for row in rows]
    if sys.stdout.isatty() and _has_rich():
        _draw_table(columns, cells)
    else:
        for line in table_lines(columns, cells):
            print(line)


def table_lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The table as lines of text: two spaces between columns, the last one not padded."""
    grid = [list(columns), *[list(row) for row in rows]]
    widths = [max(len(row[i]) for row in grid) for i in range(len(columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in grid]


def _has_rich() -> bool:
    return find_spec("rich") is not None


def _draw_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # Text: cells come from other processes' names and paths, and must not be read as markup.
        table.add_row(*[Text(cell) for cell in row])
    Console(file=beneath(sys.stdout)).print(table)


@contextmanager
def progress(args: argparse.Namespace) -> Iterator[Progress]:
    """A `Progress` for library calls: a spinner on a terminal, lines otherwise, nothing with --json."""
    if args.json:
        yield silent
    elif sys.stderr.isatty() and _has_rich():
        from rich.console import Console
        from rich.text import Text

        with Console(file=beneath(sys.stderr)).status("") as status:
            yield lambda step: status.update(Text(visible(step)))
    else:
        yield _print_step


def _print_step(step: str) -> None:
    print(f"{step} ...", file=sys.stderr, flush=True)
