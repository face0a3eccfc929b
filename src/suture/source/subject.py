"""The CVEs that a fix is for, from what its patch says of itself.

A patch names CVEs for many reasons: it may be like another's fix, mend a regression of one, or be needed before one. A
number counts where the patch says what it is: in its file's name, its subject (git's, or DEP-3's Subject and
Description), in the fields that name a bug (DEP-3 Bug, Bug-*, Origin; CVE, Security and Fixes as others write them),
alone on a line, and in a sentence that says it fixes them. None counts where the patch says that it is less than the
fix: one part, a mitigation, a test; of one of a series ([PATCH 1/3]) the file's name alone counts, and none of a name
that is numbered as a part of several (CVE-2025-1111-1.patch), unless the others are there too (claim.py). A person who
knows better says so with --cve. Numbers that do not count are kept with the reason. Sources:
https://dep-team.pages.debian.net/deps/dep3/, git-format-patch(1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

CVE = re.compile(r"CVE-\d{4}-\d{4,}")
_FIELD = re.compile(r"^(?:# ?)?([A-Za-z][A-Za-z-]*):(?:[ \t]+(.*))?$")
_TITLES = frozenset({"subject", "description"})
_BUGS = re.compile(r"bug(-.*)?|origin|cve|cves|security|fixes|closes|resolves")
_VERB = r"\b(?:fix(?:es|ed|ing)?|close[sd]?|closing|resolve[sd]?|address(?:es|ed)?|correct(?:s|ed)?)\b"
_SAID = re.compile(rf"{_VERB}[:\s]+(?:\S+\s+){{0,4}}?[(\[]?$", re.IGNORECASE)
_ALONE = re.compile(r"^[-*\s]*[(\[]?CVE-[\d-]+(?:(?:,|;|/|\s|and|&)+CVE-[\d-]+)*[)\]]?[.:;,]?\s*$")
_LISTED = re.compile(r"^(?:\s|,|;|/|&|\(|and\b)*$")
_ABOUT_ANOTHER = re.compile(
    r"\b(?:similar|like|unlike|related|introduc\w*|caus\w*|regress\w*|broke\w*|break\w*|since|after|before|see|cf|"
    r"incomplete|follow[- ]?up|prerequisite|pre-?req\w*|prepar\w*|needed|required|"
    r"instead|not|revert\w*|duplicate|compare|depends?)\b",
    re.IGNORECASE,
)
_NO_FIX = re.compile(
    r"[-_.](pre|prereq|tests?|dep|regression|part|partial|mitigations?|hardening|docs?|logging|follow-?up|revert)"
    r"[-_.]?\d*$",
    re.IGNORECASE,
)
# a number or a letter right behind the last CVE, as distributions name the parts of a fix; not a version
# (CVE-2025-1111-2.36)
_PART = re.compile(
    r"CVE-\d{4}-\d{4,}[-_.](?:part|patch|fix|p)?[-_.]?(?:(\d{1,4})(?:[-_.]?of[-_.]?(\d+))?(?=$|[-_])|([a-e])$)",
    re.IGNORECASE,
)
# said of the patch in its title, or in the sentence that names the CVE
_LESS = re.compile(
    r"\bpart(?:ially|ly)?\b|\bpartial (?:fix|mitigation|backport|solution|revert)\w*|\bmitigat\w*|\bharden\w*|"
    r"\bwork-?arounds?\b|\b(?:almost|nearly|mostly|halfway|half)\b|\bhunks?\b|\bharder\b|\bmore difficult\b|"
    r"\bleft (?:behind|out|open|over)\b|\bfollow[- ]?up\b|\b(?:remains?|still|stays?) \w+|"
    r"\b(?:lower|lessen|reduc|limit|soften)\w* (?:the )?(?:impact|risk|severity|chance|likelihood|exposure|attack|"
    r"damage)|\b(?:tr(?:y|ies)|attempts?) to (?:fix|close|address|stop|prevent)\b|\bfirst step\b|"
    r"\b(?:may|might|should|could) (?:fix|help|close)\b|\b(?:WIP|RFC|draft|incomplete fix for)\b|"
    r"\btests? (?:for|of|case)|\b(?:reproducer|documentation|changelog)\b|"
    r"^(?:\[[^\]]*\]\s*)*(?:[\w./-]+:\s+)*(?:add(?:s|ed)?\s+(?:a\s+)?)?(?:(?:regression|unit)\s+)?(?:tests?|logs?|"
    r"logging|docs?|documents?|warns?)\b",
    re.IGNORECASE,
)
# said anywhere in it
_UNFINISHED = re.compile(
    r"\bpart \d+ (?:of|/) ?\d+|\bthis (?:patch |change )?reverts (?:it|the fix)\b|"
    r"\bremains? (?:open|unfixed|vulnerable)|"
    r"\bfollow[- ]?up (?:patch|fix|change) (?:is|will be) (?:needed|required)|"
    r"\bhunks? (?:is|are|was|were) (?:left out|dropped|omitted)|\b(?-i:TODO|FIXME)\b",
    re.IGNORECASE,
)
_MOST_QUOTED = 60
_IS_LESS = "{} says of itself that it is less than the fix ({})"
_OF_SERIES = re.compile(r"\[[^\]]*\b(\d+)/(\d+)\]")
_COMMIT = re.compile(r"(?:From|commit) [0-9a-f]{40}\b")
_FORGE = re.compile(
    r"^(?:From [0-9a-f]{40}|commit [0-9a-f]{40}|index [0-9a-f]|diff |Index: |===|# "
    r"(?:HG|User|Date|Node|Parent|Branch) )"
)


@dataclass(frozen=True)
class Named:
    """A CVE that a patch names and does not claim, and why.

    `is_part`: the patch is for it all the same, as less than the fix or one part of it. `number`: which part by its
    file's name, 0 for none; `count`: of how many, 0 where the name does not tell.
    """

    cve: str
    reason: str
    is_part: bool = True
    number: int = 0
    count: int = 0


@dataclass(frozen=True)
class Subject:
    """The CVEs that a patch is for by itself, sorted, and those that it only names, by CVE."""

    cves: tuple[str, ...] = ()
    named: tuple[Named, ...] = ()


def subject(name: str, prose: Sequence[str]) -> Subject:
    """What a patch is for. `name` is that of its file, `prose` its lines outside of diffs."""
    paragraphs = list(_paragraphs(prose))
    in_name, said, kept = set(CVE.findall(name)), _said(paragraphs), _kept_by_name(name)
    less = next((words for field, text in paragraphs if (words := _less(field, text))), "")
    place = next((s for field, text in paragraphs if field in (*_TITLES, "") and (s := _place_in_series(text))), "")
    mentioned = set(CVE.findall("\n".join(prose)))
    named = {c: Named(c, f"{name} mentions it and does not say that it fixes it", False) for c in mentioned}
    named |= {c: Named(c, _IS_LESS.format(name, words)) for c, words in _lessened(paragraphs)}
    if less:
        named |= {c: Named(c, _IS_LESS.format(name, less)) for c in said | in_name | _of_titles(paragraphs)}
        claimed = set[str]()
    elif place:
        named |= {c: Named(c, f"{name} is patch {place}") for c in said}
        claimed = in_name  # whoever named the file knows which patch of the series it takes
    else:
        claimed = said | in_name
    named |= {n.cve: n for n in kept}
    claimed -= {n.cve for n in kept}
    return Subject(tuple(sorted(claimed)), tuple(named[c] for c in sorted(named.keys() - claimed)))


def _kept_by_name(name: str) -> list[Named]:
    """The CVEs of a file's name that says that the patch is not the fix itself, or one part of several."""
    stem = re.sub(r"\.(?:patch|diff|txt)$", "", name)
    cves = sorted(set(CVE.findall(stem)))
    part = _PART.search(stem)
    if part is not None:
        number = int(part[1]) if part[1] else ord(part[3].lower()) - ord("a") + 1
        return [Named(c, f"{name} is part {number} by its name", True, number, int(part[2] or 0)) for c in cves]
    word = _NO_FIX.search(stem)
    return [Named(c, f"{name} is not the fix itself by its name ({word[1]})") for c in cves] if word else []


def _said(paragraphs: Iterable[tuple[str, str]]) -> set[str]:
    """CVEs that the text of a patch says it is for."""
    found: set[str] = set()
    for field, text in paragraphs:
        if field in _TITLES or field == "":
            found.update(_of_title(text))
        elif _BUGS.fullmatch(field):
            found.update(CVE.findall(text))
        if field in ("", "body") or field in _TITLES:
            found.update(_of_statements(text))
    return found


def _lessened(paragraphs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """CVEs of sentences that say less than that they are fixed, each with the words that say so."""
    for sentence in (s for field, text in paragraphs if field in (*_TITLES, "", "body") for s in _sentences(text)):
        found = _LESS.search(sentence)
        if found:
            yield from ((cve, _quoted(found[0])) for cve in CVE.findall(sentence))


def _of_titles(paragraphs: Iterable[tuple[str, str]]) -> set[str]:
    return {c for field, text in paragraphs if field in (*_TITLES, "") for c in CVE.findall(text)}


def _less(field: str, text: str) -> str:
    """The words with which a paragraph says that the patch is not the whole fix; "" if it does not."""
    found = _UNFINISHED.search(text)
    if found is None and field in (*_TITLES, ""):
        found = _LESS.search(text.split("\n", 1)[0])
    return _quoted(found[0]) if found else ""


def _quoted(text: str) -> str:
    return '"' + " ".join(text.split())[:_MOST_QUOTED].encode("ascii", "replace").decode() + '"'


def _place_in_series(title: str) -> str:
    found = _OF_SERIES.search(title)
    return f"{int(found[1])} of a series of {int(found[2])}" if found is not None and int(found[2]) > 1 else ""


def _of_title(text: str) -> Iterator[str]:
    """CVEs of a title, up to where it speaks of another fix."""
    title = text.split("\n", 1)[0]
    stop = _ABOUT_ANOTHER.search(title)
    yield from CVE.findall(title[: stop.start()] if stop else title)


def _of_statements(text: str) -> Iterator[str]:
    """CVEs alone on a line, and those that a sentence says are fixed: the first after the verb, and what is listed with
    it."""
    for line in text.split("\n"):
        if _ALONE.match(line):
            yield from CVE.findall(line)
    for flat in _sentences(text):
        at, said = 0, False
        if _LESS.search(flat):
            continue
        for hit in CVE.finditer(flat):
            between = flat[at : hit.start()]
            said = said if at and _LISTED.match(between) else bool(_SAID.search(flat[: hit.start()]))
            if said and not _ABOUT_ANOTHER.search(flat[: hit.start()]):
                yield hit[0]
            at = hit.end()


def _sentences(text: str) -> list[str]:
    """Each with its blanks as one."""
    return [re.sub(r"\s+", " ", sentence) for sentence in re.split(r"[.;!?](?=\s|$)|\n\s*\n", text)]


def _paragraphs(prose: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(field in lower case, text with its continuation lines); "" is the title of a text without fields, "body" other
    text.

    A field goes on in lines that begin with a blank; git's subject is folded so, and `git show` indents the whole
    message.
    """
    field, rows, titled = "body", list[str](), False
    for raw in prose:
        line = raw.rstrip()
        titled = titled and not _COMMIT.match(line)
        found = _FIELD.match(line)
        if found and not raw[:1].isspace():
            yield field, "\n".join(rows)
            field, rows = found[1].lower(), [found[2] or ""]
            titled = titled or field in _TITLES
        elif raw[:1].isspace() and line and field not in ("body", "") and (field in _TITLES or _BUGS.fullmatch(field)):
            folded = field == "subject" and len(rows) == 1
            rows = [f"{rows[0]} {line.strip()}"] if folded else [*rows, line.strip()]
        elif line and not titled and not _FORGE.match(line):
            yield field, "\n".join(rows)
            yield "", line.strip(" #")
            field, rows, titled = "body", [], True
        else:
            if field != "body":
                yield field, "\n".join(rows)
                field, rows = "body", []
            rows.append(line.strip())
    yield field, "\n".join(rows)
