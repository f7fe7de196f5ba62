"""Derive the shipped table's rows again from trusted toolchains.

``python tests/inspect/derive_modules.py GOROOT...`` prints the rows of ``modules.toml`` that these toolchains carry,
in the table's own form. A test runs the same function over the installed toolchain and compares.
"""

from __future__ import annotations

import re
import sys
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


def derive(goroot: Path) -> list[Row]:
    """Give the rows of all module objects of one toolchain, without releases or certificates."""
    folder = goroot / "src/crypto/internal/boring"
    (commit,) = {word for word in re.findall(r"[0-9a-f]{40}", (folder / "Dockerfile").read_text()) if word in TAGS}
    tag = TAGS[commit]
    rows = []
    for path in sorted(folder.glob("syso/goboringcrypto_linux_*.syso")):
        architecture = _RPM_NAMES[path.stem.rpartition("_")[2]]
        provenance = Provenance(f"boringcrypto-{tag.removeprefix('fips-')}-{architecture}", commit=commit, tag=tag)
        rows.append(learn(path, provenance))
    return rows


if __name__ == "__main__":
    sys.stdout.write(emit([row for argument in sys.argv[1:] for row in derive(Path(argument))]))
