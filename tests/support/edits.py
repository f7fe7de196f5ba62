"""Changes to real programs, made the way a forger or a careless tool would make them."""

from __future__ import annotations

import functools
import hashlib
import hmac
import io
import struct
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile
from examples.upstream import goprograms

BUILD_INFO = b"\xff Go buildinf:"
#: The 16 bytes at each end of the module text (Go's runtime/debug: infoStart and infoEnd).
INFO_START = bytes.fromhex("3077af0c9274080241e1c107e6d618e6")
INFO_END = bytes.fromhex("f932433186182072008242104116d8f2")


@dataclass(frozen=True)
class Facts:
    """Where the module is, taken from the facts page and not from the code under test."""

    length: int
    algorithm: str
    digest: str
    digest_offset: int


#: BoringSSL 853ca1ea as Go 1.21 links it.
AMD64 = Facts(
    0xBE290,
    "sha512",
    "afca814ee73c7cccc71d6ec64432db762b3bd38a9262181122e459a9eff120130cfeb14e1eb654b42c6f59ba001d948f"
    "87b90e25f57541f4b3b374e0ce4404e2",
    0xBE7AA,
)
ARM64 = Facts(0x5D070, "sha256", "9302ea1acc555934fa2f5ba8cd60719d913a2662a887a1b233483285f648f44d", 0x5D6D0)


@functools.cache
def module_object(goarch: str) -> bytes:
    """Return the code of the toolchain's own module object, module first."""
    path = goprograms.goroot() / f"src/crypto/internal/boring/syso/goboringcrypto_linux_{goarch}.syso"
    with path.open("rb") as file:
        text = ELFFile(file).get_section_by_name(".text")
        assert text is not None
        return bytes(text.data())


def module_offset(data: bytes) -> int:
    """Return where the amd64 module's text begins in a program's bytes."""
    offset = data.index(module_object("amd64")[:4096])
    assert data[offset : offset + AMD64.length] == module_object("amd64")[: AMD64.length]
    return offset


def flip(data: bytes, offset: int, bit: int = 0) -> bytes:
    """Change one bit."""
    return data[:offset] + bytes([data[offset] ^ (1 << bit)]) + data[offset + 1 :]


def put(data: bytes, offset: int, new: bytes) -> bytes:
    """Overwrite bytes in place."""
    assert offset + len(new) <= len(data)
    return data[:offset] + new + data[offset + len(new) :]


def redo_digest(data: bytes, start: int) -> bytes:
    """Store the digest that the module's text has now, as BoringSSL's own build would."""
    digest = hmac.new(bytes(64), data[start : start + AMD64.length], AMD64.algorithm).digest()
    return put(data, start + AMD64.digest_offset, digest)


def without_sections(data: bytes) -> bytes:
    """Remove the section header table from view: e_shoff, e_shentsize, e_shnum, e_shstrndx and the table itself."""
    table, count = struct.unpack_from("<Q", data, 40)[0], struct.unpack_from("<H", data, 60)[0]
    data = put(data, table, bytes(64 * count))
    return put(put(data, 40, bytes(8)), 58, bytes(6))


def build_info(data: bytes) -> tuple[int, str, str]:
    """Return the place of inline build info, its version and its module text."""
    at = data.index(BUILD_INFO)
    while at % 16:
        at = data.index(BUILD_INFO, at + 1)
    version, behind = _varint_string(data, at + 32)
    modules, _ = _varint_string(data, behind)
    return at, version.decode(), modules[16:-16].decode()


def rewrite_build_info(data: bytes, version: str, modules: str) -> bytes:
    """Let a program claim another version and module text; what is new must not be longer."""
    at, old_version, old_modules = build_info(data)
    framed = INFO_START + modules.encode() + INFO_END
    new = _string(version.encode()) + _string(framed)
    room = len(_string(old_version.encode())) + len(_string(bytes(32) + old_modules.encode()))
    return put(data, at + 32, new.ljust(room, b"\0"))


def pointer_build_info(data: bytes, version: str, modules: str) -> bytes:
    """Return build info in the form of Go before 1.18: two pointers to Go strings."""
    at, old_version, old_modules = build_info(data)
    address = _address_of(data, at)
    framed = INFO_START + modules.encode() + INFO_END
    first, second = version.encode(), framed
    body = struct.pack("<QQQQ", address + 64, len(first), address + 64 + len(first), len(second)) + first + second
    assert 32 + len(body) <= 34 + len(old_version) + len(old_modules) + 32
    header = BUILD_INFO + bytes([8, 0]) + struct.pack("<QQ", address + 32, address + 48)
    return put(data, at, header + body)


def _address_of(data: bytes, offset: int) -> int:
    count = struct.unpack_from("<H", data, 56)[0]
    for index in range(count):
        kind, _, place, address, _, size, *_ = struct.unpack_from("<IIQQQQQQ", data, 64 + 56 * index)
        if kind == 1 and place <= offset < place + size:
            return int(address + offset - place)
    raise AssertionError("not in a segment")


def _varint_string(data: bytes, at: int) -> tuple[bytes, int]:
    length = shift = 0
    while True:
        byte = data[at]
        at += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return data[at : at + length], at + length


def _string(data: bytes) -> bytes:
    length, prefix = len(data), b""
    while length >= 0x80:
        prefix += bytes([length & 0x7F | 0x80])
        length >>= 7
    return prefix + bytes([length]) + data


def program_header(data: bytes, index: int) -> int:
    """Return the file offset of a program header (Elf64_Phdr)."""
    return int(struct.unpack_from("<Q", data, 32)[0]) + 56 * index


def program_headers(data: bytes) -> list[list[int]]:
    """Return all program headers: type, flags, offset, address, physical address, size, memory, alignment."""
    count = struct.unpack_from("<H", data, 56)[0]
    return [list(struct.unpack_from("<IIQQQQQQ", data, program_header(data, index))) for index in range(count)]


def with_program_headers(data: bytes, headers: list[list[int]]) -> bytes:
    """Put others in their place, PT_LOAD in the order of addresses behind all others; notes have to give way."""
    kept = [header for header in headers if header[0] not in (0, 4, 0x6474E551)]
    kept.sort(key=lambda header: (header[0] == 1, header[3] if header[0] == 1 else 0))
    return put_program_headers(data, kept)


def put_program_headers(data: bytes, kept: list[list[int]]) -> bytes:
    """Put others in their place, in the order given."""
    room = struct.unpack_from("<H", data, 56)[0]
    assert len(kept) <= room
    packed = b"".join(struct.pack("<IIQQQQQQ", *header) for header in kept)
    return put(data, program_header(data, 0), packed.ljust(56 * room, b"\0"))


def load_indexes(data: bytes) -> list[int]:
    """Return the numbers of the PT_LOAD program headers."""
    count = struct.unpack_from("<H", data, 56)[0]
    return [index for index in range(count) if struct.unpack_from("<I", data, program_header(data, index))[0] == 1]


def loads(data: bytes) -> list[tuple[int, int, int]]:
    """Return file offset, address and size of each PT_LOAD."""
    headers = [struct.unpack_from("<IIQQQQ", data, program_header(data, index)) for index in load_indexes(data)]
    return [(offset, address, size) for _, _, offset, address, _, size in headers]


def load_flags(data: bytes) -> list[tuple[int, int, int]]:
    """Return flags, file offset and size of each PT_LOAD."""
    headers = [struct.unpack_from("<IIQQQQ", data, program_header(data, index)) for index in load_indexes(data)]
    return [(flags, offset, size) for _, flags, offset, _, _, size in headers]


def section(data: bytes, name: str) -> tuple[int, int, int]:
    """Return file offset, address and size of a section."""
    found = ELFFile(io.BytesIO(data)).get_section_by_name(name)
    assert found is not None
    return found["sh_offset"], found["sh_addr"], found["sh_size"]


def hand_made(
    code: bytes, data: bytes = b"", *, machine: int = 62, bits: int = 64, order: str = "<", loads: bool = True
) -> bytes:
    """Lay out an ELF executable of two segments, code and data, without section headers (System V ABI)."""
    wide = bits == 64
    header_size, entry = (64, 56) if wide else (52, 32)
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    code_at, code_address = 0x1000, 0x401000
    data_at = code_at + -(-len(code) // 4096) * 4096
    data_address = code_address + data_at - code_at + 0x100000
    count = 2 if loads else 0
    form = order + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH")
    header = ident + struct.pack(
        form, 2, machine, 1, code_address, header_size, 0, 0, header_size, entry, count, 0, 0, 0
    )
    table = b""
    for flags, offset, address, size in (
        (5, code_at, code_address, len(code)),
        (6, data_at, data_address, len(data)),
    ):
        if wide:
            table += struct.pack(order + "IIQQQQQQ", 1, flags, offset, address, address, size, size, 0x1000)
        else:
            table += struct.pack(order + "IIIIIIII", 1, offset, address, address, size, size, flags, 0x1000)
    start = (header + table).ljust(code_at, b"\0") if loads else header
    return start + code.ljust(data_at - code_at, b"\0") + data


def inline_build_info(version: str, modules: str) -> bytes:
    """Return build info as Go 1.18 and later lay it out."""
    framed = INFO_START + modules.encode() + INFO_END
    return BUILD_INFO + bytes([8, 2]) + bytes(16) + _string(version.encode()) + _string(framed)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
