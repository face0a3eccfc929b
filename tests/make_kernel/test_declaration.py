"""What a change of a header touches: names that its users write, and where names do not bound them."""

from __future__ import annotations

from suture.make_kernel.declaration import Touched, changed, depending, pasted, pasted_from

HEADER = """
#ifndef A_H
#define A_H
/* words in a comment are none */
#define LIMIT 8
#define DOUBLE(x) \\
\t((x) * LIMIT)
enum {
\tFIRST = 1,
\tSECOND,
\tTHIRD = SIZE(4),
};
struct thing {
\tint member;
};
static inline int inner(int a)
{
\treturn a + 1;
}
static inline __must_check int outer(int a) { return inner(a); }
int prototype(struct thing *t, int limit);
#ifdef CONFIG_X
extern int variable;
#endif
#endif
"""


def test_a_comment_and_a_moved_line_touch_nothing() -> None:
    assert (
        changed(HEADER, HEADER.replace("words in", "other words in").replace("#define LIMIT", "\n\n#define LIMIT"))
        == Touched()
    )


def test_the_directive_that_keeps_line_numbers_touches_nothing() -> None:
    new = HEADER.replace("struct thing {", 'int added(void);\n\n#line 13 "a.h"\nstruct thing {')
    assert changed(HEADER, new) == Touched(frozenset({"added"}))


def test_an_enumerator_of_an_anonymous_enum_touches_those_behind_it_too() -> None:
    assert changed(HEADER, HEADER.replace("FIRST = 1", "FIRST = 2")).names == {"FIRST", "SECOND", "THIRD"}
    assert changed(HEADER, HEADER.replace("SECOND,", "SECOND = 7,")).names == {"SECOND", "THIRD"}


def test_a_body_touches_its_function_and_a_macro_its_name() -> None:
    assert changed(HEADER, HEADER.replace("a + 1", "a + 2")).names == {"inner"}
    assert changed(HEADER, HEADER.replace("(x) * LIMIT", "(x) + LIMIT")).names == {"DOUBLE"}
    assert changed(HEADER, HEADER.replace("int limit)", "long limit)")).names == {"prototype"}
    assert changed(HEADER, HEADER.replace("extern int", "extern long")).names == {"variable"}


def test_inline_functions_and_macros_of_the_same_header_depend_on_others() -> None:
    assert depending(HEADER, {"inner"}).names == {"inner", "outer"}
    assert depending(HEADER, {"LIMIT"}).names == {"LIMIT", "DOUBLE"}
    assert depending(HEADER, {"thing"}).names == frozenset(), "a prototype makes no code"


def test_the_layout_of_a_type_is_left_to_debug_information() -> None:
    said = changed(HEADER, HEADER.replace("int member;", "int member, more;"))
    assert said.layouts and not said.names and not said.everyone


def test_a_changed_condition_touches_everyone() -> None:
    assert changed(HEADER, HEADER.replace("CONFIG_X", "CONFIG_Y")).everyone


def test_a_condition_around_new_lines_alone_touches_their_names() -> None:
    new = HEADER.replace(
        "int prototype", "#ifdef CONFIG_Z\nint added(void);\n#else\n#define added() 0\n#endif\nint prototype"
    )
    assert changed(HEADER, new) == Touched(frozenset({"added"}))
    around = HEADER.replace(
        "int prototype(struct thing *t, int limit);", "#ifdef Z\nint prototype(struct thing *t, int limit);\n#endif"
    )
    assert changed(HEADER, around).everyone, "it stands around a line that was there before"


def test_a_macro_that_is_called_at_the_margin_may_define_anything() -> None:
    old = HEADER + "TRACE_EVENT(seen,\n\tTP_PROTO(int a)\n);\n"
    assert changed(old, old.replace("int a)\n);", "long a)\n);")).everyone


def test_braces_that_a_condition_has_twice_do_not_hide_what_follows() -> None:
    twice = "#ifdef A\nint f(int a) {\n#else\nint f(void) {\n#endif\n\treturn 1;\n}\nint g(void) { return 2; }\n"
    assert "g" in changed(twice, twice.replace("return 2", "return 3")).names


def test_a_name_that_macros_paste_together_is_found_by_its_part() -> None:
    assert pasted_from({"drop_reason_queue"}, {"drop_reason_"}, {"_queue"}) == {"queue", "drop_reason"}
    assert pasted_from({"other"}, {"drop_reason_"}, set()) == set()
    text = "#define REASON(x, y) \\\n\tdrop_reason_##x, x ## _queue, x##y, SKB_ ## y\n"
    assert pasted(text) == ({"drop_reason_", "SKB_"}, {"_queue"})
    assert depending("#define USER(a) REASON(queue, a)\n", {"other"}, {"queue"}).names == {"USER"}
    assert not depending("#define USER(a) ((a) + queue)\n", {"other"}, {"queue"}).names


def test_a_callback_that_takes_something_else_touches_who_writes_the_member() -> None:
    old = HEADER + "struct ops {\n\tint\t(*dump)(int a,\n\t\t\tint b);\n\tint (*init)(void);\n\tint size;\n};\n"
    new = old.replace("int b);", "int b, bool c);")
    said = changed(old, new)
    assert said == Touched(frozenset({".dump"}), layouts=True)
    users = "static inline int f(struct ops *o) { return o->dump(1, 2); }\n#define OPS(x) { .dump = x }\nint dump;\n"
    assert depending(users, said.names).names == {"f", "OPS"}, "a variable of the same name is another"
    assert changed(old, old.replace("int size;", "long size;")).names == frozenset()
