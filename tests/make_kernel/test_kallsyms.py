"""Symbol tables as scripts/kallsyms.c writes them, made here in the orders of 5.10, 6.1 and 6.4."""

from __future__ import annotations

import random
import struct

import pytest

from suture.error import Unsupported
from suture.make_kernel import kallsyms
from suture.make_kernel.kallsyms import Kallsyms, KernelSymbol, read
from suture.number import Vaddr

BASE = Vaddr(0xFFFF_FFFF_8100_0000)
TOKENS = [bytes([c]) if chr(c).isalnum() or c in b"_." else b"" for c in range(256)]
TOKENS[1], TOKENS[2], TOKENS[200] = b"long_name_part_", b"sym", b"x" * 40


def rows(count: int) -> list[KernelSymbol]:
    rng = random.Random(count)
    found = []
    for n in range(count):
        address = rng.randrange(1 << 15) if n % 50 == 0 else BASE + 16 * n + rng.randrange(16)
        found.append(
            KernelSymbol(Vaddr(address), rng.choice("tTdDbA"), f"sym{n}" if n % 9 else f"long_name_part_{n % 36}")
        )
    found[7] = KernelSymbol(BASE, "T", "_text")
    found[11] = KernelSymbol(Vaddr(BASE + (1 << 30)), "t", "last")
    found[13] = KernelSymbol(Vaddr(BASE + 99), "t", "long_name_part_" + "y" * 200)
    return found


def packed(name: bytes) -> bytes:
    codes = bytearray()
    while name:
        token = next((n for n in (1, 2) if name.startswith(TOKENS[n])), name[0])
        codes.append(token)
        name = name[len(TOKENS[token]) :]
    size = len(codes)
    head = bytes([size]) if size < 0x80 else bytes([size & 0x7F | 0x80, size >> 7])
    return head + codes


def aligned(data: bytes, to: int = 8) -> bytes:
    return data + bytes(-len(data) % to)


def table(symbols: list[KernelSymbol], offsets_first: bool = True, sequences: bool = False, base: int = BASE) -> bytes:
    names, markers = bytearray(), []
    for n, s in enumerate(symbols):
        if n % 256 == 0:
            markers.append(len(names))
        names += packed((s.type + s.name).encode())
    offsets = [s.address if s.address < 1 << 31 else base - 1 - s.address for s in symbols]
    part = {
        "offsets": aligned(struct.pack(f"<{len(offsets)}i", *offsets)),
        "base": struct.pack("<Q", base),
        "count": aligned(struct.pack("<I", len(symbols))),
        "names": aligned(bytes(names)),
        "markers": aligned(struct.pack(f"<{len(markers)}I", *markers)),
        "sequences": aligned(bytes(3 * len(symbols))) if sequences else b"",
    }
    texts, index = bytearray(), []
    for t in TOKENS:
        index.append(len(texts))
        texts += t + b"\0"
    part |= {"tokens": aligned(bytes(texts)), "index": aligned(struct.pack("<256H", *index))}
    first = "offsets base count names markers sequences tokens index"
    last = "count names markers tokens index offsets base"
    return b"".join(part[n] for n in (first if offsets_first else last).split())


NOISE = random.Random(3).randbytes(4096)


@pytest.mark.parametrize("count", [1001, 1024, 1300, 2561])
@pytest.mark.parametrize("kind", ["first", "sequences", "last"])
@pytest.mark.parametrize("before", [4096, 4096 - 8])
def test_each_order_is_read(kind: str, count: int, before: int) -> None:
    symbols = rows(count)
    raw = NOISE[:before] + table(symbols, kind != "last", kind == "sequences") + NOISE
    found = read(raw, BASE, "vmlinux")
    assert found.rows == tuple(symbols)


def test_a_number_that_only_looks_like_the_base_is_passed_over() -> None:
    symbols = rows(1100)
    raw = struct.pack("<Q", BASE) * 3 + NOISE + table(symbols) + NOISE
    assert read(raw, BASE, "x").rows == tuple(symbols)
    raw = table(symbols, False) + struct.pack("<Q", BASE)
    assert read(raw, BASE, "x").rows == tuple(symbols)


def test_what_is_no_table_is_refused() -> None:
    good = table(rows(1100))
    for raw in (b"", NOISE, good[:2000], table(rows(1000)), table(rows(1100), base=BASE + 1), struct.pack("<Q", BASE)):
        with pytest.raises(Unsupported, match="vmlinux: no symbol table of a known format"):
            read(raw, BASE, "vmlinux")
    # markers that say something else
    names = good.index(struct.pack("<Q", BASE)) + 16
    places = kallsyms._places(good, names, 1100)
    assert len(places) == 1100 and places[0][0] == names + 1
    end = places[-1][1]
    for broken in (good[:end] + bytes(32) + good[end + 32 :], good[: end + 8] + b"\xff" * 8 + good[end + 16 :]):
        assert kallsyms._places(broken, names, 1100) == []
    assert kallsyms._places(b"\0" * 99, 0, 3) == []
    for end in (names, names + 1, names + 2, *range(names + 9, names + 60)):
        assert kallsyms._places(good[:end], names, 1100) == [], end


def test_names_are_found_by_name_and_by_address_in_order() -> None:
    a, b, c = KernelSymbol(Vaddr(5), "t", "x"), KernelSymbol(Vaddr(9), "t", "y"), KernelSymbol(Vaddr(5), "T", "y")
    table_ = Kallsyms([a, b, c])
    assert table_.by_name == {"x": (a,), "y": (b, c)}


def test_long_names_have_a_second_byte() -> None:
    assert kallsyms._length(b"zz\x05", 2) == (3, 5)
    assert kallsyms._length(b"\x7f", 0) == (1, 127)
    assert kallsyms._length(b"\x80\x01", 0) == (2, 128)
    assert kallsyms._length(b"\x85\x03", 0) == (2, 5 + 3 * 128)


def test_tokens_are_found_by_those_of_the_digits_and_proved_by_their_index() -> None:
    raw = table(rows(1100))
    found = kallsyms._tokens(raw, 0)
    assert found is not None and found.texts == TOKENS
    assert raw[found.start : found.start + 1] == b"\0" and raw[found.end - 2 : found.end] == struct.pack(
        "<H", sum(len(t) + 1 for t in TOKENS[:255])
    )
    assert kallsyms._tokens(raw[: found.end - 2] + b"zz", 0) is None
    assert kallsyms._tokens(raw, found.start + 200) is None


def test_all_markers_count() -> None:
    good = table(rows(1100))
    names = good.index(struct.pack("<Q", BASE)) + 16
    end = kallsyms._places(good, names, 1100)[-1][1]
    start = end + -end % 8
    assert struct.unpack_from("<I", good, start)[0] == 0
    for n in range(5):
        broken = bytearray(good)
        broken[start + 4 * n] ^= 1
        assert kallsyms._places(bytes(broken), names, 1100) == [], n
    # right ones that stand further behind are none
    far = good[:end] + bytes(24) + good[start : start + 20] + good[start + 20 :]
    assert kallsyms._places(far, names, 1100) == []


def test_a_number_before_the_tokens_that_only_looks_like_the_count_is_passed_over() -> None:
    symbols = rows(1100)
    raw = table(symbols, False)
    tokens = kallsyms._tokens(raw, 0)
    assert tokens is not None
    place = tokens.start + -tokens.start % 8
    decoy = raw[: tokens.start].ljust(place, b"\0") + struct.pack("<Q", 1100) + raw[tokens.start :]
    assert read(decoy, BASE, "x").rows == tuple(symbols)


def test_a_table_of_tokens_may_be_the_first_thing() -> None:
    raw = table(rows(1100))
    found = kallsyms._tokens(raw, 0)
    assert found is not None
    first = kallsyms._tokens(raw[found.start :], 0)
    assert first is not None and (first.texts, first.start, first.end) == (TOKENS, 0, found.end - found.start)
