"""C++ names as people write them, for what is printed; in JSON and in patches they stay as the linker has them."""

from __future__ import annotations

from collections.abc import Sequence

from suture.command import CommandFailed, run

_MANGLED = "_Z"


def plain_names(names: Sequence[str]) -> list[str]:
    """The names in their order, demangled by c++filt of binutils; as they are where there is none."""
    if not any(n.startswith(_MANGLED) for n in names):
        return list(names)
    try:
        said = run(["c++filt"], stdin="\n".join(names).encode(errors="surrogateescape")).split("\n")
    except (OSError, CommandFailed):
        return list(names)
    return [s if n.startswith(_MANGLED) else n for n, s in zip(names, said, strict=False)]
