"""Documents to export: a manifest and an inspection as they are made, and node reports written by hand."""

from __future__ import annotations

import json
from typing import Any

from fipsmanifest.export.documents import SignatureState, Source, manifest_source, read
from fipsmanifest.export.formats import FORMATS, FormatName
from fipsmanifest.export.settings import Settings
from tests.support import releases, schemas

#: The module of Go 1.19 to 1.21 for x86_64, and its integrity digest (facts of the toolchain's own object).
MODULE = "boringcrypto-20210429-x86_64"
MODULE_DIGEST = (
    "afca814ee73c7cccc71d6ec64432db762b3bd38a9262181122e459a9eff12013"
    "0cfeb14e1eb654b42c6f59ba001d948f87b90e25f57541f4b3b374e0ce4404e2"
)
CERTIFICATE = {
    "number": 4407,
    "standard": "FIPS 140-2",
    "holder": "Google, LLC",
    "historical_since": "2026-09-21",
}

#: Markup and control characters of every format: HTML, XML, JSON, Markdown, Prometheus, and terminals.
HOSTILE = (
    "a\"'<script>alert(1)</script>&amp;]]>\x1b[31m\n\r\t\x00*_`#[x](y){}\\ \u202ereversed\u2028 \U0001f600 "
    "${{ x }} %0A::error \ud800"
)


#: The evidence of a kubeadm that was built with goboring: lists of this length are usual.
EVIDENCE: dict[str, Any] = {
    "algorithm": "hmac-sha512",
    "beside_module": [
        *("crypto/des", "crypto/dsa", "crypto/ed25519", "crypto/internal/edwards25519"),
        *("crypto/internal/edwards25519/field", "crypto/internal/nistec", "crypto/md5", "crypto/rc4"),
        *("k8s.io/kubernetes/vendor/golang.org/x/crypto/ed25519", "vendor/golang.org/x/crypto/chacha20"),
        *("vendor/golang.org/x/crypto/chacha20poly1305", "vendor/golang.org/x/crypto/curve25519"),
        *("vendor/golang.org/x/crypto/hkdf", "vendor/golang.org/x/crypto/internal/poly1305"),
    ],
    "calls": 78,
    "claims": ["goexperiment"],
    "digest": "18d35ae031f649825a4269d68d2e62583d060a31d359690f97b9c8bf8120cdf7" * 2,
    "executable": True,
    "function_table": 26352640,
    "length": 733200,
    "offset": 17629184,
    "self_test_called": True,
    "stored_at": 18363534,
    "wrappers": 3,
}


def program(path: str, verdict: str, code: str, **more: Any) -> dict[str, Any]:
    """Return a program as it is in ``files``."""
    crypto: dict[str, Any] = {"verdict": verdict, "evidence": {"code": code}}
    if verdict == "proven":
        crypto = {
            "verdict": verdict,
            "module": MODULE,
            "evidence": {"code": code, "offset": 16384, "length": 778896, "claims": ["goexperiment"]},
        }
    return {
        "path": path,
        "type": "file",
        "role": "program",
        "mode": "0755",
        "sha256": "1b" * 32,
        "size": 7323648,
        "architecture": "x86_64",
        "go": {"version": "go1.21.13 X:boringcrypto", "settings": {"CGO_ENABLED": "1"}},
        "crypto": crypto,
        **more,
    }


def modules() -> dict[str, Any]:
    """Return ``modules`` with the one module that the programs have."""
    return {
        MODULE: {
            "name": "BoringCrypto",
            "algorithm": "hmac-sha512",
            "digest": MODULE_DIGEST,
            "architecture": "x86_64",
            "commit": "853ca1ea1168dff08011e5d42d94609cc0ca2e27",
            "row": "shipped",
            "certificates": [dict(CERTIFICATE)],
        }
    }


def manifest(**changes: Any) -> dict[str, Any]:
    """Return a complete manifest: a proven kubelet, a known crictl with plain cryptography, an image."""
    component = {"architecture": "x86_64", "requirement": "proven", "verdict": "proven"}
    made = releases.document(
        components=[
            {"name": "kubelet", **component},
            {"name": "etcd", **component},
            {
                "name": "cri-tools",
                "architecture": "x86_64",
                "requirement": "known",
                "verdict": "plain",
                "reason": "a debugging aid",
            },
        ],
        files=[
            program("/usr/bin/kubelet", "proven", "module-proven", component="kubelet"),
            program("/usr/bin/crictl", "plain", "plain-crypto", component="cri-tools"),
            {
                "path": "/etc/sysconfig/kubelet",
                "type": "file",
                "role": "config",
                "mode": "0644",
                "sha256": "2c" * 32,
                "size": 20,
                "component": "kubelet",
            },
        ],
        images=[
            {
                "reference": "docker.io/mesosphere/etcd:3.4.13",
                "component": "etcd",
                "index": "sha256:" + "3d" * 32,
                "platforms": [
                    {
                        "architecture": "x86_64",
                        "manifest": "sha256:" + "4e" * 32,
                        "config": "sha256:" + "5f" * 32,
                        "layers": ["sha256:" + "60" * 32],
                        "diff_ids": ["sha256:" + "71" * 32],
                        "files": [program("/usr/local/bin/etcd", "proven", "module-proven")],
                    }
                ],
            }
        ],
        modules=modules(),
    )
    return made | changes


def inspection(**changes: Any) -> dict[str, Any]:
    """Return an inspection as a gate that refused a plain program, and accepted another by an exception."""
    plain = {"code": 5, "message": "dist/ctr is 'plain'.", "advice": "Build it with goboring."}
    made: dict[str, Any] = {
        "schema": "fipsmanifest/inspect/v1",
        "files": [
            {**program("dist/kubelet", "proven", "module-proven"), "sentence": "It is proven."},
            {**program("dist/ctr", "plain", "plain-crypto", sha256="2c" * 32), "sentence": "Plain cryptography."},
            {
                **program("usr/bin/crictl", "plain", "plain-crypto", sha256="3d" * 32),
                "container": "image.tar: layer",
                "sentence": "Plain cryptography.",
            },
        ],
        "modules": modules(),
        "left_out": [],
        "unopened": [],
        "errors": [{**plain, "path": "dist/ctr", "container": None, "verdict": "plain"}],
        "gate": {
            "require": "proven",
            "passed": False,
            "proven": 1,
            "excepted": 1,
            "refused": 1,
            "excuses": [
                {
                    "path": "usr/bin/crictl",
                    "container": "image.tar: layer",
                    "verdict": "plain",
                    "reason": "a debugging aid",
                }
            ],
            "unused_exceptions": [],
        },
    }
    return made | changes


def passed_inspection() -> dict[str, Any]:
    """Return the same without what was refused."""
    made = inspection(errors=[])
    made["files"] = [one for one in made["files"] if one["path"] != "dist/ctr"]
    made["gate"] |= {"passed": True, "refused": 0}
    return made


def check(name: str, subject: str, status: str, **more: Any) -> dict[str, Any]:
    """Return one result of a node report."""
    empty: dict[str, Any] = {"expected": None, "actual": None, "evidence": {}, "advice": ""}
    return {"id": name, "subject": subject, "status": status, **empty, **more}


def node(**changes: Any) -> dict[str, Any]:
    """Return a report of an invalid node, of the published schema."""
    checks = changes.pop(
        "checks",
        [
            check(
                "files", "/usr/bin/kubelet", "fail", expected="sha256:1", actual="sha256:2", advice="Install it again."
            ),
            check(
                "services",
                "kubelet",
                "unknown",
                actual="nothing listens",
                advice="Start it.",
                evidence={"code": "not-listening"},
            ),
            check("signature", "manifest-rhel8.json.asc", "pass"),
            check("files", "/usr/bin/kubectl", "pass"),
            check("fips-mode", "kernel", "pass"),
            check("startup", "kubelet.service", "not-applicable"),
        ],
    )
    manifest_record = {
        "file": "manifest-rhel8.json.asc",
        "fingerprint": "76845EA861F1440D47CD067D0BE1768755F02EFE",
        "signed_at": "2026-11-20T10:00:00Z",
        "kubernetes": "v1.21.3",
        "el": 8,
        "serial": 1,
        "modules": [
            {
                "id": MODULE,
                "name": "BoringCrypto",
                "commit": None,
                "digest": MODULE_DIGEST,
                "claimed_by": None,
                "certificates": [{**CERTIFICATE, "status": "historical"}],
            }
        ],
    }
    made: dict[str, Any] = {
        "schema": "fipsmanifest/node/v1",
        "verdict": "invalid",
        "scope": "live",
        "host": {
            "name": "node-1",
            "root": "/",
            "role": "worker",
            "os": "rhel",
            "os_version": "8.4",
            "kernel": "4.18.0",
            "architecture": "x86_64",
            "tool": "0.1.0",
            "python": "3.6.8",
            "tool_sha256": None,
            "started": "2026-11-29T12:00:00Z",
            "finished": "2026-11-29T12:00:02Z",
            "seconds": 2.5,
            "hash": "openssl",
        },
        "manifest": manifest_record,
        "manifests": [manifest_record],
        "summary": {
            status: sum(one["status"] == status for one in checks)
            for status in ("pass", "fail", "unknown", "not-applicable")
        },
        "truncated": False,
        "left_out": 0,
        "checks": checks,
        "components": [
            {
                "name": "kubelet",
                "status": "fail",
                "checks": ["files"],
                "requirement": "proven",
                "verdict": "proven",
                "reason": None,
                "modules": [MODULE],
            }
        ],
        "warnings": [],
    }
    made |= changes
    schemas.validate(made, schemas.NODE)
    return made


def valid_node(**changes: Any) -> dict[str, Any]:
    """Return a report of a valid node."""
    checks = [one for one in node()["checks"] if one["status"] in ("pass", "not-applicable")]
    components = [{**one, "status": "pass"} for one in node()["components"]]
    return node(**{"verdict": "valid", "checks": checks, "components": components, **changes})


def cluster(**changes: Any) -> dict[str, Any]:
    """Return the report of a cluster with a valid node, an invalid one and one without a report."""
    finding = {
        "status": "fail",
        "check": "files",
        "component": "kubelet",
        "code": "digest",
        "subject": "/usr/bin/kubelet",
        "expected": "sha256:1",
        "actual": "sha256:2",
        "advice": "Install it again.",
        "nodes": 1,
        "examples": ["node-2"],
    }
    made: dict[str, Any] = {
        "schema": "fipsmanifest/cluster/v1",
        "verdict": "invalid",
        "cluster": {"server": "https://10.0.0.1:6443", "context": "prod"},
        "run": "abcde",
        "manifests": [
            {
                "file": "m.asc",
                "sha256": "ab" * 32,
                "fingerprint": "76" * 20,
                "kubernetes": "v1.21.3",
                "el": 8,
                "serial": 1,
                "fips_mode": True,
            }
        ],
        "tool": {"version": "0.1.0", "sha256": "cd" * 32},
        "started": "2026-11-29T12:00:00Z",
        "finished": "2026-11-29T12:00:09Z",
        "seconds": 9.5,
        "summary": {"nodes": 3, "valid": 1, "invalid": 1, "incomplete": 0, "untrusted": 0, "unknown": 1},
        "reasons": [{"reason": "not-ready", "nodes": 1, "advice": "Start it."}],
        "components": {"kubelet": 1},
        "findings": [finding],
        "nodes": [
            {"name": "node-1", "verdict": "valid"},
            {"name": "node-2", "verdict": "invalid", "findings": [0]},
            {"name": "node-3", "verdict": "unknown", "reason": "not-ready", "detail": "since yesterday"},
        ],
        "warnings": [],
    }
    made |= changes
    schemas.validate(made, schemas.CLUSTER)
    return made


def valid_cluster(**changes: Any) -> dict[str, Any]:
    """Return the report of a cluster with two valid nodes."""
    nodes = [{"name": "node-1", "verdict": "valid"}, {"name": "node-2", "verdict": "valid"}]
    return cluster(**{"verdict": "valid", "findings": [], "nodes": nodes, "reasons": [], **changes})


def source(document: dict[str, Any], *, verified: bool = False) -> Source:
    """Return a document as an export reads it; a manifest as if its signature had been verified."""
    data = json.dumps(document, sort_keys=True).encode()
    if verified:
        return manifest_source(data, SignatureState("verified", "76" * 20, "2026-11-20T10:00:00Z"))
    return read(data, "the document")


def export(name: FormatName, document: dict[str, Any], *, verified: bool = False, **settings: Any) -> str:
    """Return a document in a format."""
    return FORMATS[name].render(source(document, verified=verified), Settings("0.1.0", **settings))


def hostile_documents() -> dict[str, dict[str, Any]]:
    """Return a document of each kind with hostile text in every place where one can be."""
    bad, key = HOSTILE, "\"'><script>&amp;]]>*_`#[x](y){}\\"
    listed = manifest(kubernetes=bad, build_metadata=bad, name=bad, reason=bad)
    listed["components"] = [{**listed["components"][2], "name": bad, "architecture": bad, "reason": bad}]
    listed["files"] = [
        program(bad, "plain", bad, component=bad),
        program(bad, "proven", "module-proven", component=bad),
    ]
    listed["modules"] = {
        MODULE: modules()[MODULE] | {"name": bad, "commit": bad, "architecture": bad},
        # The strict reader of manifests refuses other characters in a key.
        key: modules()[MODULE]
        | {"name": bad, "digest": bad, "claimed_by": bad, "algorithm": bad}
        | {"certificates": [{"number": -1, "standard": bad, "holder": bad}]},
    }
    listed["files"][0]["crypto"]["module"] = key
    listed["images"][0]["reference"] = bad
    listed["sources"][0] |= {"name": bad, "address": bad, "signed_by": bad}
    found = inspection(
        unopened=[{"path": bad, "container": bad, "format": bad, "reason": bad}], modules=listed["modules"]
    )
    found["files"] += [{**program(bad, "plain", bad), "container": bad, "sentence": bad}]
    found["errors"] += [{"code": 4, "message": bad, "advice": bad}]
    found["gate"]["excuses"] += [{"path": bad, "container": bad, "verdict": "unopened", "reason": bad}]
    checks = [
        check("files", bad, status, expected=bad, actual=bad, advice=bad, evidence={"code": bad})
        for status in ("fail", "unknown", "pass", "not-applicable")
    ]
    report = node(checks=checks, warnings=[bad])
    report["host"] |= dict.fromkeys(("name", "root", "os", "os_version", "kernel", "architecture", "tool"), bad)
    report["manifests"][0] |= {"file": bad, "kubernetes": bad, "fingerprint": bad}
    report["components"][0] |= {"name": bad, "requirement": bad, "verdict": bad, "reason": bad, "modules": [bad]}
    fleet = cluster(warnings=[bad], cluster={"server": bad, "context": bad})
    fleet["findings"][0] |= dict.fromkeys(("check", "code", "subject", "expected", "actual", "advice"), bad)
    fleet["findings"][0]["examples"] = [bad]
    fleet["nodes"][1] |= {"name": bad}
    fleet["nodes"][2] |= {"name": bad, "reason": bad, "detail": bad}
    return {"manifest": listed, "inspection": found, "node": report, "cluster": fleet}
