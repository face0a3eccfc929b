"""Whether a fix does nothing with some names but call them otherwise, from the two texts of each file that it changes.

A member or an enumerator that has another name at the same place, or with the same value, may be the same thing under a
new name, or a new thing in the place of one that is given up, of which old objects know nothing. It is the same where
each use of the old name has become a use of the new one, and no other line with either changes.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_WORD = re.compile(r"\w+")


def is_renaming(texts: Iterable[tuple[str, str]], names: Mapping[str, str]) -> bool:
    """Whether all that the files (old and new text) do with `names` (new by old) is to rename them.

    A macro that keeps the old name for the new one is part of that. Words that a macro pastes together are not seen
    through: then no.
    """
    back = {new: old for old, new in names.items()}
    word = re.compile(rf"\b(?:{'|'.join(map(re.escape, [*names, *back]))})\b")
    kept = {f"#define {old} {old}" for old in names}
    for old, new in texts:
        before = _pieces(old)
        after = [x for x in (word.sub(lambda m: back.get(m[0], m[0]), y) for y in _pieces(new)) if x not in kept]
        if any(w in back for x in before for w in _WORD.findall(x)):
            return False  # the new name means something already
        codes = difflib.SequenceMatcher(None, before, after).get_opcodes()
        changed = [x for tag, a, b, c, d in codes if tag != "equal" for x in (*before[a:b], *after[c:d])]
        if any(word.search(x) or "##" in x for x in changed):
            return False
    return True


def _pieces(text: str) -> list[str]:
    """A text's directives, and its statements and items, without comments and with one space between words."""
    text = _COMMENT.sub(lambda m: " " + "\n" * m[0].count("\n"), text).replace("\\\n", " ")
    found, code = [], ""
    for line in [*text.split("\n"), "#"]:
        if not line.lstrip().startswith("#"):
            code += f"{line} "
            continue
        found += [" ".join(x.split()) for x in re.split(r"(?<=[;{},])", code)]
        found.append(" ".join(line.split()))
        code = ""
    return [x for x in found if x]
