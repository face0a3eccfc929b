"""What speaks against a backport, each with the place and a reason that a person can look at."""

from __future__ import annotations

from dataclasses import dataclass

from suture.report.els import Objection


@dataclass(frozen=True)
class Finding:
    """One of them: the file of the newer release, what it concerns (functions, names, code; may be empty), and a
    sentence."""

    kind: Objection
    path: str
    about: str
    reason: str

    def __str__(self) -> str:
        about = f" ({self.about})" if self.about else ""
        return f"{self.path}: {self.kind.value}: {self.reason}{about}"
