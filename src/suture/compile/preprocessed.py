"""Units that a fix leaves as they are once they are preprocessed, as most are that read a common header."""

from __future__ import annotations

from collections.abc import Sequence

from suture.compile.job import CompileFailed
from suture.compile.tree import Tree
from suture.compile.unit import Unit


def unchanged(tree: Tree, post: Tree, units: Sequence[Unit]) -> frozenset[str]:
    """Objects of the units whose text is the same in both trees; the same text is the same code. To preprocess costs a
    small part of what it costs to compile. A unit that the preprocessor rejects is not among them."""
    left = list(units)
    while left:
        try:
            pairs = zip(left, tree.preprocessed(left), post.preprocessed(left), strict=True)
        except CompileFailed as failed:
            rejected = {one.object for one in failed.rejected}
            left = [u for u in left if u.object not in rejected]
            continue
        return frozenset(u.object for u, before, after in pairs if before.read_bytes() == after.read_bytes())
    return frozenset()
