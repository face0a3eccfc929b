"""Signatures of an apt repository, made by gpg with a key of its keeper's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from suture.command import CommandFailed, run
from suture.error import NotFound


@dataclass(frozen=True)
class SigningKey:
    """A key by its fingerprint or what else gpg finds it by, and the folder that gpg keeps it in (None: gpg's own)."""

    name: str
    home: Path | None = None

    def fingerprint(self) -> str:
        """The key's fingerprint, in hex. Raises `NotFound` where gpg has no private key of that name."""
        try:
            listed = self._gpg("--with-colons", "--list-secret-keys", self.name)
        except CommandFailed as failed:
            home = f"--homedir {self.home} " if self.home else ""
            raise NotFound(
                f"gpg has no private key {self.name}",
                f"make one: gpg {home}--batch --passphrase '' --quick-generate-key '{self.name}' ed25519 sign never",
            ) from failed
        return next(row.split(":")[9] for row in listed.splitlines() if row.startswith("fpr:"))

    def public(self) -> str:
        """The public key, as apt reads it from a file that ends in .asc."""
        return self._gpg("--armor", "--export-options", "export-minimal", "--export", self.fingerprint())

    def secret(self) -> str:
        """The private key, for a tool that signs by itself."""
        return self._gpg("--armor", "--export-secret-keys", self.fingerprint())

    def clear_signed(self, text: str) -> str:
        """A text with its signature around it, as InRelease is."""
        return self._gpg("--local-user", self.fingerprint(), "--clear-sign", "--output", "-", "-", stdin=text)

    def detached(self, text: str) -> str:
        """The signature of a text alone, as Release.gpg is."""
        return self._gpg("--local-user", self.fingerprint(), "--armor", "--detach-sign", "--output", "-", stdin=text)

    def _gpg(self, *words: str, stdin: str = "") -> str:
        home = ["--homedir", str(self.home)] if self.home else []
        return run(["gpg", "--batch", "--quiet", "--digest-algo", "SHA512", *home, *words], stdin=stdin.encode())
