"""A list that the database sorts, filters and cuts into pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.orm import Session

T = TypeVar("T")
SIZE = 50
_MOST_TEXT, _MOST_PAGE = 100, 100_000


@dataclass(frozen=True)
class ListWish:
    """What is asked for: a text that rows hold, the column that they are sorted by ("-" before it: falling), and a
    page."""

    text: str = ""
    sort: str = ""
    page: int = 1
    size: int = SIZE

    @classmethod
    def of(cls, text: str = "", sort: str = "", page: int = 1, size: int = SIZE) -> ListWish:
        """Within bounds."""
        return cls(text[:_MOST_TEXT], sort[:32], min(max(page, 1), _MOST_PAGE), min(max(size, 1), 1000))


@dataclass(frozen=True)
class Listed(Generic[T]):
    """One page of rows, of `total`."""

    rows: tuple[T, ...]
    total: int
    wish: ListWish

    @property
    def pages(self) -> int:
        return max(-(-self.total // self.wish.size), 1)


def listed(
    session: Session,
    statement: Select[Any],
    wish: ListWish,
    columns: Mapping[str, ColumnElement[Any]],
    searched: tuple[ColumnElement[Any], ...],
    default: str,
    counting: Callable[[], int] | None = None,
    before: tuple[ColumnElement[Any], ...] = (),
) -> Listed[Any]:
    """`columns` are those that may be sorted by, `searched` those that the text is looked for in. `counting` counts the
    rows where no text is asked for, for less than the statement would. Where rows are sorted by the default, `before`
    are columns that have one value in all of them and stand before it in an index, which then gives the order."""
    if wish.text:
        pattern = "%" + wish.text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        statement = statement.where(or_(*(c.ilike(pattern, escape="\\") for c in searched)))
    if wish.text or counting is None:
        total = session.scalar(select(func.count()).select_from(statement.order_by(None).subquery())) or 0
    else:
        total = counting()
    name = wish.sort.removeprefix("-")
    chosen = wish.sort if name in columns else default
    by = chosen.removeprefix("-")
    keys = (*(before if by == default.removeprefix("-") else ()), columns[by])
    statement = statement.order_by(*(k.desc() if chosen.startswith("-") else k.asc() for k in keys))
    statement = statement.offset((wish.page - 1) * wish.size).limit(wish.size)
    found = session.execute(statement).all()
    return Listed(
        tuple(r[0] if len(r) == 1 else r for r in found), total, ListWish(wish.text, chosen, wish.page, wish.size)
    )
