"""Derivation of a row of the table from a trusted toolchain's module object.

Go has BoringCrypto as a relocatable object, ``src/crypto/internal/boring/syso/goboringcrypto_linux_ARCH.syso``. The
module's text in it has no relocations, so it is the same in every program that links it. Newer objects do not have the
symbols that bound the text; there its end is found by the object's own integrity digest (`integrity`).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError, ValidationFailed
from .integrity import IntegrityMatch, find_match
from .source import Buffer
from .table import HEAD, Row

_PREFIX = "_goboringcrypto_"
_MACHINES = {"EM_X86_64": "x86_64", "EM_AARCH64": "aarch64"}
_MAX_OBJECT = 64 << 20
_ADVICE = "Pass a toolchain's goboringcrypto_linux_ARCH.syso."


@dataclass(frozen=True, slots=True)
class Provenance:
    """Facts about an object that it does not contain."""

    id: str
    """The row's id."""
    name: str = "BoringCrypto"
    """The module's name."""
    commit: str = ""
    """The BoringSSL commit."""
    tag: str = ""
    """The BoringSSL tag."""
    seen_in: tuple[str, ...] = ()
    """Toolchains that have exactly this module."""
    claimed_by: str = ""
    """Who vouches for it; makes the row a local one."""


@dataclass(frozen=True, slots=True)
class _Object:
    """The parts of a relocatable object that are used."""

    architecture: str
    """RPM name."""
    text: bytes
    """Its .text."""
    relocated: tuple[int, ...]
    """Offsets in .text that the linker changes."""
    symbols: dict[str, int]
    """Symbols in .text: name -> offset."""


def learn(path: Path, provenance: Provenance) -> Row:
    """Return a row for a module object.

    Raises `UsageError` if ``path`` is not such an object, and `ValidationFailed` if no integrity digest bounds a module
    in it, or if the linker would change the module's bytes.
    """
    found = _read(path)
    start = found.symbols.get("BORINGSSL_bcm_text_start", 0)
    module = _bounds(found, start)
    if module is None:
        raise ValidationFailed(
            f"{path} has no BoringCrypto module whose integrity digest can be recomputed.",
            _ADVICE,
        )
    if any(start <= offset < start + module.length for offset in found.relocated):
        raise ValidationFailed(
            f"{path} has relocations inside the module, so linking would change its bytes.",
            "Pass an object whose module has no relocations, as those of Go's toolchains.",
        )
    entry_points = {
        name.removeprefix(_PREFIX): offset - start
        for name, offset in found.symbols.items()
        if name.startswith(_PREFIX) and start <= offset < start + module.length
    }
    if not entry_points:
        raise ValidationFailed(f"{path} exports no function of the module.", "Pass an object that Go can link.")
    return Row(
        id=provenance.id,
        name=provenance.name,
        commit=provenance.commit,
        tag=provenance.tag,
        architecture=found.architecture,
        text_length=module.length,
        algorithm=module.algorithm,
        digest=module.digest,
        digest_offset=module.digest_offset,
        head=found.text[start : start + HEAD],
        object_before=start,
        object_length=len(found.text),
        entry_points=entry_points,
        seen_in=provenance.seen_in,
        claimed_by=provenance.claimed_by,
        row="local" if provenance.claimed_by else "shipped",
    )


def _bounds(found: _Object, start: int) -> IntegrityMatch | None:
    end = found.symbols.get("BORINGSSL_bcm_text_end")
    shortest = end - start if end is not None else None
    return find_match(Buffer(found.text), start, len(found.text), exactly=shortest)


def _read(path: Path) -> _Object:
    """Read the object with pyelftools, which is for trusted files: the user vouches for the toolchain."""
    # Here, because listing modules imports this module, too, and does not need it.
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        if path.stat().st_size > _MAX_OBJECT:
            raise UsageError(f"{path} has more than {_MAX_OBJECT >> 20} MiB, too much for a module object.", _ADVICE)
        elf: Any = ELFFile(io.BytesIO(path.read_bytes()))
        architecture = _MACHINES.get(elf["e_machine"])
        if elf["e_type"] != "ET_REL" or architecture is None:
            raise UsageError(f"{path} is not a relocatable object for x86_64 or aarch64.", _ADVICE)
        text, symbols = elf.get_section_by_name(".text"), elf.get_section_by_name(".symtab")
        relocations = elf.get_section_by_name(".rela.text")
        if text is None or symbols is None:
            raise UsageError(f"{path} has no code or no symbols.", _ADVICE)
        index = elf.get_section_index(".text")
        return _Object(
            architecture,
            text.data(),
            tuple(entry["r_offset"] for entry in relocations.iter_relocations()) if relocations else (),
            {
                symbol.name: symbol["st_value"]
                for symbol in symbols.iter_symbols()
                if symbol["st_shndx"] == index and symbol.name
            },
        )
    except (OSError, ELFError) as error:
        raise UsageError(f"{path} is not an object file: {error}.", _ADVICE) from error
