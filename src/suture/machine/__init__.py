"""The machine that tests kernel patches: the archive's kernel in an emulator, with a small userland."""
