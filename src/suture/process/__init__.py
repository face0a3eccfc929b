"""A running process: memory, stacks, the stop, the change, and what is seen of all processes. Standard library only."""
