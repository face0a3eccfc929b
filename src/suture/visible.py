"""Text from outside made harmless for a terminal: names of processes and files, what a manifest, a record or another
program says.

Control characters, line ends, bidirectional and invisible characters, and what is not Unicode, are written as escapes;
what is longer than any honest text is cut. `Visible` does that to everything that is written, so that no print can
forget it.
"""

from __future__ import annotations

from typing import Any, TextIO

MOST_LINE = 16_384
MOST_CELL = 2_000


def visible(text: str, most: int = MOST_LINE) -> str:
    """One line that shows what it holds and commands nothing; at most about `most` characters of the text."""
    cut = f" ... ({len(text) - most} more characters)" if len(text) > most else ""
    text = text[:most]
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text + cut


class Visible:
    """A text stream for `print`: a line ends where `print` ends it, and nowhere else."""

    def __init__(self, beneath: TextIO) -> None:
        self.beneath = beneath

    def write(self, text: str) -> int:
        if text in ("\n", ""):
            return self.beneath.write(text)
        encoding = self.beneath.encoding or "utf-8"
        self.beneath.write(visible(text).encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.beneath, name)


def beneath(stream: TextIO) -> TextIO:
    """The stream itself, for text of our own with lines and colours in it."""
    return stream.beneath if isinstance(stream, Visible) else stream
