"""An event filter without any comparison in it."""

import subprocess
from pathlib import Path

place = Path("/tmp/tracefs")
if not place.exists():
    place.mkdir()
    subprocess.run(["mount", "-t", "tracefs", "tracefs", str(place)], check=True)
path = place / "events/sched/sched_switch/filter"
try:
    path.write_text("()")
    print("accepted")
except OSError as error:
    print(error.strerror)
finally:
    path.write_text("0")
