"""What kind of file a fix changes, by its path."""

from __future__ import annotations

from enum import Enum
from fnmatch import fnmatch
from pathlib import PurePosixPath


class PathKind(Enum):
    """What a changed file is to a live patch."""

    SOURCE = "C or C++ source"
    HEADER = "header"
    ASSEMBLY = "assembly"
    GENERATED = "input of a generator"
    BUILD = "build file"
    IGNORED = "documentation or test"
    OTHER = "file of an unknown kind"


CODE = frozenset({PathKind.SOURCE, PathKind.HEADER})
"""Kinds that can become a live patch."""

_SUFFIXES = {
    PathKind.SOURCE: {".c", ".cc", ".cpp", ".cxx", ".C"},
    PathKind.HEADER: {".h", ".hh", ".hpp", ".hxx", ".def", ".inc", ".inl", ".tbl"},
    PathKind.ASSEMBLY: {".S", ".s", ".sx", ".asm"},
    PathKind.GENERATED: {
        ".y",
        ".l",
        ".pl",
        ".in",
        ".awk",
        ".tmpl",
        ".num",
        ".sym",
        ".list",
        ".x",
        ".gperf",
        ".dat",
        ".py",
        ".txt",
        ".xml",
        ".xsl",
        ".sql",
        ".yml",
        ".yaml",
    },
    PathKind.BUILD: {".mk", ".am", ".ac", ".m4", ".cmake", ".info", ".conf", ".map", ".ver", ".sh", ".build"},
    PathKind.IGNORED: {
        ".md",
        ".rst",
        ".pod",
        ".1",
        ".3",
        ".5",
        ".7",
        ".8",
        ".html",
        ".sgml",
        ".po",
    }
    | {
        ".texi",
        ".svg",
        ".png",
        ".out",
        ".expected",
        ".pem",
        ".rng",
        ".xsd",
        ".result",
        ".err",
    },
}
_BUILD_NAMES = (
    "Makefile*",
    "makefile*",
    "GNUmakefile*",
    "configure*",
    "CMakeLists.txt",
    "Configure",
    "meson.build",
    "*.gypi",
)
_BUILD_NAMES_MORE = (
    "build.info",
    "Makeconfig",
    "Makerules",
    "Rules",
    "Versions",
    "VERSION.dat",
    "config.h.in",
    "meson*",
)
_IGNORED_FOLDERS = frozenset(
    {"doc", "docs", "Documentation", "man", "manual", "test", "tests", "testsuite", "demos", "examples", "fuzz", "po"}
)
_IGNORED_NAMES = (
    "ChangeLog*",
    "CHANGES*",
    "NEWS*",
    "README*",
    "AUTHORS",
    "LICENSE*",
    "COPYING*",
    "INSTALL*",
    "HISTORY",
    "MAINTAINERS",
    "THANKS",
    "TODO*",
    "BUGS",
    "AUTHORS*",
)
_IGNORED_NAMES_MORE = (
    "*/tst-*",
    "tst-*",
    "*/bug-*",
    "bug-*",
    "*/test-*",
    "*/sql/*.sql",
    ".*.yml",
    "result/*",
    ".git*",
    "*/.git*",
    "runtest.c",
    "testapi.c",
)


def classify(path: str) -> PathKind:
    """The kind of a path that is relative to the source's root."""
    pure = PurePosixPath(path)
    if pure.parts[0] == "debian":
        return (
            PathKind.IGNORED
            if pure.name in {"changelog", "NEWS"} or pure.parts[1:2] == ("patches",)
            else PathKind.BUILD
        )
    if _IGNORED_FOLDERS & set(pure.parts[:-1]) or any(fnmatch(path, x) for x in _IGNORED_NAMES_MORE):
        return PathKind.IGNORED
    if any(fnmatch(pure.name, x) for x in (*_BUILD_NAMES, *_BUILD_NAMES_MORE)):
        return PathKind.BUILD
    if any(fnmatch(pure.name, x) for x in _IGNORED_NAMES):
        return PathKind.IGNORED
    for kind, suffixes in _SUFFIXES.items():
        if pure.suffix in suffixes:
            return kind
    return PathKind.OTHER
