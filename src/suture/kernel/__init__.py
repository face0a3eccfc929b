"""The archive's kernel: livepatch modules made from one compiled TU, loaded, watched, taken out; and the machine that tests them."""
