"""Processes that start: each is held where it maps a file with a hole, and patched before code of the file runs."""
