"""An offset of a time namespace with impossible nanoseconds."""

import ctypes
from pathlib import Path

CLONE_NEWTIME = 0x80
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(CLONE_NEWTIME) == 0
try:
    Path("/proc/self/timens_offsets").write_text(f"monotonic 10 {2**64 - 1}\n")
    print("accepted")
except OSError as error:
    print(error.strerror)
