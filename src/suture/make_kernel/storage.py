"""A unit of the kernel whose variables keep their storage in new code: the running kernel has stored in them what gcc
would not read any more (delta/storage.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from suture.delta.storage import folded, is_suspect, unstored
from suture.make_kernel.change import KernelChange, OtherCompiles
from suture.make_kernel.object import KernelObject
from suture.make_kernel.special_section import SpecialSections


def with_storage(change: KernelChange, compiles: Callable[[], tuple[KernelObject, KernelObject]]) -> KernelChange:
    """A change with post as `compiles` gives it (pre and post with storage) where that matters, and with what running
    code leaves out."""
    if not is_suspect(change.pre, change.post, change.difference.changed):
        return change
    pre, post = compiles()
    one = replace(change, unstored=unstored(change.pre, pre, post))
    if not folded(change.pre, change.post, post):
        return one
    other = OtherCompiles(change.difference, pre, storage=True)
    return replace(one, post=post, special_post=SpecialSections(post), other=other)
