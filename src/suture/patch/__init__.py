"""The live patch as a file (docs/reference/patch-format.md): manifest, reading, linking, its record in memory, who may
hand it to root. Standard library only."""
