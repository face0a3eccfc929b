"""A small server in C, built and recorded in the test, and fixes that make it reject something."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.command import suture

SERVER = """\
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static char store[64];
static int depth;
__attribute__((noipa)) long put(long n)
{
    if (n < 0)
        return -1;
    memset(store, 1, (unsigned long)n % sizeof store);
    return n;
}
__attribute__((noipa)) long nest(long n)
{
    depth = (int)n;
    if (depth > 3 && n > 5)
        depth = 3;
    return depth;
}
int main(void)
{
    char line[64];
    setvbuf(stdout, 0, _IOLBF, 0);
    printf("%d\\n", getpid());
    while (fgets(line, sizeof line, stdin)) {
        if (line[0] == 'f' && fork() == 0)
            printf("%d\\n", getpid());
        else if (line[0] == 'p')
            printf("%ld\\n", put(atol(line + 1)));
        else if (line[0] == 'n')
            printf("%ld\\n", nest(atol(line + 1)));
    }
    return 0;
}
"""
LIMIT = ("    if (n < 0)\n", "    if (n < 0 || n > 64)\n")
BOUND = ("    depth = (int)n;\n", "    depth = (int)n;\n    if (depth > 9)\n        return -2;\n")


def diff(old: str, new: str, path: str = "server.c") -> str:
    """A unified diff, as diff(1) makes it."""
    import difflib

    rows = difflib.unified_diff(old.splitlines(True), new.splitlines(True), f"a/{path}", f"b/{path}")
    return "".join(rows)


@dataclass
class Tree:
    """A recorded tree with its built program."""

    root: Path

    @property
    def program(self) -> Path:
        return self.root / "server"

    def make(self, *changes: tuple[str, str], options: Sequence[str] = ("--tripwires",), source: str = SERVER) -> Any:
        """The answer of `suture make` for a fix of these changes (old text, new text)."""
        new = source
        for old, text in changes:
            assert old in new
            new = new.replace(old, text)
        fix = self.root.parent / f"CVE-2099-{len(changes)}000.patch"
        fix.write_text(diff(source, new))
        words = [
            "make",
            "--tree",
            ".",
            "--binary",
            "server",
            "--fix",
            str(fix),
            "--output",
            str(self.root.parent / "out"),
            "--json",
        ]
        done = suture(*words, *options, cwd=self.root)
        return json.loads(done.stdout)


def build(folder: Path, source: str = SERVER, flags: str = "-O2") -> Tree:
    """Build and record the server."""
    root = folder / "tree"
    root.mkdir()
    (root / "server.c").write_text(source)
    (root / "Makefile").write_text(
        f"server: server.o\n\tgcc -Wl,--build-id -o server server.o\nserver.o: server.c\n\tgcc {flags} -c server.c\n"
    )
    suture("record", "--", "make", cwd=root, check=True)
    subprocess.run(["strip", "server"], cwd=root, check=True)
    return Tree(root)
