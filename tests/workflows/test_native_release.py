"""A release of programs with Go's native module, from the definition to the node, and what is refused on the way."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from examples.upstream import goprograms, node_root
from examples.upstream.builds import BORING, NATIVE, NATIVE_MODE_OFF, PLAIN, Build

from fipsmanifest.errors import Refused
from fipsmanifest.generate.tool import build_tool
from fipsmanifest.model.definition_file import load
from fipsmanifest.model.manifest import canonical
from fipsmanifest.state.workspace import Workspace
from fipsmanifest.workflows import stages
from tests.node.test_services import certificate, go_server
from tests.support import command, programs
from tests.support.worlds import make_world

from .conftest import TOP, Site, Upstream

__all__ = ["certificate"]

EXAMPLE = TOP / "examples/releases/v1.34.2/rhel9.toml"
MANIFEST = "tool/manifests/v1.34.2/manifest-rhel9.json.asc"


@contextmanager
def upstream_of(definition: Path, site: Site, builds: Mapping[str, Build] | None = None) -> Iterator[Site]:
    """Serve the upstream of a definition, and yield the site that releases it."""
    world = make_world([definition], site.directory / "upstream", site.gnupghome, builds=builds)
    with world.serve() as served:
        definitions = {"FIPSMANIFEST_DEFINITIONS": str(definition.parents[1])}
        yield replace(site, upstream=Upstream(world, served), environment=definitions)


def small(directory: Path, *packages: str, modules: str = '["go-native"]') -> Path:
    """Write the example's definition with some of its packages alone, each a component that must be proven."""
    text = EXAMPLE.read_text().replace('modules = ["go-native"]', f"modules = {modules}")
    head = text[: text.index("[[sources]]")]
    names = [package.rpartition("-")[0].rpartition("-")[0] for package in packages]
    source = "kind = 'rpm-repository'\nname = 'kubernetes'\nurl = 'https://packages.example.com/el9/{arch}'\n"
    components = "".join(
        f'[[components]]\nname = "{name}"\nrequirement = "proven"\npackages = ["{name}"]\n' for name in names
    )
    node = f"[node.roles]\nworker = {json.dumps(names)}\ncontrol-plane = {json.dumps(names)}\n"
    path = directory / "releases/v1.34.2/rhel9.toml"
    path.parent.mkdir(parents=True)
    path.write_text(f"{head}[[sources]]\n{source}packages = {json.dumps(packages)}\n{components}{node}")
    return path


def tool(site: Site, *arguments: str | Path) -> tuple[int, dict[str, Any]]:
    """Run the published node tool; return its exit code and report."""
    words: list[str | Path] = ["sh", site.bucket / "tool/dkp-fips-tool", "--json", *arguments, site.bucket / MANIFEST]
    done = subprocess.run(words, capture_output=True, text=True, timeout=200, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def failures(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(one["id"], one["evidence"].get("code")) for one in report["checks"] if one["status"] == "fail"]


@pytest.fixture(scope="module")
def released(site_in: Callable[[Path], Site], tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The example, released and published."""
    with upstream_of(EXAMPLE, site_in(tmp_path_factory.mktemp("native"))) as site:
        site.release("--to", site.bucket, version="v1.34.2")
        return site


@pytest.fixture
def node(released: Site, tmp_path: Path) -> Path:
    """The root of a control plane's node, on which it is installed."""
    (definition,) = released.upstream.world.definitions
    return node_root(released.upstream.world, definition, tmp_path / "root")


class TestTheExample:
    """The definition of examples/releases, whose programs all have the native module."""

    def test_its_manifest_verifies_and_names_the_certificate_of_the_module(self, released: Site) -> None:
        manifest = released.bucket / MANIFEST
        words = ("--kubernetes", "v1.34.2", "--el", "9", "--json")
        assert json.loads(released.run("verify", manifest, *words).stdout)["valid"] is True
        document = json.loads((released.directory / "work/v1.34.2/rhel9/manifest-rhel9.json").read_text())
        verdicts = {item["name"]: item["verdict"] for item in document["components"] if item["requirement"] == "proven"}
        assert len(verdicts) == 10 and set(verdicts.values()) == {"proven"}
        # Certificate 5247 is for v1.0.0 (FIPS 140-3, 2026-04-27).
        (module,) = document["modules"].values()
        assert [(one["number"], one["standard"]) for one in module["certificates"]] == [(5247, "FIPS 140-3")]

    def test_what_was_generated_is_signed_without_its_artifacts(self, released: Site) -> None:
        work = stages.Site(Workspace(released.directory / "work"), released.keys)
        rule = stages.LockRule(released.directory / "lock.json", write=False)
        generated = stages.generated(load(EXAMPLE), work, rule, build_tool(released.keys))
        assert generated == (released.directory / "work/v1.34.2/rhel9/manifest-rhel9.json").read_bytes()

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("certificates", [{"number": 4735, "standard": "FIPS 140-2"}]),
            ("digest", "0" * 64),
            ("row", "local"),
            ("name", "Go Cryptographic Module v1.26.0"),
        ],
    )
    def test_a_native_module_that_the_table_does_not_have_so_is_not_signed(
        self, released: Site, key: str, value: object
    ) -> None:
        path = released.directory / "work/v1.34.2/rhel9/manifest-rhel9.json"
        before = path.read_bytes()
        document = json.loads(before)
        (module,) = document["modules"].values()
        assert module[key] != value
        module[key] = value
        path.write_bytes(canonical(document))
        work = stages.Site(Workspace(released.directory / "work"), released.keys)
        try:
            with pytest.raises(Refused):
                rule = stages.LockRule(released.directory / "lock.json", write=False)
                stages.generated(load(EXAMPLE), work, rule, build_tool(released.keys))
        finally:
            path.write_bytes(before)

    def test_a_node_that_it_is_installed_on_is_valid_and_a_changed_byte_is_found(
        self, released: Site, node: Path
    ) -> None:
        code, report = tool(released, "--root", node)
        assert (code, report["verdict"], report["scope"]) == (0, "valid", "at-rest")
        kubelet = node / "usr/bin/kubelet"
        data = bytearray(kubelet.read_bytes())
        data[len(data) // 2] ^= 1
        kubelet.write_bytes(data)
        code, report = tool(released, "--root", node)
        assert (code, failures(report)) == (1, [("files", "digest")])

    def test_the_report_says_that_the_nodes_fips_mode_is_not_the_programs(self, released: Site, node: Path) -> None:
        _, report = tool(released, "--root", node)
        (note,) = [one for one in report["checks"] if one["subject"] == "go-native"]
        assert (note["id"], note["status"]) == ("fips-mode", "not-applicable")
        components = json.loads((released.directory / "work/v1.34.2/rhel9/manifest-rhel9.json").read_text())[
            "components"
        ]
        assert note["evidence"]["components"] == sorted(
            item["name"] for item in components if item["requirement"] == "proven"
        )

    @pytest.mark.parametrize(
        ("file", "text"),
        [
            ("etc/systemd/system/kubelet.service.d/50.conf", "[Service]\nEnvironment=GODEBUG=fips140=off\n"),
            ("etc/sysconfig/kubelet", "GODEBUG=http2client=0,fips140=off\n"),
            ("etc/systemd/system.conf", "[Manager]\nDefaultEnvironment=GODEBUG=fips140=off\n"),
        ],
    )
    def test_a_unit_whose_environment_turns_fips_mode_off_fails(
        self, released: Site, node: Path, file: str, text: str
    ) -> None:
        (node / file).parent.mkdir(parents=True, exist_ok=True)
        (node / file).write_text(text)
        code, report = tool(released, "--root", node, "--only", "startup")
        assert (code, set(failures(report))) == (1, {("startup", "environment")})

    def test_a_static_pod_whose_environment_turns_fips_mode_off_fails(self, released: Site, node: Path) -> None:
        path = node / "etc/kubernetes/manifests/etcd.yaml"
        pod = json.loads(path.read_text())
        pod["spec"]["containers"][0]["env"] = [{"name": "GODEBUG", "value": "fips140=off"}]
        path.write_text(json.dumps(pod))
        code, report = tool(released, "--root", node, "--only", "startup")
        assert (code, failures(report)) == (1, [("startup", "environment")])

    @pytest.mark.parametrize(
        ("setting", "status", "mode"),
        [
            ({}, "pass", "on"),
            ({"GODEBUG": "http2client=0"}, "pass", "on"),
            ({"GODEBUG": "fips140=only"}, "pass", "only"),
            ({"GODEBUG": "http2client=0,fips140=off"}, "fail", "off"),
        ],
    )
    def test_a_running_program_fails_where_its_environment_turns_fips_mode_off(
        self,
        released: Site,
        node: Path,
        certificate: tuple[Path, Path],
        setting: dict[str, str],
        status: str,
        mode: str,
    ) -> None:
        kubelet = node / "usr/bin/kubelet"
        with go_server(kubelet, certificate, setting):
            # Others on this machine may run programs of a component's name, so its verdict is left aside.
            _, report = tool(released, "--root", node, "--live", "--role", "worker", "--only", "processes")
        (found,) = [one for one in report["checks"] if one["subject"].startswith(str(kubelet))]
        assert (found["status"], found["evidence"]["fips140"]) == (status, mode), found
        assert (found["evidence"].get("code") == "godebug") == (status == "fail")


def test_a_release_may_have_components_of_either_module(site: Site) -> None:
    either = small(site.directory, "kubelet-1.34.2-0", "runc-1.3.3-0", modules='["boringcrypto", "go-native"]')
    with upstream_of(either, site, {"kubelet": NATIVE, "runc": BORING}) as mixed:
        mixed.release("--to", mixed.bucket, version="v1.34.2")
    document = json.loads((site.directory / "work/v1.34.2/rhel9/manifest-rhel9.json").read_text())
    modules = {file["component"]: file["crypto"]["module"] for file in document["files"] if "crypto" in file}
    named = {component: document["modules"][module]["name"] for component, module in modules.items()}
    assert named["kubelet"].startswith("Go Cryptographic Module") and named["runc"].startswith("BoringCrypto")
    root = node_root(mixed.upstream.world, mixed.upstream.world.definitions[0], site.directory / "root", "worker")
    code, report = tool(mixed, "--root", root)
    assert (code, report["verdict"]) == (0, "valid"), failures(report)
    told = {one["name"]: one["modules"] for one in report["components"]}
    assert told == {component: [module] for component, module in modules.items()}


#: No reference is made of this level of the architecture.
_WITHOUT_REFERENCE = Build(environment={"GOFIPS140": "v1.0.0", "GOAMD64": "v4"}, main=programs.SHA_MAIN)


def test_what_is_no_proven_native_build_is_refused_with_what_to_do(site: Site) -> None:
    names = {
        "kubelet-1.34.2-0": ("kubelet", NATIVE_MODE_OFF),
        "kubeadm-1.34.2-0": ("kubeadm", _WITHOUT_REFERENCE),
        "kubectl-1.34.2-0": ("kubectl", BORING),
        "runc-1.3.3-0": ("runc", PLAIN),
    }
    with upstream_of(small(site.directory, *names), site, dict(names.values())) as wrong:
        told = wrong.release("--to", wrong.bucket, version="v1.34.2", code=5).stderr
    for name, cause, what_to_do in (
        ("kubelet", "'other-module' (native-mode-off), but 'proven' is required", "go:debug"),
        ("kubeadm", "'other-module' (go-native), but 'proven' is required", "'modules learn --native'"),
        ("kubectl", "'proven' (module-proven), but the module has to be go-native, not boringcrypto", "'modules'"),
        ("runc", "'plain' (plain-crypto), but 'proven' is required", "FIPS build"),
    ):
        (line,) = [line for line in told.splitlines() if f"/usr/bin/{name} of " in line]
        assert f"is {cause}. " in line
        assert what_to_do in line.partition(f"{cause}. ")[2]
    assert not site.bucket.exists()


def test_a_native_build_is_refused_where_the_definition_accepts_boringcrypto_alone(site: Site) -> None:
    old = small(site.directory, "kubelet-1.34.2-0", modules='["boringcrypto"]')
    with upstream_of(old, site, {"kubelet": NATIVE}) as wrong:
        told = wrong.release(version="v1.34.2", code=5).stderr
    assert "the module has to be boringcrypto, not go-native" in told


def test_the_commands_of_the_documentation_lead_from_a_program_to_a_valid_node(site: Site) -> None:
    page = (TOP / "docs/native.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    source = site.directory / "cmd/kubelet/main.go"
    source.parent.mkdir(parents=True)
    source.write_text(programs.SHA_MAIN)
    (site.directory / "go.mod").write_text("module k8s.io/kubernetes\n\ngo 1.15\n")
    with upstream_of(small(site.directory, "kubelet-1.34.2-0"), site) as here:
        world = here.upstream.world
        root = node_root(world, world.definitions[0], site.directory / "root", "worker")
        variables = here.variables() | {
            "PATH": f"{goprograms.native_goroot() / 'bin'}:{command.PROGRAM.parent}:{os.environ['PATH']}",
            "GOCACHE": str(goprograms.cache_directory() / "go-build"),
            "GOTOOLCHAIN": "local",
            "FIPSMANIFEST_MIRROR": " ".join(here.upstream.served.mirrors),
            "ROOT": str(root),
        }
        script = "set -euo pipefail\n" + "\n".join(blocks)
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=here.directory,
            env=variables,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(blocks) == 4
    assert "DefaultGODEBUG" in done.stdout and "proven" in done.stdout and "[OK]" in done.stdout
