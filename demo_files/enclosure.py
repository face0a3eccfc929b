"""A demo in namespaces of its own: its agent sees the demo's processes and no others, and when the demo ends, or is
killed in whatever way, the kernel ends all that it has begun and drops all that it has written."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from suture.command import run
from suture.error import ExitCode, SutureError
from suture.source import cache

INTERRUPTED = 128 + signal.SIGINT
_PLACES = ("/mnt", "/media", "/srv", "/opt")


class NoPlace(SutureError):
    """There is no folder to mount a temporary file system on."""

    exit_code = ExitCode.NOT_FOUND


def enclosed(module: str, *words: str) -> int:
    """Run a module's `main` in namespaces of its own (mounts, processes); its exit code. Whoever kills this process,
    also with SIGKILL, kills all that the module has begun."""
    # setpriv: unshare dies with us; --kill-child: the first process dies with it, and with that all of its namespace.
    space = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    signal.signal(signal.SIGTERM, _ended)
    process = subprocess.Popen([*space, sys.executable, "-m", module, *words], start_new_session=True)
    try:
        return process.wait()
    except KeyboardInterrupt:
        print("\ninterrupted: all that the demo has begun is ended", file=sys.stderr)
        return INTERRUPTED
    finally:
        process.kill()
        process.wait()


def private_folder(*needed: Path) -> Path:
    """An empty folder in memory that exists in this namespace alone. It hides what was there, so it is none that a path
    of `needed`, this interpreter or Suture's cache is beneath. Raises `NoPlace`."""
    kept = [p.resolve() for p in (*needed, Path(sys.prefix), Path(__file__), cache.root())]
    place = next((p for p in map(Path, _PLACES) if p.is_dir() and not any(k.is_relative_to(p) for k in kept)), None)
    if place is None:
        raise NoPlace(f"none of the folders {', '.join(_PLACES)} is free", f"make one of them: mkdir {_PLACES[0]}")
    run(["mount", "--types", "tmpfs", "--options", "mode=0755", "suture-demo", str(place)])
    return place


def _ended(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
