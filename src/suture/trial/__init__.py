"""A patch tried before it is offered: in a sandbox, on the shipped binaries, running."""
