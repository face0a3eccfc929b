"""ioprio_set() with a hint above the level."""

import ctypes

SYS_IOPRIO_SET, PROCESS, BEST_EFFORT = 251, 1, 2
libc = ctypes.CDLL(None, use_errno=True)
value = BEST_EFFORT << 13 | 1 << 3
print("accepted" if libc.syscall(SYS_IOPRIO_SET, PROCESS, 0, value) == 0 else f"errno {ctypes.get_errno()}")
