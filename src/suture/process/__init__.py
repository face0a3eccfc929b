"""A running process: maps, images, stops, stacks, borrowed system calls; apply, revert, status, scan. Standard library only."""
