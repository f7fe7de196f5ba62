"""ASCII armor against gpg and Sequoia: what we accept holds the same packets for them.

We may refuse more than they do. The inputs follow from ``FIPSMANIFEST_FUZZ_SEED`` alone; ``make fuzz`` tries many more.
"""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pysequoia.packet
import pytest

from fipsmanifest.errors import NotTrusted
from fipsmanifest.trust.armor import armor, dearmor, dearmor_all

from .mutate import mutated

SECONDS = float(os.environ.get("FIPSMANIFEST_FUZZ_SECONDS", "1"))
SEED = os.environ.get("FIPSMANIFEST_FUZZ_SEED", "1")
FILES = round(120 * SECONDS)

_LINES = (
    b"",
    b" ",
    b"\r",
    b"text",
    b"Comment: x",
    b"Comment:",
    b"Hash: SHA512",
    b"=AAAA",
    b"====",
    b"=",
    b"AAAA",
    b"AA==",
    b"A",
    b"-----BEGIN PGP SIGNATURE-----",
    b"-----END PGP SIGNATURE-----",
    b"-----BEGIN PGP MESSAGE-----",
    b"-----END PGP PUBLIC KEY BLOCK-----",
    b" -----BEGIN PGP SIGNATURE-----",
    b"- -----BEGIN PGP SIGNATURE-----",
    b"-----BEGIN PGP SIGNATURE----- x",
    b"\xff",
)


def signature(numbers: random.Random) -> bytes:
    """Return a well-formed version 4 signature packet whose content is noise."""
    body = b"\x04\x00\x01\x08" + bytes(4) + b"\xab\xcd" + (2048).to_bytes(2, "big")
    body += b"\x80" + bytes(numbers.randrange(256) for _ in range(255))
    return b"\x89" + len(body).to_bytes(2, "big") + body


def document(numbers: random.Random) -> bytes:
    """Return an armored signature, or two, with up to four changes."""
    data = b"".join(armor(signature(numbers), b"SIGNATURE") for _ in range(numbers.choice((1, 1, 1, 2))))
    for _ in range(numbers.choice((0, 1, 1, 2, 4))):
        lines = data.split(b"\n")
        at = numbers.randrange(len(lines))
        change = numbers.randrange(6)
        if change == 0:
            lines.insert(at, numbers.choice(_LINES))
        elif change == 1:
            lines[at] = numbers.choice(_LINES)
        elif change == 2:
            del lines[at]
        elif change == 3:
            lines[at] = numbers.choice((b" ", b"\t", b"")) + lines[at] + numbers.choice((b" ", b"\t", b"\r", b" \r"))
        elif change == 4:
            cut = numbers.randrange(len(lines[at]) + 1)
            lines[at : at + 1] = [lines[at][:cut], lines[at][cut:]]
        else:
            lines[at : at + 2] = [b"".join(lines[at : at + 2])]
        data = b"\n".join(lines)
    return mutated(data, str(numbers.random())) if numbers.random() < 0.1 else data


def by_gpg(path: Path) -> bytes | None:
    done = subprocess.run(["gpg", "--batch", "--dearmor"], input=path.read_bytes(), capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


def by_sequoia(data: bytes) -> bytes | None:
    try:
        return b"".join(bytes(packet) for packet in pysequoia.packet.PacketPile.from_bytes(data))
    except Exception:  # noqa: BLE001 - pysequoia raises Exception itself
        return None


def ours(data: bytes, *, strict: bool = False) -> bytes | None:
    try:
        return (dearmor if strict else dearmor_all)(data, b"SIGNATURE")
    except NotTrusted:
        return None


@pytest.mark.fuzz
@pytest.mark.timeout(SECONDS * 30 + 120)
def test_what_is_accepted_is_what_gpg_and_sequoia_read(tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    for number in range(FILES):
        data = document(random.Random(f"{SEED}:{number}"))
        path = tmp_path / "armored"
        path.write_bytes(data)
        mine, strict = ours(data), ours(data, strict=True)
        assert strict in (None, mine), number
        if mine is None:
            counts["refused"] += 1
            continue
        # gpg and Sequoia stop behind the first block; each block is judged alone here.
        first = ours(data.partition(b"-----END PGP SIGNATURE-----")[0] + b"-----END PGP SIGNATURE-----\n")
        accepted = [one for one in (mine, first) if one is not None]
        peers: dict[str, tuple[bytes | None, list[bytes | None]]] = {
            "gpg": (by_gpg(path), [*accepted]),
            # Sequoia writes the headers of packets again.
            "Sequoia": (by_sequoia(data), [by_sequoia(one) for one in accepted]),
        }
        for name, (peer, expected) in peers.items():
            if peer is None:
                counts[f"refused by {name} alone"] += 1
                continue
            assert peer in expected, f"{name}: {number}: {base64.b64encode(data).decode()}"
            counts[f"read as {name}"] += 1
    sys.stdout.write(json.dumps({"peers": "gpg, Sequoia", "seed": SEED, "files": FILES, **counts}) + "\n")
    assert counts["read as gpg"] > FILES // 10
    assert counts["read as Sequoia"] > FILES // 10
