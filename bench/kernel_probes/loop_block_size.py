"""LOOP_SET_BLOCK_SIZE on a device that someone else has opened exclusively."""

import fcntl
import os
import subprocess

LOOP_SET_BLOCK_SIZE = 0x4C09
subprocess.run(["truncate", "--size=1M", "/tmp/loop.image"], check=True)
found = subprocess.run(["losetup", "--find", "--show", "/tmp/loop.image"], check=True, capture_output=True, text=True)
name = found.stdout.strip()
owner = os.open(name, os.O_RDONLY | os.O_EXCL)
device = os.open(name, os.O_RDWR)
try:
    fcntl.ioctl(device, LOOP_SET_BLOCK_SIZE, 1024)
    print("accepted", flush=True)
except OSError as error:
    print(error.strerror, flush=True)
os.close(device)
os.close(owner)
subprocess.run(["losetup", "--detach", name], check=True)
