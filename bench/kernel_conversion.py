"""Puts what `suture watch --package linux` came to beside the packages in docs/results/conversion.md.

The passes are run by hand, since one takes hours: `suture watch --once --package linux=VERSION --output DIR`. What is
kept of each is counts, reasons and the trial; the facts themselves are in DIR.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conversion import write_page
from conversion_page import general
from facts import RESULTS, Start

from suture.convert.result import Conversion, ConvertOutcome
from suture.convert.store import FACTS, read


def row(conversion: Conversion) -> dict[str, Any]:
    """One update of one kernel in numbers."""
    refused = [f for f in conversion.fixes if f.outcome is ConvertOutcome.DISK]
    (patch,) = conversion.patches or (None,)
    return {
        "old": conversion.old,
        "new": conversion.new,
        "flavour": conversion.flavour,
        "problem": conversion.problem,
        "fixes": Counter(f.outcome.value for f in conversion.fixes),
        "cves": Counter(c.closing.value for c in conversion.cves),
        "reasons": Counter(general(f.reasons[0]) for f in refused if f.reasons),
        "untried": Counter(f.reasons[0] for f in conversion.fixes if f.outcome is ConvertOutcome.UNTRIED and f.reasons),
        "functions": patch.functions if patch else 0,
        "grade": patch.grade if patch else "",
        "effective": patch.effective if patch else "",
        "trial": f"{patch.trial}: {patch.detail}" if patch else "",
        "total": sum(conversion.seconds.values()),
    }


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench/kernel_conversion", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="the --output of the passes")
    args = parser.parse_args(words)
    start = Start.now("kernel_conversion", [])
    rows = [row(read(path.parent)) for path in sorted((args.folder / "linux").rglob(FACTS))]
    start.finish({"rows": rows}).write(RESULTS)
    write_page()
    return 0


if __name__ == "__main__":
    sys.exit(main())
