"""What a person or a program may do: roles, from the least to the most, and the groups of hosts that they see."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from suture.fleet.error import NoSuchThing, NotPermitted

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.orm import InstrumentedAttribute

S = TypeVar("S", bound="Select[*tuple[Any, ...]]")


class Role(Enum):
    """Each may do what those before it may."""

    VIEWER = "viewer"  # sees
    OPERATOR = "operator"  # begins and stops rollouts, asks for exceptions, describes hosts
    APPROVER = "approver"  # approves what another has asked for
    ADMIN = "admin"  # lets hosts and people in and out

    def may(self, needed: Role) -> bool:
        order = tuple(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True)
class Visitor:
    """Who asks. No `groups`: all hosts. `login` is the digest of the cookie, "" for a program with a token."""

    name: str
    role: Role
    groups: tuple[str, ...] = ()
    login: str = ""

    def need(self, role: Role) -> None:
        """Raises `NotPermitted`."""
        if not self.role.may(role):
            raise NotPermitted(f"{self.name} is {self.role.value}, and this needs {role.value}", "ask an administrator")

    def need_all_hosts(self) -> None:
        """For what concerns the whole fleet. Raises `NotPermitted`."""
        if self.groups:
            raise NotPermitted(f"{self.name} sees some groups of hosts, and this is about all", "ask an administrator")

    def among(self, statement: S, group: ColumnElement[str] | InstrumentedAttribute[str]) -> S:
        """A statement narrowed to the hosts that this one sees, by the column with their group."""
        return statement.where(group.in_(self.groups)) if self.groups else statement

    def sees(self, group: str) -> bool:
        """Whether this one may see hosts of a group."""
        return not self.groups or group in self.groups

    def see(self, group: str) -> None:
        """Raises `NoSuchThing` for hosts that this one may not see."""
        if not self.sees(group):
            raise NoSuchThing("no such host", "suture fleet hosts lists them")
