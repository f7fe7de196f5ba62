"""Releases to publish: complete manifests with a few files, signed by a throwaway key with plain gpg."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fipsmanifest.model.identity import ManifestId
from fipsmanifest.publish import index, layout
from fipsmanifest.publish.address import open_bucket
from fipsmanifest.publish.consumer import Consumer
from fipsmanifest.publish.request import ManifestToPublish, PublishRequest, ToolToPublish
from fipsmanifest.trust.store import load_trust
from tests.support.gnupg import copied_home, remove_home

KUBERNETES = "v1.21.3"


@dataclass(frozen=True)
class ReleaseKey:
    """A key in a GnuPG home of its own, and the trust directory that names it for both roles."""

    home: Path
    fingerprint: str
    trust: Path

    @classmethod
    def make(cls, directory: Path, name: str = "Release") -> ReleaseKey:
        email = f"{name} <release@example.com>"
        when = ("--faked-system-time", "20260101T000000", "--passphrase", "")
        key = ("--quick-generate-key", email, "rsa3072", "sign", "never")
        home = copied_home(f"release-{name}", lambda empty: _gpg(empty, *when, *key))
        listing = _gpg(home, "--with-colons", "--list-keys").decode()
        fingerprint = next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr"))
        trust = directory / f"keys-{name}"
        trust.mkdir()
        (trust / "release.asc").write_bytes(_gpg(home, "--armor", "--export", fingerprint))
        entry = {
            "fingerprint": fingerprint,
            "status": "active",
            "valid_from": "2020-01-01T00:00:00Z",
            "user_id": email,
        }
        keys = [{**entry, "role": role} for role in ("manifest", "tool")]
        (trust / "trust.json").write_text(json.dumps({"schema": "fipsmanifest/trust/v1", "keys": keys}))
        return cls(home, fingerprint, trust)

    def remove(self) -> None:
        """End the agent and remove its home."""
        remove_home(self.home)

    def clearsign(self, payload: bytes, *, at: str = "20261120T100000") -> bytes:
        return self._sign("--clearsign", payload, at)

    def detach(self, data: bytes, *, at: str = "20261120T100000") -> bytes:
        return self._sign("--detach-sign", data, at)

    def revoked(self, directory: Path, successor: ReleaseKey, status: str = "revoked") -> Consumer:
        """Return the consumer who trusts ``successor`` and lists this key as revoked, or in another status."""
        ours, theirs = (json.loads((key.trust / "trust.json").read_text())["keys"] for key in (self, successor))
        directory.mkdir()
        for number, key in enumerate((self, successor)):
            (directory / f"{number}.asc").write_bytes((key.trust / "release.asc").read_bytes())
        keys = [{**entry, "status": status} for entry in ours] + theirs
        (directory / "trust.json").write_text(json.dumps({"schema": "fipsmanifest/trust/v1", "keys": keys}))
        return Consumer.trusting(load_trust(str(directory)))

    @property
    def consumer(self) -> Consumer:
        return Consumer.trusting(load_trust(str(self.trust)))

    def _sign(self, how: str, data: bytes, at: str) -> bytes:
        # The mark stops the clock: without it a signature is now and then dated a second later.
        return _gpg(self.home, "--faked-system-time", f"{at}!", "--digest-algo", "SHA256", "--armor", how, data=data)


def _gpg(home: Path, *arguments: str, data: bytes = b"") -> bytes:
    run = subprocess.run(
        ["gpg", "--homedir", str(home), "--batch", "--yes", "--no-tty", "--pinentry-mode", "loopback", *arguments],
        input=data,
        capture_output=True,
        check=True,
        timeout=60,
        env={**os.environ, "LC_ALL": "C"},
    )
    return run.stdout


def tool_bytes(version: str = "0.1.0") -> bytes:
    """Return a program that says its version as the node tool does, in its second line."""
    header = f"#!/bin/sh\n# dkp-fips-tool {version}: stands for the node tool.\n"
    return (header + f"echo {version}\n" * 20).encode()


def document(
    *,
    kubernetes: str = KUBERNETES,
    el: int = 8,
    serial: int = 1,
    tool: str = "0.1.0",
    kubelet: bytes = b"kubelet",
    **more: Any,
) -> dict[str, Any]:
    """Return a complete manifest; ``kubelet`` represents the content of the release."""
    made: dict[str, Any] = {
        "schema": "fipsmanifest/v1",
        "kubernetes": kubernetes,
        "build_metadata": "fips.0",
        "el": el,
        "serial": serial,
        "created": "2026-11-20T00:00:00Z",
        "components": [
            {"name": "kubelet", "architecture": "x86_64", "requirement": "proven", "verdict": "proven"},
        ],
        "files": [
            {
                "path": "/usr/bin/kubelet",
                "type": "file",
                "role": "program",
                "sha256": hashlib.sha256(kubelet).hexdigest(),
                "size": len(kubelet),
                "mode": "0755",
                "component": "kubelet",
                "architecture": "x86_64",
                "crypto": {"verdict": "proven", "module": "boringcrypto", "evidence": {"offset": 4096}},
            },
        ],
        "images": [],
        "modules": {
            "boringcrypto": {
                "name": "BoringCrypto",
                "algorithm": "hmac-sha256",
                "digest": "ab" * 32,
                "architecture": "x86_64",
                "row": "shipped",
                "certificates": [
                    {
                        "number": 3678,
                        "standard": "FIPS 140-2",
                        "holder": "Google, LLC",
                        "historical_since": "2026-09-21",
                    }
                ],
            }
        },
        "sources": [
            {
                "name": "kubernetes",
                "kind": "rpm",
                "address": "https://example.com/kubelet.rpm",
                "sha256": "cd" * 32,
                "size": 10,
            }
        ],
        "node": {
            "operating_systems": [{"id": "rhel", "versions": [str(el)]}],
            "fips_mode": True,
            "roles": {"worker": ["kubelet"]},
            "services": [],
        },
        "tool": {"version": tool, "sha256": hashlib.sha256(tool_bytes(tool)).hexdigest()},
    }
    if serial > 1:
        made["reason"] = "Upstream re-issued the package."
    return {**made, **more}


def payload(**of: Any) -> bytes:
    return (json.dumps(document(**of), sort_keys=True, indent=2) + "\n").encode()


def wanted_manifest(key: ReleaseKey, *, at: str = "20261120T100000", **of: Any) -> ManifestToPublish:
    el, serial = of.get("el", 8), of.get("serial", 1)
    signed = key.clearsign(payload(**of), at=at)
    return ManifestToPublish(ManifestId(of.get("kubernetes", KUBERNETES), f"rhel{el}", serial), signed)


def wanted_tool(key: ReleaseKey, version: str = "0.1.0", *, at: str = "20261120T100000") -> ToolToPublish:
    return ToolToPublish(version, tool_bytes(version), key.detach(tool_bytes(version), at=at))


def wanted_release(
    key: ReleaseKey, *, at: str = "20261120T100000", version: str = "0.1.0", **of: Any
) -> PublishRequest:
    """Return the release for EL7 and EL8 with its tool."""
    manifests = tuple(wanted_manifest(key, at=at, el=el, tool=version, **of) for el in (7, 8))
    return PublishRequest(manifests, wanted_tool(key, version, at=at))


def save(wanted: PublishRequest, directory: Path) -> None:
    """Write a release into files, for a publisher in another process."""
    directory.mkdir(parents=True)
    for manifest in wanted.manifests:
        path = directory / f"{manifest.id.kubernetes}_{manifest.id.name}_{manifest.id.serial}"
        path.write_bytes(manifest.signed)
    if wanted.tool:
        (directory / "tool").write_bytes(wanted.tool.data)
        (directory / "tool.asc").write_bytes(wanted.tool.signature)
        (directory / "version").write_text(wanted.tool.version)


def load(directory: Path) -> PublishRequest:
    """Read what `save` wrote."""
    manifests = []
    for path in sorted(directory.glob("v*_*_*")):
        kubernetes, name, serial = path.name.split("_")
        manifests.append(ManifestToPublish(ManifestId(kubernetes, name, int(serial)), path.read_bytes()))
    version = (directory / "version").read_text()
    return PublishRequest(
        tuple(manifests),
        ToolToPublish(version, (directory / "tool").read_bytes(), (directory / "tool.asc").read_bytes()),
    )


def expected_keys(version: str = "0.1.0", serial: int = 1) -> set[str]:
    """Return the keys of DESIGN section 7 for one release of EL7 and EL8, written out by hand."""
    return {
        f"tool/manifests/v1.21.3/{serial}/manifest-rhel7.json.asc",
        f"tool/manifests/v1.21.3/{serial}/manifest-rhel8.json.asc",
        "tool/manifests/v1.21.3/manifest-rhel7.json.asc",
        "tool/manifests/v1.21.3/manifest-rhel8.json.asc",
        f"tool/{version}/dkp-fips-tool",
        f"tool/{version}/dkp-fips-tool.sha256",
        f"tool/{version}/dkp-fips-tool.asc",
        "tool/dkp-fips-tool",
        "tool/dkp-fips-tool.sha256",
        "tool/dkp-fips-tool.asc",
        "index.html",
        "index.json",
    }


def consumer_problems(get: Any, consumer: Consumer) -> list[str]:
    """Read a bucket as its readers do, and return what is wrong.

    ``get(key)`` gives bytes or None. A pointer that does not match its signature or digest is no problem where the
    sidecar names a set that does.
    """
    problems = []
    tool, sidecar, signature = (get(f"tool/dkp-fips-tool{suffix}") for suffix in ("", ".sha256", ".asc"))
    if sidecar is not None and tool is not None:
        said = layout.read_sidecar(sidecar)
        if not _tool_holds(tool, said.sha256, signature, consumer):
            base = f"tool/{said.version}/dkp-fips-tool"
            pair, its_signature = get(base), get(base + ".asc")
            if pair is None or not _tool_holds(pair, said.sha256, its_signature, consumer):
                problems.append(f"the tool at the pointer does not hold, and {base} does not either")
    elif tool is not None:
        problems.append("a tool without its SHA-256 file")
    for el in (7, 8):
        pointer = get(f"tool/manifests/{KUBERNETES}/manifest-rhel{el}.json.asc")
        if pointer is not None:
            consumer.manifest(pointer)
    told, page = get("index.json"), get("index.html")
    if told is not None:
        problems += _pointer_problems(get, index.read(told), consumer)
        for record in index.read(told).manifests:
            data = get(record.key)
            if data is None or hashlib.sha256(data).hexdigest() != record.sha256:
                problems.append(f"the index names {record.key}, which is not there as it says")
    links = set(re.findall(r'href="(tool/[^"]+)"', (page or b"").decode()))
    return problems + [f"the page links to {link}, which is not there" for link in sorted(links) if get(link) is None]


def _pointer_problems(get: Any, told: index.PublishedContents, consumer: Consumer) -> list[str]:
    """Return which pointers serve something older than what the index names; newer is what comes next."""
    problems = []
    for record in told.manifests:
        pointer = get(f"tool/manifests/{record.kubernetes}/manifest-{record.name}.json.asc")
        if pointer is None or consumer.manifest(pointer).manifest["serial"] < record.serial:
            problems.append(f"the index names {record.key}, which its pointer does not serve")
    sidecar = get("tool/dkp-fips-tool.sha256")
    for tool in told.tools:
        at = layout.read_sidecar(sidecar).version if sidecar else "0"
        if layout.version_order(at) < layout.version_order(tool.version):
            problems.append(f"the index names the tool {tool.version}, and the pointer is at {at}")
    return problems


def _tool_holds(tool: bytes, sha256: str, signature: bytes | None, consumer: Consumer) -> bool:
    if signature is None or hashlib.sha256(tool).hexdigest() != sha256:
        return False
    try:
        consumer.tool(tool, signature)
    except Exception:  # noqa: BLE001 - any refusal is one
        return False
    return True


def everything(address: str) -> dict[str, bytes]:
    bucket = open_bucket(address)
    found = {}
    for entry in bucket.list(""):
        stored = bucket.get(entry.key)
        assert stored is not None
        found[entry.key] = stored.data
    return found
