"""What an error quotes: lines of the tree and of the toolchain, and of no other file; judged with gcc's and gas's own
output."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from suture.compile.complaint import told

SECRET = "root:*:19000:0:99999:7:::\nname:$y$hash:1:2\n"


def rejected(folder: Path, text: str, *flags: str) -> str:
    (folder / "a.c").write_text(text)
    command = ["gcc", *flags, "-c", "a.c", "-o", "/dev/null"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode
    return done.stderr


@pytest.mark.parametrize("flags", [(), ("-fdiagnostics-color=always",), ("-fdiagnostics-plain-output",)])
@pytest.mark.parametrize("line", ['#include "{}"', 'asm(".include \\"{}\\"");', '#include "../tree/../{}"'])
def test_lines_of_a_file_outside_the_tree_are_not_shown(tmp_path: Path, line: str, flags: tuple[str, ...]) -> None:
    tree, secret = tmp_path / "tree", tmp_path / "secret"
    tree.mkdir()
    secret.write_text(SECRET)
    name = "secret" if ".." in line else str(secret)
    first = "" if "asm" in line else "int x = nothing_known;\n"
    output = rejected(tree, f"{first}{line.format(name)}\n", *flags)
    assert str(name) in output
    shown = told(output, str(tree), (str(tree),))
    assert "not shown" in shown and str(name) in shown
    for word in ("root", "name", "hash", "19000", "99999"):
        assert word not in shown.replace(str(tmp_path), ""), shown
    if "asm" not in line:
        assert "nothing_known" in shown, "what the tree's own lines are rejected for is told"


def test_lines_of_the_tree_and_of_its_own_headers_are_shown(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/own.h").write_text("int broken(;\n")
    output = rejected(tmp_path, '#include "sub/own.h"\n')
    assert told(output, str(tmp_path), (str(tmp_path),)).splitlines() == output.splitlines()


def test_lines_of_a_folder_that_the_command_names_are_shown(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more/own.h").write_text("int broken(;\n")
    (tmp_path / "tree").mkdir()
    output = rejected(tmp_path / "tree", '#include "own.h"\n', f"-I{tmp_path}/more")
    assert "broken" in told(output, "/x", (f"{tmp_path}/tree", f"{tmp_path}/more"))
    assert "broken" not in told(output, "/x", (f"{tmp_path}/tree",))
