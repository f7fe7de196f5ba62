"""From a trusted toolchain's module object to a row of the table.

Go carries BoringCrypto as a relocatable object, ``src/crypto/internal/boring/syso/goboringcrypto_linux_ARCH.syso``.
The module's text in it has no relocations, so what stands there is what stands in every program that links it.
Only newer objects lack the symbols that bound the text; there the end is where the object's own integrity digest
says it is: the one 16-byte step at which the HMAC so far is found stored behind it.
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
_LARGEST_OBJECT = 64 << 20


@dataclass(frozen=True, slots=True)
class Provenance:
    """What an object does not say of itself."""

    id: str
    """The row's id."""
    name: str = "BoringCrypto"
    """What its makers call the module."""
    commit: str = ""
    """The BoringSSL commit."""
    tag: str = ""
    """The BoringSSL tag."""
    seen_in: tuple[str, ...] = ()
    """Toolchains that carry exactly this object's module."""
    claimed_by: str = ""
    """Who vouches for it; makes the row a local one."""


@dataclass(frozen=True, slots=True)
class _Object:
    """What is needed of a relocatable object."""

    architecture: str
    """RPM name."""
    text: bytes
    """Its .text."""
    relocated: tuple[int, ...]
    """Offsets in .text that the linker will change."""
    symbols: dict[str, int]
    """Names defined in .text -> offset."""


def learn(path: Path, provenance: Provenance) -> Row:
    """Derive a row from a module object.

    Raises `UsageError` where ``path`` is no such object, and `ValidationFailed` where no integrity digest bounds a
    module in it, or where the linker would change the module's bytes.
    """
    found = _read(path)
    start = found.symbols.get("BORINGSSL_bcm_text_start", 0)
    module = _bounds(found, start)
    if module is None:
        raise ValidationFailed(
            f"{path} holds no BoringCrypto module whose integrity digest can be recomputed.",
            "Name a toolchain's goboringcrypto_linux_ARCH.syso.",
        )
    if any(start <= offset < start + module.length for offset in found.relocated):
        raise ValidationFailed(
            f"{path} has relocations inside the module, so its bytes would change in linking.",
            "Only a module of fixed bytes can be learnt.",
        )
    entry_points = {
        name.removeprefix(_PREFIX): offset - start
        for name, offset in found.symbols.items()
        if name.startswith(_PREFIX) and start <= offset < start + module.length
    }
    if not entry_points:
        raise ValidationFailed(f"{path} exports no function of the module.", "Name an object that Go can link.")
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
    """Read the object with pyelftools; the file is a trusted toolchain's, its owner says."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        if path.stat().st_size > _LARGEST_OBJECT:
            raise UsageError(f"{path} is too large to be a module object.")
        elf: Any = ELFFile(io.BytesIO(path.read_bytes()))
        architecture = _MACHINES.get(elf["e_machine"])
        if elf["e_type"] != "ET_REL" or architecture is None:
            raise UsageError(f"{path} is not a relocatable object for x86_64 or aarch64.")
        text, symbols = elf.get_section_by_name(".text"), elf.get_section_by_name(".symtab")
        relocations = elf.get_section_by_name(".rela.text")
        if text is None or symbols is None:
            raise UsageError(f"{path} has no code or no symbols.")
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
        raise UsageError(
            f"{path} is not an object file: {error}.", "Name a toolchain's goboringcrypto_linux_ARCH.syso."
        ) from error
