"""A fix becomes a live patch for a user-space binary: what goes in, how old code reaches it, and the account of each
line."""
