"""OpenSSL with its FIPS provider, as on a FIPS node: what hashes, what serves, and what can still be asked.

``scripts/fips-provider`` builds the provider from the distribution's own source. It is no validated module, but it is
the same code path: self tests, an integrity check, and nothing that is not approved.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.node.test_services import ALLOWED, certificate, check, openssl_server, outside
from tests.support import roots
from tests.support.forge import Forge

__all__ = ["certificate"]

_BUILT = Path(__file__).parents[2] / ".cache/toolchains/openssl-fips/fips.so"
#: Debian's, which hashes with Debian's OpenSSL; the tests' own Python may bring one of its own.
_PYTHON = "/usr/bin/python3"

# As fips_module(7) has it: nothing but the FIPS provider, and the base one for reading keys.
_CONFIGURATION = """\
config_diagnostics = 1
openssl_conf = init
.include {directory}/fipsmodule.cnf

[init]
providers = providers
alg_section = algorithms

[providers]
fips = fips_sect
base = base

[base]
activate = 1

[algorithms]
default_properties = fips=yes
"""


@dataclass(frozen=True)
class FipsHost:
    """An OpenSSL configuration with the FIPS provider alone."""

    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        """What makes programs use it."""
        conf = {"OPENSSL_CONF": str(self.directory / "openssl.cnf"), "OPENSSL_MODULES": str(self.directory)}
        return {"PATH": os.defpath, **conf}

    def openssl(self, *arguments: str) -> str:
        command = ["openssl", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=self.environment).stdout

    def python(self, source: str) -> str:
        command = [_PYTHON, "-I", "-c", source]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=self.environment).stdout.strip()


@pytest.fixture(scope="module")
def fips(tmp_path_factory: pytest.TempPathFactory) -> FipsHost:
    assert _BUILT.exists(), f"{_BUILT} is missing: run scripts/fips-provider"
    directory = tmp_path_factory.mktemp("fips")
    shutil.copyfile(_BUILT, directory / "fips.so")
    command: list[str | Path] = [
        "openssl",
        "fipsinstall",
        "-quiet",
        "-module",
        directory / "fips.so",
        "-out",
        directory / "fipsmodule.cnf",
    ]
    subprocess.run(command, check=True)
    (directory / "openssl.cnf").write_text(_CONFIGURATION.format(directory=directory))
    return FipsHost(directory)


@pytest.fixture
def broken(fips: FipsHost, tmp_path: Path) -> FipsHost:
    """The same, with a module that was changed since it was installed."""
    for name in ("fips.so", "fipsmodule.cnf"):
        shutil.copyfile(fips.directory / name, tmp_path / name)
    (tmp_path / "openssl.cnf").write_text(_CONFIGURATION.format(directory=tmp_path))
    module = bytearray((tmp_path / "fips.so").read_bytes())
    place = module.index(b"OpenSSL FIPS Provider")
    module[place] ^= 1
    (tmp_path / "fips.so").write_bytes(module)
    return FipsHost(tmp_path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def signed(forge: Forge, tmp_path: Path, root: Path) -> Path:
    root.mkdir()
    path = tmp_path / "m.asc"
    path.write_bytes(forge.clearsign(roots.payload_of(roots.make(root))))
    return path


def fips_mode(tool: Path, root: Path, signed: Path) -> list[str | Path]:
    """Return the command that checks FIPS mode alone, by the Python that uses the system's OpenSSL."""
    options: list[str | Path] = ["--json", "--root", root, "--live", "--only", "fips-mode"]
    return [_PYTHON, "-I", "-S", "-B", tool, *options, signed]


def run(host: FipsHost, *command: str | Path) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=host.environment)
    assert "Traceback" not in done.stderr and done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def on_a_fips_kernel(host: FipsHost, *command: str | Path) -> tuple[int, dict[str, Any]]:
    """Run where something that is mounted over the kernel's own file says that it is in FIPS mode."""
    script = "mount -t tmpfs none /proc/sys && mkdir /proc/sys/crypto && echo 1 >/proc/sys/crypto/fips_enabled && "
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return run(host, "unshare", *user, "--mount", "sh", "-c", script + 'exec "$@"', "sh", *command)


class TestHashing:
    """Whose SHA-256 it is."""

    def test_this_is_what_it_says(self, fips: FipsHost) -> None:
        assert "OpenSSL FIPS Provider" in fips.openssl("list", "-providers")
        assert fips.python("import _hashlib; print(_hashlib.get_fips_mode())") == "1"
        # CPython falls back to its own code silently, which is why the tool does not use hashlib.
        assert "_md5" in fips.python("import hashlib; print(hashlib.md5())")

    def test_files_are_hashed_by_the_provider(self, fips: FipsHost, tool: Path, root: Path, signed: Path) -> None:
        code, report = run(fips, _PYTHON, "-I", "-S", "-B", tool, "--json", "--root", root, signed)

        assert (code, report["verdict"], report["host"]["hash"]) == (0, "valid", "openssl")

    def test_a_module_that_fails_its_integrity_check_is_not_passed_over(
        self, broken: FipsHost, tool: Path, root: Path, signed: Path
    ) -> None:
        command = fips_mode(tool, root, signed)

        code, report = on_a_fips_kernel(broken, *command)

        found = {one["subject"]: one for one in report["checks"] if one["id"] == "fips-mode"}
        assert (found["kernel"]["status"], found["kernel"]["evidence"]["code"]) == ("unknown", "mounted-over")
        assert (found["hash-provider"]["status"], found["hash-provider"]["actual"]) == ("fail", "builtin")
        assert (code, report["host"]["hash"]) == (1, "builtin")

    def test_a_module_that_holds_is_no_finding(self, fips: FipsHost, tool: Path, root: Path, signed: Path) -> None:
        command = fips_mode(tool, root, signed)

        _, report = on_a_fips_kernel(fips, *command)

        subjects = {one["subject"] for one in report["checks"] if one["status"] != "fail"}
        assert "kernel" in subjects and report["host"]["hash"] == "openssl"
        assert "hash-provider" not in {one["subject"] for one in report["checks"]}


class TestServing:
    """TLS on a FIPS host."""

    def test_a_fips_server_accepts_what_its_own_openssl_lists(
        self, fips: FipsHost, certificate: tuple[Path, Path]
    ) -> None:
        asked = "aRSA:!PSK:!SRP"
        listed = fips.openssl("ciphers", "-s", "-tls1_2", "-stdname", asked)
        expected = {line.split()[0] for line in listed.splitlines() if "TLSv1.3" not in line.split()}

        with openssl_server(certificate, "-tls1_2", "-cipher", asked, environment=fips.environment) as port:
            result = check(port, cipher_suites=sorted(expected))

        assert len(expected) > 5 and not [name for name in expected if "CHACHA20" in name or "CAMELLIA" in name]
        assert result.status == "pass", result
        assert set(result.evidence["suites"]["TLSv1.2"]) == expected

    def test_a_fips_server_can_still_accept_more_than_the_manifest_allows(
        self, fips: FipsHost, certificate: tuple[Path, Path]
    ) -> None:
        with openssl_server(certificate, environment=fips.environment) as port:
            found = outside(check(port))

        assert "TLSv1.3" in found and "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384" in found
        assert "TLS_CHACHA20_POLY1305_SHA256" not in found

    def test_a_fips_host_asks_for_what_it_could_not_offer(
        self, fips: FipsHost, tool: Path, root: Path, forge: Forge, certificate: tuple[Path, Path], tmp_path: Path
    ) -> None:
        refused = "import ssl\ntry: ssl.SSLContext().set_ciphers('ECDHE+CHACHA20')\nexcept ssl.SSLError: print('no')"
        assert fips.python(refused) == "no"
        root.mkdir()
        manifest = roots.make(root)
        path = tmp_path / "m.asc"
        with openssl_server(certificate, "-tls1_2", "-cipher", "ECDHE+CHACHA20:AES256-GCM-SHA384") as port:
            service = {"name": "kubelet", "component": "kubelet", "port": port, "roles": ["worker"]}
            manifest["node"]["services"] = [service | {"tls_versions": ["TLSv1.2"], "cipher_suites": ALLOWED}]
            path.write_bytes(forge.clearsign(roots.payload_of(manifest)))
            command: list[str | Path] = [
                _PYTHON,
                "-I",
                "-S",
                "-B",
                tool,
                "--json",
                "--role",
                "worker",
                "--only",
                "services",
                path,
            ]
            code, report = run(fips, *command)

        found = next(one for one in report["checks"] if one["id"] == "services")
        assert code == 1
        assert found["evidence"]["outside"] == ["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"]
