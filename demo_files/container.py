"""The picture service in a container: php-fpm in namespaces of its own (mounts, processes, network), with the library
of an image, reached over a local socket."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from demo_files import fastcgi, picture
from demo_files.clients import TIMEOUT, Answer
from demo_files.packages import LIBRARY, Programs
from demo_files.server import FPM_CONF, SCRIPT, STARTUP_SECONDS, USER, ServerFailed
from suture.source import cache

_START = Path(__file__).with_name("container.sh")
_SPACES = ("--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child")


def image(programs: Programs, folder: Path) -> Path:
    """A new image: a folder with a copy of the old library."""
    folder.mkdir(parents=True)
    shutil.copy(programs.library, folder / LIBRARY)
    return folder


class Container:
    """Runs while entered. `folder` is its own."""

    def __init__(self, programs: Programs, image: Path, folder: Path) -> None:
        self._programs, self._image, self._folder = programs, image, folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def shared(self) -> Path:
        """The folder that it shares with the machine."""
        return self._folder / "shared"

    def start(self) -> None:
        """Returns when it answers; raises `ServerFailed` when it does not."""
        root = self._folder / "root"
        for place in (root, self.shared):
            place.mkdir(parents=True)
        (self.shared / "pictures.php").write_bytes(SCRIPT.read_bytes())
        (self.shared / "fpm.conf").write_text(FPM_CONF.format(run="/shared", user=USER, workers=1))
        inside = ["env", f"LD_LIBRARY_PATH=/image:{self._programs.library_path}", str(self._programs.php)]
        inside += ["--no-php-ini", "--define", f"extension={self._programs.php_gd}"]
        inside += ["--fpm-config", "/shared/fpm.conf"]
        places = [str(p) for p in (root, self._image, self.shared, cache.root().resolve())]
        with open(self.shared / "start.log", "wb") as log:
            command = ["unshare", *_SPACES, "sh", str(_START), *places, *inside]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        self._await()

    def _await(self) -> None:
        end = time.monotonic() + STARTUP_SECONDS
        assert self._process is not None
        while self._process.poll() is None and time.monotonic() < end:
            try:
                self.ask(picture.genuine("ready"))
                return
            except OSError:
                time.sleep(0.01)
        logs = "\n".join(path.read_text().strip() for path in self.shared.glob("*.log"))
        raise ServerFailed(f"php-fpm did not start in its container: {logs}", "see the lines above")

    def stop(self) -> None:
        """End it and all that it has begun."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def ask(self, gif: bytes) -> Answer:
        """Send one picture over a new connection; an `Ask`."""
        begun = time.monotonic()
        params = {"REQUEST_METHOD": "POST", "CONTENT_TYPE": "image/gif", "CONTENT_LENGTH": str(len(gif))}
        params["SCRIPT_FILENAME"] = "/shared/pictures.php"
        fields, body = fastcgi.ask(self.shared / "php.sock", params, gif, TIMEOUT)
        return Answer(picture.read(body), int(fields.get("x-php", "0")), time.monotonic() - begun)
