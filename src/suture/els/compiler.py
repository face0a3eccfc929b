"""What a compiler refuses of a package with fixes, and which of them it refuses: read from the log of its build."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from suture.els.backport import CarriedFile
from suture.els.outline import changed, sections
from suture.els.source_package import CarriedFix
from suture.error import Refused
from suture.source.archive import SourceVersion

# gcc and clang: FILE:LINE:COLUMN: error: TEXT
_ERROR = re.compile(r"^(?:\.{1,2}/)*(?P<path>[^\s:]+):(?P<line>\d+):\d+: (?:fatal )?error: (?P<text>.*)$", re.M)


class NotCompiled(Refused):
    """Fixes with which the old release does not compile: `broken` has what the compiler says, by the fix's name."""

    def __init__(self, old: SourceVersion, broken: Mapping[str, str], log: str) -> None:
        self.broken = broken
        said = "; ".join(f"{name}: {text}" for name, text in broken.items())
        super().__init__(
            f"{old.name} {old.version} does not compile with its fixes: {said}\n{log}",
            "leave them out with --fix for the others, or mend them: suture els review --drafts DIR",
        )


def refused_by_compiler(log: str, fixes: Sequence[CarriedFix]) -> Mapping[str, str]:
    """The fixes that change the function in which a compiler finds an error, by their names, with the first error.
    Empty where an error is in no function that a fix changes: then nothing tells whose it is."""
    found: dict[str, str] = {}
    for match in _ERROR.finditer(log):
        own = [f.need.name for f in fixes if any(_is_in(match, c, fixes) for c in f.found.carried)]
        if not own:
            return {}
        for name in own:
            found.setdefault(name, match["text"])
    return found


def _is_in(error: re.Match[str], carried: CarriedFile, fixes: Sequence[CarriedFix]) -> bool:
    if not f"/{carried.path}".endswith(f"/{error['path']}"):
        return False
    last = [c.after or "" for f in fixes for c in f.found.carried if c.path == carried.path][-1]
    where = {key for key, first, end in _lines(carried.path, last) if first <= int(error["line"]) <= end}
    return bool(where & set(changed(carried.path, carried.before or "", carried.after or "")))


def _lines(path: str, text: str) -> Iterator[tuple[str, int, int]]:
    """The sections of a file with their first and last lines."""
    at = 1
    for section in sections(path, text):
        end = at + section.text.count("\n")
        yield section.key, at, end
        at = end
