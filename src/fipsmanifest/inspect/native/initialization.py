"""Whether Go's runtime initializes the packages of the module: that turns FIPS mode on, and runs the self-tests.

The linker writes a list of tasks, one for each package, which the runtime runs in their order before ``main``
(``cmd/link/internal/ld/inittask.go``, ``runtime.doInit1``). A task is data: its state, which is zero until it has run,
the number of its functions, and their addresses. So one word is enough to leave a package out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from ..functions import Function, FunctionIndex
from .loaded import LoadedData
from .reference import MODULE_PATH

#: The word of ``runtime.moduledata`` that has the list's address, which its length and capacity follow, by Go release;
#: later ones are as the last one here (``runtime/symtab.go`` of 1.24 to 1.27).
_WORD: Mapping[int, int] = {24: 58, 25: 58, 26: 59, 27: 56}
_RELEASE = re.compile(r"go1\.([0-9]+)")
#: Functions of the package that reads GODEBUG; until they have run, no setting has a value.
_SETTINGS = "internal/godebug.init.0"
#: The function of the module that checks its own sum.
_SELF_TEST = "check.init.0"
#: A function that a task runs, by its name; a dot of the package's own name is escaped.
_INITIALIZER = re.compile(r"(?:.*/)?[^/.(]+\.init(?:\.[0-9]+)?")
_WIDTH = 8
#: Far more than programs have: kube-proxy has 306 tasks, of up to 7 functions (measured, Go 1.26.6).
_MOST_TASKS, _MOST_FUNCTIONS = 1 << 16, 1 << 13


class UnknownInitialization(Exception):
    """It cannot be determined which packages are initialized."""


def left_out(
    data: LoadedData, index: FunctionIndex, functions: Iterable[Function], module: str, release: str
) -> str | None:
    """Return a function that the runtime does not run, or not in time; None where it runs all of the module's.

    ``functions`` are those of the module, of a version ``module`` as compiled by a Go ``release``. Raise
    `UnknownInitialization` where the list of tasks cannot be read.
    """
    settings = index.named(_SETTINGS)
    if settings is None:
        raise UnknownInitialization
    required = {item.start: item.name for item in functions if _INITIALIZER.fullmatch(item.name)}
    mode = f"{MODULE_PATH}/{module.replace('.', '%2e')}.init"
    missing = {f"{mode}.0", f"{MODULE_PATH}/{module}/{_SELF_TEST}"}.difference(required.values())
    if missing:
        return min(missing)
    # First the settings, then the mode, which all other packages of the module ask for.
    stages = [
        {settings.start: settings.name},
        {start: name for start, name in required.items() if name.startswith(mode)},
        {start: name for start, name in required.items() if not name.startswith(mode)},
    ]
    for address in _run(data, index, release):
        waiting = next((stage for stage in stages if stage), None)
        if waiting is None:
            return None
        if waiting.pop(address, None) is None and any(address in stage for stage in stages):
            break
    return next((name for stage in stages for name in stage.values()), None)


def _run(data: LoadedData, index: FunctionIndex, release: str) -> Iterator[int]:
    """Yield the addresses of the functions that the runtime runs before ``main``, up to a task that it leaves out."""
    found = _RELEASE.match(release)
    if found is None or index.moduledata is None:
        raise UnknownInitialization
    place = index.moduledata + _WIDTH * _WORD.get(int(found[1]), _WORD[max(_WORD)])
    tasks, count, capacity = (data.word(place + _WIDTH * number) for number in range(3))
    if tasks is None or count is None or count != capacity or not 0 < count <= _MOST_TASKS:
        raise UnknownInitialization
    for number in range(count):
        task = data.word(tasks + _WIDTH * number)
        head = data.word(task) if task is not None else None
        if task is None or head is None:
            raise UnknownInitialization
        state, length = head & 0xFFFFFFFF, head >> 32
        if state or not 0 < length <= _MOST_FUNCTIONS:
            return
        for function in range(length):
            address = data.word(task + _WIDTH * (1 + function))
            if address is None:
                raise UnknownInitialization
            yield address
