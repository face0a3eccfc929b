"""PR_SET_MM_AUXV with one entry: the number of entries that are left."""

import ctypes
import struct
from pathlib import Path

PR_SET_MM, PR_SET_MM_AUXV = 35, 12
libc = ctypes.CDLL(None, use_errno=True)
one = struct.pack("<QQ", 31, 0x1234)
buffer = ctypes.create_string_buffer(one, len(one))
if libc.prctl(PR_SET_MM, PR_SET_MM_AUXV, ctypes.c_ulong(ctypes.addressof(buffer)), ctypes.c_ulong(len(one)), 0) != 0:
    print(f"refused: {ctypes.get_errno()}")
else:
    raw = Path("/proc/self/auxv").read_bytes()
    left = sum(1 for kind, _ in struct.iter_unpack("<QQ", raw) if kind)
    print("one entry" if left == 1 else "old entries stay")
