"""The functions that call packages beside the module, as far as direct calls show.

The function table says where a package's functions are and whose code a call is in; the code says which functions are
called. Calls through interfaces and variables, as of a hash's methods, cannot be found so. What has the form of a call
counts as one, so bytes may count that have it by chance.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from ..model.finding import Callers
from .calls import calls_in
from .elf import Elf
from .function_table import FunctionTable
from .functions import FunctionIndex, function_index
from .other_crypto import package_path
from .source import ByteSource, windows

_MACHINES = ("x86_64", "aarch64")
#: Callers that are named of each package.
_MAX_NAMED = 8
#: Calls that are followed: bounds the time for code that consists of them.
_MAX_CALLS = 1 << 18
_LONGEST_INSTRUCTION = 5
_MAX_NAME = 512


def find(source: ByteSource, elf: Elf, table: FunctionTable, packages: Collection[str]) -> Mapping[str, Callers] | None:
    """Return who calls each of the packages; None where the function table or the code cannot be read."""
    index = function_index(source, elf, table) if table.names_apart and elf.facts.machine in _MACHINES else None
    if index is None:
        return None
    wanted = {address: package for address, package in _functions(source, table, index) if package in packages}
    names: dict[str, set[str]] = {package: set() for package in packages}
    for site, target in _calls(source, elf, wanted):
        package = wanted[target]
        caller = index.name_around(site)
        if caller is not None and package_path(caller) != package:
            names[package].add(caller)
    return {package: _bounded(found) for package, found in names.items()}


def _functions(source: ByteSource, table: FunctionTable, index: FunctionIndex) -> Iterator[tuple[int, str]]:
    """Yield (address, package) of each function."""
    start, end = table.names[0]
    names = source.read_at(start, end - start)
    for address, name in index.all():
        text = names[name - start : name - start + _MAX_NAME].partition(b"\0")[0]
        yield address, package_path(text.decode("utf-8", "replace"))


def _calls(source: ByteSource, elf: Elf, wanted: Mapping[int, str]) -> Iterator[tuple[int, int]]:
    """Yield (address, target) of the calls whose target is wanted."""
    if not wanted:
        return
    low, high, left = min(wanted), max(wanted) + 1, _MAX_CALLS
    for segment in elf.executable:
        for offset, data in windows(source, segment.offset, segment.end, _LONGEST_INSTRUCTION - 1):
            # An instruction that begins in the overlap is whole in the next window alone.
            size = len(data) - _LONGEST_INSTRUCTION + 1
            address = segment.address + offset - segment.offset
            for site, target in calls_in(elf, data, size, address, low, high):
                if target in wanted:
                    yield site, target
                    left -= 1
                    if not left:
                        return


def _bounded(names: Collection[str]) -> Callers:
    ordered = sorted(names)
    return Callers(tuple(ordered[:_MAX_NAMED]), len(ordered[_MAX_NAMED:]))
