"""What loaders map of a file: the model compared with this machine, and with the rules of older kernels.

Older kernels cannot be run here, so what is expected of them was worked out by hand from their sources.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fipsmanifest.inspect import memory
from fipsmanifest.inspect.memory import EXECUTE, READ, WRITE, Load, LoadError, Space, map_file

from . import loading

PAGE = 4096
CODE, DATA = READ | EXECUTE, READ | WRITE
#: The file's first page, writable, then three of code.
BEGIN = (Load(0, 0x400000, PAGE, PAGE, DATA), Load(0x1000, 0x401000, 0x3000, 0x3000, CODE))


def shown(space: Space) -> list[tuple[int, int, int | None, int]]:
    return [(item.start, item.end, item.offset, item.flags) for item in space]


def write(path: Path, loads: tuple[Load, ...], kind: int, size: int) -> bytes:
    data = loading.program(loads, kind, size)
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    path.chmod(0o755)
    return data


@pytest.mark.parametrize("loader", ["kernel", "dynamic loader"])
def test_the_model_is_what_this_machine_maps(tmp_path: Path, loader: str) -> None:
    seen: Counter[str] = Counter()
    path = tmp_path / "program"
    for loads, kind, size in islice(loading.mutations(10), 400):
        if loader != "kernel" and not loading.reserved(loads, kind):
            continue
        data, window = write(path, loads, kind, size), loading.window_of(loads)
        try:
            if loader == "kernel":
                space: Space | None = memory.linux(loads, PAGE)
            else:
                space = memory.dynamic_loader(loads, PAGE, fixed=kind == loading.EXEC)
        except LoadError:
            space = None
        real = loading.by_kernel(path, window) if loader == "kernel" else loading.by_dynamic_loader(path, window, kind)
        if real is None:
            # It may give up where zeros are to be written behind the file's end, which the model does not know.
            seen["not loaded"] += 1
            continue
        assert space is not None, loads
        assert loading.pages(loading.expected(space, data, window)) == loading.pages(real), loads
        seen["same"] += 1
    assert seen["same"] > 200, seen


def test_a_segment_without_bytes_takes_a_page_where_the_dynamic_loader_or_an_older_kernel_maps_it(
    tmp_path: Path,
) -> None:
    loads = (*BEGIN, Load(0x5010, 0x402010, 0, 0, CODE))
    data, window = write(tmp_path / "program", loads, loading.EXEC, 0x6000), loading.window_of(loads)
    by_kernel = loading.by_kernel(tmp_path / "program", window)
    by_loader = loading.by_dynamic_loader(tmp_path / "program", window, loading.EXEC)
    assert by_kernel is not None and by_loader is not None
    assert loading.pages(by_kernel)[0x402000] == (CODE, data[0x2000:0x3000])
    assert loading.pages(by_loader)[0x402000] == (CODE, data[0x5000:0x6000])
    older = (0x402000, 0x403000, 0x5000, CODE)
    assert older in shown(memory.linux_before_6_7(loads, PAGE))
    assert not map_file(loads, (PAGE,)).contains(BEGIN[1])
    assert map_file(loads, (PAGE,)).mapped(EXECUTE) == [(0x1000, 0x4000), (0x5000, 0x6000)]


def test_older_kernels_make_zeros_behind_all_segments_so_far() -> None:
    loads = (*BEGIN, Load(0x4100, 0x406100, 0x20, 0x1000, DATA), Load(0x5000, 0x409000, 0x10, 0x10, READ))
    assert shown(memory.linux_before_6_7(loads, PAGE))[2:] == [
        (0x406000, 0x406120, 0x4000, DATA),
        (0x406120, 0x407000, None, DATA),
        (0x407000, 0x408000, None, DATA),
        (0x409000, 0x40A000, 0x5000, READ),
    ]
    # In another order, no zeros are made for the lower segment, and what follows in the file stays.
    loads = (*BEGIN, Load(0x5000, 0x409000, 0x10, 0x10, READ), Load(0x4100, 0x406100, 0x20, 0x1000, DATA))
    assert shown(memory.linux_before_6_7(loads, PAGE))[2:] == [
        (0x406000, 0x407000, 0x4000, DATA),
        (0x409000, 0x40A000, 0x5000, READ),
    ]


def test_a_kernel_kills_what_has_zeros_in_a_last_page_that_cannot_be_written() -> None:
    loads = (*BEGIN, Load(0x4000, 0x406000, 0x20, 0x40, READ))
    with pytest.raises(LoadError):
        memory.linux_before_6_7(loads, PAGE)
    assert (0x406000, 0x407000, 0x4000, READ) in shown(memory.linux(loads, PAGE))
    # The dynamic loader makes it writable for as long as that takes.
    assert (0x406020, 0x406040, None, READ) in shown(memory.dynamic_loader(loads, PAGE, fixed=True))


@pytest.mark.parametrize(
    "load",
    [
        Load(0x1008, 0x406000, 0x10, 0x10, READ),
        Load(0x1000, 0x406000, 0x10, 0x8, READ),
        Load(0x1000, 1 << 60, 0x10, 0x10, READ),
    ],
    ids=["not where its page is", "larger than its memory", "beyond all memory"],
)
def test_kernels_refuse_what_cannot_be_mapped(load: Load) -> None:
    for loader in (memory.linux, memory.linux_before_6_7):
        with pytest.raises(LoadError):
            loader((*BEGIN, load), PAGE)


def test_a_segment_of_zeros_alone_need_not_begin_on_a_page() -> None:
    # As debugging information apart from its program has it: the kernel of today maps no page of the file for it.
    loads = (Load(0, 0, 0x30C, 0x6F8, READ), Load(0, 0x1000, 0, 0x11BD, CODE), Load(0xDB8, 0x4DB8, 0, 0x280, DATA))
    found = map_file(loads, (PAGE,))
    assert len(found.spaces) == len(memory.LOADERS)
    assert all(found.contains(load) for load in loads)
    assert found.mapped(EXECUTE) == []


def test_larger_pages_take_in_what_is_around_a_segment() -> None:
    loads = (Load(0, 0x400000, 0x8000, 0x8000, CODE), Load(0x18000, 0x418000, 0x10, 0x10, READ))
    assert map_file(loads, (PAGE,)).mapped() == [(0, 0x8000), (0x18000, 0x19000)]
    assert map_file(loads, memory.PAGES["aarch64"]).mapped() == [(0, 0x20000)]
    assert map_file(loads, memory.PAGES["aarch64"]).is_executable(0x400000, 0, 0x8000)
    # The second segment begins within the first one's page of 64 KiB.
    near = (loads[0], Load(0x18000, 0x408000, 0x10, 0x10, READ))
    assert map_file(near, (PAGE,)).is_executable(0x400000, 0, 0x8000)
    assert not map_file(near, memory.PAGES["aarch64"]).is_executable(0x400000, 0, 0x8000)


def test_only_code_that_cannot_be_written_runs_as_it_is() -> None:
    for flags, runs in ((CODE, True), (EXECUTE, True), (CODE | WRITE, False), (READ, False)):
        found = map_file((BEGIN[0], Load(0x1000, 0x401000, 0x3000, 0x3000, flags)), (PAGE,))
        assert found.is_executable(0x401100, 0x1100, 0x2000) is runs
    found = map_file(BEGIN, (PAGE,))
    # Other bytes, or more of them than are mapped.
    assert not found.is_executable(0x401100, 0x1101, 0x2000)
    assert not found.is_executable(0x401100, 0x1100, 0x3000)
    assert not memory.EMPTY.is_executable(0, 0, 1)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, PAGE - 1), st.integers(1, 0x3000), st.integers(0, 0x3000)),
        min_size=1,
        max_size=6,
    )
)
def test_all_loaders_agree_on_segments_that_share_no_page(layout: list[tuple[int, int, int, int]]) -> None:
    # As linkers lay them out: in order, each on pages of its own, zeros only where they can be written.
    loads, page = [], 0
    for number, (gap, within, size, zeros) in enumerate(layout):
        address = (page + gap) * PAGE + within
        last = number == len(layout) - 1
        loads.append(Load(number * 0x10000 + within, address, size, size + zeros * last, DATA if last else CODE))
        page = -(-(address + loads[-1].memory) // PAGE)
    found = map_file(tuple(loads), (PAGE,))
    assert len(found.spaces) == len(memory.LOADERS)
    assert all(found.contains(load) for load in loads)
    assert all(found.is_executable(load.address, load.offset, load.size) for load in loads[:-1])


def test_a_segment_in_front_of_one_with_higher_addresses_may_have_bytes_of_the_file_where_zeros_should_be() -> None:
    # Up to Linux 6.6, zeros are made behind the highest address of the file's bytes so far, and no lower one.
    high, low = Load(0x6000, 0x500000, PAGE, PAGE, DATA), Load(0x5000, 0x480000, 0x800, 0x900, DATA)
    assert map_file((*BEGIN, low, high), (PAGE,)).contains(low)
    found = map_file((*BEGIN, high, low), (PAGE,))
    assert (0x480000, 0x481000, 0x5000, DATA) in shown(found.spaces[0])
    assert not found.contains(low)
