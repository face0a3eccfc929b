"""An update of the archive becomes live patches without a hand: which of its fixes go in, which do not and why, and
what that closes."""
