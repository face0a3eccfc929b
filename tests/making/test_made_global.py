"""A fix may make a static function global, for another file to call: that file's new code calls the running one."""

from __future__ import annotations

from typing import Any

PADDING = (
    "long padding(long x) { long r = x; for (long n = 1; n < x; n++) r = r * 31 + (r >> 3) + n * 5 - 77; return r; }\n"
)
INNER = (
    "__attribute__((noinline)) %s long inner(long x) { long r = 1; for (long n = 0; n < x; n++) r = r * 3 + n; "
    "return r; }\n"
)
FIRST = INNER + "long outer(long x) { return inner(x) + 1; }\n" + PADDING
SECOND = "%slong twice(long x) { return %s; }\n" + PADDING.replace("padding", "more")


def test_a_call_of_a_function_that_was_static_goes_to_the_running_one(package: Any, monkeypatch: Any) -> None:
    before = {"a.c": FIRST % "static", "b.c": SECOND % ("", "x * 2")}
    after = {
        "a.c": FIRST % '__attribute__((visibility("hidden")))',
        "b.c": SECOND % ("long inner(long);\n", "inner(x) * 2"),
    }
    made = package(before, after, "outer twice")
    monkeypatch.setattr(made, "elsewhere", lambda name: None)
    patch = made.patch()
    symbol = patch.manifest.symbols["inner"]
    assert symbol.address == made.symbols()["inner"][0]
    target = made.start()
    old = target.ask("outer", 5)
    assert target.ask("twice", 5) == 10
    target.apply(patch)
    assert target.ask("twice", 5) == (old - 1) * 2
