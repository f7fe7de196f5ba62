"""What is accepted of a tar is what GNU tar, libarchive and Go's archive/tar unpack of it; umoci, for layers.

Whatever an unpacker makes of a tar that is accepted here, a gate has judged. ``make fuzz`` compares
``FIPSMANIFEST_FUZZ_SECONDS`` times 100 tars; a test run a few hundred. The tars follow from ``FIPSMANIFEST_FUZZ_SEED``.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Collection
from pathlib import Path, PurePosixPath

import pytest

from fipsmanifest.errors import Refused

from . import tars, untar
from .untar import Entry

COUNT = int(float(os.environ.get("FIPSMANIFEST_FUZZ_SECONDS", "3")) * 100)
SEED = os.environ.get("FIPSMANIFEST_FUZZ_SEED", "1")
BATCH = 100


@pytest.mark.fuzz
@pytest.mark.timeout(COUNT + 300)
def test_what_is_accepted_of_a_tar_is_what_every_unpacker_makes_of_it(tmp_path: Path) -> None:
    maker = tars.Maker(tars.real_tars(tmp_path))
    counted: Counter[str] = Counter()
    for start in range(0, COUNT, BATCH):
        seeds = [f"{SEED}:{number}" for number in range(start, start + BATCH)]
        findings = [
            f"tars.Maker(...).make({seed!r}): {why}" for seed, why in compare(seeds, maker, tmp_path, counted) if why
        ]
        assert not findings, "\n".join(findings)
    sys.stdout.write(json.dumps({"seed": SEED, **counted}) + "\n")
    assert counted["accepted"] > COUNT / 10
    assert counted["refused"] > COUNT / 10


@pytest.mark.fuzz
@pytest.mark.timeout(COUNT + 300)
def test_what_is_accepted_of_a_layer_is_what_umoci_unpacks(tmp_path: Path) -> None:
    maker = tars.Maker(tars.real_tars(tmp_path))
    counted: Counter[str] = Counter()
    lower = tars.member("a", b"lower a") + tars.member("d/a", b"lower d/a") + tars.header("s", kind=b"2", target="d")
    for number in range(COUNT // 6):
        seed = f"{SEED}:layer {number}"
        layers = [lower + tars.END, maker.make(seed)]
        try:
            found = untar.merged(layers, tmp_path)
        except Refused:
            counted["refused"] += 1
            continue
        files, complete = untar.by_umoci(layers, tmp_path / str(number))
        counted["accepted" if complete else "refused by umoci"] += 1
        links = {entry.path for entry in untar.ours(layers[1]) if entry.kind in ("symlink", "hardlink")}
        # Below the lower layer's link, what a runtime may put elsewhere is seen by its own path.
        aliases = {("/d" + place.removeprefix("/s"), digest) for place, digest in found if place.startswith("/s/")}
        known = {*found, *aliases}
        digests = {digest for _, digest in known} if links else set()
        unknown = {
            (place, digest)
            for place, digest in files.items()
            if digest != untar.EMPTY and digest not in digests and (place, digest) not in known
        }
        assert not unknown, f"tars.Maker(...).make({seed!r}): umoci unpacks {unknown}, and we {found}"
        if complete and not links:
            # Without root, umoci makes an empty file in place of a device, and other runtimes nothing. A file in place
            # of a directory takes away what is in that; it is judged all the same, since GNU tar leaves it there.
            devices = {entry.path for entry in untar.ours(layers[1]) if entry.kind == "special"}
            seen = {place: digest for place, digest in found if place[:3] != "/s/"}
            assert shown(seen, devices, seen) == shown(files, devices, seen), seed
    sys.stdout.write(json.dumps({"seed": SEED, **counted}) + "\n")
    assert counted["accepted"] > COUNT / 60


def shown(files: dict[str, str], devices: set[str], seen: Collection[str]) -> set[str]:
    """Return the files that are not empty, not in place of or below a device, and not below one of ``seen``."""
    return {
        place
        for place, digest in files.items()
        if digest != untar.EMPTY
        and place not in devices
        and not any(str(above) in devices or str(above) in seen for above in PurePosixPath(place).parents)
    }


def compare(seeds: list[str], maker: tars.Maker, directory: Path, counted: Counter[str]) -> list[tuple[str, str]]:
    """Return the seeds whose tars an unpacker reads in another way than this project, with what is different."""
    accepted: list[tuple[str, Path, list[Entry]]] = []
    in_part: list[tuple[str, Path, list[Entry]]] = []
    for number, seed in enumerate(seeds):
        data = maker.make(seed)
        path = directory / f"{number}.tar"
        path.write_bytes(data)
        try:
            accepted.append((seed, path, untar.ours(data)))
        except Refused:
            counted["refused"] += 1
            behind = untar.behind(data)
            if behind is not None:
                in_part.append((seed, path, behind))
    counted["accepted"] += len(accepted)
    counted["accepted in part"] += len(in_part)
    whole = [
        (seed, difference(path, found, *by_go))
        for (seed, path, found), by_go in zip(accepted, untar.go([path for _, path, _ in accepted]), strict=True)
    ]
    parts = [
        (seed, "" if failed or not found or by_go[-len(found) :] == found else f"Go reads {by_go}, and we {found} last")
        for (seed, _, found), (by_go, failed) in zip(in_part, untar.go([path for _, path, _ in in_part]), strict=True)
    ]
    return [*whole, *parts]


def difference(path: Path, found: list[Entry], by_go: list[Entry], failed: str) -> str:
    """Return what an unpacker makes of the tar at ``path`` that is not in ``found``, empty for nothing."""
    if by_go != (found[: len(by_go)] if failed else found):
        return f"Go reads {by_go} {failed}, and we {found}"
    for name, command in (("GNU tar", untar.GNU_TAR), ("bsdtar", untar.BSDTAR)):
        files, code = untar.unpacked(command, path)
        unknown = [(place, digest) for place, digest in files.items() if not judged(place, digest, found)]
        if unknown:
            return f"{name} unpacks {unknown}, and we {found}"
        missed = [entry for entry in left(found) if files.get(entry.path) != entry.digest]
        if code == 0 and missed:
            return f"{name} does not unpack {missed}"
    return ""


def judged(place: str, digest: str, found: list[Entry]) -> bool:
    """Return whether a file with this content was seen under its name, or under any where links give it others.

    An empty one holds nothing to judge: libarchive makes one of a hard link whose long target precedes its long name.
    """
    if digest == untar.EMPTY:
        return True
    links = any(entry.kind in ("symlink", "hardlink") for entry in found)
    return any(entry.kind == "file" and entry.digest == digest and (links or entry.path == place) for entry in found)


def left(found: list[Entry]) -> list[Entry]:
    """Return the files that unpacking leaves, as far as their names determine it."""
    last = {entry.path: entry for entry in found}
    if any(entry.kind in ("symlink", "hardlink") for entry in found) or any("/.." in path for path in last):
        return []
    parents = {path[:at] for path in last for at, char in enumerate(path) if char == "/"}
    return [entry for entry in last.values() if entry.kind == "file" and entry.path not in parents]
