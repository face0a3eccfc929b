"""A tripwire that the package's own programs reach is left out, and the patch says which command reached it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from suture.patch.file import read_patch
from tests.command import suture

# every program of libxml2 asks for its version first; the second check is one that nobody fails
FIX = """\
--- a/parserInternals.c
+++ b/parserInternals.c
@@ -77,6 +77,10 @@
 xmlCheckVersion(int version) {
     int myversion = (int) LIBXML_VERSION;
 
+    if (version > 20000)
+        version = 20000;
+    if (version < 0)
+        return;
     xmlInitParser();
 
     if ((myversion / 10000) != (version / 10000)) {
"""


@pytest.mark.archive
def test_a_tripwire_that_harmless_use_reaches_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "noise.patch").write_text(FIX)
    source = "libxml2=2.9.14+dfsg-1.3~deb12u4"
    words = ["make", "--source", source, "--fix", "noise.patch", "--file", "libxml2.so.2", "--tripwires", "--json"]
    found = {}
    for more in ((), ("--try",)):
        done = suture(*words, *more, cwd=tmp_path)
        (said,) = json.loads(done.stdout)["patches"]
        path = said["path"]
        found[more] = read_patch(tmp_path / path).manifest
        assert said["tripwires"] == len(found[more].tripwires)
        assert len(said["untripped"]) == len(found[more].without_tripwire)
    assert len(found[()].tripwires) == 2
    (left,) = found["--try",].tripwires
    assert left.condition == "version < 0"
    (noisy,) = found["--try",].without_tripwire
    assert noisy.condition == "version > 20000" and noisy.reason == "noisy: /usr/bin/xmllint --version reaches it"
