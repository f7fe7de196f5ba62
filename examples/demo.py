"""The whole line on one machine: cut releases with either module, publish them to a directory, verify, validate nodes.

Run by ``make demo``. v1.21.3 for EL7 and EL8 is built with BoringCrypto, v1.34.2 for EL9 with Go's native module. The
upstream is small but real (`examples.upstream`): programs in signed RPMs and images, served on loopback. Everything
after it is the command line that a release engineer and a consumer use; each command is shown before it runs. Results
of an earlier run are used again.

usage: python -m examples.demo [DIRECTORY]     results are in DIRECTORY, by default ./demo
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from examples.upstream import World, node_root

from fipsmanifest.errors import FipsManifestError, Incomplete
from fipsmanifest.generate.tool import NAME as TOOL_NAME
from fipsmanifest.generate.tool import build_tool
from fipsmanifest.model import definition_file as definitions

VERSION = "v1.21.3"
NATIVE_VERSION = "v1.34.2"
NATIVE_DEFINITIONS = Path("examples/releases")
TOP = Path(__file__).resolve().parents[1]
RELEASE_USER = "Demo release <release@example.com>"

_PROGRAM = str(Path(sys.executable).with_name("fipsmanifest"))


def main(arguments: list[str]) -> int:
    """Run the demo, and return the exit code."""
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        print((__doc__ or "").strip())
        return 2
    demo = Path(arguments[0]).absolute() if arguments else Path("demo")
    os.chdir(TOP)
    try:
        run_demo(demo)
    except FipsManifestError as error:
        print(f"demo: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("demo: interrupted; run it again to go on.", file=sys.stderr)
        return 130
    finally:
        for home in demo.glob("*gnupg"):
            subprocess.run(["gpgconf", "--homedir", home, "--kill", "gpg-agent"], check=False, capture_output=True)
    return 0


def run_demo(demo: Path) -> None:
    """Run the steps in the directory ``demo``. Raises `Incomplete` if one ends with another exit code."""
    started = time.monotonic()
    releases = [
        *definitions.find(Path("releases"), VERSION)[VERSION],
        *definitions.find(NATIVE_DEFINITIONS, NATIVE_VERSION)[NATIVE_VERSION],
    ]
    heading("Build a small upstream: Go programs, signed RPMs, images (the first time this takes some minutes)")
    gnupghome = private_directory(demo / "gnupg")
    world = World.make(releases, demo / "upstream", gnupghome, say=lambda what: print(f"  {what}", flush=True))
    environment = command_environment(demo, gnupghome)
    print(f"{len(world.files())} files and {len(world.images)} images in {world.directory}")
    forget_another_upstream(demo, world)

    heading("Make throwaway keys, and trust them")
    keys = demo / "keys"
    if not (keys / "trust.json").exists():
        fipsmanifest(environment, "keys", "init", "--user-id", RELEASE_USER, "--keys", keys, "--no-passphrase")
    trusted = ("--role", "upstream", "--fingerprint", world.fingerprint, "--keys", keys)
    fipsmanifest(environment, "keys", "add", world.upstream_certificate, *trusted)
    fipsmanifest(environment, "keys", "list", "--keys", keys)
    discard_another_tool(demo, keys)

    heading(f"Cut {VERSION} for EL7 and EL8, and publish it")
    bucket = demo / "bucket"
    with world.serve() as served:
        mirrors = [argument for mirror in served.mirrors for argument in ("--mirror", mirror)]
        # A definition without a lock stops a release; here the first run writes it, and later ones must match it.
        locks = ("--lock", demo / "lock.json", "--first-lock")
        directories = ("--work", demo / "work", "--keys", keys, "--to", bucket)
        fipsmanifest(environment, "release", VERSION, *mirrors, *locks, *directories)

        heading(f"Cut {NATIVE_VERSION} for EL9, whose programs have Go's native module, and publish it beside")
        native_locks = ("--lock", demo / "lock-native.json", "--first-lock", "--definitions", NATIVE_DEFINITIONS)
        fipsmanifest(environment, "release", NATIVE_VERSION, *mirrors, *native_locks, *directories)
        print(f"{sum(request.endswith('.rpm') for request in served.requests)} packages were downloaded")

    heading("Verify as a consumer: with the tool, and with nothing but gpg")
    manifest = bucket / "tool" / "manifests" / VERSION / "manifest-rhel8.json.asc"
    fipsmanifest(environment, "verify", manifest, "--keys", keys, "--kubernetes", VERSION, "--el", "8")
    verify_with_gpg(environment, demo, manifest)

    heading("Download the tool as a consumer does, check it, and validate a node's root with it")
    el8 = definitions.load(Path("releases") / VERSION / "rhel8.toml")
    root = node_root(world, el8, demo / "root-rhel8", snapshots=True)
    tool = download(bucket / "tool", demo / "download", manifest)
    run(environment, "sha256sum", "--check", "dkp-fips-tool.sha256", directory=tool.parent)
    fipsmanifest(environment, "verify", tool, "--keys", keys)
    run(environment, tool, "--root", root, manifest)
    run(environment, tool, "--json", "--root", root, manifest, output=demo / "root-rhel8.json")

    heading("Validate an EL9 node with the native build")
    native = bucket / "tool" / "manifests" / NATIVE_VERSION / "manifest-rhel9.json.asc"
    el9 = definitions.load(NATIVE_DEFINITIONS / NATIVE_VERSION / "rhel9.toml")
    root9 = node_root(world, el9, demo / "root-rhel9")
    run(environment, tool, "--json", "--root", root9, native, output=demo / "root-rhel9.json")

    heading("Change one byte of the kubelet, and one of kube-apiserver where it is unpacked: the tool must find both")
    tampered = demo / "root-tampered"
    copy_tree(root, tampered)
    tamper(tampered / "usr/bin/kubelet")
    tamper(next(tampered.glob("var/lib/containerd/*overlayfs/snapshots/*/fs/**/kube-apiserver")))
    run(environment, tool, "--root", tampered, manifest, code=1)
    shutil.rmtree(tampered)

    heading("The command of the tool's first users, on this machine: it is not such a node, and the tool must say so")
    report = demo / "this-machine.json"
    run(environment, "./dkp-fips-tool", "--json", manifest.name, directory=tool.parent, output=report, code=1)

    heading(f"Done in {time.monotonic() - started:.0f} s. What was made, and where")
    for path, what in {
        bucket: "what consumers download: signed manifests, the node tool, an index; open index.html",
        keys: "the trust directory: public keys and what they may sign (secret keys: gnupg beside it)",
        root: "an EL8 node's root with the release installed; root-rhel8.json is the tool's report on it",
        root9: "an EL9 node's root with the native build installed; root-rhel9.json is the report",
        demo / "download": "what a consumer downloaded; this-machine.json is the tool's report on this machine",
        demo / "work": "what each stage left: downloads, findings, payloads, signed manifests",
    }.items():
        print(f"  {path!s:18} {what}")


def forget_another_upstream(demo: Path, world: World) -> None:
    """Remove what was cut from an upstream that came out differently (after an update of the compiler, say).

    A real upstream that changes what it published under the same version is refused, and so would this one be.
    """
    digest, marker = world.digest(), demo / "upstream.digest"
    if marker.exists() and marker.read_text() != digest:
        print("The upstream was built again and has changed: starting again.")
        for directory in ("bucket", "work", "state"):
            shutil.rmtree(demo / directory, ignore_errors=True)
        for lock in demo.glob("lock*.json"):
            lock.unlink()
    marker.write_text(digest)


def discard_another_tool(demo: Path, keys: Path) -> None:
    """Remove what was published with the node tool of another commit.

    A published version never changes. A release would have a new one; this checkout still has that of the last release.
    """
    tool = build_tool(keys)
    published = demo / "bucket" / "tool" / tool.version / TOOL_NAME
    if published.exists() and published.read_bytes() != tool.data:
        print("The node tool of this checkout is not the one that was published: starting again.")
        for directory in ("bucket", "work", "state"):
            shutil.rmtree(demo / directory, ignore_errors=True)


def command_environment(demo: Path, gnupghome: Path) -> dict[str, str]:
    """Return the environment of the commands: the demo's own keys and state, and no FIPSMANIFEST_ settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FIPSMANIFEST_")}
    own = {"FIPSMANIFEST_CACHE": demo / "work" / "cache", "XDG_STATE_HOME": demo / "state", "GNUPGHOME": gnupghome}
    return {**kept, **{name: str(path.absolute()) for name, path in own.items()}}


def private_directory(path: Path) -> Path:
    """Make a directory that only its owner can read, as gpg requires of its home, and return its absolute path."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path.absolute()


def verify_with_gpg(environment: Mapping[str, str], demo: Path, manifest: Path) -> None:
    """Verify with plain gpg, in a keyring that knows only the demo's public keys."""
    consumer = private_directory(demo / "consumer-gnupg")
    home = {**environment, "GNUPGHOME": str(consumer)}
    run(home, "gpg", "--quiet", "--import", *sorted((demo / "keys").glob("*.asc")))
    run(home, "gpg", "--quiet", "--trust-model", "always", "--verify", manifest)


def download(published: Path, directory: Path, manifest: Path) -> Path:
    """Copy tool, digest, signature and manifest as a download does, and return the path of the executable tool."""
    directory.mkdir(exist_ok=True)
    shutil.copyfile(manifest, directory / manifest.name)
    for suffix in ("", ".sha256", ".asc"):
        shutil.copyfile(published / f"dkp-fips-tool{suffix}", directory / f"dkp-fips-tool{suffix}")
    tool = directory / "dkp-fips-tool"
    tool.chmod(0o755)
    return tool


def copy_tree(root: Path, copy: Path) -> None:
    """Copy a node's root; what is not changed there takes no room."""
    if copy.exists():
        shutil.rmtree(copy)
    shutil.copytree(root, copy, symlinks=True, copy_function=os.link)


def tamper(victim: Path) -> None:
    """Replace ``victim`` by a file that differs in one bit in its middle."""
    content, mode = bytearray(victim.read_bytes()), victim.stat().st_mode
    content[len(content) // 2] ^= 1
    victim.unlink()
    victim.write_bytes(content)
    victim.chmod(mode)


def heading(text: str) -> None:
    """Begin a step."""
    print(f"\n== {text}", flush=True)


def fipsmanifest(environment: Mapping[str, str], *arguments: str | Path) -> None:
    """Run the command line of this environment."""
    run(environment, _PROGRAM, *arguments)


def run(
    environment: Mapping[str, str],
    program: str | Path,
    *arguments: str | Path,
    directory: Path | None = None,
    output: Path | None = None,
    code: int = 0,
) -> None:
    """Show a command and run it, in ``directory`` and with its output in the file ``output`` if these are given.

    Raises `Incomplete` where it ends with another exit code than ``code``.
    """
    shown = [Path(program).name if program == _PROGRAM else str(program), *map(str, arguments)]
    print(f"{f'({directory}) ' if directory else ''}$ {wrapped(shown)}{f' > {output}' if output else ''}", flush=True)
    with output.open("wb") if output else contextlib.nullcontext() as file:
        ended = subprocess.run(
            [program, *arguments], env=environment, cwd=directory, stdin=subprocess.DEVNULL, stdout=file, check=False
        )
    if ended.returncode != code:
        raise Incomplete(f"'{shown[0]}' ended with exit code {ended.returncode}; {code} was expected.")
    if code:
        print(f"(exit code {code}, as it must be)")


def wrapped(words: list[str]) -> str:
    """Return a command as a shell reads it, one option a line where it is long."""
    line = shlex.join(words)
    if len(line) <= 120:
        return line
    parts: list[list[str]] = [[]]
    for word in words:
        if word.startswith("--"):
            parts.append([])
        parts[-1].append(word)
    return " \\\n      ".join(shlex.join(part) for part in parts if part)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
