"""What all formats stand on, as options: a scan and the agent's word, of now or from files; and where they go."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TypeVar

from suture import whole_file
from suture.agent import policy
from suture.cli.agent import option as agent_option
from suture.cli.output import print_document
from suture.error import BadOption, ExitCode, NotFound
from suture.export.picture import Picture
from suture.report.document import AgentReport, Document, ExportReport, ScanReport
from suture.report.encoding import NoDocument, decode
from suture.report.moment import now
from suture.visible import beneath

T = TypeVar("T", bound=Document)

EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.PARTIAL, ExitCode.NO_PERMISSION, ExitCode.NOT_FOUND)
AGENT_PATCHES = agent_option.KEPT / "patches"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--patches", type=Path, metavar="DIR",
        help=f"compare what runs with these patches (default: {AGENT_PATCHES}, which the agent has taken)",
    )  # fmt: skip
    parser.add_argument(
        "--scan", type=Path, metavar="FILE", help="what `suture scan --json` printed, instead of a look at this host"
    )
    parser.add_argument(
        "--agent", type=Path, metavar="FILE", help="what `suture agent status --json` printed, instead of asking here"
    )
    agent_option.add_policy(parser)
    agent_option.add_state(parser)
    agent_option.add_kept(parser)


def add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write it there, whole or not at all (default: print it)"
    )


def picture(args: argparse.Namespace) -> Picture:
    """Raises `SutureError`."""
    if args.scan and args.patches:
        raise BadOption(
            "--patches means nothing with --scan", "scan with the patches: suture scan --json --patches DIR"
        )
    return Picture(_scan(args), _agent(args))


def _scan(args: argparse.Namespace) -> ScanReport:
    if args.scan:
        return _read(args.scan, ScanReport, "suture scan --json")
    from suture.host import mitigation
    from suture.host.scan import scan_host

    kept = args.kept / "patches"
    declared = mitigation.load(args.policy) if args.policy.exists() else ()
    return scan_host(args.patches or (kept if kept.is_dir() else None), mitigations=declared)


def _agent(args: argparse.Namespace) -> AgentReport | None:
    if args.agent:
        return _read(args.agent, AgentReport, "suture agent status --json")
    if args.scan or (args.policy == policy.DEFAULT and not args.policy.exists()):
        return None
    from datetime import datetime

    from suture.agent.standing import standing

    return standing(policy.load(args.policy), args.state, args.kept, datetime.now().astimezone())


def _read(path: Path, kind: type[T], command: str) -> T:
    try:
        found = decode(json.loads(path.read_bytes()))
    except OSError as problem:
        raise NotFound(f"{path}: {problem.strerror}", f"write it: {command} >{path}") from problem
    except (ValueError, RecursionError) as problem:
        what = str(problem) if isinstance(problem, NoDocument) else "is not JSON"
        raise BadOption(f"{path}: {what}", f"give what this prints: {command}") from problem
    if not isinstance(found, kind):
        raise BadOption(f"{path}: is a document of the kind {found.kind!r}", f"give what this prints: {command}")
    return found


def put(args: argparse.Namespace, form: str, text: str, of: Picture) -> int:
    """Write or print it; the exit code."""
    if args.output:
        try:
            whole_file.replace(args.output, text.encode())
        except OSError as problem:
            raise NotFound(
                f"{problem.filename or args.output}: {problem.strerror}",
                "give a file in a folder that you may write to",
            ) from problem
    path = str(args.output or "")
    if args.json:
        print_document(ExportReport(now(), of.scan.exit_code, of.scan.host, form, path, "" if path else text))
    elif not path:
        beneath(sys.stdout).write(text)
    return of.scan.exit_code
