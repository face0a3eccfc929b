"""The kernel's side of the verbs: what make, show, verify, apply, revert and status do when the subject is a kernel."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from suture.cli.difference import first_difference
from suture.cli.output import print_json, print_table, progress
from suture.error import ExitCode, SutureError

if TYPE_CHECKING:
    from suture.kernel.transition import TransitionResult

NAME = "suture_"
# by verb: options that mean something for processes alone, and what to do instead
_NOT_FOR_MAKING = {
    "--fix-from": "give --fix FILE, or --to VERSION with --only",
    "--file": "leave it out: one module holds the changes of vmlinux and of all modules",
    "--binary": "leave it out: the image comes from the archive",
    "--apart": "leave it out: a kernel takes over a patch as a whole",
    "--relaxed": "leave it out: livepatch changes each task over when it is in none of the old functions",
}
_NOT_FOR_SHOWING = {
    "--disassemble": "use objdump -dr FILE.ko",
    "--binary": "leave it out, as --disassemble, which it belongs to",
}
_NOT_FOR_VERIFYING = {
    "--tree": "leave it out: the source comes from the archive",
    "--binary": "leave it out: the image comes from the archive",
}
_NOT_FOR_APPLYING = {
    "pid": "leave it out: the kernel is one",
    "--jobs": "leave it out: the kernel is one",
    "--replace": "make a cumulative patch: suture make --replace",
}
_NOT_FOR_REVERTING = {"pid": "leave it out: the kernel is one"}


class BadKernelOption(SutureError):
    """An option that does not go with a kernel, or lacks its other half."""

    exit_code = ExitCode.USAGE


def _refuse(args: argparse.Namespace, options: Mapping[str, str]) -> None:
    """Raises `BadKernelOption` for the first of the options that was given."""
    for option, remedy in options.items():
        if getattr(args, option.removeprefix("--").replace("-", "_")):
            raise BadKernelOption(f"{option} means nothing for a kernel", remedy)


def make(args: argparse.Namespace) -> int:
    """`suture make --source linux=VERSION`."""
    from suture.cli.ledger import cve_lines, fix_lines
    from suture.make_kernel.make import make as make_module
    from suture.make_kernel.refusal import KernelRefused
    from suture.make_kernel.request import KernelRequest, ready
    from suture.make_kernel.signature import sign
    from suture.patch.manifest import plain

    _refuse(args, _NOT_FOR_MAKING)
    if bool(args.sign_key) != bool(args.sign_cert):
        raise BadKernelOption("a signature needs a key and its certificate", "give --sign-key KEY --sign-cert CERT")
    from suture.cli.make import check_cves, check_folder

    check_cves(args.cve)
    start = time.monotonic()
    with progress(args) as step:
        check_folder(args.output)
        texts = tuple((p.name, _text(p)) for p in args.fix)
        callbacks = _text(args.callbacks) if args.callbacks else ""
        request = KernelRequest(
            args.source,
            texts,
            args.to,
            tuple(args.only),
            tuple(args.cve),
            callbacks,
            args.replace,
            args.flavour,
            args.reaches,
        )
        everything = ready(request, step)
        prepared = time.monotonic() - start
        try:
            made = make_module(everything, step)
        except KernelRefused as error:
            if not args.json:
                raise
            print_json({"patches": [], "refused": [r.__dict__ for r in error.refused]})
            return ExitCode.REFUSED
    data = sign(made.data, args.sign_key, args.sign_cert) if args.sign_key else made.data
    args.output.mkdir(parents=True, exist_ok=True)
    path = args.output / f"{made.manifest.module}.ko"
    path.write_bytes(data)
    seconds = {"prepare": prepared, **made.seconds, "total": time.monotonic() - start}
    manifest = made.manifest
    done = ExitCode.OK if manifest.is_complete else ExitCode.PARTIAL
    if args.json:
        row = {
            "path": str(path),
            "id": made.id,
            "name": manifest.module,
            "release": manifest.target.release,
            "build_id": manifest.target.build_id,
            "cves": manifest.cves,
            "complete": manifest.is_complete,
            "fixes": plain([asdict(f) for f in manifest.fixes]),
            "functions": [f"{f.object}:{f.name}" for f in manifest.functions],
            "replace": manifest.replace,
            "keep": manifest.keep,
            "notes": manifest.notes,
        }
        print_json({"patches": [row], "refused": [], "seconds": seconds})
        return done
    functions = ", ".join(f"{f.object}:{f.name}" for f in manifest.functions[:8])
    print_table(
        ("id", "kernel", "functions", "of the fix", "closes", "patch"),
        [
            (
                made.id,
                manifest.target.release,
                functions,
                "all" if manifest.is_complete else "PART",
                ", ".join(manifest.cves) or "-",
                path,
            )
        ],
    )
    for line in (*fix_lines(manifest.fixes, "the kernel", args.ledger), *cve_lines(manifest.fixes, "the kernel")):
        print(line)
    for note in (*manifest.notes, *manifest.keep):
        print(f"note: {note}")
    print("seconds: " + ", ".join(f"{name} {value:.2f}" for name, value in seconds.items()))
    return done


def show(args: argparse.Namespace) -> int:
    """`suture show FILE.ko`."""
    import json

    from suture.cli.ledger import cve_lines, fix_lines
    from suture.kernel.manifest import read_patch, unsigned

    _refuse(args, _NOT_FOR_SHOWING)
    patch = read_patch(args.patch)
    m = patch.manifest
    if args.json:
        print_json({"id": patch.id, **json.loads(m.to_json())})
        return ExitCode.OK
    print(f"patch     {patch.id}  {m.module}{'  (signed)' if unsigned(patch.data) != patch.data else ''}")
    print(f"target    linux {m.target.release} ({m.target.version})")
    print(f"build-id  {m.target.build_id}")
    if not m.is_complete:
        print("partial   part of what it is for is missing")
    for line in (*fix_lines(m.fixes, "the kernel", args.ledger), *cve_lines(m.fixes, "the kernel")):
        print(line)
    size = sum(s.size for u in m.units for s in u.sections)
    compared = sum(s.compared for u in m.units for s in u.sections)
    print(
        f"proof     {len(m.units)} unit{'s' * (len(m.units) != 1)} found whole: {size} bytes of code, {compared} compared equal; "
        f"{sum(len(u.agreed_symbols) for u in m.units)} function names agree; {len(m.symbols)} symbols bound by livepatch"
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
    if args.proof:
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
    return ExitCode.OK


def verify(args: argparse.Namespace) -> int:
    """`suture verify FILE.ko`: made again, it must be the same bytes; a signature is not compared."""
    from suture.cli.verify import Differs
    from suture.kernel.manifest import read_patch, unsigned
    from suture.make_kernel.make import make as make_module
    from suture.make_kernel.request import KernelRequest, ready

    _refuse(args, _NOT_FOR_VERIFYING)
    patch = read_patch(args.patch)
    request = KernelRequest.from_facts(patch.manifest.request)
    with progress(args) as step:
        again = make_module(ready(request, step), step)
    if again.id != patch.id:
        old = unsigned(patch.data)
        raise Differs(
            f"{args.patch}: made again it is {again.id}, not {patch.id}: {first_difference(old, again.data)}",
            "do not apply this patch",
        )
    if args.json:
        print_json(
            {
                "id": patch.id,
                "verified": True,
                "bytes": len(again.data),
                "compiler": again.manifest.toolchain["compiler"],
            }
        )
    else:
        print(f"{patch.id}: made again from {request.source}, the same {len(again.data)} bytes")
    return ExitCode.OK


def apply(args: argparse.Namespace) -> int:
    """`suture apply FILE.ko`."""
    from suture.kernel import boot
    from suture.kernel.check import check, facts
    from suture.kernel.manifest import read_patch
    from suture.kernel.transition import apply as apply_module
    from suture.patch.admission import admit

    _refuse(args, _NOT_FOR_APPLYING)
    patch = read_patch(args.patch, owned=True)
    admit(
        str(args.patch),
        is_complete=patch.manifest.is_complete,
        is_proved=bool(patch.manifest.units),
        missing=[a.reason for f in patch.manifest.fixes for a in f.ledger.missing],
        accept_partial=args.accept_partial,
        accept_unproved=args.accept_unproved,
    )
    if args.dry_run:
        notes = check(patch, facts(tuple(patch.manifest.objects)), args.accept_loss)
        _print_plan(args, patch.manifest.module, [f"{f.object}:{f.name}" for f in patch.manifest.functions], notes)
        return ExitCode.OK
    result = apply_module(args.patch, patch, args.timeout, args.accept_loss)
    if args.at_boot:
        boot.install(args.patch, patch)
    return _report(args, result)


def revert(args: argparse.Namespace) -> int:
    """`suture revert FILE.ko|suture_NAME`."""
    from suture.kernel import boot
    from suture.kernel.manifest import read_patch
    from suture.kernel.transition import revert as revert_module

    _refuse(args, _NOT_FOR_REVERTING)
    name = read_patch(Path(args.patch)).manifest.module if args.patch.endswith(".ko") else args.patch
    result = revert_module(name, args.timeout)
    boot.forget(name)
    return _report(args, result)


def status(args: argparse.Namespace) -> int:
    """`suture status --kernel`."""
    from suture.kernel import boot
    from suture.kernel.livepatch import patches
    from suture.kernel.transition import holding
    from suture.kernel.version import effective

    found = patches()
    version = effective(found)
    tasks = [t for p in found if p.transition for t in holding(1 if p.enabled else 0)]
    kept = boot.standing()
    if args.json:
        print_json({"kernel": version, "patches": found, "holding": tasks, "at_boot": kept})
        return ExitCode.OK
    print(version.line())
    if version.cves:
        print(f"closed live: {', '.join(version.cves)}")
    if found:
        print_table(
            ("patch", "state", "functions", "fixes", "CVEs"),
            [
                (
                    p.name,
                    p.state + (", part of the fixes" if p.record.get("partial") == "yes" else ""),
                    ", ".join(f"{o}:{n}" for o, n, _ in p.functions),
                    ", ".join(p.fixes),
                    ", ".join(p.cves),
                )
                for p in found
            ],
        )
    else:
        print("the running kernel has no live patch")
    for t in tasks:
        print(f"not changed over: {t.command} (pid {t.pid}, task {t.tid}, {t.state}): {' < '.join(t.stack[:8])}")
    for row in kept:
        print(f"at boot: {row.name}: {row.state}")
    return ExitCode.OK


def _report(args: argparse.Namespace, result: TransitionResult) -> int:
    if args.json:
        print_json(result)
    else:
        print(f"{result.name}: {result.outcome.value} ({result.seconds:.2f} s)")
        for older in result.replaced:
            print(f"in place of {older}")
        for note in result.notes:
            print(f"note: {note}")
    return ExitCode.OK


def _print_plan(args: argparse.Namespace, name: str, functions: list[str], notes: tuple[str, ...]) -> None:
    if args.json:
        print_json({"module": name, "functions": functions, "notes": notes})
        return
    print(f"{name} fits the running kernel and would replace: {', '.join(functions)}")
    for note in notes:
        print(f"note: {note}")


def _text(path: Path) -> str:
    from suture.cli.make import read_text

    return read_text(path)
