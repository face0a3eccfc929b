"""ioctl(KDSKBMETA) by someone whose terminal it is not."""

import fcntl
import os

terminal = os.open("/dev/tty1", os.O_RDWR | os.O_NOCTTY)
os.setuid(65534)
try:
    fcntl.ioctl(terminal, 0x4B63, 3)
    print("allowed")
except OSError as error:
    print(error.strerror)
