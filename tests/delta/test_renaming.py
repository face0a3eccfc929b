"""Only where each use of an old name has become a use of the new one it is the same thing."""

from __future__ import annotations

import pytest

from suture.delta.renaming import is_renaming

HEADER = "enum op {\n\tOP_BOOL, /* and, or */\n\tOP_SHIFT,\n};\n"
CODE = "int run(struct s *p)\n{\n\tif (p->op == OP_BOOL)\n\t\treturn first(p, p->size);\n\treturn p->op;\n}\n"
NAMES = {"OP_BOOL": "OP_MASK_XOR"}


def renamed(text: str) -> str:
    return text.replace("OP_BOOL", "OP_MASK_XOR")


@pytest.mark.parametrize(
    ("header", "code", "expected"),
    [
        (renamed(HEADER), renamed(CODE), True),
        (renamed(HEADER) + "/* OP_BOOL is kept */\n#define OP_BOOL OP_MASK_XOR\n", CODE, True),
        (renamed(HEADER), renamed(CODE).replace("return p->op;", "return p->size;"), True),
        (renamed(HEADER), renamed(CODE).replace("if (p->op ==", "if (p->op\n\t    =="), True),
        (renamed(HEADER), renamed(CODE).replace("if (p->op ==", "if (p->size && p->op =="), False),
        (renamed(HEADER), renamed(CODE).replace("return p->op;", "return OP_MASK_XOR;"), False),
        (renamed(HEADER), CODE.replace("p->op == OP_BOOL", "p->size"), False),
        (renamed(HEADER), renamed(CODE) + "#define make(x) OP_##x\n", False),
        (renamed(HEADER), renamed(CODE) + "int other = OP_BOOL;\n", False),
    ],
)
def test_each_use_under_its_new_name(header: str, code: str, expected: bool) -> None:
    assert is_renaming([(HEADER, header), (CODE, code)], NAMES) is expected


def test_a_new_name_that_was_there_is_another_thing() -> None:
    code = CODE.replace("return p->op;", "return OP_MASK_XOR;")
    assert not is_renaming([(HEADER, renamed(HEADER)), (code, renamed(code))], NAMES)
