"""repodata against createrepo_c's own reader: a list that we accept holds the same packages for both.

We may refuse more than createrepo_c does. The inputs follow from ``FIPSMANIFEST_FUZZ_SEED`` alone; ``make fuzz`` tries
many more. createrepo_c runs in a process of its own, since it can end it.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from fipsmanifest.collect import repodata
from fipsmanifest.errors import Refused

from .mutate import mutated

SECONDS = float(os.environ.get("FIPSMANIFEST_FUZZ_SECONDS", "1"))
SEED = os.environ.get("FIPSMANIFEST_FUZZ_SEED", "1")
LISTS = round(400 * SECONDS)

COMMON = "http://linux.duke.edu/metadata/common"
RPM = "http://linux.duke.edu/metadata/rpm"

_PEER = """
import json, sys
import createrepo_c
for path in sys.stdin.read().split():
    found = []
    def take(p):
        found.append([p.name, int(p.epoch or 0), p.version, p.release, p.arch, p.location_href])
        found[-1] += [p.checksum_type, p.pkgId, p.size_package, p.location_base]
    try:
        createrepo_c.xml_parse_primary(path, pkgcb=take, warningcb=lambda *_: True, do_files=False)
    except Exception as error:
        found = None
    print(json.dumps(found))
"""

#: Words that replace, or are put into, a document: what two readers could take for different things.
_PARTS = (
    "<name>kubeadm</name>",
    "<name/>",
    "<!-- x -->",
    "<?x y?>",
    "<![CDATA[x]]>",
    "&#107;",
    "&amp;",
    " ",
    "\n",
    '<x:name xmlns:x="urn:x">y</x:name>',
    '<name xmlns="urn:x">y</name>',
    f'<x:name xmlns:x="{COMMON}">y</x:name>',
    f'<name xmlns="{RPM}">y</name>',
    "<format><rpm:license>x</rpm:license><location href='z'/></format>",
    "<other><name>z</name></other>",
    '<location href="b.rpm"/>',
    '<location href="../b.rpm"/>',
    '<location xml:base="https://x.example/" href="b.rpm"/>',
    '<location base="x" href="b.rpm"/>',
    '<version epoch="1" ver="2" rel="3"/>',
    f'<checksum type="sha256">{"1" * 64}</checksum>',
    f'<checksum type="sha512">{"1" * 128}</checksum>',
    '<size package="11"/>',
    "</package><package>",
    '</package><package type="rpm">',
    "<package>",
    "</package>",
    "<metadata>",
    "</metadata>",
    'xmlns="urn:x"',
    f'xmlns:q="{COMMON}"',
    'type="rpm"',
    'epoch="9"',
    "q:",
    "xml:",
)

#: Those that leave most documents well-formed where they are put between two tags.
_WHOLE = tuple(one for one in _PARTS if one.endswith(">") and not one.startswith(("</", "<package", "<metadata")))


def document(numbers: random.Random) -> bytes:
    """Return a list of one to three packages with up to five changes."""
    entries = "".join(
        f'<package type="rpm">\n  <name>{numbers.choice(("kubelet", "kubeadm"))}</name>\n  <arch>x86_64</arch>\n'
        f'  <version epoch="{numbers.choice("01")}" ver="1.21.3" rel="{numbers.choice("01")}"/>\n'
        f'  <checksum type="sha256" pkgid="YES">{numbers.choice("0123") * 64}</checksum>\n'
        f'  <size package="10" installed="20" archive="30"/>\n  <location href="{numbers.choice("abc")}.rpm"/>\n'
        "  <format>\n    <rpm:license>ASL</rpm:license>\n    <file>/usr/bin/x</file>\n  </format>\n</package>\n"
        for _ in range(numbers.randrange(1, 4))
    )
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<metadata xmlns="{COMMON}" xmlns:rpm="{RPM}" packages="1">\n{entries}</metadata>\n'
    )
    places = [at for at, one in enumerate(text) if one in "<> "]
    for _ in range(numbers.choice((0, 1, 1, 1, 2, 5))):
        at = min(numbers.choice(places) + numbers.randrange(2), len(text))
        text = (
            text[:at]
            + (numbers.choice(_PARTS) if numbers.random() < 0.5 else numbers.choice(_WHOLE))
            + text[at + numbers.choice((0, 0, 0, 1, 8)) :]
        )
    data = text.encode()
    return mutated(data, str(numbers.random())) if numbers.random() < 0.3 else data


def ours(path: Path) -> list[list[object]] | None:
    primary = repodata.Primary("p", "sha256:" + "0" * 64, None, None, None)
    try:
        found = list(repodata.read_primary(path, primary, "a list"))
    except Refused:
        return None
    return [
        [
            one.name,
            one.epoch,
            one.version,
            one.release,
            one.architecture,
            one.href,
            *one.checksum.split(":", 1),
            one.size or 0,
        ]
        for one in found
    ]


def comparable(row: list[object]) -> list[object]:
    """Return createrepo_c's row as ours has it: digests in lower case and without blanks around them."""
    *before, algorithm, digest, size, base = row
    assert base is None
    return [*before, str(algorithm).lower(), str(digest).strip().lower(), size]


@pytest.mark.fuzz
@pytest.mark.timeout(SECONDS * 20 + 120)
def test_what_is_accepted_is_what_createrepo_c_reads(tmp_path: Path) -> None:
    paths = []
    for number in range(LISTS):
        paths.append(tmp_path / f"{number}.xml")
        paths[-1].write_bytes(document(random.Random(f"{SEED}:{number}")))
    done = subprocess.run(
        [sys.executable, "-c", _PEER], input="\n".join(map(str, paths)), capture_output=True, text=True, check=True
    )
    counts: Counter[str] = Counter()
    for path, line in zip(paths, done.stdout.splitlines(), strict=True):
        mine, peer = ours(path), json.loads(line)
        if mine is None:
            counts["refused by both" if peer is None else "refused by us alone"] += 1
            continue
        if peer is None:  # libxml2 is stricter about the form of the XML declaration; nothing is read differently
            counts["refused by createrepo_c alone"] += 1
            continue
        assert mine == [comparable(row) for row in peer], path
        counts["read alike"] += 1
    sys.stdout.write(json.dumps({"peer": "createrepo_c", "seed": SEED, **counts}) + "\n")
    assert counts["read alike"] > LISTS // 10
    assert counts["refused by createrepo_c alone"] <= LISTS // 100
