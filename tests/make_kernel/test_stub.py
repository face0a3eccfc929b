"""The module's own C file."""

from __future__ import annotations

from suture.make_kernel.stub import ReplacedSymbol, callbacks_in, main_c


def test_each_object_has_its_functions_with_their_positions() -> None:
    text = main_c(
        {"vmlinux": [ReplacedSymbol("f", "klp_f_0", 2)], "ext4": [ReplacedSymbol("g", "klp_g_1", 0)]},
        {"cves": 'CVE-1,"x"'},
        callbacks=("pre_patch",),
        replace=True,
    )
    assert '.old_name = "f", .new_func = klp_f_0, .old_sympos = 2' in text
    assert '.name = "ext4", .funcs = functions_1' in text and '.name = "vmlinux"' not in text
    assert text.count(".pre_patch = suture_pre_patch") == 2 and ".replace = true" in text
    assert r'static char *cves = "CVE-1,\"x\"";' in text and "SPDX-License-Identifier: GPL-2.0" in text


def test_callbacks_are_found_by_their_definitions() -> None:
    text = "int suture_pre_patch(struct klp_object *obj)\n{ return 0; }\n/* suture_post_patch( */\n"
    assert callbacks_in(text) == ("pre_patch",)
