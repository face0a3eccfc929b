"""How a host stands, in the text format of Prometheus, for the textfile collector of node_exporter.

Times are given as such, in seconds since 1970, and not as ages: an age in a file stays what it was when nobody writes
the file any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime

from suture.export.picture import Picture
from suture.export.restart import restarts
from suture.report.agent import AgentVerdict
from suture.report.document import AgentReport
from suture.report.exposition import Sample, family
from suture.report.hole import HoleState
from suture.visible import visible


def metrics(picture: Picture, version: str) -> str:
    """The text; each metric with its help and type. `version` is ours."""
    return "".join(f"{line}\n" for line in _lines(picture, version))


def _lines(picture: Picture, version: str) -> Iterator[str]:
    scan, agent, holes = picture.scan, picture.agent, picture.holes
    states = Counter(h.state for h in holes)
    carried = Counter((patch, b.file) for p in scan.processes for b in p.binaries for patch in b.patches)
    needed = restarts(scan)
    yield from _gauge("suture_build_info", "The version of Suture that wrote this.", [({"version": version}, 1)])
    yield from _gauge("suture_scan_timestamp_seconds", "When processes were looked at.", [({}, _seconds(scan.time))])
    yield from _gauge("suture_known_patches", "Patches that what runs was compared with.", [({}, len(scan.patches))])
    yield from _gauge("suture_holes", "CVEs on this host by the worst state in which a process has them.",
                      [({"state": s.value}, states[s]) for s in HoleState])  # fmt: skip
    rows = [({"cve": h.cve, "state": s.value}, n) for h in holes for s, n in h.processes.items()]
    yield from _gauge("suture_hole_processes", "Processes with a CVE by its state in them.", rows)
    yield from _gauge("suture_patch_processes", "Processes that carry a live patch.",
                      [({"patch": p, "file": f}, n) for (p, f), n in sorted(carried.items())])  # fmt: skip
    yield from _gauge("suture_kernel_patches", "Live patches that the running kernel has.",
                      [({}, len(scan.kernel.patches) if scan.kernel else 0)])  # fmt: skip
    yield from _gauge("suture_unread_processes", "Processes that could not be looked at.", [({}, len(scan.unread))])
    yield from _gauge("suture_unreadable_patches", "Patch files that could not be read.",
                      [({}, len(scan.unreadable_patches))])  # fmt: skip
    yield from _gauge("suture_restart_processes", "Processes that need a restart, because they run old code.",
                      [({}, len(needed.processes))])  # fmt: skip
    yield from _gauge("suture_reboot_required", "1 if the kernel runs old code that no live patch has replaced.",
                      [({}, needed.reboot)])  # fmt: skip
    if agent is not None:
        yield from _of_agent(agent)


def _of_agent(agent: AgentReport) -> Iterator[str]:
    waiting = Counter(w.verdict for w in agent.waiting)
    rows = agent.in_force
    yield from _gauge("suture_agent_patches_in_force", "Patches that the agent has put in.", [({}, len(rows))])
    yield from _gauge("suture_agent_patches_held", "Patches that go into no further process.",
                      [({}, sum(r.held for r in rows))])  # fmt: skip
    yield from _gauge("suture_agent_patches_waiting", "Patches that the feed has and that are not in, by why.",
                      [({"verdict": v.value}, waiting[v]) for v in AgentVerdict])  # fmt: skip
    yield from _gauge("suture_agent_refused_processes", "Processes that refused a patch at the last try.",
                      [({"patch": r.offer.patch, "file": r.offer.binary}, r.failed) for r in rows])  # fmt: skip
    yield from _gauge("suture_agent_problems", "What keeps the agent from its work.", [({}, len(agent.problems))])
    yield from _gauge("suture_agent_looked_timestamp_seconds", "When the agent looked last; 0 for never.",
                      [({}, _seconds(agent.looked))])  # fmt: skip
    yield from _gauge("suture_feed_version", "The feed's version that was seen last; 0 for none.",
                      [({}, agent.version)])  # fmt: skip
    yield from _gauge("suture_feed_fetched_timestamp_seconds", "When the feed answered last; 0 for never.",
                      [({}, _seconds(agent.fetched))])  # fmt: skip
    yield from _gauge("suture_feed_expires_timestamp_seconds", "Until when that is to be believed; 0 for nothing yet.",
                      [({}, _seconds(agent.expires))])  # fmt: skip


def _gauge(name: str, text: str, samples: Iterable[Sample]) -> Iterator[str]:
    harmless = (({key: visible(word) for key, word in labels.items()}, value) for labels, value in samples)
    return family(name, text, harmless)


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp() if time else 0.0
