"""Which units a fix leaves as they are once they are preprocessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from suture.compile import database, host
from suture.compile.preprocessed import unchanged
from suture.source.fix import parse

HEADER = "#define N 1\n#if defined OTHER\n#define N 2\n#endif\nint f(int);\n"


@pytest.mark.parametrize(
    ("header", "changes"),
    [
        (HEADER.replace("OTHER", "ANOTHER"), set()),
        ("/* says why */\n\n" + HEADER, set()),
        (HEADER.replace("N 1", "N 3"), {"uses.c", "asserts.c"}),
        ("#ifdef WANTED\n" + HEADER + "#else\n#error\n#endif\n", {"uses.c", "asserts.c", "reads.c"}),
    ],
)
def test_a_unit_is_unchanged_where_its_text_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: str, changes: set[str]
) -> None:
    monkeypatch.setenv("SUTURE_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "tree"
    root.mkdir()
    (root / "a.h").write_text(HEADER)
    (root / "uses.c").write_text('#include "a.h"\nint f(int a) { return a + N; }\n')
    (root / "asserts.c").write_text('#include <assert.h>\n#include "a.h"\nvoid g(int a) { assert(a < N); }\n')
    (root / "reads.c").write_text('#include "a.h"\nint main(void) { return f(0); }\n')
    database.build(["sh", "-c", "for x in uses asserts reads; do gcc -c $x.c; done; gcc -o prog *.o"], root)
    tree = host.open_tree(root, root / "prog")
    gone, come = HEADER.splitlines(), header.splitlines()
    lines = [f"-{x}" for x in gone] + [f"+{x}" for x in come]
    text = f"--- a/a.h\n+++ b/a.h\n@@ -1,{len(gone)} +1,{len(come)} @@\n" + "".join(f"{x}\n" for x in lines)
    same = unchanged(tree, tree.post(parse(text, "x.patch")), tree.units)
    assert {u.source for u in tree.units if u.object not in same} == changes
