"""Real fixes between two versions of postgresql-13 as live patches, tried on a running cluster.
`bench/postgresql_fixes` calls it.

For each: `suture make`, then its hole is asked before, with and after the patch, in one backend (or through one
postmaster). The facts are in postgresql_fixes.toml; numbers are kept in bench/results.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from facts import RESULTS, Record, Start
from postgresql_server import NEW, OLD, SOURCE, Server, Session, cluster
from target import NotMeasured

from suture.cli.output import print_json, print_table
from suture.error import ExitCode, Refused, SutureError
from suture.number import BuildId
from suture.patch.file import PatchFile, read_patch
from suture.process.change.apply import apply
from suture.process.change.revert import revert
from suture.process.everywhere import Change, in_each
from suture.process.see.find import find

_HERE = Path(__file__).resolve().parent
_SSL, _GSS = 80877103, 80877104  # NEGOTIATE_SSL_CODE, NEGOTIATE_GSS_CODE of pqcomm.h
COLUMNS = ("fix", "CVEs", "binary", "functions", "before", "with", "after", "make, s", "state")


def main(words: Sequence[str] | None = None) -> int:
    """Exit code 1 when an outcome is not the one that is written down."""
    parser = argparse.ArgumentParser(
        prog="bench/postgresql_fixes", description="Real fixes of postgresql-13, tried on a cluster."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="fixes of postgresql_fixes.toml (all)")
    parser.add_argument("--json", action="store_true", help="print the raw numbers")
    parser.add_argument("--into", type=Path, default=RESULTS, metavar="DIR", help="where the raw numbers are kept")
    args = parser.parse_args(words)
    start = Start.now("postgresql_fixes", words)
    facts = tomllib.loads((_HERE / "postgresql_fixes.toml").read_text())
    unknown = set(args.names) - set(facts)
    if unknown:
        parser.error(f"no such fix: {', '.join(sorted(unknown))}")
    kept = args.into / "postgresql_fixes.json"
    rows = Record.read(kept).data["rows"] if args.names and kept.exists() else []
    rows = [r for r in rows if r["fix"] in facts and r["fix"] not in args.names]
    with tempfile.TemporaryDirectory() as name, cluster([], _say) as server:
        for fix in args.names or facts:
            rows.append(_row(fix, facts[fix], server, Path(name) / fix))
            _say(f"{fix}: {rows[-1]['state']} {rows[-1]['note']}")
            start.finish({"old": OLD, "new": NEW, "rows": rows}).write(args.into)
    record = start.finish({"old": OLD, "new": NEW, "rows": rows})
    record.write(args.into)
    if args.json:
        print_json(record.data)
    else:
        print_table(COLUMNS, [cells(r) for r in rows])
    return int(any(r["state"] == "failed" for r in rows))


def _say(text: str) -> None:
    print(f"postgresql_fixes: {text}", file=sys.stderr, flush=True)


def make_words(fix: Mapping[str, Any]) -> list[str]:
    """What `suture make` is called with for a fix."""
    words = [f"--source={SOURCE}={OLD}", *(f"--cve={c}" for c in fix["cves"])]
    if "patch" in fix:
        return [*words, f"--fix={_HERE / 'fixes' / fix['patch']}"]
    if "fixes" in fix:
        return [*words, *(f"--fix-from={SOURCE}={NEW}:{p}" for p in fix["fixes"])]
    return [*words, f"--to={NEW}", *(f"--only={p}" for p in fix["only"])]


def made(words: Sequence[str], folder: Path) -> tuple[dict[str, Any], float]:
    """The answer of `suture make` and its seconds. Raises NotMeasured when there is no patch."""
    command = [str(Path(sys.executable).with_name("suture")), "make", *words, f"--output={folder}", "--json"]
    begin = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    answer: dict[str, Any] = json.loads(done.stdout)
    if done.returncode not in (ExitCode.OK, ExitCode.PARTIAL) or not answer["patches"]:
        reasons = "; ".join(f"{r['function'] or r['file']}: {r['reason']}" for r in answer.get("refused", ()))
        raise Refused(f"suture make: {answer.get('error') or reasons}", answer.get("remedy", ""))
    return answer, time.monotonic() - begin


def _row(name: str, fix: Mapping[str, Any], server: Server, folder: Path) -> dict[str, Any]:
    row = {
        "fix": name,
        "cves": fix["cves"],
        "hole": fix["hole"],
        "binaries": [],
        "functions": [],
        "outcomes": [],
        "seconds": None,
        "note": "",
    }
    try:
        answer, row["seconds"] = made(make_words(fix), folder)
        patches = [read_patch(Path(p["path"])) for p in answer["patches"]]
        row["binaries"] = [p.manifest.target.file for p in patches]
        row["functions"] = [f.name for p in patches for f in p.manifest.functions]
        row["note"] = "; ".join(f"{r['function'] or r['file']}: {r['reason']}" for r in answer.get("refused", ()))
        with Session(server) as session:
            session.ask(" ".join(fix.get("setup", "select").split()).rstrip(";"))
            ask = _asker(fix, server, session)
            before = ask()
            pids = [p for patch in patches for p in _users(server, patch.manifest.target.build_id)]
            changed = [o for patch in patches for o in in_each(_users_of(server, patch), _applying(patch), timeout=10)]
            during = ask()
            changed += [
                o for patch in patches for o in in_each(_users_of(server, patch), _reverting(patch), timeout=10)
            ]
            after = ask()
    except SutureError as problem:
        return row | {
            "state": "refused" if problem.exit_code is ExitCode.REFUSED else "failed",
            "note": problem.what[-600:],
        }
    wrong = [getattr(o, "error", "a group was left out") for o in changed if o.exit_code]
    row |= {"processes": len(pids), "outcomes": [before, during, after]}
    if wrong:
        busy = all(o.exit_code in (ExitCode.OK, ExitCode.BUSY, ExitCode.REFUSED) for o in changed)
        return row | {"state": "busy" if busy else "failed", "note": re.sub(r"(pid|thread) \d+", r"\1 N", wrong[0])}
    if "ask" not in fix:
        return row | {"state": "replaced" if pids else "not loaded", "outcomes": []}
    good = row["outcomes"] == [fix["open"], fix["closed"], fix["open"]]
    return row | {"state": "closed" if good else "failed", "note": row["note"] if good else str(row["outcomes"])}


def _users(server: Server, build_id: str) -> list[int]:
    """Processes of the cluster that have a binary mapped."""
    ours = set(server.pids)
    return [p for p in find(BuildId(build_id)) if p in ours]


def _users_of(server: Server, patch: PatchFile) -> list[int]:
    return _users(server, patch.manifest.target.build_id)


def _applying(patch: PatchFile) -> Change:
    return lambda pid, seconds, population: apply(pid, patch, timeout=seconds, population=population)


def _reverting(patch: PatchFile) -> Change:
    return lambda pid, seconds, population: revert(pid, patch.id, timeout=seconds, population=population)


def _asker(fix: Mapping[str, Any], server: Server, session: Session) -> Callable[[], str]:
    words = " ".join(fix.get("ask", "select").split())
    if words == "negotiate":
        return lambda: _negotiate(server)

    def ask() -> str:
        outcome = session.ask(words)
        if session.ask("select pg_backend_pid()") != session.backend:
            raise NotMeasured("another backend answered")
        return outcome

    return ask


def _negotiate(server: Server) -> str:
    """SSL and GSS by turns, as CVE-2026-6479 does; what is answered."""
    answers = []
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(server.talk / ".s.PGSQL.5432"))
        client.settimeout(20)
        for name, code in (("SSL", _SSL), ("GSS", _GSS)) * 2:
            client.sendall(struct.pack(">II", 8, code))
            answer = client.recv(1)
            answers.append(f"{name} {'N' if answer == b'N' else 'refused'}")
            if answer != b"N":
                break
    return ", ".join(answers)


def cells(row: Mapping[str, Any]) -> list[str]:
    """One line of the table."""
    outcomes = [o or "(nothing said)" for o in row["outcomes"]] or ["no trigger"] * 3
    seconds = "-" if row["seconds"] is None else f"{row['seconds']:.1f}"
    functions = ", ".join(row["functions"][:6]) + (
        f" and {len(row['functions']) - 6} more" if len(row["functions"]) > 6 else ""
    )
    state = row["state"] + (f": {row['note']}" if row["note"] else "")
    return [row["fix"], ", ".join(row["cves"]), ", ".join(row["binaries"]), functions, *outcomes, seconds, state]


if __name__ == "__main__":
    sys.exit(main())
