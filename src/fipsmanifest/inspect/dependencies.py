"""What a program asks to be loaded with it: interpreter, libraries, and what else the dynamic section names.

None of this is in the file, so no verdict can rest on it. What ordinary programs do not have is evidence, and shown.
The kernel starts the interpreter in the program's place (``fs/binfmt_elf.c``), which does the rest (gABI, chapter 5,
"Dynamic Linking"; ``ld.so(8)``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..model.finding import Evidence
from .elf import Elf
from .source import ByteSource

#: The interpreters of glibc, which Go's linker names, and of musl.
_INTERPRETERS = {
    "x86_64": ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-musl-x86_64.so.1"),
    "aarch64": ("/lib/ld-linux-aarch64.so.1", "/lib/ld-musl-aarch64.so.1"),
}
#: The libraries of glibc, GCC and musl.
_LIBRARIES = (
    *("libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libresolv.so.2", "libutil.so.1"),
    *("ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1", "libgcc_s.so.1"),
    *("libc.so", "libc.musl-x86_64.so.1", "libc.musl-aarch64.so.1"),
)
_DT_NEEDED, _DT_STRTAB, _DT_STRSZ = 1, 5, 10
#: Tags that let other code in, or have code run early, with the codes that evidence has for them.
_TAGS = {
    15: "rpath",
    29: "runpath",
    32: "preinit",
    0x6FFFFEFB: "depaudit",
    0x6FFFFEFC: "audit",
    0x7FFFFFFD: "auxiliary",
    0x7FFFFFFF: "filter",
}
_MOST_LIBRARIES = 32
_LONGEST = 256


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What a program asks for beyond what ordinary programs do."""

    interpreter: str | None = None
    """The interpreter (PT_INTERP), where it is not that of glibc or musl."""
    libraries: tuple[str, ...] = ()
    """Libraries (DT_NEEDED) that are not glibc's, musl's or GCC's; the first of them."""
    codes: tuple[str, ...] = ()
    """What else: ``rpath``, ``runpath``, ``audit``, ``depaudit``, ``filter``, ``auxiliary``, ``preinit``,
    ``executable-stack``, ``empty-segment`` (one without bytes that some loaders map a page of the file for)."""

    @property
    def evidence(self) -> Evidence:
        """What a finding says of it; keys for which there is nothing are absent."""
        found: Evidence = {
            "interpreter": self.interpreter or "",
            "libraries": list(self.libraries),
            "loading": list(self.codes),
        }
        return {key: value for key, value in found.items() if value}


def read(source: ByteSource, elf: Elf) -> Dependencies:
    """Return what an ELF file asks for; never raises for what is in it."""
    if elf.facts.machine not in _INTERPRETERS:
        return Dependencies()
    codes = {name for tag, name in _TAGS.items() if any(tag == other for other, _ in elf.dynamic)}
    if elf.executable_stack:
        codes.add("executable-stack")
    if any(not load.memory for load in elf.loads):
        codes.add("empty-segment")
    return Dependencies(_interpreter(source, elf), tuple(_libraries(source, elf)), tuple(sorted(codes)))


def _interpreter(source: ByteSource, elf: Elf) -> str | None:
    """Return the interpreter that is unusual; the kernel takes the first one's path, up to its first zero byte."""
    for segment in elf.segments:
        if segment.kind == "interpreter":
            path = _text(source.read_at(segment.offset, min(segment.size, _LONGEST)))
            return None if path in _INTERPRETERS[elf.facts.machine] else path or "?"
    return None


def _libraries(source: ByteSource, elf: Elf) -> Iterator[str]:
    values = dict(elf.dynamic)
    strings, size = elf.offset_of(values.get(_DT_STRTAB, 0)), values.get(_DT_STRSZ, 0)
    found = 0
    for tag, value in elf.dynamic:
        if tag != _DT_NEEDED or found == _MOST_LIBRARIES:
            continue
        name = "?" if strings is None or value >= size else _text(source.read_at(strings + value, _LONGEST))
        if name not in _LIBRARIES:
            found += 1
            yield name or "?"


def _text(data: bytes) -> str:
    """Return a C string, with escapes for what cannot be printed."""
    text = data.partition(b"\0")[0].decode("ascii", "backslashreplace")
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text)


def describe(evidence: Evidence) -> str:
    """Return sentences for people on such evidence, each with a space before it; empty where there is none."""
    said = []
    if "interpreter" in evidence:
        said.append(f"It names an unusual interpreter, {evidence['interpreter']}.")
    libraries, codes = evidence.get("libraries"), evidence.get("loading")
    if isinstance(libraries, list):
        said.append(f"It loads {', '.join(map(str, libraries))}.")
    if isinstance(codes, list):
        said.append(f"Unusual in how it is loaded: {', '.join(map(str, codes))}.")
    if "build_infos" in evidence:
        said.append("Another Go program is within it.")
    return "".join(f" {sentence}" for sentence in said)
