"""Dependencies of a program: its interpreter, its libraries, and other tags of its dynamic section.

They are not in the file, so a verdict cannot depend on their content. Those that ordinary programs do not have are
evidence, and are reported. The kernel starts the interpreter instead of the program (``fs/binfmt_elf.c``), which loads
the rest (gABI, chapter 5, "Dynamic Linking"; ``ld.so(8)``).
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
#: Tags that load other code, or run code early, with their codes in evidence.
_TAGS = {
    15: "rpath",
    29: "runpath",
    32: "preinit",
    0x6FFFFEFB: "depaudit",
    0x6FFFFEFC: "audit",
    0x7FFFFFFD: "auxiliary",
    0x7FFFFFFF: "filter",
}
_MAX_LIBRARIES = 32
_MAX_TEXT = 256


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Dependencies that ordinary programs do not have."""

    interpreter: str | None = None
    """The interpreter (PT_INTERP), if it is not that of glibc or musl."""
    libraries: tuple[str, ...] = ()
    """Libraries (DT_NEEDED) that are not of glibc, musl or GCC; at most the first few."""
    codes: tuple[str, ...] = ()
    """Others: ``rpath``, ``runpath``, ``audit``, ``depaudit``, ``filter``, ``auxiliary``, ``preinit``,
    ``executable-stack``, ``empty-segment`` (one without bytes that some loaders map a page of the file for)."""

    @property
    def evidence(self) -> Evidence:
        """Their evidence; keys without a value are absent."""
        found: Evidence = {
            "interpreter": self.interpreter or "",
            "libraries": list(self.libraries),
            "loading": list(self.codes),
        }
        return {key: value for key, value in found.items() if value}


def read(source: ByteSource, elf: Elf) -> Dependencies:
    """Return the dependencies of an ELF file. Its content never causes an exception."""
    if elf.facts.machine not in _INTERPRETERS:
        return Dependencies()
    codes = {name for tag, name in _TAGS.items() if any(tag == other for other, _ in elf.dynamic)}
    if elf.executable_stack:
        codes.add("executable-stack")
    if any(not load.memory for load in elf.loads):
        codes.add("empty-segment")
    return Dependencies(_interpreter(source, elf), tuple(_libraries(source, elf)), tuple(sorted(codes)))


def _interpreter(source: ByteSource, elf: Elf) -> str | None:
    """Return an unusual interpreter; the kernel uses the first PT_INTERP, up to its first zero byte."""
    for segment in elf.segments:
        if segment.kind == "interpreter":
            path = _text(source.read_at(segment.offset, min(segment.size, _MAX_TEXT)))
            return None if path in _INTERPRETERS[elf.facts.machine] else path or "?"
    return None


def _libraries(source: ByteSource, elf: Elf) -> Iterator[str]:
    values = dict(elf.dynamic)
    strings, size = elf.offset_of(values.get(_DT_STRTAB, 0)), values.get(_DT_STRSZ, 0)
    found = 0
    for tag, value in elf.dynamic:
        if tag != _DT_NEEDED or found == _MAX_LIBRARIES:
            continue
        name = "?" if strings is None or value >= size else _text(source.read_at(strings + value, _MAX_TEXT))
        if name not in _LIBRARIES:
            found += 1
            yield name or "?"


def _text(data: bytes) -> str:
    """Return a C string, with escapes for characters that cannot be printed."""
    text = data.partition(b"\0")[0].decode("ascii", "backslashreplace")
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text)


def describe(evidence: Evidence) -> str:
    """Return sentences for people about this evidence, each with a space before it; empty if there is none."""
    sentences = []
    if "interpreter" in evidence:
        sentences.append(f"It names an unusual interpreter, {evidence['interpreter']}.")
    libraries, codes = evidence.get("libraries"), evidence.get("loading")
    if isinstance(libraries, list):
        sentences.append(f"It loads {', '.join(map(str, libraries))}.")
    if isinstance(codes, list):
        sentences.append(f"Unusual in how it is loaded: {', '.join(map(str, codes))}.")
    if "build_infos" in evidence:
        sentences.append("It contains another Go program.")
    return "".join(f" {sentence}" for sentence in sentences)
