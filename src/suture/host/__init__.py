"""This host: one interface over its processes and its kernel. What the command and whatever else acts on a host stand
on.

Nothing is printed and no command line is known here; results are values of `suture.report`, errors are `SutureError`.
"""
