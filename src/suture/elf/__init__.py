"""ELF64 files as typed facts. Standard library only: the part that runs as root reads ELF too. Imports nothing of ours
but `error`."""
