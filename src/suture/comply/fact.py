"""What is known of a hole and of the host that has it, as rules ask for it. None is for what nobody has said."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import Enum


class Severity(Enum):
    """What a vendor calls a hole."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Impact(Enum):
    """Technical impact, a decision point of SSVC (CISA's vulnrichment)."""

    PARTIAL = "partial"
    TOTAL = "total"


@dataclass(frozen=True)
class HoleFacts:
    """A CVE. `kev_added`, `kev_due`: from CISA's catalogue of known exploited vulnerabilities; `in_kev` is none where
    it was not looked into. `exploited`: by anybody's word; `agency_impact`: FedRAMP's rating of 1 to 5; `fixed`: when
    the vendor released an update."""

    cve: str
    disclosed: datetime | None = None
    fixed: datetime | None = None
    in_kev: bool | None = None
    kev_added: date | None = None
    kev_due: date | None = None
    exploited: bool | None = None
    automatable: bool | None = None
    impact: Impact | None = None
    cvss: float | None = None
    severity: Severity | None = None
    agency_impact: int | None = None
    epss: float | None = None

    @property
    def is_exploited(self) -> bool | None:
        """Whether somebody uses it, as far as anything tells."""
        if self.in_kev or self.exploited:
            return True
        return None if self.in_kev is None or self.exploited is None else False

    @property
    def is_likely_exploitable(self) -> bool | None:
        """FedRAMP's LEV: it is used, or could be without a person."""
        if self.is_exploited or self.automatable:
            return True
        return None if self.is_exploited is None or self.automatable is None else False


@dataclass(frozen=True)
class AssetFacts:
    """A host. `exposed`: reached from the internet. `classes` are words of the organisation (`cardholder-data`)."""

    host: str
    exposed: bool | None = None
    classes: frozenset[str] = field(default_factory=frozenset)
