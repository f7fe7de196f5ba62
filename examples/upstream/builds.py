"""How the small upstream builds its programs: with a module, and in the ways in which that goes wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fipsmanifest.model.finding import ModuleFamily

from . import goprograms


@dataclass(frozen=True, slots=True)
class Build:
    """One way to build a program."""

    boring: bool = False
    """With BoringCrypto, and with cgo, which it needs."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Go's variables; with ``GOFIPS140`` the toolchain is one that has the native module."""
    debug: str = ""
    """A setting of GODEBUG that is compiled in (``//go:debug``)."""
    main: str | None = None
    """Its source; a small TLS server and client unless given."""

    def make(self, name: str, *, version: str, goarch: str, cc: str | None, ldflags: str, pad: int) -> Path:
        """Build the program ``name`` and return its path, as `goprograms.build` does; raises `Incomplete` likewise."""
        native = "GOFIPS140" in self.environment
        return goprograms.build(
            name,
            version=version,
            boring=self.boring,
            cgo=self.boring,
            goarch=goarch,
            cc=cc,
            ldflags=ldflags,
            pad=pad,
            debug=self.debug,
            main=self.main,
            environment=self.environment,
            root=goprograms.native_goroot() if native else None,
        )


PLAIN = Build()
BORING = Build(boring=True)
NATIVE = Build(environment={"GOFIPS140": "v1.0.0"})
NATIVE_MODE_OFF = Build(environment={"GOFIPS140": "v1.0.0"}, debug="fips140=off")

BUILDS: Mapping[ModuleFamily, Build] = {"boringcrypto": BORING, "go-native": NATIVE}
"""The way to build a program with each module."""
