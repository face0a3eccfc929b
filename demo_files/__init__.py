"""The demo: a real server on a vulnerable library, the hole open, closed and open again, without a restart."""
