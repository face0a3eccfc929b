"""The running kernel: livepatch modules checked, loaded, watched through their transition, loaded at boot, taken out.
Standard library only."""
