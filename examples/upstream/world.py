"""A small real upstream for release definitions: FIPS programs in signed RPMs, a tarball and images, served.

    world = World.make([Path("releases/v1.21.3/rhel8.toml")], Path("upstream"), Path("gnupg"))
    with world.serve() as served:
        ...  # fipsmanifest release v1.21.3 --mirror {served.mirrors[0]} ...

Everything is derived from the definitions: which packages and images there are, under which addresses, and which of
their programs must have which module. What exists from the same input is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import shlex
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit

from fipsmanifest.errors import Incomplete
from fipsmanifest.model import definition_file as definitions
from fipsmanifest.model.architecture import to_oci
from fipsmanifest.model.definition import Component, Definition, Images, RpmRepository, Tarball

from . import goprograms, layout, packages, serving
from . import images as oci
from .builds import BUILDS, PLAIN, Build
from .packages import Compression, Packed, Signer

UPSTREAM_USER = "Throwaway upstream <upstream@example.com>"

_PAUSE = "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n"

#: What Kubernetes' own builds are stripped with.
_STRIPPED = "-s -w"


@dataclass(frozen=True, slots=True)
class Served:
    """An upstream while it is served."""

    mirrors: tuple[str, ...]
    """``FROM=TO`` for each host of the definitions, as ``fipsmanifest --mirror`` takes them."""
    files_address: str
    """``http://127.0.0.1:PORT``; each upstream host is a directory there."""
    registry_address: str
    """``http://127.0.0.1:PORT``; each upstream registry's host is the first part of a repository's name there."""
    requests: list[str]
    """``GET /PATH`` of each request for a file so far."""


@dataclass(frozen=True)
class World:
    """What upstream has published."""

    definitions: tuple[Definition, ...]
    directory: Path
    upstream_certificate: Path
    """Armored public key that the RPMs are signed with."""
    fingerprint: str
    """Of that key."""
    images: tuple[oci.Image, ...] = field(repr=False)

    @classmethod
    def make(
        cls,
        definition_paths: Sequence[Path],
        directory: Path,
        gnupghome: Path,
        *,
        builds: Mapping[str, Build] | None = None,
        pad: int = 0,
        compilers: Mapping[str, str] | None = None,
        given: Mapping[str, Path] | None = None,
        beside: Mapping[str, Mapping[str, Path]] | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> World:
        """Make all that the definitions name, below ``directory``, signed with a key in ``gnupghome``.

        A program of a component that must have a module is built with the first one that the definition accepts, and
        any other program without one. ``builds`` says of programs, by name, that they are built in another way: the
        same package, name, version and release, as it happens. ``pad`` adds that many MiB to each program.
        ``compilers`` gives the C compiler's command for each architecture other than this machine's own, x86_64.
        ``given`` has programs, by name, that are taken as they are in place of small ones, and ``beside`` what an
        image, by its last name, has beside its programs: path in the image -> file.
        ``say`` is called with each package and image before it is made for the first time.

        Raises `Incomplete` where a toolchain or program is missing, and for sources of a kind that is not made here.
        """
        wanted = tuple(definitions.load(path) for path in definition_paths)
        _refuse_other_sources(wanted)
        maker = _Maker(directory, builds or {}, pad, compilers or {}, given or {}, beside or {}, say)
        fingerprint = create_upstream_key(gnupghome)
        certificate = directory / "upstream.asc"
        certificate.parent.mkdir(parents=True, exist_ok=True)
        certificate.write_text(_gpg(gnupghome, "--armor", "--export", fingerprint))
        secret = gnupghome / "upstream-secret.asc"
        secret.touch(mode=0o600)
        try:
            secret.write_text(_gpg(gnupghome, "--armor", "--export-secret-keys", fingerprint))
            maker.repositories(wanted, Signer(fingerprint, secret))
        finally:
            secret.unlink()
        maker.tarballs(wanted)
        return cls(wanted, directory, certificate, fingerprint, maker.images(wanted))

    @contextlib.contextmanager
    def serve(self) -> Iterator[Served]:
        """Serve files and images on loopback until the block ends."""
        with (
            serving.files(self.directory / "files") as (files, requests),
            serving.registry(self.directory / "registry") as hub,
        ):
            for image in self.images:
                oci.push(image, self.blobs, hub)
            web = sorted(path.name for path in (self.directory / "files").iterdir())
            registries = sorted({image.repository.partition("/")[0] for image in self.images})
            mirrors = [f"https://{host}/={files}/{host}/" for host in web]
            mirrors += [f"{host}/={hub}/{host}/" for host in registries]
            yield Served(tuple(mirrors), files, hub, requests)

    @property
    def blobs(self) -> Path:
        """The directory of the images' blobs, by digest."""
        return self.directory / "blobs"

    def images_of(self, definition: Definition) -> tuple[oci.Image, ...]:
        """Return the images of one definition."""
        wanted = {
            reference for source in definition.sources if isinstance(source, Images) for reference in source.references
        }
        return tuple(image for image in self.images if image.reference in wanted)

    def files(self) -> tuple[Path, ...]:
        """Return every file that is served, in a fixed order."""
        served = (self.directory / "files").rglob("*")
        return tuple(sorted(path for path in served if path.is_file() and not path.name.startswith(".")))

    def digest(self) -> str:
        """Return one digest (hex) of all that is served, to distinguish this upstream from another one."""
        parts = [f"{path} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in self.files()]
        parts += [f"{image.reference} {image.documents[-1].digest}" for image in self.images]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def packages(self, definition: Definition, architecture: str | None = None) -> tuple[Path, ...]:
        """Return the RPM files of one definition, for one architecture or all."""
        return tuple(
            served_path(self.directory, f"{url}/{nvr}.{each}.rpm")
            for source in definition.sources
            if isinstance(source, RpmRepository)
            for each, url in definition.addresses(source)
            if architecture in (None, each)
            for nvr in source.packages
        )

    def tarballs(self, definition: Definition, architecture: str | None = None) -> tuple[tuple[Path, str], ...]:
        """Return the tarballs of one definition, for one architecture or all, each with its target directory."""
        return tuple(
            (served_path(self.directory, url), source.unpack)
            for source in definition.sources
            if isinstance(source, Tarball)
            for each, url in definition.addresses(source)
            if architecture in (None, each)
        )


def served_path(directory: Path, url: str) -> Path:
    """Return the file that is served for an upstream address."""
    parts = urlsplit(url)
    return directory / "files" / parts.netloc / parts.path.lstrip("/")


@dataclass(frozen=True, slots=True)
class _Maker:
    directory: Path
    builds: Mapping[str, Build]
    pad: int
    compilers: Mapping[str, str]
    given: Mapping[str, Path]
    beside: Mapping[str, Mapping[str, Path]]
    say: Callable[[str], None]

    def repositories(self, wanted: Sequence[Definition], signer: Signer) -> None:
        """Make each RPM repository, with exactly the packages that the definitions name."""
        rpms: dict[Path, set[str]] = defaultdict(set)
        compressions: dict[Path, Compression] = {}
        for definition in wanted:
            for source in definition.sources:
                if isinstance(source, RpmRepository):
                    for architecture, url in definition.addresses(source):
                        directory = served_path(self.directory, url)
                        # EL7's rpm cannot read zstd.
                        compressions[directory] = "gzip" if definition.el == 7 else "zstd"
                        for nvr in source.packages:
                            rpms[directory].add(f"{nvr}.{architecture}.rpm")
                            self._package(definition, nvr, architecture, directory, compressions[directory], signer)
        for directory, names in rpms.items():
            for leftover in directory.glob("*.rpm"):
                if leftover.name not in names:
                    leftover.unlink()
            packages.write_repository(directory, compressions[directory])

    def tarballs(self, wanted: Sequence[Definition]) -> None:
        """Make containerd's tarball for each definition that has one."""
        for definition in wanted:
            for source in definition.sources:
                if isinstance(source, Tarball):
                    for architecture, url in definition.addresses(source):
                        owner = _owner(definition, source=source.name)
                        files = [
                            Packed(entry, self._entry_program(definition, entry, Path(url).name, owner, architecture))
                            for entry in layout.of_tarball()
                        ]
                        path = served_path(self.directory, url)
                        path.parent.mkdir(parents=True, exist_ok=True)
                        packages.write_tarball(files, path)

    def images(self, wanted: Sequence[Definition]) -> tuple[oci.Image, ...]:
        """Make each image once, in all the forms that registries hold."""
        made: dict[str, oci.Image] = {}
        for definition in wanted:
            for source in definition.sources:
                if isinstance(source, Images):
                    for reference in source.references:
                        if reference not in made:
                            made[reference] = self._image(definition, reference)
        return tuple(made.values())

    def _package(
        self,
        definition: Definition,
        nvr: str,
        architecture: str,
        directory: Path,
        compression: Compression,
        signer: Signer,
    ) -> None:
        name, version, _ = nvr.rsplit("-", 2)
        path = directory / f"{nvr}.{architecture}.rpm"
        directory.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            self.say(f"{path.name} for EL{definition.el}")
        owner = _owner(definition, package=name)
        files = [
            Packed(entry, self._entry_program(definition, entry, version, owner, architecture))
            for entry in layout.of_package(name)
        ]
        packages.write_rpm(nvr, architecture, files, path, compression, signer)

    def _image(self, definition: Definition, reference: str) -> oci.Image:
        if not (self.directory / "registry").exists():
            self.say(reference)
        repository, _, tag = reference.rpartition(":")
        name = repository.rpartition("/")[2]
        owner = _owner(definition, image=repository)
        programs: dict[str, dict[str, Path]] = {
            architecture: {
                **{
                    path: self._program(definition, Path(path).name, tag, owner, architecture)
                    for path in layout.of_image(name)
                },
                **self.beside.get(name, {}),
            }
            for architecture in definition.architectures
        }
        form: oci.Form = "docker"
        if owner.requirement == "known":
            form = "docker-list"
        elif name == "etcd":
            form = "oci-index"
        return oci.make(reference, programs, form, self.directory / "blobs")

    def _entry_program(
        self, definition: Definition, entry: layout.Entry, version: str, owner: Component, architecture: str
    ) -> Path | None:
        if entry.kind != "program":
            return None
        by_path = [item for item in definition.components if any(fnmatchcase(entry.path, glob) for glob in item.files)]
        component = by_path[0] if by_path else owner
        return self._program(definition, Path(entry.path).name, version, component, architecture)

    def _program(self, definition: Definition, name: str, version: str, owner: Component, architecture: str) -> Path:
        if name in self.given:
            return self.given[name]
        own = architecture == "x86_64"
        if not own and (name == "pause" or architecture not in self.compilers):
            raise Incomplete(f"This upstream has no {name} for {architecture}.", "Use a definition for x86_64.")
        if name == "pause":
            return _pause(self.directory / "programs")
        build = PLAIN if owner.requirement == "known" else BUILDS[definition.modules[0]]
        return self.builds.get(name, build).make(
            name,
            version=version,
            goarch=to_oci(architecture),
            cc=None if own else self.compilers[architecture],
            ldflags=_STRIPPED if name.startswith("kube") else "",
            pad=self.pad,
        )


def _refuse_other_sources(wanted: Sequence[Definition]) -> None:
    for definition in wanted:
        for source in definition.sources:
            if not isinstance(source, RpmRepository | Tarball | Images):
                raise Incomplete(
                    f"This upstream makes no {source.kind}, which {definition.kubernetes}/{definition.name} asks for.",
                    "It makes RPM repositories, tarballs and images.",
                )


def _owner(
    definition: Definition, *, package: str | None = None, source: str | None = None, image: str | None = None
) -> Component:
    """Return the component that a package, source or image belongs to."""
    for component in definition.components:
        if package in component.packages or source in component.sources or image in component.images:
            return component
    raise Incomplete(f"{package or source or image} belongs to no component of {definition.name}.")


def _pause(directory: Path) -> Path:
    """Build the pause program, which is C in real life too."""
    program = directory / "pause"
    if not program.exists():
        directory.mkdir(parents=True, exist_ok=True)
        source = directory / "pause.c"
        source.write_text(_PAUSE)
        made = directory / "pause.new"
        flags = ["-Os", "-static", "-s", "-Wl,--build-id=none"]
        command = [*shlex.split(goprograms.c_compiler()), *flags, "-o", str(made), str(source)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise Incomplete(f"pause did not build: {run.stderr.strip()}", "Install gcc and libc6-dev.")
        made.replace(program)
    return program


def create_upstream_key(gnupghome: Path) -> str:
    """Return the fingerprint of upstream's key, which is made if it does not exist.

    Raises `Incomplete` where gpg fails.
    """
    gnupghome.mkdir(parents=True, exist_ok=True, mode=0o700)
    for _ in range(2):
        listing = _gpg(gnupghome, "--with-colons", "--list-secret-keys")
        fingerprint = ""
        for line in listing.splitlines():
            kind, *rest = line.split(":")
            if kind == "fpr" and not fingerprint:
                fingerprint = rest[8]
            elif kind == "sec":
                fingerprint = ""
            elif kind == "uid" and rest[8] == UPSTREAM_USER:
                return fingerprint
        _gpg(gnupghome, "--passphrase", "", "--quick-generate-key", UPSTREAM_USER, "rsa3072", "sign", "never")
    raise Incomplete("gpg made no upstream key.")


def _gpg(gnupghome: Path, *arguments: str) -> str:
    run = subprocess.run(
        ["gpg", "--homedir", str(gnupghome), "--batch", "--quiet", "--no-tty", *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if run.returncode != 0:
        raise Incomplete(f"gpg failed: {run.stderr.strip()}", "Is gnupg installed?")
    return run.stdout
