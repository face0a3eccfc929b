"""Where the agent's files are, as options."""

from __future__ import annotations

import argparse
from pathlib import Path

from suture.agent.policy import DEFAULT as POLICY

STATE = Path("/var/lib/suture/agent")
KEPT = Path("/var/lib/suture/agent-apply")
ATTEMPTS = Path("/run/suture-attempts")
SOCKET = Path("/run/suture-agent/socket")


def add_policy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--policy", type=Path, default=POLICY, metavar="FILE", help=f"the policy file (default: {POLICY})"
    )


def add_state(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", type=Path, default=STATE, metavar="DIR", help=f"what `run` keeps (default: {STATE})")


def add_kept(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kept", type=Path, default=KEPT, metavar="DIR", help=f"what `apply-service` keeps (default: {KEPT})"
    )


def add_attempts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--log", type=Path, default=ATTEMPTS, metavar="DIR", help=f"where events are written (default: {ATTEMPTS})"
    )


def add_socket(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--socket", type=Path, default=SOCKET, metavar="PATH", help=f"where both parts meet (default: {SOCKET})"
    )
