"""A clean room, a configured tree in it, the exact command of each translation unit, and objects."""
