"""Small packages of C, as for the tests of making."""

from tests.making.conftest import package

__all__ = ["package"]
