"""Run-pre matching: compiled sections found in the shipped binary, the addresses that its filled-in fields imply, and
the proof."""
