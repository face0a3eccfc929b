"""A policer whose result for conforming packets is no action."""

import subprocess

add = "tc actions add action police rate 1mbit burst 10k conform-exceed drop/4660"
done = subprocess.run(add.split(), capture_output=True, text=True, check=False)
subprocess.run(["tc", "actions", "flush", "action", "police"], capture_output=True, check=False)
print("accepted" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["refused"])[0])
