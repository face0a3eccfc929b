"""Source packages made up for a test, unpacked as dpkg-source leaves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from suture.els.patching import difference
from suture.source.archive import SourceVersion


def package(
    root: Path,
    version: str,
    files: Mapping[str, str],
    patches: Sequence[tuple[str, str, Mapping[str, str]]] = (),
    changelog: str = "",
) -> SourceVersion:
    """A version with `files` and then its patches: each a name, what it says of itself, and the texts that it makes."""
    tree = root / version / "tree"
    texts = dict(files)
    listed = tree / "debian/patches"
    listed.mkdir(parents=True)
    for name, said, made in patches:
        body = ""
        for path, text in made.items():
            kept = tree / ".pc" / name / path
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(texts.get(path, ""))
            body += difference(path, texts.get(path, ""), text, creates=path not in texts)
            texts[path] = text
        (listed / name).write_text(f"{said}\n---\n{body}")
    (listed / "series").write_text("".join(f"{name}\n" for name, _, _ in patches))
    (tree / "debian/changelog").write_text(f"x ({version}) unstable; urgency=low\n\n  * {changelog}\n")
    for path, text in texts.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    return SourceVersion("x", version, "bookworm", root / version / "x.dsc", tree)
