"""The commands; the only place where errors are caught and printed."""
