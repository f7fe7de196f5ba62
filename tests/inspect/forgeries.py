"""Real programs as a forger, a packer or an accident would change them; each function returns the bytes of one file."""

from __future__ import annotations

import hmac
import io
import struct
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from fipsmanifest.inspect.table import Row, load
from tests.support import edits, programs

TABLE = load()
GOBORING = "path\tx\nbuild\tGOEXPERIMENT=boringcrypto\nbuild\tCGO_ENABLED=1\n"
#: The body of StandardCrypto in ``sig_amd64.s``.
PLAIN_MARKER = bytes.fromhex("EB1DF448F44BF4BAEE4DFA9851CA56A91145E83E99C59CF911CB8E80DAF12FC3")
NATIVE_SETTINGS = "build\tDefaultGODEBUG=fips140=on\nbuild\tGOFIPS140={}\n"
FIPSINFO = b"\xff Go fipsinfo \xff\0"


def known(module: str) -> Row:
    """Return a row of the shipped table: where its module is, and how long."""
    row = TABLE.row(module)
    assert row is not None
    return row


def start_of(data: bytes, module: str) -> int:
    """Return where a module begins in a program."""
    assert data.count(known(module).head) == 1
    return data.index(known(module).head)


def one_bit_flipped(data: bytes, module: str) -> bytes:
    """Change the module and nothing else."""
    return edits.flip(data, start_of(data, module) + known(module).text_length // 2, 3)


def flipped_with_its_digest_redone(data: bytes, module: str) -> bytes:
    """Change the module so that its own self-test still passes."""
    row, start = known(module), start_of(data, module)
    data = one_bit_flipped(data, module)
    text = data[start : start + row.text_length]
    digest = hmac.new(bytes(64), text, row.algorithm.removeprefix("hmac-")).digest()
    return edits.put(data, start + row.digest_offset, digest)


def spliced(data: bytes, module: str, other: bytes, others: str) -> bytes:
    """Put the middle of another program's module into this one's."""
    start, source = start_of(data, module), start_of(other, others)
    return edits.put(data, start + 0x20000, other[source + 0x20000 : source + 0x40000])


def module_erased() -> bytes:
    """The wrappers are there; the module's bytes are gone, and so is its digest."""
    data = programs.boring().read_bytes()
    return edits.put(data, edits.module_offset(data), b"\xcc" * 0xC0000)


def stored_digest_changed() -> bytes:
    data = programs.boring().read_bytes()
    return edits.flip(data, edits.module_offset(data) + edits.AMD64.digest_offset)


def build_info_rewritten(program: Path, version: str, modules: str = "path\tx\n") -> bytes:
    return edits.rewrite_build_info(program.read_bytes(), version, modules)


def build_info_erased() -> bytes:
    data = programs.plain().read_bytes()
    return edits.put(data, edits.build_info(data)[0], bytes(16))


def old_branch() -> bytes:
    """The dev.boringcrypto branch: pointer-form build info, a version with ``b7``, no build settings."""
    modules = "path\tx\nmod\tk8s.io/kubernetes\tv1.21.3\t\n"
    return edits.pointer_build_info(programs.boring().read_bytes(), "go1.16.6b7", modules)


def whole_object_never_called() -> bytes:
    """The module's object calls its own module from its other half; only Go's wrappers would count."""
    info = edits.inline_build_info("go1.21.13", "path\tx\n")
    return edits.hand_made(bytes(0x1000) + edits.module_object("amd64"), info)


def unknown_module_never_called() -> bytes:
    module = edits.redo_digest(edits.flip(programs.genuine_module(), 0x8000), 0)
    return programs.with_module_in(programs.roomy(), programs.ROOM, module)


def called_by_another_name() -> bytes:
    """The slot of the self-test is that of another public function; nothing else leads to it."""
    data = programs.boring_in_a_c_library()
    file = ELFFile(io.BytesIO(data))
    table, symbols = file.get_section_by_name(".rela.plt"), file.get_section_by_name(".dynsym")
    assert isinstance(table, RelocationSection)
    assert isinstance(symbols, SymbolTableSection)
    number = {symbol.name: index for index, symbol in enumerate(symbols.iter_symbols())}
    self_test, other = number["_goboringcrypto_BORINGSSL_bcm_power_on_self_test"], number["_goboringcrypto_gosha1"]
    (place,) = (index for index, item in enumerate(table.iter_relocations()) if item["r_info_sym"] == self_test)
    return edits.put(data, table["sh_offset"] + 24 * place + 12, struct.pack("<I", other))


def second_module(module: bytes) -> bytes:
    return programs.with_module_in(programs.roomy(goboring=True), programs.ROOM, module)


def second_module_changed() -> bytes:
    return second_module(edits.flip(programs.genuine_module(), 0x8000))


def plain_crypto_beside() -> bytes:
    host = programs.roomy(goboring=True).read_bytes()
    return edits.put(host, -(-host.index(programs.ROOM) // 16) * 16, PLAIN_MARKER)


def code_writable() -> bytes:
    data = programs.boring().read_bytes()
    for index in edits.load_indexes(data):
        at = edits.program_header(data, index)
        if data[at + 4] & 1:
            data = edits.put(data, at + 4, bytes([data[at + 4] | 2]))
    return data


def text_relocations() -> bytes:
    """The dynamic section says DT_TEXTREL."""
    data = programs.boring_pie().read_bytes()
    count = struct.unpack_from("<H", data, 56)[0]
    headers = [edits.program_header(data, index) for index in range(count)]
    (dynamic,) = [at for at in headers if struct.unpack_from("<I", data, at)[0] == 2]
    return edits.put(data, struct.unpack_from("<Q", data, dynamic + 8)[0], struct.pack("<QQ", 22, 0))


def text_relocations_elsewhere() -> bytes:
    """PT_DYNAMIC's offset, which only readers of files use, is that of a harmless copy."""
    harmless, data = programs.boring_pie().read_bytes(), text_relocations()
    headers = edits.program_headers(data)
    (dynamic,) = (header for header in headers if header[0] == 2)
    copy = harmless[dynamic[2] : dynamic[2] + dynamic[5]]
    data += bytes(-len(data) % 8)
    dynamic[2] = len(data)
    return edits.with_program_headers(data, headers) + copy


def text_relocations_behind() -> bytes:
    """PT_DYNAMIC's size, which loaders ignore, ends before the decisive entry, the one before DT_NULL."""
    data = programs.boring_pie().read_bytes()
    headers = edits.program_headers(data)
    (dynamic,) = (header for header in headers if header[0] == 2)
    entries = list(struct.iter_unpack("<QQ", data[dynamic[2] : dynamic[2] + dynamic[5]]))
    last = [tag for tag, _ in entries].index(0) - 1
    dynamic[5] = 16
    data = edits.put(data, dynamic[2] + 16 * last, struct.pack("<QQ", 22, 0))
    return edits.with_program_headers(data, headers)


def endless_dynamic_section() -> bytes:
    data = programs.boring_pie().read_bytes()
    headers = edits.program_headers(data)
    (dynamic,) = (header for header in headers if header[0] == 2)
    (end,) = (
        header[2] + header[5] for header in headers if header[0] == 1 and header[3] <= dynamic[3] < sum(header[3:6:2])
    )
    return edits.put(data, dynamic[2], struct.pack("<QQ", 1, 1) * ((end - dynamic[2]) // 16))


def moved_by_its_program_headers() -> bytes:
    """The dynamic loader works out from PT_PHDR by how much a program was moved, and so where everything else is."""
    data = programs.boring_pie().read_bytes()
    headers = edits.program_headers(data)
    (own,) = (header for header in headers if header[0] == 6)
    own[3] += 0x1000
    return edits.with_program_headers(data, headers)


def other_code_from(data: bytes, cut: int, page: int) -> bytes:
    """Let the segment from address ``cut`` on come from a copy whose first byte, on its page's border, is another."""
    headers = edits.program_headers(data)
    (code,) = (header for header in headers if header[0] == 1 and header[3] <= cut < header[3] + header[5])
    _, flags, offset, address, _, size, _, _ = code
    low = cut // page * page
    data += bytes(-len(data) % page)
    copy = edits.flip(data[offset + low - address : offset + size], 0)
    behind, rest = len(data) + cut - low, address + size - cut
    headers.remove(code)
    headers += [
        [1, flags, offset, address, address, cut - address, cut - address, page],
        [1, flags, behind, cut, cut, rest, rest, page],
    ]
    return edits.with_program_headers(data, headers) + copy


def _address(data: bytes, place: int) -> int:
    return next(
        address + place - offset for offset, address, size in edits.loads(data) if offset <= place < offset + size
    )


def module_over_two_segments() -> bytes:
    """The file has the whole module in one piece, but memory its first page only, and a changed copy of the rest."""
    data = programs.boring().read_bytes()
    return other_code_from(data, (_address(data, edits.module_offset(data)) // 4096 + 2) * 4096, 4096)


def module_overlaid(data: bytes, module: str) -> bytes:
    """A segment begins within the 64 KiB that hold the module's end: with such pages, it covers that."""
    row = known(module)
    end = _address(data, start_of(data, module) + row.digest_offset + len(row.digest))
    return other_code_from(data, -(-end // 4096) * 4096, 65536)


def segments_of_nothing_over_the_module(*, at_end: bool = False) -> bytes:
    """A PT_LOAD without bytes whose address is not on a page: some loaders map a page of the file for it.

    ``at_end`` puts it behind all others, after which kernels from 4.17 to 5.2 allow mapping over what is there.
    """
    data = programs.boring().read_bytes()
    headers = [header for header in edits.program_headers(data) if header[0] != 4]
    self_test = known("boringcrypto-20210429-x86_64").entry_points["BORINGSSL_bcm_power_on_self_test"]
    place = edits.module_offset(data) + self_test
    low = place // 4096 * 4096
    data += bytes(-len(data) % 4096)
    (code,) = (header for header in headers if header[0] == 1 and header[1] & 1)
    nothing = [1, 5, len(data) + 16, _address(data, low) + 16, 0, 0, 0, 4096]
    where = len(headers) if at_end else headers.index(code) + 1
    headers.insert(where, nothing)
    # mov eax, 1; ret
    page = edits.put(data[low : low + 4096], place - low, b"\xb8\x01\0\0\0\xc3")
    return edits.put_program_headers(data, headers) + page


def another_interpreter() -> bytes:
    """The kernel starts that instead; a path of the same length."""
    return programs.boring().read_bytes().replace(b"/lib64/ld-linux-x86-64.so.2\0", b"/odd64/ld-linux-x86-64.so.2\0")


def plain_marker_behind_the_code() -> bytes:
    """The last page of code is mapped whole, so what follows the segment in the file can be executed, too."""
    data = programs.boring().read_bytes()
    (code,) = (header for header in edits.program_headers(data) if header[0] == 1 and header[1] & 1)
    end = code[2] + code[5]
    assert -end % 4096 >= 48
    return edits.put(data, -(-end // 16) * 16, PLAIN_MARKER)


def plain_marker_in_a_segment_of_nothing() -> bytes:
    """Such a segment on a page of its own, which only some loaders map."""
    data = programs.boring().read_bytes()
    data += bytes(-len(data) % 4096)
    headers = edits.program_headers(data)
    behind = max(header[3] + header[6] for header in headers if header[0] == 1)
    address = -(-behind // 4096) * 4096
    headers.append([1, 5, len(data) + 16, address + 16, address + 16, 0, 0, 4096])
    return edits.with_program_headers(data, headers) + PLAIN_MARKER.ljust(4096, b"\0")


def changed_module_in_data(*, executable_stack: bool) -> bytes:
    """Data can be executed on kernels before 5.8 where the stack can."""
    data = programs.boring_padded().read_bytes()
    changed = edits.flip(programs.genuine_module(), 0x8000)
    data = edits.put(data, -(-data.index(programs.pad_start("sha")) // 4096) * 4096, changed)
    headers = edits.program_headers(data)
    for header in headers:
        if header[0] == 0x6474E551 and executable_stack:
            header[1] |= 1
    return edits.put_program_headers(data, headers)


def other_program_headers_for_older_kernels() -> bytes:
    """Before Linux 5.18 the kernel took the first segment to have the program headers; here it maps other ones there.

    Those are what the dynamic loader works with.
    """
    data = programs.boring().read_bytes()
    data += bytes(-len(data) % 4096)
    headers = [header for header in edits.program_headers(data) if header[0] not in (4, 6)]
    behind = max(header[3] + header[6] for header in headers if header[0] == 1)
    address = -(-behind // 4096) * 4096
    others = data[:4096]
    first = [1, 4, len(data), address + 0, address, 4096, 4096, 4096]
    # Where the first segment would have offset 0, there are the other headers.
    first[3] = first[4] = address + len(data)
    return edits.put_program_headers(data, [first, *headers]) + others


def second_module_with_its_digest_redone() -> bytes:
    return second_module(edits.redo_digest(edits.flip(programs.genuine_module(), 0x8000), 0))


def _more_code(code: bytes) -> bytes:
    """Return a goboring program with one more executable segment, at the file's end."""
    data = programs.boring().read_bytes()
    data += bytes(-len(data) % 4096)
    headers = edits.program_headers(data)
    behind = max(header[3] + header[6] for header in headers if header[0] == 1)
    address = -(-behind // 4096) * 4096
    headers.append([1, 5, len(data), address, address, len(code), len(code), 4096])
    return edits.with_program_headers(data, headers) + code


def nine_modules_the_last_changed() -> bytes:
    module = programs.genuine_module()
    module += bytes(-len(module) % 4096)
    return _more_code(module * 7 + edits.flip(module, 0x8000))


def second_module_changed_off_its_page(before: int) -> bytes:
    """The linker puts modules on pages; their code runs wherever its own tables are aligned."""
    return _more_code(bytes(before) + edits.flip(programs.genuine_module(), 0x8000))


def second_module_is_the_same_bytes() -> bytes:
    """The module's segment is mapped once more, where the program can write: no linker maps bytes twice."""
    data = programs.boring().read_bytes()
    headers = edits.program_headers(data)
    (code,) = (header for header in headers if header[0] == 1 and header[1] & 1)
    address = code[3] + (1 << 30)
    headers.append([1, 7, code[2], address, address, *code[5:]])
    return edits.with_program_headers(data, headers)


def two_dynamic_sections() -> bytes:
    """The loader takes one of them."""
    data = programs.boring_pie().read_bytes()
    headers = edits.program_headers(data)
    (dynamic,) = (header for header in headers if header[0] == 2)
    return edits.with_program_headers(data, [*headers, dynamic])


def packed(*, magic: bool) -> bytes:
    """UPX leaves two segments, no sections, and its magic behind the headers."""
    data = edits.hand_made(b"\x90" * 64 + b"\x17\x2a" * 4000)
    return edits.put(data, 0x200, b"UPX!") if magic else data


def native_module_changed(data: bytes) -> bytes:
    """Change one byte of the native module's code (``go:fipsinfo``: sum, itself, then start and end of the text)."""
    start = struct.unpack_from("<Q", data, data.index(FIPSINFO) + 56)[0]
    place = next(
        offset + start - address for offset, address, size in edits.loads(data) if address <= start < address + size
    )
    return edits.flip(data, place + 100)


def native_sum_changed(data: bytes) -> bytes:
    return edits.flip(data, data.index(FIPSINFO) + 20)


def native_sum_beside(data: bytes) -> bytes:
    """The module is changed; the section header leads to a table that fits it, which nothing maps."""
    data = native_module_changed(data)
    at = edits.section(data, ".go.fipsinfo")[0]
    starts = struct.unpack_from("<8Q", data, at + 56)
    message = b"go fips object v1\n"
    for start, end in zip(starts[::2], starts[1::2], strict=True):
        offset = next((o + start - a for o, a, size in edits.loads(data) if a <= start < a + size), 0)
        message += (end - start).to_bytes(8, "big") + data[offset : offset + end - start]
    table = edits.put(data[at : at + 120], 16, hmac.new(bytes(32), message, "sha256").digest())
    return with_section_at(data, at, len(data)) + table


def with_section_at(data: bytes, old: int, new: int) -> bytes:
    """Point the header of the section at one place of the file to another one."""
    headers = section_headers_at(data)
    for header in range(headers, headers + 64 * struct.unpack_from("<H", data, 60)[0], 64):
        if struct.unpack_from("<Q", data, header + 24)[0] == old:
            data = edits.put(data, header + 24, struct.pack("<Q", new))
    return data


def build_info_beside() -> bytes:
    """A claim in what is not mapped, to which the section header leads."""
    data = programs.plain().read_bytes()
    data += bytes(-len(data) % 16)
    info = edits.inline_build_info("go1.21.13 X:boringcrypto", GOBORING)
    info = info.ljust(edits.section(data, ".go.buildinfo")[2], b"\0")
    return with_section_at(data, edits.section(data, ".go.buildinfo")[0], len(data)) + info


def native_module_missing(data: bytes) -> bytes:
    return edits.put(data, data.index(FIPSINFO), bytes(16))


def native_module_of_nothing() -> bytes:
    """Return a program of Go before 1.24, which has no such module, with the sum of four empty ranges."""
    return _native_module(programs.plain().read_bytes(), ())


def native_module_of(section: str, data: bytes | None = None) -> bytes:
    """Return a program with a ``go:fipsinfo`` whose sum is over 100 KB of a section, in place of its own."""
    data = data or programs.plain().read_bytes()
    offset, address, size = edits.section(data, section)
    length = min(size, 100_000)
    return _native_module(data, ((address, data[offset : offset + length]),))


def _native_module(data: bytes, ranges: tuple[tuple[int, bytes], ...]) -> bytes:
    """Write such a table over the zeros that a writable segment has (Go's ``cmd/link/internal/ld/fips140.go``)."""
    message, places = b"go fips object v1\n", b""
    for address, content in ranges:
        message += len(content).to_bytes(8, "big") + content
        places += struct.pack("<QQ", address, address + len(content))
    message += bytes(8) * (4 - len(ranges))
    table = FIPSINFO + hmac.new(bytes(32), message, "sha256").digest() + bytes(8) + places.ljust(64, b"\0")
    if FIPSINFO in data:
        return edits.put(data, data.index(FIPSINFO), table)
    _, size, offset = max((flags & 2, size, offset) for flags, offset, size in edits.load_flags(data))
    place = data.index(bytes(256), offset)
    assert place + 256 <= offset + size
    data = edits.put(data, place + 64, table)
    return edits.rewrite_build_info(data, "go1.24.3", "path\tx\n" + NATIVE_SETTINGS.format("v1.0.0"))


def native_version_claimed(data: bytes, version: str) -> bytes:
    """Present the toolchain's own module as a validated snapshot."""
    return edits.rewrite_build_info(data, "go1.24.3", "path\tx\n" + NATIVE_SETTINGS.format(version))


def cryptography_renamed(data: bytes) -> bytes:
    """Spell the packages of cryptography otherwise, and break Go's own marker, where there is one."""
    return data.replace(b"crypto/", b"crypt0/").replace(PLAIN_MARKER, PLAIN_MARKER[:-2] + bytes(2))


def marker_broken(data: bytes) -> bytes:
    """Break Go's own marker, which nothing runs."""
    assert PLAIN_MARKER in data
    return data.replace(PLAIN_MARKER, PLAIN_MARKER[:-1] + b"\0")


def name_of_a_function(data: bytes, name: bytes, instead: bytes) -> bytes:
    """Rename a function in the table."""
    assert len(name) == len(instead)
    assert b"\0" + name in data
    return data.replace(b"\0" + name, b"\0" + instead)


def function_table_erased_of(data: bytes) -> bytes:
    return edits.put(data, edits.section(data, ".gopclntab")[0], bytes(4))


def function_table_erased() -> bytes:
    """Break the magic of the table; what runs never reads it."""
    return function_table_erased_of(programs.plain_without_crypto().read_bytes())


def function_table_of_nothing() -> bytes:
    """A table whose header is right, and whose names begin where they end."""
    data = programs.plain_without_crypto().read_bytes()
    names = edits.section(data, ".gopclntab")[0] + 8 + 3 * 8
    return edits.put(data, names + 8, data[names : names + 8])


def _without_signs(data: bytes) -> bytes:
    """Break Go's own marker and the native module's table, neither of which runs."""
    return data.replace(PLAIN_MARKER, PLAIN_MARKER[:-1] + b"\0").replace(FIPSINFO, FIPSINFO[:-1] + b"\1")


def function_table_narrowed(data: bytes) -> bytes:
    """Let the table's header lead to names of the runtime alone; the runtime has its own pointers to all of them."""
    table = edits.section(data, ".gopclntab")[0]
    first, behind = struct.unpack_from("<QQ", data, table + 32)
    names = data[table + first : table + behind]
    others = max((piece for piece in names.split(b"\0crypto/") if b"\0runtime." in piece), key=len)
    start = first + names.index(others)
    return _without_signs(edits.put(data, table + 32, struct.pack("<QQ", start, start + len(others))))


def function_table_beside() -> bytes:
    """Let the section header lead to a table of one name at the file's end, which nothing maps."""
    data = programs.plain().read_bytes()
    table = edits.section(data, ".gopclntab")[0]
    decoy = struct.pack("<IHBB8Q", 0xFFFFFFF1, 0, 1, 8, 1, 1, 0, 72, 128, 128, 128, 128) + b"\0runtime.main\0"
    at = section_headers_at(data)
    for header in range(at, at + 64 * struct.unpack_from("<H", data, 60)[0], 64):
        if struct.unpack_from("<Q", data, header + 24)[0] == table:
            data = edits.put(data, header + 24, struct.pack("<QQ", len(data), 128))
    return _without_signs(data) + decoy.ljust(128, b"\0")


def debugging_information_of_other_tools(program: Path) -> bytes:
    """Debugging information as elfutils keep it: the program headers are still the program's."""
    data = program.read_bytes()
    start, end = edits.program_header(data, 0), edits.program_header(data, struct.unpack_from("<H", data, 56)[0])
    return edits.put(programs.debugging_information(program), start, data[start:end])


def debugging_information_by_the_page() -> bytes:
    """Segments of one byte each, which Linux maps by the page, so that more can run than the headers say."""
    data = programs.debugging_information(programs.boring())
    headers = edits.program_headers(data)
    first, *others = (header for header in headers if header[0] == 1)
    behind = max(header[3] + header[6] for header in others)
    pages = [[1, 5, 4096 * page, behind + 8192 * page, 0, 1, 1, 4096] for page in range(2, 7)]
    kept = [header for header in headers if header[0] not in (1, 2, 3, 7)]
    for page in pages:
        page[3] = -(-page[3] // 4096) * 4096
    return edits.with_program_headers(data, [*kept, first, *pages])


def names_behind_a_segment() -> bytes:
    """The segment of the names ends with the runtime's, but its last page, which is mapped whole, has others behind."""
    data = programs.plain_without_crypto().read_bytes()
    headers = edits.program_headers(data)
    (read_only,) = (header for header in headers if header[0] == 1 and header[1] == 4)
    end = read_only[2] + read_only[5]
    name = b"\0crypto/sha256.Sum256\0"
    assert -end % 4096 > len(name)
    return edits.put(data, end, name)


def build_info_alone() -> bytes:
    return edits.hand_made(b"\xcc" * 4096, edits.inline_build_info("go1.21.13 X:boringcrypto", GOBORING))


_WRAPPER = b"\0crypto/internal/boring._Cfunc__goboringcrypto_"


def fork(package: bytes, version: str, settings: str = "") -> bytes:
    """Return a program with OpenSSL behind Go, made from a stripped goboring one.

    Such toolchains are not in any package. ``package``, ``version`` and ``settings`` are what their programs carry,
    measured on ones built from the published sources: no symbols of goboring's, no wrappers and no GOEXPERIMENT.
    """
    data = without_symbols(programs.boring())
    data = edits.put(data, edits.module_offset(data), b"\xcc" * 0xC0000)
    prefix = b"\0vendor/github.com/" + package + b"."
    assert _WRAPPER in data
    data = data.replace(_WRAPPER, prefix.ljust(len(_WRAPPER), b"F")[: len(_WRAPPER)])
    return edits.rewrite_build_info(data, version, "path\tx\n" + settings)


def golang_fips_1_16() -> bytes:
    """Return what it was before it had a package for OpenSSL: one function more among goboring's own."""
    data = without_symbols(programs.boring())
    data = edits.put(data, edits.module_offset(data), b"\xcc" * 0xC0000)
    data = edits.put(data, data.index(_WRAPPER), _WRAPPER + b"DLOPEN_OPENSSL\0")
    return edits.rewrite_build_info(data, "go1.16.12", "path\tx\n")


def without_symbols(program: Path | bytes) -> bytes:
    """Return the bytes after ``strip --strip-all``."""
    assert isinstance(program, Path)
    return programs.stripped(program)


def cut(length: int) -> bytes:
    """Return a part of a program whose section headers are at its end; negative lengths count from there."""
    return programs.boring_external().read_bytes()[:length]


def section_headers_at(data: bytes) -> int:
    return int(struct.unpack_from("<Q", data, 40)[0])


def overlapping() -> bytes:
    """The module stays where it is in the file, but the second segment is mapped over the first."""
    data = programs.boring().read_bytes()
    first, second, *_ = (edits.program_header(data, index) for index in edits.load_indexes(data))
    return edits.put(data, second + 16, data[first + 16 : first + 24])


def first_load(field: int, value: int) -> bytes:
    """Change fields of the first PT_LOAD."""
    data = programs.boring().read_bytes()
    at = edits.program_header(data, edits.load_indexes(data)[0])
    return edits.put(data, at + field, struct.pack("<Q", value))


def header(offset: int, value: bytes, program: Path | None = None) -> bytes:
    """Change fields of the file header."""
    return edits.put((program or programs.boring()).read_bytes(), offset, value)
