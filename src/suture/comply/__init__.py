"""Rules, clocks and reports: until when a hole has to be closed, by which rule, and whether it was. Pure."""
