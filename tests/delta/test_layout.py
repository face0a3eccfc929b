"""The judge is the compiler: sizes and offsets come from programs that print sizeof and offsetof."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from suture.delta.dwarf import Dwarf
from suture.delta.layout import LayoutChange, changed_layouts, changed_signatures, describes_types
from suture.delta.type_text import Speller
from suture.elf.file import ElfFile


def compile_object(folder: Path, source: str, name: str, *flags: str) -> ElfFile:
    suffix = "cc" if "-xc++" in flags else "c"
    (folder / f"{name}.{suffix}").write_text(source)
    subprocess.run(
        [
            "gcc",
            "-g",
            "-O2",
            "-ffunction-sections",
            "-fdata-sections",
            *flags,
            "-c",
            f"{name}.{suffix}",
            "-o",
            f"{name}.o",
        ],
        cwd=folder,
        check=True,
    )
    return ElfFile.read(folder / f"{name}.o")


def changes(
    folder: Path, before: str, after: str, *flags: str, replaced: frozenset[str] = frozenset()
) -> tuple[LayoutChange, ...]:
    pre, post = compile_object(folder, before, "pre", *flags), compile_object(folder, after, "post", *flags)
    return changed_layouts(pre, post, replaced)


BASE = """
#include <stdint.h>
enum colour { RED, GREEN = 5, BLUE };
typedef struct { int a; char b[3]; } anonymous;
typedef unsigned long word;
struct inner { short x, y; };
struct node {
  struct node *next;
  const char *name;
  union { int i; double d; } u;
  struct inner in[4];
  unsigned flag : 3, rest : 5;
  void (*hook)(struct node *, int);
  word count;
  enum colour colour;
  anonymous an;
};
struct node head;
int use(struct node *n) { return n->an.a + n->in[1].x + n->flag + head.colour; }
"""


@pytest.mark.parametrize("dwarf", ["-gdwarf-5", "-gdwarf-4"])
@pytest.mark.parametrize(
    ("old", "new", "name", "what"),
    [
        (
            "word count;",
            "word count; int depth;",
            "struct node",
            "member depth added at offset 64; member colour moved from offset 64 to 68",
        ),
        ("  const char *name;\n", "", "struct node", "member name removed from offset 8"),
        ("short x, y;", "int x; short y;", "struct inner", "size 4 -> 8"),
        ("short x, y;", "short y, x;", "struct inner", "member x moved from offset 0 to 2"),
        (
            "flag : 3, rest : 5",
            "flag : 4, rest : 4",
            "struct node",
            "member rest moved from offset 40 bit 3 to 40 bit 4",
        ),
        ("GREEN = 5", "GREEN = 6", "enum colour", "enumerator GREEN 5 -> 6; enumerator BLUE 6 -> 7"),
        ("char b[3]", "char b[4]", "anonymous", "type of member b: char[3] -> char[4]"),
        ("union { int i; double d; }", "union { int i; float d; }", "struct node", "type of member u"),
        ("typedef unsigned long word", "typedef double word", "struct node", "long unsigned int -> double"),
        ("(struct node *, int)", "(struct node *, long)", "struct node", "type of member hook"),
    ],
)
def test_a_changed_type_is_named_with_what_changed(
    tmp_path: Path, dwarf: str, old: str, new: str, name: str, what: str
) -> None:
    assert old in BASE
    source = BASE.replace(old, new)
    found = {c.name: c for c in changes(tmp_path, BASE, source, dwarf)}
    assert name in found, found
    assert what in found[name].what
    assert found[name].outlives
    assert found[name].file.endswith("post.c")
    declared = "} anonymous" if name == "anonymous" else name + " {"
    expected = next(n for n, line in enumerate(source.splitlines(), 1) if declared in line)
    assert found[name].line == expected


def test_equal_new_and_removed_types_are_no_change(tmp_path: Path) -> None:
    assert changes(tmp_path, BASE, "\n\n" + BASE) == ()
    assert changes(tmp_path, BASE, BASE + "struct fresh { int a; } fresh;") == ()
    assert changes(tmp_path, BASE + "struct stale { int a; } stale;", BASE) == ()
    assert changes(tmp_path, BASE, BASE.replace("BLUE }", "BLUE, WHITE }")) == ()


def test_padding_that_takes_a_new_member_is_a_change_though_the_size_stays(tmp_path: Path) -> None:
    before = "struct s { char c; long l; } s;"
    (found,) = changes(tmp_path, before, "struct s { char c; char d; long l; } s;")
    assert found.what == "member d added at offset 1"


def test_sizes_and_offsets_are_those_that_the_compiler_prints(tmp_path: Path) -> None:
    elf = compile_object(tmp_path, BASE, "pre")
    members = ["next", "name", "u", "in", "hook", "count", "colour", "an"]
    program = "#include <stdio.h>\n#include <stddef.h>\n" + BASE + "int main(void) { printf("
    program += f'"{"%zu " * (len(members) + 1)}", sizeof(struct node), '
    program += ", ".join(f"offsetof(struct node, {m})" for m in members) + "); }"
    (tmp_path / "print.c").write_text(program)
    subprocess.run(["gcc", "print.c", "-o", "print"], cwd=tmp_path, check=True)
    printed = subprocess.run([tmp_path / "print"], capture_output=True, text=True, check=True).stdout.split()
    dwarf = Dwarf(elf)
    node = next(d for d in dwarf.walk() if d.name == "node" and d.children)
    found = Speller(dwarf).members(node)
    assert [str(Speller(dwarf).size(node)), *(str(found[m].at // 8) for m in members)] == printed


LOCAL = """
void sink(void *);
OUTSIDE
int only(int x) { INSIDE BODY }
"""
TYPE = "struct work { int a; FIELD long b; };"
PLAIN = "struct work w = {x}; sink(&w); return w.a;"


@pytest.mark.parametrize(
    ("outside", "inside", "body", "replaced", "outlives"),
    [
        ("", TYPE, PLAIN, frozenset({"only"}), False),
        ("", TYPE, "while (x--) { " + PLAIN + " } return 1;", frozenset({"only"}), False),
        ("", TYPE, "struct work w[3] = {{x}}; sink(w); return w[1].a;", frozenset({"only"}), False),
        ("", TYPE, PLAIN, frozenset(), True),
        ("", TYPE, "static struct work w; sink(&w); return w.a;", frozenset({"only"}), True),
        ("", TYPE, "static __thread struct work w; sink(&w); return w.a;", frozenset({"only"}), True),
        (
            "void *malloc(unsigned long);",
            TYPE,
            "struct work *w = malloc(99); w->b = 1; sink(w); return 1;",
            frozenset({"only"}),
            True,
        ),
        (
            "",
            TYPE,
            "if (x > 5) { int y = x * 3; static struct work w; w.a = y; sink(&w); sink(&y); } return 1;",
            frozenset({"only"}),
            True,
        ),
        (
            "",
            TYPE,
            "if (x > 5) { int y = x * 3; static struct work w; w.a = y; sink(&w); sink(&y); } "
            "if (x < 3) { int z = x * 5; sink(&z); } return 1;",
            frozenset({"only"}),
            True,
        ),
        ("", TYPE, "typedef struct work other; static other w; sink(&w); return w.a;", frozenset({"only"}), True),
        ("", TYPE, "typedef struct work other; other w = {x}; sink(&w); return w.a;", frozenset({"only"}), False),
        (TYPE, "", PLAIN, frozenset({"only"}), True),
        (TYPE + "void f(void *p) { ((struct work *)p)->b = 1; }", "", PLAIN, frozenset({"only"}), True),
    ],
)
def test_only_a_type_inside_a_replaced_function_and_in_its_frame_does_not_outlive_the_patch(
    tmp_path: Path, outside: str, inside: str, body: str, replaced: frozenset[str], outlives: bool
) -> None:
    source = LOCAL.replace("OUTSIDE", outside).replace("INSIDE", inside).replace("BODY", body)
    (found,) = changes(
        tmp_path, source.replace("FIELD", ""), source.replace("FIELD", "char added[16];"), replaced=replaced
    )
    assert found.name.endswith("work")
    assert found.outlives is outlives


def test_types_of_cxx_are_named_by_their_full_scope(tmp_path: Path) -> None:
    source = """
    namespace a { namespace b { struct Base { virtual ~Base(); int x; };
    class Thing : public Base { public: MEMBER static int shared; template <class T> T get(T t) { return t; } long y;
        }; } }
    int use(a::b::Thing *t) { return t->get(3) + t->x + t->y; }
    """
    found = changes(
        tmp_path,
        source.replace("MEMBER", ""),
        source.replace("MEMBER", "double z;"),
        "-xc++",
        "-femit-class-debug-always",
    )
    assert [c.name for c in found] == ["struct a::b::Thing"]
    assert "member z added at offset 16" in found[0].what
    assert (
        changes(
            tmp_path,
            source.replace("MEMBER", ""),
            source.replace("MEMBER", "static int more;"),
            "-xc++",
            "-femit-class-debug-always",
        )
        == ()
    )


def test_a_changed_prototype_of_a_global_function_is_told_and_that_of_a_local_one_is_not(tmp_path: Path) -> None:
    source = """
    struct s { int a; };
    typedef unsigned long word;
    ARGUMENT
    __attribute__((noinline)) static int local(int x LOCAL) { return x + 1; }
    RESULT visible(struct s *p, word w MORE) { return local(p->a LOCALLY) + w; }
    int fine(word w, ...) { return w; }
    """
    keys = {"ARGUMENT": "", "LOCALLY": "", "LOCAL": "", "MORE": "", "RESULT": "int"}

    def fill(**values: str) -> str:
        text = source
        for key, value in {**keys, **values}.items():
            text = text.replace(key, value)
        return text

    pre = compile_object(tmp_path, fill(), "pre")
    post = compile_object(tmp_path, fill(MORE=", int depth"), "post")
    (found,) = changed_signatures(pre, post)
    assert (found.name, found.file.endswith("post.c"), found.line) == ("visible", True, 6)
    assert found.old == "int visible(struct s *, long unsigned int)"
    assert found.new == "int visible(struct s *, long unsigned int, int)"
    post = compile_object(tmp_path, fill(RESULT="long"), "post")
    assert [c.new for c in changed_signatures(pre, post)] == ["long int visible(struct s *, long unsigned int)"]
    post = compile_object(tmp_path, fill(LOCAL=", int y", LOCALLY=", 2"), "post")
    assert changed_signatures(pre, post) == ()


def test_a_large_unit_is_compared_within_its_budget(tmp_path: Path) -> None:
    source = "".join(
        f"struct s{n} {{ int a{n}, b; struct s{max(n - 1, 0)} *p; union {{ long l; char c[{n + 1}]; }} u; void "
        f"(*f)(struct s{n} *, int); }};\nlong f{n}(struct s{n} *p, int x) {{ long r = 0; for (int i = 0; i < x; i++) "
        f"{{ long t = p->a{n} * i; r += t ^ p->b; }} p->f(p, x); return r; }}\n"
        for n in range(1200)
    )
    pre = compile_object(tmp_path, source, "pre", "-O1")
    section = pre.section(".debug_info")
    assert section is not None
    assert section.sh_size > 300_000
    post = ElfFile(pre.data, "post")
    start = time.process_time()
    assert changed_layouts(pre, post) == ()
    assert changed_signatures(pre, post) == ()
    assert time.process_time() - start < 2


def test_callbacks_alone_are_told_from_other_members(tmp_path: Path) -> None:
    (one,) = changes(tmp_path, BASE, BASE.replace("(struct node *, int)", "(struct node *, int, long)"))
    assert one.name == "struct node" and one.callbacks == ("hook",) and one.outlives
    both = BASE.replace("(struct node *, int)", "(struct node *)").replace("word count", "int count, rest_of_it")
    assert changes(tmp_path, BASE, both)[0].callbacks == ()
    assert (
        changes(tmp_path, BASE, BASE.replace("void (*hook)(struct node *, int)", "struct node *hook"))[0].callbacks
        == ()
    )


@pytest.mark.parametrize(
    ("old", "new", "renames"),
    [
        ("GREEN = 5", "VERDANT = 5", (("GREEN", "VERDANT"),)),
        ("GREEN = 5, BLUE", "VERDANT = 5, AZURE, WHITE", (("GREEN", "VERDANT"), ("BLUE", "AZURE"))),
        ("GREEN = 5", "VERDANT = 4, BLUE = 6", ()),
        ("GREEN = 5, BLUE }", "BLUE = 6 }", ()),
        ("GREEN = 5", "VERDANT = 5, EMERALD = 5", ()),
        ("word count;", "word total;", (("count", "total"),)),
        ("word count;", "long total;", ()),
        ("const char *name;", "const char *count;", ()),
        ("short x, y;", "short y, x;", ()),
        ("struct node *next;\n  const char *name;", "struct node *name;\n  const char *label;", ()),
        ("word count;", "word total; word more;", ()),
    ],
)
def test_other_names_for_the_same_places_and_values_are_told_from_other_changes(
    tmp_path: Path, old: str, new: str, renames: tuple[tuple[str, str], ...]
) -> None:
    source = BASE.replace("int use(", "int own(").replace(old, new)
    if "*count" in new:
        source = source.replace("word count;", "word name;")
    before = BASE.replace("int use(", "int own(").replace("GREEN = 5, BLUE }", "GREEN = 5, BLUE = 6 }")
    source = source.replace("VERDANT = 4, BLUE = 6, BLUE", "VERDANT = 4, BLUE = 6")
    found = changes(tmp_path, before, source)
    assert [c.renames for c in found] == [renames]


def test_of_many_differences_the_first_are_told(tmp_path: Path) -> None:
    members = "".join(f"int m{n}; " for n in range(30))
    (found,) = changes(tmp_path, f"struct s {{ {members} }} s;", f"struct s {{ long l; {members} }} s;")
    assert found.what.startswith("size 120 -> 128; member l added at offset 0; member m0 moved")
    assert found.what.endswith(" (and 26 more)") and len(found.what) < 300


def test_a_type_of_another_kind_is_a_change_and_a_class_that_becomes_a_struct_is_none(tmp_path: Path) -> None:
    source = "typedef KIND { void (*hook)(TAKES); } either; either one; int use(either *p) { return p->hook != 0; }"
    pre, post = (source.replace("KIND", k).replace("TAKES", t) for k, t in (("struct", "int"), ("union", "long")))
    (found,) = changes(tmp_path, pre, post)
    assert found.what == "struct became union; type of member hook: void (int) * -> void (long int) *"
    assert found.callbacks == (), "who reads the type reads another kind"
    cxx = "class Thing { public: int x; long y; }; int use(Thing *t) { return t->x; }"
    assert changes(tmp_path, cxx, cxx.replace("class Thing { public:", "struct Thing {"), "-xc++") == ()


def test_a_variable_with_another_type_is_no_changed_prototype(tmp_path: Path) -> None:
    source = "int shown; extern int declared(int); int f(int x) { return declared(x) + shown; }"
    pre = compile_object(tmp_path, source, "pre")
    post = compile_object(
        tmp_path, source.replace("int shown", "long shown").replace("declared(int)", "declared(long)"), "post"
    )
    assert changed_signatures(pre, post) == ()


def with_flags(elf: ElfFile, more: int) -> ElfFile:
    """The object with more flags on its .debug_info."""
    data = bytearray(elf.data)
    section = elf.section(".debug_info")
    header = int.from_bytes(data[0x28:0x30], "little")
    assert section is not None
    at = header + 64 * section.index + 8
    data[at : at + 8] = (section.sh_flags | more).to_bytes(8, "little")
    return ElfFile(bytes(data))


def test_types_are_described_unless_they_are_left_out_or_compressed(tmp_path: Path) -> None:
    nothing = "void f(void) { }"
    taken = "void f(int x) { }"
    told = {
        (name, flags): describes_types(compile_object(tmp_path, text, "pre", *flags.split()))
        for name, text in (("takes", taken), ("nothing", nothing), ("empty", ""))
        for flags in ("-g2", "-g1", "-g0", "-g3 -g1", "-g1 -g2", "-ggdb2", "-ggdb1")
    }
    good = ("-g2", "-g1 -g2", "-ggdb2")
    assert told == {(name, flags): flags in good and name != "empty" for name, flags in told}
    elf = compile_object(tmp_path, taken, "pre")
    assert not describes_types(with_flags(elf, 0x800)) and describes_types(with_flags(elf, 0x200))


_WRAPPED = "struct core { int *host; }; struct s { long a; struct core core; } s;"


@pytest.mark.parametrize(
    ("old", "new", "is_same"),
    [
        (_WRAPPED, "struct s { long a; int *host; } s;", True),
        (_WRAPPED, "struct s { long a; int *shost; } s;", False),
        (_WRAPPED, "struct s { long a; long *host; } s;", False),
        ("struct s { int a, b; } s;", "struct s { struct { int a, b; }; } s;", True),
        ("struct s { int a, b; } s;", "struct s { struct { int b, a; }; } s;", False),
        ("struct s { int a, b; } s;", "struct s { union { int a, b; }; int c; } s;", False),
        ("struct i { int x; }; struct s { struct i i; char c; } s;", "struct s { int x; } s;", False),
    ],
)  # fmt: skip
def test_the_same_members_at_the_same_places_in_another_wrapping_are_no_change(
    tmp_path: Path, old: str, new: str, is_same: bool
) -> None:
    found = [c.name for c in changes(tmp_path, old, new) if c.name == "struct s"]
    assert found == ([] if is_same else ["struct s"])
