"""Releases past their end of life: fixes made for a newer release, carried back to an older one."""
