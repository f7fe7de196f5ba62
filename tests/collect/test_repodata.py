"""Hostile lists of packages: bounded memory and time whatever the XML is made of, and one reading of each entry."""

from __future__ import annotations

import gzip
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fipsmanifest.collect import repodata
from fipsmanifest.errors import Refused

COMMON = "http://linux.duke.edu/metadata/common"
HEAD = f'<metadata xmlns="{COMMON}" packages="1">'.encode()
MEBIBYTES = 20
_BLOCK = 1 << 16

Shape = Callable[[], Iterator[bytes]]


def _numbered(form: str) -> Iterator[bytes]:
    for number in itertools.count(0, 256):
        yield b"".join((form % one).encode() for one in range(number, number + 256))


def _endless(start: bytes, part: bytes) -> Iterator[bytes]:
    yield start
    yield from itertools.repeat(part * (_BLOCK // len(part)))


SHAPES: dict[str, Shape] = {
    "depth": lambda: _endless(b"", b"<a>"),
    "depth inside a package": lambda: _endless(b"<package><name>", b"<a>"),
    "one attribute": lambda: _endless(b'<a b="', b"x"),
    "attributes": lambda: itertools.chain([b"<a"], _numbered(' b%d=""')),
    "namespaces of one element": lambda: itertools.chain([b"<a"], _numbered(' xmlns:n%d="u"')),
    "namespaces of many elements": lambda: _numbered('<a xmlns:n%d="u"/>'),
    "addresses of namespaces": lambda: _numbered('<a xmlns="u%d"/>'),
    "element names": lambda: _numbered("<n%d/>"),
    "attribute names": lambda: _numbered('<a n%d="1"/>'),
    "one name": lambda: _endless(b"<", b"n"),
    "comment": lambda: _endless(b"<!--", b"x"),
    "processing instruction": lambda: _endless(b"<?a ", b"x"),
    "processing instructions": lambda: _numbered("<?a%d?>"),
    "text": lambda: _endless(b"<a>", b"x"),
    "text of a value": lambda: _endless(b"<package><name>", b"x"),
    "CDATA": lambda: _endless(b"<package><name><![CDATA[", b"x"),
    "character references": lambda: _endless(b"<package><name>", b"&#65;"),
    "long namespace, many attributes": lambda: itertools.chain(
        [b'<x xmlns:p="' + b"u" * 8000 + b'">'],
        itertools.repeat(b"<a " + b" ".join(b'p:a%d=""' % n for n in range(900)) + b"/>"),
    ),
    "entry without end": lambda: _endless(b"<package>", b"<other>x</other>"),
}

_READ = """
import resource, sys
from pathlib import Path
from fipsmanifest.collect import repodata
from fipsmanifest.errors import Refused
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
try:
    primary = repodata.Primary("p", "sha256:" + "0" * 64, None, None, None)
    list(repodata.read_primary(Path(sys.argv[1]), primary, "a list"))
except Refused as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error.message)
"""


@pytest.mark.parametrize("shape", SHAPES)
def test_a_hostile_list_is_refused_in_bounded_memory_and_time(shape: str, tmp_path: Path) -> None:
    path = tmp_path / "primary.xml.gz"
    with gzip.open(path, "wb", 1) as file:
        size = file.write(HEAD)
        for part in SHAPES[shape]():
            if size > MEBIBYTES << 20:
                break
            size += file.write(part)
    done = subprocess.run([sys.executable, "-c", _READ, path], capture_output=True, text=True, check=False, timeout=120)
    grown, _, message = done.stdout.partition(" ")
    assert message.startswith("a list is not valid repository metadata:"), done.stderr
    assert int(grown) < 14 << 10, f"{grown} KiB"


def entry(**changes: str) -> str:
    """A package as createrepo_c writes one; ``changes`` replace a child."""
    children = {
        "name": "<name>kubelet</name>",
        "arch": "<arch>x86_64</arch>",
        "version": '<version epoch="0" ver="1.21.3" rel="0"/>',
        "checksum": f'<checksum type="sha256" pkgid="YES">{"0" * 64}</checksum>',
        "size": '<size package="10" installed="20" archive="30"/>',
        "location": '<location href="a.rpm"/>',
    } | changes
    return f'<package type="rpm">{"".join(children.values())}</package>'


def packages(tmp_path: Path, body: str, head: bytes = HEAD, names: set[str] | None = None) -> list[repodata.Package]:
    return listed(tmp_path, head + body.encode() + b"</metadata>", names)


def listed(tmp_path: Path, data: bytes, names: set[str] | None = None) -> list[repodata.Package]:
    path = tmp_path / "primary.xml"
    path.write_bytes(data)
    primary = repodata.Primary("p", "sha256:" + "0" * 64, None, None, None)
    return list(repodata.read_primary(path, primary, "a list", names))


def test_an_entry_is_read_as_it_is_written(tmp_path: Path) -> None:
    (found,) = packages(tmp_path, entry())
    assert (found.nvr, found.architecture, found.href) == ("kubelet-1.21.3-0", "x86_64", "a.rpm")
    assert (found.epoch, found.checksum, found.size) == (0, "sha256:" + "0" * 64, 10)


@pytest.mark.parametrize(
    "body",
    [
        entry(name="<name>kube<b>-</b>let</name>"),
        entry(more="<name>kubeadm</name>"),
        entry(name=f'<x:name xmlns:x="{COMMON}">kubelet</x:name>'),
        entry(more='<name xmlns="urn:other">kubeadm</name>'),
        entry(more="<format><name>kubeadm</name></format>"),
        entry().replace('type="rpm"', 'type="pattern"'),
        entry().replace('type="rpm"', ""),
        entry().replace("<package ", '<package xmlns="urn:other" '),
        entry(location='<location href="a/%2e%2e/%2e%2e/b.rpm"/>'),
        entry(location='<location href="a%2f..%2fb.rpm"/>'),
        entry(location='<location href="a&#10;b.rpm"/>'),
        entry(location='<location xml:base="https://evil.example/" href="b.rpm"/>'),
        entry(name=f"<name>{'k' * 5000}</name>"),
    ],
)
def test_an_entry_that_readers_could_read_differently_is_refused(tmp_path: Path, body: str) -> None:
    with pytest.raises(Refused):
        packages(tmp_path, body)


def test_an_entry_of_another_package_is_skipped_whatever_is_wrong_with_it(tmp_path: Path) -> None:
    other = entry(name="<name>old</name>", checksum='<checksum type="md5" pkgid="YES">0</checksum>')
    body = other + entry()
    assert [one.name for one in packages(tmp_path, body, names={"kubelet"})] == ["kubelet"]
    with pytest.raises(Refused, match="not a SHA-256"):
        packages(tmp_path, body)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'<!DOCTYPE m [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + HEAD + b"&b;</metadata>", "document type"),
        (b'<!DOCTYPE m SYSTEM "file:///etc/passwd">' + HEAD + b"</metadata>", "document type"),
        (HEAD + b"&undefined;</metadata>", "undefined entity"),
        (b'<?xml version="1.0" encoding="iso-8859-1"?>' + HEAD + b"</metadata>", "encoding"),
        (b'<?xml version="1.0" encoding="UTF-7"?>' + HEAD + b"</metadata>", "encoding"),
        ((HEAD + b"</metadata>").decode().encode("utf-16"), "encoding"),
        ((HEAD + b"</metadata>").decode().encode("utf-16-le"), "encoding"),
        (b"", "no element found"),
        (HEAD, "no element found"),
        (HEAD + b"</metadata><metadata/>", "junk after document element"),
    ],
)
def test_what_is_not_a_plain_document_in_utf_8_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(Refused, match=said):
        listed(tmp_path, data)


def test_a_byte_order_mark_and_a_declaration_of_utf_8_are_accepted(tmp_path: Path) -> None:
    data = b'\xef\xbb\xbf<?xml version="1.0" encoding="UTF-8"?>' + HEAD + entry().encode() + b"</metadata>"
    assert len(listed(tmp_path, data)) == 1
