"""A path tells what a changed file is to a live patch."""

from __future__ import annotations

import pytest

from suture.source.path_kind import PathKind, classify


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("crypto/x509/v3_addr.c", PathKind.SOURCE),
        ("include/libxml/tree.h", PathKind.HEADER),
        ("sysdeps/x86_64/memcpy.S", PathKind.ASSEMBLY),
        ("include/openssl/x509.h.in", PathKind.GENERATED),
        ("src/backend/parser/gram.y", PathKind.GENERATED),
        ("Makefile.am", PathKind.BUILD),
        ("debian/rules", PathKind.BUILD),
        ("debian/changelog", PathKind.IGNORED),
        ("debian/patches/series", PathKind.IGNORED),
        ("stdlib/tst-qsort.c", PathKind.IGNORED),
        ("test/evp_test.c", PathKind.IGNORED),
        ("CHANGES.md", PathKind.IGNORED),
        ("data/table.bin", PathKind.OTHER),
        ("crypto/err/openssl.txt", PathKind.GENERATED),
        ("src/backend/utils/errcodes.txt", PathKind.GENERATED),
        ("gdb-xml/i386-core.xml", PathKind.GENERATED),
        ("doc/notes.txt", PathKind.IGNORED),
        ("contrib/x/sql/x.sql", PathKind.IGNORED),
        ("MAINTAINERS", PathKind.IGNORED),
    ],
)
def test_a_path_has_a_kind(path: str, kind: PathKind) -> None:
    assert classify(path) is kind
