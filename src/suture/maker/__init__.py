"""Making and verifying through one interface: live patches for binaries, and livepatch modules for the kernel."""
