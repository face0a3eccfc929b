"""The live patch as a file (docs/patch-format.md): manifest, reading, building, relocating. What a host needs is standard library only."""
