"""docs/results/qemu.md from the raw numbers of `bench/qemu_guest`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from facts import Record
from summary import Spread

_PHASES = ("without patches", "patches come and go", "all patches in force")
_STATES = ("without", "with", "reverted")
_INTRODUCTION = """\
A virtual machine cannot be moved or restarted for every hole in its emulator. A live patch goes into the running
`qemu-system-x86_64`; the guest goes on.

## A session to repeat

```
suture make --source qemu={new} --fix bench/qemu/fixes/e1000e.patch
suture apply qemu-*e1000e*.suture.o           # every running qemu-system-x86_64 of that build
suture status
suture revert qemu-*e1000e*.suture.o
```

A real fix, for the machines of an older release:

```
suture make --source qemu={old} --fix-from qemu={fixed}:{real}
```

A fix switches in one stop or not at all: `sdhci_read` and `sdhci_write` of the last one change together. `suture make
--apart REASON` lets functions switch as they are free, where each function's change stands alone
(docs/explanation/applying.md, "Groups").

`bench/qemu_guest` does all that follows: it makes the patches, starts the guests and writes this page. The recipe
(`src/suture/recipes/qemu.toml`) configures x86_64-softmmu alone; modules (`block-*.so`) and the other emulators are not
in it.

## What happens to coroutines

QEMU runs its block layer in coroutines, each with a stack of 1 MiB of its own, and keeps hundreds of them for later
use. In each stop all that are suspended are looked at. The recipe says that they stand in `qemu_coroutine_switch`, so
the registers that they saved are known, and words that earlier requests have left behind count for nothing
(docs/explanation/applying.md, "What "inside" means"). A request that is under way in a function to be replaced keeps
the patch waiting; a disk that is always busy with many requests at once may need more `--timeout`. Threads that execute
translated code have no unwind tables there; words of replaced functions on such a thread's stack count.

## What is refused

CVE-2024-7409 (NBD server), the fifth fix tried between the two versions: its patches add members to `struct
QIOChannel`, `struct NBDClient` and `struct NBDServerData`, and objects that exist already would be misread. Restart
with the fixed package.
"""


def document(record: Record) -> str:
    """The whole page."""
    data = record.data
    versions = data["versions"]
    lines = [
        "# QEMU",
        "",
        f"Written by `{record.command}` on {record.started} (Linux {record.machine.kernel}, {record.machine.cores} "
        f"cores, load {record.machine.load} at the start). Not edited by hand; the raw numbers are in "
        "bench/results/qemu_guest.json.",
        "",
        *_INTRODUCTION.format(**versions, real=data["made"]["old"][0]["fix"]).splitlines(),
        "",
        "## The guest",
        "",
        (
            "Two processors, emulated (TCG), the archive's kernel; its init loops and sleeps 1 ms (the heartbeat), "
            "reads and writes two qcow2"
        ),
        (
            "disks (lsi53c895a and virtio) with O_DIRECT and compares every word, and pings the host through e1000e "
            "and virtio-net every 10 ms."
        ),
        (
            "A gap is the longest time between two heartbeats, on the guest's clock, in each second. Emulation shares "
            "the host's processors with"
        ),
        (
            "everything else that runs there, the one that applies included; the first line of each table tells what "
            "that alone does to the guest."
        ),
        "",
        f"### QEMU {versions['new']}, patches written for measuring",
        "",
        *_made(data["made"]["new"]),
        *_guest(data["new"]),
        f"### QEMU {versions['old']}, fixes of {versions['fixed']}",
        "",
        "In a chroot of bullseye, with the source and the binary of that archive.",
        "",
        *_made(data["made"]["old"]),
        *_guest(data["old"]),
        *_trigger(data["trigger"]),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _made(made: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = []
    for m in made:
        patch = m["patches"][0]
        took = ", ".join(f"{n} {s:.1f}" for n, s in m["seconds"].items())
        rows.append(
            (m["fix"], ", ".join(patch["cves"]) or "-", ", ".join(patch["functions"]), _yes(patch["safe"]), took)
        )
    return [*_table(("fix", "CVEs", "functions replaced", "the whole fix", "seconds"), rows), ""]


def _guest(data: Mapping[str, Any]) -> list[str]:
    rows = []
    for name in _PHASES:
        beats = data["phases"][name]
        first, last, inner = beats[0], beats[-1], beats[1:]
        gaps = Spread.of([b["gap_us"] / 1000 for b in inner])
        pings = [f"{sum(last['sent']) - sum(first['sent'])}, {sum(last['sent']) - sum(last['answered'])}"]
        rows.append(
            (
                name,
                str(len(inner)),
                f"{gaps.p50:.0f}",
                f"{gaps.most:.0f}",
                str(last["reads"] - first["reads"]),
                str(last["writes"] - first["writes"]),
                str(last["bad"] - first["bad"]),
                *pings,
            )
        )
    head: tuple[str, ...] = (
        "",
        "seconds",
        "median of the gaps, ms",
        "largest gap, ms",
        "disks read",
        "blocks written and read back",
        "wrong",
        "pings sent; since the start without an answer",
    )
    lines = [*_table(head, rows), ""]
    lines += [f"Faults that the guest's kernel reported: {len(data['faults']) or 'none'}.", ""]
    switches: list[tuple[str, ...]] = []
    for s in data["switches"]:
        spread = Spread.of(s["pauses_us"]) if s["pauses_us"] else None
        cells = [f"{x / 1000:.1f}" for x in (spread.p50, spread.most)] if spread else ["-", "-"]
        switches.append((s["name"], str(s["switched"]), *cells, str(s["waited"]), str(s["busy"]), str(s["coroutines"])))
    head = (
        "patch",
        "applied or reverted",
        "pause p50, ms",
        "longest",
        "stops that found somebody inside",
        "given up",
        "suspended coroutines, most",
    )
    return [*lines, *_table(head, switches), ""]


def _trigger(found: Mapping[str, bool]) -> list[str]:
    rows = [
        (name, "takes it (vulnerable)" if took else "does not take it")
        for name, took in ((s, found[s]) for s in _STATES)
    ]
    return [
        "### CVE-2024-3447, triggered",
        "",
        (
            "The SD host controller must not take a new transfer mode while a transfer is going on. Asked over QEMU's "
            "test protocol:"
        ),
        "",
        *_table(("the patch", "the controller"), rows),
        "",
    ]


def _yes(value: bool) -> str:
    return "yes" if value else "NO"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
