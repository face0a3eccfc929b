"""A key and a package made for tests of apt repositories."""

from __future__ import annotations

import subprocess
from pathlib import Path

from suture.els.signature import SigningKey


def key(home: Path) -> SigningKey:
    """A new key in a folder of its own."""
    home.mkdir(mode=0o700)
    made = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--passphrase", ""]
    subprocess.run([*made, "--quick-generate-key", "els@test.invalid", "ed25519", "sign", "never"], check=True)
    return SigningKey("els@test.invalid", home)


def deb(folder: Path, package: str, version: str, files: dict[str, str]) -> Path:
    """A binary package for every architecture."""
    root = folder / f"{package}-{version}"
    (root / "DEBIAN").mkdir(parents=True)
    said = f"Package: {package}\nVersion: {version}\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n"
    (root / "DEBIAN/control").write_text(said)
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    made = folder / f"{package}_{version}_all.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", str(root), str(made)], check=True, capture_output=True)
    return made
