"""New references go where the loader would have bound them: imports, PLT, interposition, COPY relocations, versions."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from suture.error import Refused
from suture.patch.manifest import SymbolKind

# a unit of a few bytes occurs anywhere, so that its place is no proof
PADDING = (
    "long padding(long x) { long r = x; for (long n = 1; n < x; n++) r = r * 31 + (r >> 3) + n * 5 - 77; return r; }\n"
)


@pytest.mark.parametrize("shape", ["library", "pie", "fixed"])
@pytest.mark.parametrize("cflags", [(), ("-fno-plt",)], ids=["plt", "no-plt"])
def test_an_import_that_the_binary_never_had_is_bound_as_the_loader_would(
    package: Any, shape: str, cflags: tuple[str, ...]
) -> None:
    source = '#include <stdlib.h>\nlong parse(long x) { return atol("12") + x; }\n' + PADDING
    fixed = (
        """
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
long parse(long x) { char b[] = "12,30"; char *rest; char *a = strtok_r(b, ",", &rest);
    char *c = strtok_r(0, ",", &rest);
  return atol(a) + atol(c) + x; }
"""
        + PADDING
    )
    made = package(source, fixed, "parse", shape, cflags)
    patch = made.patch()
    assert any(s.kind is SymbolKind.IMPORT and "strtok_r" in s.name for s in patch.manifest.symbols.values())
    target = made.start()
    target.apply(patch)
    assert target.ask("parse", 1) == 43


EXPORTED = """
long counter = 5;
long helper(long x) { return x + 1; }
long entry(long x) { counter++; return helper(x) * 10 + counter; }
long other(long x) { counter += x; return counter; }
"""
PRELOADED = "long helper(long x) { return x + 1000; }\n"


def test_a_variable_that_was_copied_into_the_program_is_used_there(package: Any) -> None:
    made = package(
        EXPORTED,
        EXPORTED.replace("* 10 + counter", "* 100 + counter"),
        "entry other",
        host_flags=("-no-pie", "-fno-pie"),
    )
    source = made.folder / "caller.c"
    caller = (
        "#include <stdio.h>\nextern long counter; long entry(long); int main(void) { char l[9]; setvbuf(stdout, 0, "
        '_IOLBF, 0); puts("1");\nwhile (fgets(l, 9, stdin)) { counter += 1000; printf("%ld\\n", entry(0)); } }\n'
    )
    source.write_text(caller)
    subprocess.run(["gcc", "-O2", "-fno-pie", "-c", str(source), "-o", str(made.folder / "caller.o")], check=True)
    made.link_host()
    relocations = subprocess.run(
        ["readelf", "-rW", str(made.folder / "host")], check=True, capture_output=True, text=True
    ).stdout
    assert "R_X86_64_COPY" in relocations
    patch = made.patch()
    target = made.start()
    assert target.ask("") == 10 + 1006
    target.apply(patch)
    assert target.ask("") == 100 + 2007


LIBRARY_DATA = """
long number = 5; char letters[] = "abcdefgh"; short small = -3; double real = 2.5;
struct { long a, b; int bits : 5; } three = {1, 2, 3};
static long twice(long x) { return x * 2; }
long (*hook)(long) = twice;
long seen(void) { return number; }
"""
USES = """
#include <stdlib.h>
#include <stdio.h>
#include <unistd.h>
extern long number; extern char letters[]; extern short small; extern double real;
extern struct { long a, b; int bits : 5; } three;
extern long (*hook)(long);
long seen(void);
long f(long x) { return x * 7 + 2; }
"""
NEW_USES = {
    "stderr": ("fileno(stderr) * 10 + fileno(stdout) + (environ != 0)", 22),
    "number": ("(number += x, number * 10 + seen())", 88),
    "letters": ("letters[x] + letters[2]", 100 + 99),
    "small": ("small + (unsigned short)small + (small == x)", 65533 - 3),
    "real": ("(long)(real * 4 + (real > 1))", 11),
    "three": ("three.bits++ + (three.b = 40) + three.a + three.bits", 3 + 40 + 1 + 4),
}


def using(package: Any, tmp_path: Path, new: str, shape: str, more: str = "", cflags: tuple[str, ...] = ()) -> Any:
    """A program that needs a library's data for the first time after the fix."""
    (tmp_path / "data.c").write_text(LIBRARY_DATA)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "data.c", "-o", "libdata.so"], check=True, cwd=tmp_path)
    linked = (f"-L{tmp_path}", "-Wl,--no-as-needed", "-ldata", f"-Wl,-rpath,{tmp_path}")
    source = "#define _GNU_SOURCE\n" + USES + more + PADDING
    flags = (*cflags, *(() if shape == "fixed" else ("-fPIE",)))
    return package(source, ("x * 7 + 2", new), "f", shape, flags, linked)


@pytest.mark.parametrize("shape", ["pie", "fixed"])
@pytest.mark.parametrize("level", ["-O0", "-O2"])
@pytest.mark.parametrize("copied", ["", "used before"])
def test_data_of_a_library_that_a_program_did_not_use_before_is_reached(
    package: Any, tmp_path: Path, shape: str, level: str, copied: str
) -> None:
    """The program has no copy of it (R_X86_64_COPY), except where another function of it used it."""
    everything = [e for n, (e, _) in NEW_USES.items() if n != "letters" or shape == "pie"]
    before = f"long used(long x) {{ return {' + '.join(everything)}; }}\n" if copied else ""
    new = " + ".join(f"1000 * ({e})" for e in everything)
    made = using(package, tmp_path, new, shape, before, (level,))
    relocations = subprocess.run(["readelf", "-rW", made.shipped], check=True, capture_output=True, text=True).stdout
    assert any("R_X86_64_COPY" in r and "number" in r for r in relocations.splitlines()) == bool(copied)
    target = made.start()
    target.apply(made.patch())
    assert target.ask("f", 3) == 1000 * sum(value for use, value in NEW_USES.values() if use in everything)


def test_a_new_call_through_a_librarys_pointer_is_refused(package: Any, tmp_path: Path) -> None:
    (refused,) = using(package, tmp_path, "hook(x)", "pie").refused()
    assert "it needs hook at a fixed place" in refused.reason


def test_a_new_address_of_a_librarys_data_as_a_number_is_refused(package: Any, tmp_path: Path) -> None:
    (refused,) = using(package, tmp_path, "*(volatile long *)(x + (long)&number)", "fixed").refused()
    assert "it needs number at a fixed place" in refused.reason


@pytest.fixture
def preloaded(tmp_path: Path) -> Path:
    source, out = tmp_path / "pre.c", tmp_path / "libpre.so"
    source.write_text(PRELOADED)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", str(source), "-o", str(out)], check=True)
    return out


@pytest.mark.parametrize(
    "fix",
    [
        ("* 10", "* 100"),
        ("return x + 1;", "return x + 2;"),
        ("counter++; return helper(x) * 10", "return helper(helper(x)) * 10"),
    ],
)
@pytest.mark.parametrize("cflags", [("-fPIC",), ("-fno-plt",)], ids=["plt", "no-plt"])
def test_a_call_of_an_interposed_function_goes_to_the_interposer(
    package: Any, preloaded: Path, fix: tuple[str, str], cflags: tuple[str, ...]
) -> None:
    made = package(EXPORTED, fix, "entry other", cflags=(*cflags, "-fsemantic-interposition"))
    patch = made.patch()
    target = made.start({**os.environ, "LD_PRELOAD": str(preloaded)})
    assert target.ask("entry", 1) == 10016
    target.apply(patch)
    expected = {"* 10": 100100 + 7, "return x + 1;": 10010 + 7, "counter++; return helper(x) * 10": 20010 + 6}
    assert target.ask("entry", 1) == expected[fix[0]]


def test_a_new_call_of_an_exported_function_of_the_library_goes_to_the_interposer_too(
    package: Any, preloaded: Path
) -> None:
    made = package(EXPORTED, ("counter += x; return counter", "return helper(x)"), "entry other")
    patch = made.patch()
    target = made.start({**os.environ, "LD_PRELOAD": str(preloaded)})
    target.apply(patch)
    assert target.ask("other", 1) == 1001


@pytest.mark.parametrize("flags", [("-Wl,-Bsymbolic",), ("-Wl,-Bsymbolic-functions",)])
def test_a_symbolic_library_binds_to_itself_in_new_code_as_before(
    package: Any, preloaded: Path, flags: tuple[str, ...]
) -> None:
    made = package(EXPORTED, ("* 10", "* 100"), "entry other", ldflags=flags)
    patch = made.patch()
    target = made.start({**os.environ, "LD_PRELOAD": str(preloaded)})
    assert target.ask("entry", 1) == 26
    target.apply(patch)
    assert target.ask("entry", 1) == 207


def test_names_made_local_by_a_version_script_are_bound_directly(package: Any, tmp_path: Path) -> None:
    script = tmp_path / "v.map"
    script.write_text("V1 { global: entry; other; local: *; };\n")
    made = package(
        EXPORTED,
        ("* 10 + counter", "* 100 + helper(counter)"),
        "entry other",
        ldflags=(f"-Wl,--version-script={script}",),
    )
    patch = made.patch()
    target = made.start()
    target.ask("entry", 0)
    target.apply(patch)
    assert target.ask("entry", 1) == 208
    assert target.ask("other", 0) == 7


def test_pointers_to_a_replaced_function_stay_equal(package: Any) -> None:
    source = """
typedef long (*call)(long);
__attribute__((noinline)) static long local(long x) { return x * 2; }
long shown(long x) { return x * 3; }
static call kept, kept_shown;
long keep(long x) { kept = local; kept_shown = shown; return x; }
long same(long x) { return (kept == local) * 10 + (kept_shown == shown) + x; }
long through(long x) { return kept(x) + kept_shown(x); }
"""
    fixed = (
        source.replace("x * 2", "x * 20")
        .replace("x * 3", "x * 30")
        .replace("+ x; }\nlong through", "+ x + 100; }\nlong through")
    )
    for shape in ("library", "pie", "fixed"):
        made = package(source, fixed, "keep same through shown", shape)
        patch = made.patch()
        target = made.start()
        target.ask("keep")
        assert (target.ask("same"), target.ask("through", 1)) == (11, 5)
        target.apply(patch)
        assert (target.ask("same"), target.ask("through", 1)) == (111, 50)
        target.ask("keep")
        target.revert(patch)
        assert (target.ask("same"), target.ask("through", 1)) == (11, 5)


def test_a_pointer_variable_of_the_program_is_never_taken_for_a_slot_of_the_loader(package: Any) -> None:
    source = """
#include <stdlib.h>
#include <unistd.h>
int (*hook)(int) = abs;
static int mine(int x) { return x + 7000; }
long set(long x) { hook = mine; return x; }
long f(long x) { return x * 3 + 1; }
"""
    fixed = source.replace(
        "long f(long x) { return x * 3 + 1; }", "long f(long x) { int (*volatile p)(int) = abs; return p(x); }"
    )
    made = package(source, fixed, "set f", cflags=("-fno-builtin",))
    patch = made.patch()
    target = made.start()
    target.ask("set")
    target.apply(patch)
    assert target.ask("f", -5) == 5


def test_a_replaced_ifunc_is_refused(package: Any) -> None:
    source = """
static long one(long x) { return x + 1; }
static long two(long x) { return x + 2; }
static void *choose(void) { return (void *)one; }
long pick(long x) __attribute__((ifunc("choose")));
long user(long x) { return pick(x) * 2; }
"""
    built = package(source, ("(void *)one", "(void *)two"), "pick user").build()
    assert built.data is None
    assert built.refused and all("IFUNC" in r.reason or "belongs together" in r.reason for r in built.refused)


def test_an_ifunc_of_the_c_library_is_bound_to_what_the_loader_chose(package: Any) -> None:
    source = "#include <string.h>\nlong f(long x) { return x * 7 + 2; }\n"
    fixed = """#include <string.h>
long f(long x) {
  volatile char b[64];
  memset((char *)b, 'a', sizeof b);
  b[x] = 0;
  return 100 * strlen((char *)b) + (strpbrk((char *)b, "a") == b);
}
"""
    made = package(source, fixed, "f", cflags=("-fno-builtin",))
    target = made.start()
    target.apply(made.patch())
    assert target.ask("f", 9) == 901


CHOSEN = """
static long one(long x) { return x + 1000; }
static long two(long x) { return x + 2000; }
static void *choose(void) { return (void *)two; }
long pick(long x) __attribute__((ifunc("choose")));
"""


def chosen_by(package: Any, tmp_path: Path, own_calls: str = "", user: str = "", flags: Sequence[str] = ()) -> Any:
    """A package whose fix calls `pick`, which a library chooses; the library itself, and another one, call it as
    given."""
    run = f"-Wl,-rpath,{tmp_path}"
    for name, text, more in (
        ("pick", CHOSEN + own_calls, ()),
        ("user", "long pick(long); long used(long x) { return x; }\n" + user, (f"-L{tmp_path}", "-lpick")),
    ):
        (tmp_path / f"{name}.c").write_text(text)
        command = ["gcc", "-shared", "-fPIC", "-O2", *flags, f"-Wl,-soname,lib{name}.so", str(tmp_path / f"{name}.c")]
        subprocess.run([*command, "-o", tmp_path / f"lib{name}.so", *more], check=True)
    source = "long f(long x) { return x * 7 + 2; }\n" + PADDING
    fixed = "long pick(long); long f(long x) { return pick(x); }\n" + PADDING
    linked = (f"-L{tmp_path}", "-Wl,--no-as-needed", "-lpick", "-luser", run)
    return package(source, fixed, "f", ldflags=linked, host_flags=(f"-Wl,-rpath-link,{tmp_path}", run))


def test_an_ifunc_is_bound_as_the_library_itself_calls_it(package: Any, tmp_path: Path) -> None:
    own = '__attribute__((visibility("hidden"))) extern long inner(long) __attribute__((ifunc("choose")));\n'
    made = chosen_by(package, tmp_path, own + "long own(long x) { return inner(x) + 1; }\n")
    target = made.start()
    target.apply(made.patch())
    assert target.ask("f", 7) == 2007


def test_an_ifunc_is_bound_as_another_library_was_bound_at_the_start(package: Any, tmp_path: Path) -> None:
    made = chosen_by(package, tmp_path, user="long (*where(void))(long) { return pick; }\n")
    target = made.start()
    target.apply(made.patch())
    assert target.ask("f", 7) == 2007


def test_an_ifunc_whose_choice_nothing_shows_is_refused(package: Any, tmp_path: Path) -> None:
    made = chosen_by(package, tmp_path, user="long late(long x) { return pick(x) + 1; }\n", flags=("-Wl,-z,lazy",))
    target = made.start()
    with pytest.raises(Refused, match="nothing in the process shows the choice"):
        target.apply(made.patch())
    assert target.ask("f", 7) == 51


OWN_IFUNC = """
static long one(long x) { return x + 1000; }
static long two(long x) { return x + 2000; }
static void *choose(void) { return (void *)two; }
%(bind)s long pick(long x) __attribute__((ifunc("choose")));
long f(long x) { return x * 7 + 2; }
long g(long x) { return %(use)s; }
"""
TAKEN = "((long (*volatile)(long))pick)(x)"


@pytest.mark.parametrize("shape", ["library", "pie", "fixed"])
@pytest.mark.parametrize("bind", ["", "static", '__attribute__((visibility("hidden")))'], ids=["", "static", "hidden"])
@pytest.mark.parametrize("new", ["pick(x)", TAKEN], ids=["called", "taken"])
def test_a_new_use_of_the_binarys_own_ifunc_gets_what_the_loader_chose(
    package: Any, shape: str, bind: str, new: str
) -> None:
    """Not the code that chooses, which stands at the symbol's address. `g` is replaced too, and calls it before and
    after."""
    source = OWN_IFUNC % {"bind": bind, "use": "pick(x)"} + PADDING
    fixed = source.replace("return pick(x)", "return pick(x) + 1").replace("x * 7 + 2", new)
    made = package(source, fixed, "f g", shape)
    target = made.start()
    target.apply(made.patch())
    assert (target.ask("f", 7), target.ask("g", 7)) == (2007, 2008)


@pytest.mark.parametrize("shape", ["library", "pie", "fixed"])
def test_a_new_use_of_an_own_ifunc_that_nobody_called_is_refused_when_the_patch_is_made(
    package: Any, shape: str
) -> None:
    source = OWN_IFUNC % {"bind": "", "use": "x"} + PADDING
    (refused,) = package(source, ("x * 7 + 2", "pick(x)"), "f g", shape).refused()
    assert refused.function == "f" and "nothing in a process shows the choice" in refused.reason


def test_an_ifunc_of_another_unit_is_bound_to_what_the_loader_chose(package: Any) -> None:
    bind = '__attribute__((visibility("hidden")))'
    files = {
        "pick.c": OWN_IFUNC % {"bind": bind, "use": "pick(x)"} + PADDING,
        "h.c": f"{bind} long pick(long);\nlong h(long x) {{ return x * 9 + 4; }}\n"
        + PADDING.replace("padding", "more"),
    }
    made = package(files, ("x * 9 + 4", "pick(x) * 10"), "f g h")
    target = made.start()
    target.apply(made.patch())
    assert target.ask("h", 7) == 20070


def test_a_function_that_the_fix_makes_an_ifunc_or_adds_as_one_is_refused(package: Any) -> None:
    source = "long f(long x) { return x * 7 + 2; }\n" + PADDING
    fixed = OWN_IFUNC % {"bind": "static", "use": "x"} + PADDING
    built = package(source, fixed.replace("x * 7 + 2", "pick(x)"), "f").build()
    assert built.data is None
    assert {r.function: "IFUNC" in r.reason for r in built.refused} == {"f": False, "choose": True}


CHOSEN_BY_LIBC = {
    "time": ("#include <time.h>\n", "time(0) > 1000000000"),
    "gettimeofday": ("#include <sys/time.h>\nstatic struct timeval v;\n",
    "gettimeofday(&v, 0) == 0 && v.tv_sec > 1000000000"),
    "strchr": ("#include <string.h>\n", '*strchr("abc", (int)x + 97)== 98'),
    "memcpy": ("#include <string.h>\nstatic char b[9];\n", "((char *)memcpy(b, (char *)&x, 8))[0] == 1"),
    "wcslen": ("#include <wchar.h>\n", 'wcslen(L"abc" + x) == 2'),
}  # fmt: skip


@pytest.mark.parametrize("name", CHOSEN_BY_LIBC)
def test_a_new_call_of_a_function_that_the_c_library_chooses(package: Any, name: str) -> None:
    """Also where the choice is code of the vDSO."""
    head, call = CHOSEN_BY_LIBC[name]
    source = head + "long f(long x) { return x * 7 + 2; }\n" + PADDING
    made = package(source, ("x * 7 + 2", call), "f", "library", ("-fno-builtin",))
    target = made.start()
    target.apply(made.patch())
    assert target.ask("f", 1) == 1


def test_a_variable_that_held_the_choice_is_no_proof_of_it(package: Any, tmp_path: Path) -> None:
    """The loader fills it in with an IRELATIVE field as well, but the program may write to it."""
    own = (
        '__attribute__((visibility("hidden"))) extern long inner(long) __attribute__((ifunc("choose")));\n'
        "long (*hook)(long) = inner;\n__attribute__((constructor)) static void set(void) { hook = one; }\n"
    )
    made = chosen_by(package, tmp_path, own)
    target = made.start()
    with pytest.raises(Refused, match="nothing in the process shows the choice"):
        target.apply(made.patch())


VERSIONED = """
__asm__(".symver first, step@V1"); __asm__(".symver second, step@@V2");
long first(long x) { return x + 1; }
long second(long x) { return x + 2; }
"""
# what a library looked like before its second version of `step`: programs that were linked with it keep the first
BEFORE = "long step(long x) { return x + 1; }\n"


@pytest.fixture
def versioned(tmp_path: Path) -> Path:
    """A library with two versions of one function, and beside it in `old/` the one before."""
    folder = tmp_path / "versioned"
    for place, text, script in (
        (folder, VERSIONED, "V1 { global: step; local: *; }; V2 { global: step; } V1;"),
        (folder / "old", BEFORE, "V1 { global: step; local: *; };"),
    ):
        place.mkdir()
        (place / "v.c").write_text(text)
        (place / "v.map").write_text(script)
        command = [
            "gcc",
            "-shared",
            "-fPIC",
            "-O2",
            "-Wl,-soname,libstep.so",
            f"-Wl,--version-script={place / 'v.map'}",
        ]
        subprocess.run([*command, place / "v.c", "-o", place / "libstep.so"], check=True)
    return folder


def stepping(
    package: Any, library: Path, linked: Path, sources: dict[str, str], fix: tuple[str, str], **more: Any
) -> Any:
    run = (f"-Wl,-rpath,{library}",)
    flags = (f"-L{linked}", "-Wl,--no-as-needed", "-lstep", *run)  # also where nothing uses it yet
    return package(sources, fix, "f g", ldflags=flags, host_flags=(f"-Wl,-rpath-link,{library}", *run), **more)


@pytest.mark.parametrize("cflags", [("-fPIC",), ("-fno-plt",)], ids=["plt", "no-plt"])
def test_a_reference_that_is_new_to_the_binary_gets_the_default_version(
    package: Any, versioned: Path, cflags: tuple[str, ...]
) -> None:
    sources = {
        "a.c": "long step(long);\nlong f(long x) { return x * 100; }\nlong g(long x) { return x * 3; }\n" + PADDING
    }
    made = stepping(package, versioned, versioned, sources, ("x * 100", "step(x) * 100"), cflags=cflags)
    target = made.start()
    target.apply(made.patch())
    assert target.ask("f", 1) == 300


@pytest.mark.parametrize("where", ["a.c", "b.c"])
@pytest.mark.parametrize("cflags", [("-fPIC",), ("-fno-plt",)], ids=["plt", "no-plt"])
def test_a_binary_that_was_linked_with_the_first_version_keeps_it_in_new_code(
    package: Any, versioned: Path, where: str, cflags: tuple[str, ...]
) -> None:
    """Built when there was but one version; in the unit that used it before, and in one that did not."""
    sources = {
        "a.c": "long step(long);\nlong f(long x) { return step(x) * 10; }\n" + PADDING,
        "b.c": "long step(long);\nlong g(long x) { return x * 1000; }\n" + PADDING.replace("padding", "other_padding"),
    }
    fix = ("step(x) * 10", "step(step(x)) * 10") if where == "a.c" else ("x * 1000", "step(x) * 1000")
    made = stepping(package, versioned, versioned / "old", sources, fix, cflags=cflags)
    target = made.start()
    assert target.ask("f", 1) == 20
    target.apply(made.patch())
    assert (target.ask("f", 1), target.ask("g", 1)) == ((30, 1000) if where == "a.c" else (20, 2000))


@pytest.mark.parametrize("cflags", [("-fPIC",), ("-fno-plt",)], ids=["plt", "no-plt"])
def test_a_binary_that_asks_for_both_versions_gets_the_default_one_in_new_code(
    package: Any, versioned: Path, cflags: tuple[str, ...]
) -> None:
    sources = {
        "a.c": (
            '__asm__(".symver older, step@V1");\nlong older(long), step(long);\n'
            "long f(long x) { return older(x) * 10; }\n"
        )
        + PADDING,
        "b.c": "long step(long);\nlong g(long x) { return step(x) * 1000; }\n"
        + PADDING.replace("padding", "other_padding"),
        "c.c": "long step(long);\nlong h(long x) { return x * 7; }\n" + PADDING.replace("padding", "third_padding"),
    }
    fixes = {
        "c.c": ("x * 7", "step(x) * 7", "h", 21),
        "a.c": ("older(x) * 10", "older(older(x)) * 10", "f", 30),
        "b.c": ("step(x) * 1000", "step(step(x)) * 1000", "g", 5000),
    }
    flags = (f"-L{versioned}", "-lstep", f"-Wl,-rpath,{versioned}")
    for old, new, name, expected in fixes.values():
        made = package(
            sources, (old, new), "f g h", cflags=cflags, ldflags=flags,
            host_flags=(f"-Wl,-rpath-link,{versioned}", f"-Wl,-rpath,{versioned}"),
        )  # fmt: skip
        target = made.start()
        assert [target.ask(n, 1) for n in "fgh"] == [20, 3000, 7]
        target.apply(made.patch())
        assert target.ask(name, 1) == expected
