"""Suture closes security holes in software while it runs."""

__version__ = "0.1.0"
