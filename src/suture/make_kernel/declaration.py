"""What a change of a header declares otherwise, and what else in a header depends on it: names that a user of it must
write.

A unit whose text writes none of the names, and includes nothing that does, compiles to the same code. A header's text
is cut into *chunks*: one directive or one declaration. Where names do not bound who is affected (a changed condition, a
macro called at the margin, which may define anything) `everyone` is said. Structures have no names here: whether their
layout changes, the debug information of any unit that includes the header tells (`layouts`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])+'", re.DOTALL)
_WORD = re.compile(r"[A-Za-z_]\w*")
_DEFINE = re.compile(r"\s*#\s*(?:define|undef)\s+(\w+)")
_MACRO = re.compile(r"^[ \t]*#[ \t]*define[ \t]+\w+(\([^)]*\))?((?:[^\n\\]|\\\n|\\.)*)", re.MULTILINE)
_HARMLESS = re.compile(r"\s*#\s*(?:include|error|warning|pragma\s+once|import|line)\b")
"""Directives that make no code of those who include the header. `#line` is put there to keep the numbers
(overlay.py)."""
_CONDITION = re.compile(r"\s*#\s*(if|ifdef|ifndef|elif|else|endif)\b")
_TYPE = re.compile(r"(?:typedef\s+)?(struct|union|enum)\b[^{;()]*\{")
_DECLARE = re.compile(r"DECLARE_(?!EVENT|TRACE)\w*\s*\(")
_MEMBER = re.compile(r"(?:\.|->)\s*([A-Za-z_]\w*)")
_CALLBACK = re.compile(r"\(\s*\*\s*(?:const\s+)?(\w+)\s*\)\s*\(")
_FORWARD = re.compile(r"(?:struct|union|enum)\s+\w+\s*;\s*$")
_ATTRIBUTES = re.compile(
    r"__(?:attribute|printf|scanf|aligned|section|acquires|releases|must_hold|alloc_size|malloc|copy|alias|"
    r"cond_acquires|counted_by|assume_aligned|diagnose_as|typeof)\w*|typeof|if|for|while|switch|return|sizeof"
    r"|int|void|char|short|long|unsigned|signed|bool|struct|union|enum|const|volatile|static|inline|extern"
)


@dataclass(frozen=True)
class Touched:
    """`names` that changed or depend on what did; `everyone` who includes the header may be affected; a type's
    `layouts` may.

    A name with a point before it is that of a member, written behind `.` or `->`.
    """

    names: frozenset[str] = frozenset()
    everyone: bool = False
    layouts: bool = False

    def __or__(self, other: Touched) -> Touched:
        return Touched(self.names | other.names, self.everyone or other.everyone, self.layouts or other.layouts)


def changed(old: str, new: str) -> Touched:
    """What differs between two versions of a header."""
    sides = list(chunks(old)), list(chunks(new))
    folded = [[_folded(c) for c in side] for side in sides]
    blocks = [
        (sides[0][a1:a2], sides[1][b1:b2])
        for tag, a1, a2, b1, b2 in difflib.SequenceMatcher(None, folded[0], folded[1], autojunk=False).get_opcodes()
        if tag != "equal"
    ]
    lines = [{_folded(x) for block in blocks for c in block[n] for x in c.split("\n")} for n in (0, 1)]
    found = Touched()
    for block in blocks:
        for side, own in enumerate(block):
            whole = _is_balanced(own)
            for chunk in own:
                if whole and _CONDITION.match(chunk):
                    continue  # it stands around nothing but what is changed itself
                at = next((n for n, x in enumerate(chunk.split("\n")) if _folded(x) not in lines[1 - side]), 0)
                found |= _declared(chunk, at)
        found |= Touched(frozenset(f".{n}" for n in _changed_callbacks(*block)))
    return found


def _changed_callbacks(old: Sequence[str], new: Sequence[str]) -> set[str]:
    """Members of structures that are pointers to functions, declared in another way on the other side."""
    sides: list[set[tuple[str, str]]] = []
    for side in (old, new):
        items = [x for c in side if _TYPE.match(c.strip()) for x in re.split("[;{]", c)]
        sides.append({(m[1], _folded(x)) for x in items if (m := _CALLBACK.search(x)) is not None})
    return {name for name, _ in sides[0] ^ sides[1]}


def _is_balanced(chunks: Sequence[str]) -> bool:
    """Whether each condition that begins among some chunks ends among them."""
    depth = 0
    for chunk in chunks:
        said = _CONDITION.match(chunk)
        if said is not None and said[1].startswith("if"):
            depth += 1
        elif said is not None and depth == 0:
            return False
        elif said is not None and said[1] == "endif":
            depth -= 1
    return depth == 0


def depending(text: str, names: Collection[str], parts: Collection[str] = ()) -> Touched:
    """What of a header's text depends on `names`: macros and inline functions that write one, and what is built of
    those.

    `parts` are words that macros may paste to one of the names: they count where they are an argument.
    """
    found = Touched()
    for chunk in chunks(text):
        if _is_prototype(chunk) or not writes(chunk, names, parts):
            continue
        at = next((n for n, x in enumerate(chunk.split("\n")) if writes(x, names, parts)), 0)
        found |= _declared(chunk, at)
    return found


def writes(text: str, names: Collection[str], parts: Collection[str] = ()) -> bool:
    """Whether a text has one of the names as a word, or one of the parts as an argument."""
    words = _words(text)
    if not words.isdisjoint(names):
        return True
    return not words.isdisjoint(parts) and re.search(argument(parts), text, re.MULTILINE) is not None


def argument(parts: Collection[str]) -> str:
    """A pattern (of grep too) for a line on which one of some words is an argument, alone between commas and
    parentheses."""
    return rf"(^|[(,])[ \t]*({'|'.join(sorted(parts))})[ \t]*([,)]|$)"


def pasted(text: str) -> tuple[set[str], set[str]]:
    """What stands before and behind `##` in a file's macros, their parameters left out."""
    before: set[str] = set()
    behind: set[str] = set()
    for macro in _MACRO.finditer(text):
        parameters = set(_words(macro[1] or ""))
        before |= set(re.findall(r"(\w+)\s*##", macro[2])) - parameters
        behind |= set(re.findall(r"##\s*(\w+)", macro[2])) - parameters
    return before, behind


def pasted_from(names: Collection[str], before: Collection[str], behind: Collection[str]) -> frozenset[str]:
    """Words that a macro may paste a name of: `x` of `in_x`, where one has `in_##`. `before`, `behind`: what stands
    next to `##`."""
    found: set[str] = set()
    for name in (n for n in names if not n.startswith(".")):
        for cut in range(1, len(name)):
            rests = [name[cut:]] if name[:cut] in before else []
            rests += [name[:cut]] if name[cut:] in behind else []
            found |= {r for r in rests if re.fullmatch(r"[A-Za-z_]\w+", r)}
    return frozenset(found)


def _words(text: str) -> set[str]:
    """Names, and those of members with a point before them."""
    return {*_WORD.findall(text), *(f".{m}" for m in _MEMBER.findall(text))}


def member(names: Collection[str]) -> str:
    """A pattern of grep for a line that writes one of some members."""
    return rf"(\.|->)[ \t]*({'|'.join(sorted(n.removeprefix('.') for n in names))})\>"


def chunks(text: str) -> Iterator[str]:
    """Directives and declarations of a file in order, without comments and the contents of strings."""
    text = _COMMENT.sub(_blank, text).replace("\\\r\n", "\\\n")
    chunk, depth, body = "", 0, False
    lines = iter(text.split("\n"))
    for line in lines:
        if line.lstrip().startswith("#"):
            directive = line
            while directive.endswith("\\"):
                directive += f"\n{next(lines, '')}"
            if depth == 0 or _DEFINE.match(directive):
                yield directive
            else:
                chunk += f"{directive}\n"
            continue
        if line.startswith("}"):
            depth = 1  # at the margin it ends what began there, whatever conditions made of the braces between
        for char in line:
            chunk += char
            if char in "({[":
                if depth == 0 and char == "{":
                    body = "=" not in chunk and re.search(r"\)\s*(?:\w+\s*)?(?:\w+\s*)?\{$", chunk[-200:]) is not None
                depth += 1
            elif char in ")}]":
                depth = max(depth - 1, 0)
                if char == "}" and depth == 0 and body:
                    yield chunk
                    chunk, body = "", False
            elif char == ";" and depth == 0:
                yield chunk
                chunk, body = "", False
        chunk = f"{chunk}\n" if chunk.strip() else ""
    if chunk.strip():
        yield chunk


def _blank(found: re.Match[str]) -> str:
    return '""' if found[0][0] in "\"'" else " " + "\n" * found[0].count("\n")


def _folded(chunk: str) -> str:
    return " ".join(chunk.replace("\\\n", " ").split())


def _is_prototype(chunk: str) -> bool:
    """A declaration that only tells of something elsewhere: what it is built of makes no code."""
    text = chunk.strip()
    return not text.startswith(("#", "typedef")) and "{" not in text and "=" not in text and not _is_call(text)


def _is_call(text: str) -> bool:
    """A macro that is called at the margin, as DEFINE_EVENT(...) is: it may define any name."""
    first = re.match(r"\s*([A-Z]\w*)\s*\(", text)
    return first is not None


def _declared(chunk: str, at: int) -> Touched:
    """What a chunk declares, of an enumeration from its line `at` on."""
    text = chunk.strip()
    define = _DEFINE.match(text)
    if define:
        return Touched(frozenset({define[1]}))
    if text.startswith("#"):
        return Touched(everyone=_HARMLESS.match(text) is None)
    if _FORWARD.match(text):
        return Touched()
    kind = _TYPE.match(text)
    if kind is not None and kind[1] == "enum":
        lines = chunk.split("\n")
        above, rest = "\n".join(lines[:at]), "\n".join(lines[at:])
        return Touched(frozenset(_enumerators(rest if "{" in above else rest.partition("{")[2])))
    if kind is not None and not re.search(r"=\s*\{", text):
        return Touched(layouts=True)
    if _DECLARE.match(text):  # its users write the arguments
        return Touched(frozenset(w for w in _words(text.partition("(")[2]) if not _ATTRIBUTES.fullmatch(w)))
    if _is_call(text):
        return Touched(everyone=True)
    names = _called(text) or set(re.findall(r"(\w+)\s*(?:\[[^\]]*\]\s*)*[;,=:]", text.partition("{")[0]))
    if text.startswith("typedef"):
        names |= set(re.findall(r"\(\s*\*\s*(\w+)", text)) | set(re.findall(r"(\w+)\s*(?:\[[^\]]*\])*\s*;\s*$", text))
    names = {n for n in names if not n.isdigit() and not _ATTRIBUTES.fullmatch(n)}
    return Touched(frozenset(names), everyone=not names)


def _enumerators(text: str) -> set[str]:
    """The names that begin the items of a list."""
    found, depth, item = set(), 0, ""
    for char in f"{text},":
        if char in "({[":
            depth += 1
        elif char in ")}]":
            depth -= 1
        elif char == "," and depth <= 0:
            words = [x for x in item.split("\n") if not x.lstrip().startswith("#")]
            first = _WORD.search("\n".join(words))
            found |= {first[0]} if first is not None else set()
            item = ""
            continue
        item += char
    return found


def _called(text: str) -> set[str]:
    """Identifiers before a parenthesis outside of all others: the function's own name, and attributes that are no
    keyword."""
    found, depth, head = set(), 0, ""
    for char in text:
        if char in "{;" and depth == 0:
            break
        if char == "=" and depth == 0:
            return set()
        if char == "(":
            last = re.search(r"(\w+)\s*$", head[-100:])
            if depth == 0 and last is not None and not _ATTRIBUTES.fullmatch(last[1]):
                found.add(last[1])
            depth += 1
        elif char == ")":
            depth -= 1
        head += char
    return found
