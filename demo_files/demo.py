"""./demo: the story of an update, or that of many services, in namespaces of its own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from demo_files.enclosure import enclosed

_MOST_SERVICES = 100
_LEAST_HOSTS, _MOST_HOSTS = 16, 100
_PICTURES = Path("/var/tmp/suture-fleet-demo")


def main() -> int:
    """The exit code of the story."""
    parser = argparse.ArgumentParser(
        prog="./demo",
        description="Show the whole job: an update of the archive is seen, made into a live patch, tried, signed, "
        "published, fetched and applied by an agent, while clients are served.",
    )
    parser.add_argument(
        "--services",
        type=int,
        nargs="?",
        const=10,
        choices=range(1, _MOST_SERVICES + 1),
        metavar="N",
        help="show instead how a fix reaches N services in containers at once (default: 10), and how it is withdrawn",
    )
    parser.add_argument(
        "--fleet",
        type=int,
        nargs="?",
        const=20,
        choices=range(_LEAST_HOSTS, _MOST_HOSTS + 1),
        metavar="N",
        help="show instead how a server rolls a fix out to N hosts in stages (default: 20), and stops a bad patch",
    )
    parser.add_argument(
        "--pictures",
        type=Path,
        default=_PICTURES,
        metavar="DIR",
        help=f"with --fleet: where pictures of its pages go (default: {_PICTURES})",
    )
    args = parser.parse_args()
    if args.fleet is not None:
        return enclosed("demo_files.fleet", str(args.fleet), str(args.pictures.absolute()))
    if args.services is None:
        return enclosed("demo_files.story")
    return enclosed("demo_files.services", str(args.services))


if __name__ == "__main__":
    sys.exit(main())
