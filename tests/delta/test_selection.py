"""Groups and refusals over small units, compiled before and after a fix."""

from __future__ import annotations

import pytest

from suture.delta.change import UnitChange
from suture.delta.selection import Datum, Node, Selection, old_function, only_called_by_replaced
from suture.refusal import Refusal
from tests.delta.compiled import changed

N = "__attribute__((noinline)) "
BASE = f"""
extern int outside(int); extern int far;
static int state = 3; int shown; static const int table[4] = {{1, 2, 3, 4}}; __thread int local;
{N}static int helper(int x) {{ __asm__(""); return x * 3 + state; }}
{N}int f(int x) {{ __asm__(""); return helper(x) + 1; }}
{N}int g(int x) {{ __asm__(""); return outside(x) + table[x & 3]; }}
{N}int h(int x) {{ __asm__(""); shown = x; return x - 1; }}
int user(int x) {{ state += x; return f(x) + g(x) + h(x) + local; }}
"""


def fixed(*edits: tuple[str, str], base: str = BASE, unproved: tuple[str, ...] = ()) -> UnitChange:
    text = base
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return changed(base, text, unproved=unproved)


def selection(
    *changes: UnitChange, refusals: dict[Node, Refusal] | None = None, undiverted: tuple[Node, ...] = ()
) -> Selection:
    return Selection(changes, refusals or {}, frozenset(undiverted))


def names(nodes: tuple[Node, ...]) -> list[str]:
    return [n.name for n in nodes]


def groups(*changes: UnitChange, **how: object) -> list[tuple[list[str], list[str]]]:
    accepted, rejected = selection(*changes, **how).groups()  # type: ignore[arg-type]
    assert rejected == ()
    return [(names(a.replaced), names(a.new)) for a in accepted]


def refused(*changes: UnitChange, **how: object) -> dict[str, str]:
    _, rejected = selection(*changes, **how).groups()  # type: ignore[arg-type]
    assert all(r.refusal.remedy for r in rejected)
    return {r.name: r.refusal.reason for r in rejected}


F, G, H, HELPER = (
    ("helper(x) + 1", "helper(x) + 2"),
    ("outside(x) +", "outside(x) -"),
    ("x - 1", "x - 2"),
    ("x * 3", "x * 5"),
)


def test_functions_that_have_nothing_in_common_switch_apart() -> None:
    assert groups(fixed(F, G)) == [(["f"], []), (["g"], [])]
    assert groups(fixed(H)) == [(["h"], [])]
    assert groups(fixed()) == []


def test_functions_that_call_one_another_switch_together() -> None:
    assert groups(fixed(F, HELPER, G)) == [(["f", "helper"], []), (["g"], [])]
    # before the fix is enough
    assert groups(fixed(("return helper(x) + 1", "return x + 7"), HELPER, ("x - 1", "helper(x) - 1"))) == [
        (["f", "h", "helper"], [])
    ]
    assert groups(
        fixed(
            ("return helper(x) + 1", "return x + 7"),
            HELPER,
            ("return x - 1", "return x - 2"),
            base=BASE.replace("+ local;", "+ local + helper(x);"),
        )
    ) == [(["f", "helper"], []), (["h"], [])]


NEW = f'{N}static int fresh(int x) {{ __asm__(""); return x + 9; }}\nint user'


def test_a_new_function_comes_with_those_that_call_it() -> None:
    assert groups(
        fixed(
            ("helper(x) + 1", "helper(x) + fresh(x)"),
            ("int user", NEW),
            base=BASE.replace("extern", "static int fresh(int); extern", 1),
        )
    ) == [(["f"], ["fresh"])]
    # and joins them
    both = fixed(
        ("helper(x) + 1", "helper(x) + fresh(x)"),
        ("outside(x) +", "fresh(x) +"),
        ("int user", NEW),
        base=BASE.replace("extern", "static int fresh(int); extern", 1),
    )
    assert groups(both) == [(["f", "g"], ["fresh"])]


def test_new_variables_and_changed_constants_join_those_that_use_them() -> None:
    edits = (
        ("helper(x) + 1", "helper(x) + ++added"),
        ("x - 1", "x - added"),
        ("static int state", "static int added; static int state"),
    )
    (group,), _ = selection(fixed(*edits)).groups()
    assert names(group.replaced) == ["f", "h"]
    change = fixed(*edits)
    assert [change.post.atoms[d.index].label for d in group.data] == ["added"]
    constant = fixed(("{1, 2, 3, 4}", "{1, 2, 3, 5}"), base=BASE.replace("x - 1", "x - table[x & 3]"))
    assert groups(constant) == [(["g", "h"], [])]
    # a constant that stays as it was joins nobody
    assert groups(fixed(G, H, base=BASE.replace("x - 1", "x - 1 - table[x & 3]"))) == [(["g"], []), (["h"], [])]


def test_functions_that_used_a_variable_which_one_of_them_drops_switch_together() -> None:
    base = (
        BASE.replace("x - 1", "x - 1 + state")
        .replace("return x * 3 + state", "return x * 3")
        .replace("outside(x) +", "state + outside(x) +")
    )
    assert groups(fixed(("x - 1 + state", "x - 1"), ("state + outside(x) +", "state + outside(x) -"), base=base)) == [
        (["g", "h"], [])
    ]
    assert groups(
        fixed(("x - 1 + state", "x - 2 + state"), ("state + outside(x) +", "state + outside(x) -"), base=base)
    ) == [(["g"], []), (["h"], [])]


def test_units_are_joined_by_names_that_they_share() -> None:
    second = changed(
        f'extern int f(int); {N}int other(int x) {{ __asm__(""); return f(x) + 1; }}',
        f'extern int f(int); {N}int other(int x) {{ __asm__(""); return f(x) + 2; }}',
    )
    assert groups(fixed(F), second) == [(["f", "other"], [])]
    assert groups(fixed(G), second) == [(["g"], []), (["other"], [])]
    # called before the fix alone
    gone = changed(
        f'extern int f(int); {N}int other(int x) {{ __asm__(""); return f(x) + 1; }}',
        f'extern int f(int); {N}int other(int x) {{ __asm__(""); return x + 2; }}',
    )
    assert groups(fixed(F), gone) == [(["f", "other"], [])]
    s = selection(fixed(F, G), second)
    assert (s.global_function("f"), s.global_function("h"), s.global_function("other")) == (
        Node(0, "f"),
        None,
        Node(1, "other"),
    )


def test_a_new_global_variable_comes_with_the_unit_that_uses_it() -> None:
    first = fixed(("x - 1", "x - brought"), ("int shown;", "int shown; int brought = 5;"))
    second = changed(
        f'extern int brought; {N}int other(int x) {{ __asm__(""); return x; }}',
        f'extern int brought; {N}int other(int x) {{ __asm__(""); return x + brought; }}',
    )
    s = selection(first, second)
    datum = s.global_datum("brought")
    assert datum is not None and first.post.atoms[datum.index].label == "brought" and datum.unit == 0
    (group,), rejected = s.groups()
    assert (names(group.replaced), group.data, rejected) == (["h", "other"], (datum,), ())
    assert s.global_datum("shown") is None and s.global_datum("h") is None


def test_what_the_fix_makes_global_was_there_before() -> None:
    for name, edit in (
        ("helper", (f"{N}static int helper", f"{N}int helper")),
        ("state", ("static int state", "int state")),
    ):
        change = fixed(edit)
        s = selection(change)
        datum = s.made_global(name)
        assert datum is not None and change.post.atoms[datum.index].label == name
        assert s.made_global("shown") is None and s.made_global("g") is None
    other = fixed((f"{N}static int helper", f"{N}int helper"), HELPER)
    assert selection(other).made_global("helper") is None


def test_one_refused_member_refuses_its_group_and_no_other() -> None:
    no = Refusal("it may not", "do not")
    accepted, rejected = selection(fixed(F, HELPER, G), refusals={Node(0, "helper"): no}).groups()
    assert [names(a.replaced) for a in accepted] == [["g"]]
    assert [(r.unit, r.name, r.refusal.reason) for r in rejected] == [
        (0, "f", "it belongs together with helper, which is refused"), (0, "helper", "it may not"),
    ]  # fmt: skip
    # a new function is no change of its own that is missing
    base = BASE.replace("extern", "static int fresh(int); extern", 1)
    change = fixed(("helper(x) + 1", "helper(x) + fresh(x)"), ("int user", NEW), base=base)
    assert refused(change, refusals={Node(0, "f"): no}) == {"f": "it may not"}
    assert refused(change, refusals={Node(0, "fresh"): no}) == {
        "f": "it belongs together with fresh, which is refused",
        "fresh": "it may not",
    }


def test_undiverted_functions_come_as_new_ones() -> None:
    assert groups(fixed(F, HELPER), undiverted=(Node(0, "helper"),)) == [(["f"], ["helper"])]
    assert groups(fixed(G), undiverted=(Node(0, "g"),)) == []


REFUSED = [
    (
        (("static int state = 3", "static int state = 4"), HELPER),
        "helper",
        "the fix changes the initial value or size of the variable state",
    ),
    (
        (("int shown;", "int shown[2];"), ("shown = x", "shown[1] = x")),
        "h",
        "the fix changes the initial value or size of the variable shown",
    ),
    (
        (("x - 1", "x - ++fresh"), ("__thread int local;", "__thread int local; static __thread int fresh;")),
        "h",
        "the fix adds the thread-local variable fresh",
    ),
]


@pytest.mark.parametrize(("edits", "name", "reason"), REFUSED)
def test_variables_that_a_running_process_has_set_already_are_refused(
    edits: tuple[tuple[str, str], ...], name: str, reason: str
) -> None:
    assert refused(fixed(*edits))[name].startswith(reason)


def test_addresses_that_are_not_proved_are_refused() -> None:
    assert refused(fixed(F, unproved=("helper",))) == {
        "f": "it calls helper, whose address in the running code is not proved"
    }
    assert refused(fixed(HELPER, unproved=("state",))) == {
        "helper": "the address of the variable state in the running process is not proved"
    }
    assert refused(fixed(H, unproved=("shown",))) == {}  # the loader finds it
    assert refused(fixed(F, unproved=("state",))) == {}
    assert refused(fixed(F, HELPER, unproved=("helper",))) == {}  # it is in the patch


def test_variables_that_cannot_be_told_apart_are_refused() -> None:
    one = f'{N}int f(int x) {{ static int n = 1; __asm__(""); return n += x; }}\n'
    base = one + f'{N}int g(int x) {{ static int n = 1; __asm__(""); return n -= x; }}\n'
    post = (
        f'{N}int k(int x) {{ static int n = 1; __asm__(""); return n ^= x; }}\n{N}int f(int x) {{ return k(x) + 1; }}'
    )
    change = changed(base, post)
    assert refused(change) == {
        "f": "it belongs together with k, which is refused",
        "k": "several variables are called n and can't be told apart",
    }


def test_a_variable_with_labels_of_a_changed_function_is_refused() -> None:
    base = f"""{N}int f(int x) {{ static void *at[2] = {{&&a, &&b}}; at[0] = at[x]; goto *at[x]; a: return x + 1;
      b: return x * 7; }}"""
    assert refused(changed(base, base.replace("x + 1", "x + 2"))) == {
        "f": "the variable at.0 holds addresses of labels inside functions that the fix changes"
    }


def test_what_one_function_needs_is_computed_once() -> None:
    s = selection(fixed(F, HELPER))
    reach = s.reach(Node(0, "f"))
    assert reach is s.reach(Node(0, "f"))
    assert (reach.functions, reach.refusals) == ({Node(0, "helper")}, [])
    assert s.reach(Node(0, "helper")).functions == set()
    assert s.is_replaced(Node(0, "f")) and not s.is_replaced(Node(0, "g"))


def test_data_are_in_order_and_strings_come_along() -> None:
    change = fixed(
        ("x - 1", 'x - outside((long)"a string that is long enough") - "other string that is long"[x] - ++added'),
        ("static int state", "static int added; static int state"),
    )
    (group,), _ = selection(change).groups()
    labels = [change.post.atoms[d.index].label for d in group.data]
    assert "added" in labels and len(labels) >= 2
    assert group.data == tuple(sorted(group.data, key=lambda d: (d.unit, d.index)))
    assert all(isinstance(d, Datum) for d in group.data)


def test_a_function_that_only_replaced_ones_call_needs_no_jump() -> None:
    assert only_called_by_replaced(fixed(F, HELPER), "helper")
    assert not only_called_by_replaced(fixed(HELPER), "helper")
    assert not only_called_by_replaced(fixed(F), "f")  # others may call it
    taken = BASE.replace("int user", "int (*volatile pointer)(int); void take(void) { pointer = helper; }\nint user")
    assert not only_called_by_replaced(fixed(F, HELPER, base=taken), "helper")
    table = BASE.replace("int user", "int (*const pointers[])(int) = {helper};\nint user")
    assert not only_called_by_replaced(fixed(F, HELPER, base=table), "helper")
    more = BASE.replace("x - 1", "helper(x) - 1")
    assert not only_called_by_replaced(fixed(F, HELPER, base=more), "helper")
    assert only_called_by_replaced(fixed(F, HELPER, ("helper(x) - 1", "helper(x) - 2"), base=more), "helper")


def test_the_old_function_is_the_one_whose_place_is_taken() -> None:
    change = fixed(F)
    old = old_function(change, "f")
    assert old is not None and old is change.pre.functions["f"]
    base = BASE.replace("extern", "static int fresh(int); extern", 1)
    assert old_function(fixed(("helper(x) + 1", "fresh(x)"), ("int user", NEW), base=base), "fresh") is None


def test_a_function_that_a_new_table_begins_with_comes_along() -> None:
    table = NEW.replace("int user", "static int (*const handlers[2])(int) = {fresh};\nint user")
    base = BASE.replace("extern", "static int fresh(int); static int (*const handlers[2])(int); extern", 1)
    assert groups(fixed(("x - 1", "handlers[x](x) - 1"), ("int user", table), base=base)) == [(["h"], ["fresh"])]


def test_a_function_that_others_may_call_or_that_is_new_needs_its_jump() -> None:
    change = fixed(F, ("f(x) + g(x)", "f(x) - g(x)"))
    assert not only_called_by_replaced(change, "user")
    base = BASE.replace("extern", "static int fresh(int); extern", 1)
    new = fixed(("helper(x) + 1", "helper(x) + fresh(x)"), ("int user", NEW), base=base)
    assert not only_called_by_replaced(new, "fresh")
