"""A fix becomes a livepatch module for the archive's kernel, from one compiled TU."""
