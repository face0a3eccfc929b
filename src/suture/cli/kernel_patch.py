"""A kernel patch as lines for people."""

from __future__ import annotations

from suture.cli.ledger import cve_lines, fix_lines
from suture.cli.output import print_table
from suture.cli.tripwires import print_tripwires
from suture.kernel.manifest import KernelPatch, unsigned


def print_kernel_patch(patch: KernelPatch, every_line: bool, proof: bool) -> None:
    """What it is for and replaces, what became of each line of its fixes; with `proof` what was matched."""
    m = patch.manifest
    print(f"patch     {patch.id}  {m.module}{'  (signed)' if unsigned(patch.data) != patch.data else ''}")
    print(f"target    linux {m.target.release} ({m.target.version})")
    print(f"build-id  {m.target.build_id}")
    if not m.is_complete:
        print("partial   part of what it is for is missing")
    for line in (*fix_lines(m.fixes, "the kernel", every_line), *cve_lines(m.fixes, "the kernel")):
        print(line)
    size = sum(s.size for u in m.units for s in u.sections)
    compared = sum(s.compared for u in m.units for s in u.sections)
    print(
        f"proof     {len(m.units)} unit{'s' * (len(m.units) != 1)} found whole: {size} bytes of code, {compared} "
        f"compared equal; {sum(len(u.agreed_symbols) for u in m.units)} function names agree; {len(m.symbols)} "
        "symbols bound by livepatch"
    )
    if m.replace:
        print("replace   takes the place of all earlier patches in one step")
    for text in (*m.notes, *m.keep):
        print(f"note      {text}")
    print()
    print_table(
        ("replaced function", "object", "position", "address", "old bytes", "source"),
        [(f.name, f.object, f.position, f"{f.address:#x}", f.size, f.source) for f in m.functions],
    )
    print_tripwires(m.tripwires, m.without_tripwire)
    if proof:
        for unit in m.units:
            print()
            print(unit.source)
            rows = [(s.name, s.size, s.compared, f"{s.address:#x}") for s in unit.sections]
            print_table(("section", "size", "compared", "address"), rows)
        print()
        print_table(
            ("symbol", "address", "implied by"),
            [(s.name, f"{s.address:#x}", "; ".join(s.implied_by)) for s in m.symbols],
        )
