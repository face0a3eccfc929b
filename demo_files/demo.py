"""./demo: the story of an update, in namespaces of its own."""

from __future__ import annotations

import sys

from demo_files.enclosure import enclosed


def main() -> int:
    """The exit code of the story."""
    return enclosed("demo_files.story")


if __name__ == "__main__":
    sys.exit(main())
