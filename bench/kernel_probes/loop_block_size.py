"""LOOP_SET_BLOCK_SIZE by someone who may only read."""

import fcntl
import os
import subprocess

LOOP_SET_BLOCK_SIZE = 0x4C09
subprocess.run(["truncate", "--size=1M", "/tmp/loop.image"], check=True)
name = subprocess.run(["losetup", "--find", "--show", "/tmp/loop.image"], check=True, capture_output=True, text=True)
device = os.open(name.stdout.strip(), os.O_RDONLY)
child = os.fork()
if child == 0:
    os.setuid(65534)
    try:
        fcntl.ioctl(device, LOOP_SET_BLOCK_SIZE, 1024)
        print("accepted", flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
    os._exit(0)
os.waitpid(child, 0)
os.close(device)
subprocess.run(["losetup", "--detach", name.stdout.strip()], check=True)
