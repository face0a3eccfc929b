"""What can be applied can be reverted: for any manifest that is accepted, the record reads back as it was written, or
is refused first."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from suture.number import Address, Bias
from suture.patch.consistency import Consistency
from suture.patch.file import parse_patch
from suture.patch.link import Place, lay_out, link, slots_read
from suture.patch.manifest import (
    BadPatch,
    FixFact,
    Group,
    Manifest,
    OldPart,
    ReplacedFunction,
    Suspending,
    Target,
    Verdict,
)
from suture.patch.record import BadRecord, readable
from suture.process.memory.placed import check_revertible
from tests.patch.test_file import MANIFEST, patch

PLACE = Place(Address(0x7F0000000000), Bias(0x7F0000100000), {}, {}, {})
words = (
    st.text(max_size=12) | st.text("\x1b\n\u202e\0a", max_size=4) | st.sampled_from(["", "n" * 16_000, "n" * 17_000])
)
numbers = st.integers(0, (1 << 64) - 1) | st.sampled_from(
    [0, 1, 4096, 1 << 31, (1 << 31) - 1, 1 << 46, 1 << 47, 1 << 60]
)
sizes = st.integers(16, 4096) | st.integers(16, 4096) | numbers
parts = st.builds(OldPart, words, st.integers(0, 1 << 30) | numbers, sizes)
functions = st.builds(
    ReplacedFunction, words, st.integers(0, 1 << 30) | numbers, sizes, words, st.sampled_from([0, 4]),
    st.integers(5, 9), st.just("f"), st.just("f.orig"), st.sampled_from(Consistency), st.booleans(),
)  # fmt: skip
manifests = st.builds(
    replace,
    st.just(MANIFEST),
    name=words,
    target=st.builds(Target, *[words] * 6),
    fixes=st.lists(st.builds(FixFact, words, st.lists(words, max_size=2).map(tuple), words), max_size=2).map(tuple),
    groups=st.lists(
        st.builds(
            Group, words, st.lists(functions, min_size=1, max_size=2).map(tuple), st.lists(parts, max_size=2).map(tuple)
        ), min_size=1, max_size=2,
    ).map(tuple),
    verdict=st.builds(Verdict, st.booleans(), st.lists(words, max_size=2).map(tuple)),
    suspends=st.lists(st.builds(Suspending, words, numbers, sizes), max_size=1).map(tuple),
    relaxed=words,
)  # fmt: skip


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(manifests)
def test_any_accepted_manifest_gives_a_record_that_reads_back_the_same(manifest: Manifest) -> None:
    try:
        accepted = parse_patch(patch(manifest=manifest), "p")
        place = replace(PLACE, slots=dict.fromkeys(slots_read(accepted), Address(1)))
        linked = link(accepted, lay_out(accepted), place)
    except BadPatch:
        event("refused as a file")
        return
    with contextlib.suppress(BadRecord):
        check_revertible(linked.text, linked.record)
        event("applied")
        again = readable(linked.text)
        assert again.encode() == linked.record.encode()
        assert [(f.old, f.size, f.new) for f in again.functions] == [
            (f.old, f.size, f.new) for f in linked.record.functions
        ]
        return
    event("refused as a record")
