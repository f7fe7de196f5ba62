"""Throwaway keys of every kind, and what gpg signs with them: good messages and the raw material of attacks.

Everything is made by the real gpg at test time; only what gpg refuses to make is put together from its parts.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fipsmanifest.sign import keys
from fipsmanifest.trust import openpgp
from fipsmanifest.trust.keys import Trust
from fipsmanifest.trust.store import load_trust, parse_trust
from tests.support.gnupg import copied_home, remove_home

PYENV = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
#: The oldest Python that is promised and some later ones, where the machine has them; the tests' own always.
PYTHONS = [sys.executable, *(str(path) for v in ("3.6", "3.9", "3.13") for path in PYENV.glob(f"{v}.*/bin/python"))]

#: The file in the home that has the fingerprints by name.
_FINGERPRINTS = "fingerprints.json"

GOOD_MANIFEST: dict[str, Any] = {
    "schema": "fipsmanifest/v1",
    "kubernetes": "v1.21.3",
    "build_metadata": "fips.0",
    "el": 8,
    "serial": 2,
    "reason": "a new containerd",
    "created": "2026-11-23T00:00:00Z",
    "files": [],
    "images": [],
}


def payload(**changes: Any) -> bytes:
    """Return a small manifest's canonical bytes."""
    return json.dumps(GOOD_MANIFEST | changes, indent=2, sort_keys=True).encode("ascii") + b"\n"


def entry(fingerprint: str, **changes: Any) -> dict[str, Any]:
    """Return an entry of trust.json that has been in force for years."""
    in_force = {"role": "manifest", "status": "active", "valid_from": "2015-01-01T00:00:00Z"}
    return {"fingerprint": fingerprint, **in_force, **changes}


@dataclass(frozen=True)
class Pinned:
    """What a trust directory holds, where a test needs another than the forge's."""

    certificates: Sequence[bytes]
    entries: Sequence[dict[str, Any]]

    @property
    def document(self) -> bytes:
        """Return trust.json."""
        return json.dumps({"schema": "fipsmanifest/trust/v1", "keys": list(self.entries)}).encode()

    def load(self) -> Trust:
        """Read it. Raises as `load_trust`."""
        return parse_trust(self.document, [(f"{n}.gpg", data) for n, data in enumerate(self.certificates)], "the test")

    def write(self, directory: Path) -> Path:
        """Make the directory."""
        directory.mkdir()
        (directory / "trust.json").write_bytes(self.document)
        for number, data in enumerate(self.certificates):
            (directory / f"{number}.gpg").write_bytes(data)
        return directory


@dataclass
class Forge:
    """A GNUPGHOME with keys by name, and a trust directory that lists some of them."""

    home: Path
    trust_directory: Path
    fingerprints: dict[str, str] = field(default_factory=dict)

    def gpg(self, *arguments: str, stdin: bytes = b"", check: bool = True) -> bytes:
        """Run gpg without asking anything, and return its standard output."""
        command = ["gpg", "--homedir", str(self.home), "--batch", "--no-tty", "--quiet", "--yes"]
        command += ["--pinentry-mode", "loopback", "--passphrase", "", *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=120, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(done.stderr.decode())
        return done.stdout

    def make_key(self, name: str, algorithm: str, *, usage: str = "sign", expire: str = "never", at: str = "") -> str:
        """Make a primary key; ``at`` is a time for gpg to believe in (``20200101T000000``)."""
        when = ["--faked-system-time", f"{at}!"] if at else []
        self.gpg(*when, "--quick-generate-key", f"{name.title()} Key <{name}@example.com>", algorithm, usage, expire)
        listed = self.gpg("--with-colons", "--list-keys", f"{name}@example.com").decode()
        fingerprint = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:"))
        self.fingerprints[name] = fingerprint
        return fingerprint

    def add_signing_subkey(self, name: str, of: str) -> str:
        """Add a subkey that signs, under a name of its own."""
        self.gpg("--quick-add-key", self.fingerprints[of], "rsa3072", "sign", "never")
        self.fingerprints[name] = openpgp.read_certificates(self.certificate(of))[0].subkeys[-1].fingerprint
        return self.fingerprints[name]

    def forbid_signing(self, of: str, *, subkey: bool = True) -> None:
        """Change the certificate: its first subkey, or its primary key, may not sign."""
        command = ["gpg", "--homedir", str(self.home), "--no-tty", "--quiet", "--expert", "--pinentry-mode", "loopback"]
        command += ["--passphrase", "", "--command-fd", "0", "--edit-key", self.fingerprints[of]]
        words = b"key 1\nchange-usage\nS\nE\nQ\nsave\n" if subkey else b"change-usage\nS\nQ\nsave\n"
        subprocess.run(command, input=words, capture_output=True, timeout=120, check=True)

    def adopt(self, subkey: str, of: str, *, into: str, signs: bool) -> bytes:
        """Bind a subkey of another certificate with the primary key ``into``, and return its certificate then.

        A fingerprint holds the time of creation, so the clock is set to it. gpg has the subkey's secret, and with
        ``signs`` lets it consent.
        """
        made = openpgp.read_certificates(self.certificate(of))[0].key(self.fingerprints[subkey]).created
        rows = self.gpg("--with-colons", "--with-keygrip", "--list-keys", self.fingerprints[of]).decode().splitlines()
        at = next(number for number, row in enumerate(rows) if self.fingerprints[subkey] in row)
        grip = next(row.split(":")[9] for row in rows[at:] if row.startswith("grp:"))
        words = ["addkey", "13", grip, *([] if signs else ["S"]), "E" if signs else "Q", *(["Q"] if signs else [])]
        command = ["gpg", "--homedir", str(self.home), "--no-tty", "--quiet", "--expert", "--pinentry-mode", "loopback"]
        command += ["--passphrase", "", "--faked-system-time", f"{made:%Y%m%dT%H%M%S}!", "--command-fd", "0"]
        command += ["--edit-key", self.fingerprints[into]]
        answers = "\n".join([*words, "0", "save", ""]).encode()
        subprocess.run(command, input=answers, capture_output=True, timeout=120, check=True)
        return self.certificate(into)

    def make_short_id_twins(self) -> None:
        """Make two keys, ``twin`` and ``shadow``, whose key ids of 8 digits are equal.

        A fingerprint is a digest of the key with its time of creation (RFC 4880, section 12.2), so a pair of times
        among some hundred thousand is enough. Twice the square root of what 32 bits can say is likely to be enough.
        """
        seen = {short: when for when, short in _short_ids(self.certificate("plain"), range(2**17))}
        found = (
            (seen[short], when)
            for when, short in _short_ids(self.certificate("stranger"), range(2**22))
            if short in seen
        )
        times = next(found)
        for name, material, when in zip(("twin", "shadow"), ("plain", "stranger"), times, strict=True):
            listed = self.gpg("--with-colons", "--with-keygrip", "--list-keys", self.fingerprints[material]).decode()
            grip = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("grp:"))
            lines = ["Key-Type: RSA", f"Key-Grip: {grip}", "Key-Usage: sign", f"Creation-Date: seconds={when}"]
            lines += [f"Name-Real: {name.title()} Key", "Expire-Date: 0", "%no-protection", "%commit", ""]
            self.gpg("--generate-key", stdin="\n".join(lines).encode())
            listed = self.gpg("--with-colons", "--list-keys", f"{name.title()} Key").decode()
            self.fingerprints[name] = next(
                line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:")
            )

    def certificate(self, name: str) -> bytes:
        """Export a public certificate, binary."""
        return self.gpg("--export", self.fingerprints[name])

    def clearsign(self, data: bytes, name: str = "manifest", *extra: str) -> bytes:
        """Make a cleartext signature; one and the same for the same arguments."""
        return _clearsign(self, data, name, extra)

    def detach(self, data: bytes, name: str = "tool", *extra: str, armor: bool = True) -> bytes:
        """Make a detached signature."""
        form = ["--armor"] if armor else []
        user = f"{self.fingerprints[name]}!"
        return self.gpg(*form, "--digest-algo", "SHA256", *extra, "--local-user", user, "--detach-sign", stdin=data)

    def trust(self) -> Trust:
        """Read the trust directory."""
        return load_trust(str(self.trust_directory))

    def trust_by_hand(self, name: str, role: str = "manifest") -> None:
        """List a key that `keys add` would refuse, as if it had changed since it was added."""
        path = self.trust_directory / "trust.json"
        document = json.loads(path.read_text())
        document["keys"].append(entry(self.fingerprints[name], role=role))
        path.write_text(json.dumps(document))
        (self.trust_directory / f"{name}.gpg").write_bytes(self.certificate(name))

    def __hash__(self) -> int:
        return id(self)


def _short_ids(certificate: bytes, times: range) -> Iterator[tuple[int, bytes]]:
    """Give, for each time of creation that a key could have, the last four bytes of its fingerprint."""
    body = next(packet.body for packet in openpgp._packets(certificate) if packet.tag == openpgp._PUBLIC_KEY)
    start = hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body[:1])
    for when in range(1_500_000_000 + times.start, 1_500_000_000 + times.stop):
        digest = start.copy()
        digest.update(when.to_bytes(4, "big") + body[5:])
        yield when, digest.digest()[-4:]


@functools.cache
def _clearsign(forge: Forge, data: bytes, name: str, extra: tuple[str, ...]) -> bytes:
    user = f"{forge.fingerprints[name]}!"
    digest = () if "--digest-algo" in extra else ("--digest-algo", "SHA512")
    return forge.gpg(*digest, *extra, "--local-user", user, "--clearsign", stdin=data)


@contextlib.contextmanager
def opened() -> Iterator[Forge]:
    """Return the keys in a home that the caller may change."""
    home = copied_home("forge", _make)
    try:
        yield Forge(home, home / "trust", json.loads((home / _FINGERPRINTS).read_text()))
    finally:
        remove_home(home)


def _make(home: Path) -> None:
    forge = Forge(home, home / "trust")
    made = keys.init(forge.trust_directory, "Release <release@example.com>", gnupghome=home, protect=False)
    forge.fingerprints.update(release=made.fingerprint, manifest=made.manifest_key, tool=made.tool_key)
    forge.make_key("plain", "rsa3072")
    forge.make_key("stranger", "rsa3072")
    forge.make_key("upstream", "rsa2048")
    forge.make_key("weak", "rsa2048")
    forge.make_key("dsa", "dsa2048")
    forge.make_key("edwards", "ed25519")
    forge.make_key("expired", "rsa3072", expire="1d", at="20240101T000000")
    keys.add(forge.trust_directory, forge.certificate("plain"), "manifest")
    keys.add(forge.trust_directory, forge.certificate("upstream"), "upstream")
    forge.trust_by_hand("expired")
    (home / _FINGERPRINTS).write_text(json.dumps(forge.fingerprints))
