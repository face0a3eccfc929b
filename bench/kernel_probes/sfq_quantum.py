"""A quantum that is beyond any packet."""

import subprocess

done = subprocess.run(
    ["tc", "qdisc", "add", "dev", "lo", "root", "sfq", "quantum", "2000000"],
    capture_output=True,
    text=True,
    check=False,
)
subprocess.run(["tc", "qdisc", "del", "dev", "lo", "root"], capture_output=True, check=False)
print("accepted" if done.returncode == 0 else done.stderr.strip().splitlines()[0])
