"""Derive the shipped table's rows again from trusted toolchains.

``python tests/inspect/derive_modules.py GOROOT...`` prints the rows of ``modules.toml`` that these toolchains carry,
in the table's own form, with the releases that carry each. A test runs the same function over one toolchain of each
release and compares.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from fipsmanifest.inspect.learn import Provenance, learn
from fipsmanifest.inspect.table import Row, emit

#: BoringSSL commit -> tag. The commit is what the Dockerfile beside the object builds from; the tag is BoringSSL's
#: own, named in its ``FIPS.md``.
TAGS = {
    "ae223d6138807a13006342edfeef32e813246b39": "fips-20190808",
    "853ca1ea1168dff08011e5d42d94609cc0ca2e27": "fips-20210429",
    "0c6f40132b828e92ba365c6b7680e32820c63fa7": "fips-20220613",
}
_RPM_NAMES = {"amd64": "x86_64", "arm64": "aarch64"}


def derive(goroots: Iterable[Path]) -> list[Row]:
    """Return the rows of all module objects of some toolchains, oldest module first, without certificates."""
    rows: dict[str, Row] = {}
    for goroot in goroots:
        release = re.match(r"go1\.\d+", (goroot / "VERSION").read_text())
        assert release is not None
        for row in _rows(goroot):
            known = rows.setdefault(row.id, row)
            # Two releases that call themselves by one commit must carry the same module.
            assert known == replace(row, seen_in=known.seen_in)
            rows[row.id] = replace(known, seen_in=(*known.seen_in, release[0]))
    return sorted(rows.values(), key=lambda row: (row.tag, row.architecture != "x86_64"))


def _rows(goroot: Path) -> Iterator[Row]:
    directory = goroot / "src/crypto/internal/boring"
    (commit,) = {word for word in re.findall(r"[0-9a-f]{40}", (directory / "Dockerfile").read_text()) if word in TAGS}
    tag = TAGS[commit]
    for path in sorted(directory.glob("syso/goboringcrypto_linux_*.syso")):
        architecture = _RPM_NAMES[path.stem.rpartition("_")[2]]
        name = f"boringcrypto-{tag.removeprefix('fips-')}-{architecture}"
        yield learn(path, Provenance(name, commit=commit, tag=tag))


if __name__ == "__main__":
    sys.stdout.write(emit(derive(map(Path, sys.argv[1:]))))
