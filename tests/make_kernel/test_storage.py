"""Variables of the kernel that new code neither writes nor reads any more keep their places."""

from __future__ import annotations

from suture.make_kernel.change import KernelChange
from suture.make_kernel.object import KernelReference
from suture.make_kernel.resolve import Exports, KernelResolver
from suture.make_kernel.storage import with_storage
from suture.refusal import Refusal
from tests.make_kernel.test_change import BASE, N, change, obj

KEPT = "-fno-ipa-reference-addressable"
WRITES = ("state = x;", "")
DROPPED = f"static int ready;\n{N}void put(int x) {{ ready = x; }}\n" + BASE
READS = ("helper(x) + 1", "helper(x) + 1 + ready")


def stored(base: str, edit: tuple[str, str]) -> KernelChange:
    def compiles():  # type: ignore[no-untyped-def]
        return obj(base, KEPT), obj(base.replace(*edit), KEPT)

    return with_storage(change(edit, base=base), compiles)


def test_a_variable_that_nothing_writes_any_more_keeps_its_place_and_its_readers_are_not_changed() -> None:
    plain, one = change(WRITES), stored(BASE, WRITES)
    assert "helper" in plain.replaced and not any(a.label == "state" for a in plain.post.atoms.values())
    assert (one.replaced, one.new, one.lost) == ({"g"}, frozenset(), frozenset())
    (state,) = (a for a in one.post.atoms.values() if a.label == "state")
    assert one.pre_of(state) is not None and one.difference.changed_variables == frozenset()


def test_what_stays_as_it_is_is_compiled_once() -> None:
    edit = ("helper(x) + 1", "helper(x) + 2")
    before = change(edit)

    def never():  # type: ignore[no-untyped-def]
        raise AssertionError

    assert with_storage(before, never) is before


def test_a_variable_that_running_code_leaves_out_is_refused_to_new_code() -> None:
    one = stored(DROPPED, READS)
    assert one.unstored == {"ready"}
    function = one.post.functions["f"].hot
    (ref,) = (r for r in function.references if r.section is not None and one.post.atoms[r.section].label == "ready")
    assert isinstance(ref, KernelReference)
    found = KernelResolver((one,), Exports({})).resolve(0, function, ref)
    assert isinstance(found, Refusal) and "stores nothing" in found.reason
