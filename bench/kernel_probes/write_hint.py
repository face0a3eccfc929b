"""F_SET_RW_HINT on a file that is made immutable after it was opened."""

import fcntl
import os
import struct
import subprocess
from pathlib import Path

F_SET_RW_HINT, FS_IOC_SETFLAGS, FS_IMMUTABLE_FL = 1036, 0x40086602, 0x10
place = Path("/tmp/hint")
if not place.exists():
    place.mkdir()
    subprocess.run(["truncate", "--size=8M", "/tmp/hint.image"], check=True)
    subprocess.run(["mkfs.ext4", "-q", "/tmp/hint.image"], check=True)
    subprocess.run(["mount", "-o", "loop", "/tmp/hint.image", str(place)], check=True)
file = os.open(place / "file", os.O_RDWR | os.O_CREAT)
fcntl.ioctl(file, FS_IOC_SETFLAGS, struct.pack("<Q", FS_IMMUTABLE_FL))
try:
    fcntl.fcntl(file, F_SET_RW_HINT, struct.pack("<Q", 2))
    print("accepted")
except OSError as error:
    print(error.strerror)
finally:
    fcntl.ioctl(file, FS_IOC_SETFLAGS, struct.pack("<Q", 0))
