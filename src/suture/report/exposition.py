"""The text format of Prometheus
(https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

Sample = tuple[Mapping[str, str], float]
"""Labels, and the value. What labels hold from outside is made harmless before."""


def family(name: str, text: str, samples: Iterable[Sample], kind: str = "gauge") -> Iterator[str]:
    """The lines of one metric, with its help and type."""
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        inside = ",".join(f'{key}="{_quoted(word)}"' for key, word in labels.items())
        yield f"{name}{f'{{{inside}}}' if inside else ''} {float(value):.15g}"


def _quoted(word: str) -> str:
    return word.replace("\\", "\\\\").replace('"', '\\"')
