"""The stacks of a process: frames, return addresses, where a stack lies, what sleeps on stacks of its own. Reads
only."""
