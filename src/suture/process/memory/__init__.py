"""What a process has mapped: its maps, images, loader, the bytes in its memory, and the patches placed there. Reads
only."""
