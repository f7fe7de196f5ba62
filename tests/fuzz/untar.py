"""What unpackers make of a tar: GNU tar, libarchive, Go's archive/tar, and this project."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from examples.upstream import goprograms

from fipsmanifest.archive.layers import merge, read_layer
from fipsmanifest.archive.limits import Limits
from fipsmanifest.archive.member import Member, Rejected
from fipsmanifest.archive.tar import entries, members
from fipsmanifest.errors import Refused
from fipsmanifest.model.artifact import Blob
from tests.support.registry import OCI_LAYER, make_image

#: The digest of no bytes.
EMPTY = hashlib.sha256().hexdigest()

LIMITS = Limits(members=2000, expanded=64 << 20)

#: Reads the names of tars on stdin and prints, for each, a line with its members and the error that ended it. With an
#: argument, writes a tar in that format.
_GO_MAIN = """\
package main

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"strings"
	"time"
)

type member struct {
	Name, Link []byte
	Type       byte
	Size       int64
	Digest     string
}

func list(path string) (found []member, failed string) {
	file, err := os.Open(path)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	reader := tar.NewReader(file)
	for {
		header, err := reader.Next()
		if err == io.EOF {
			return found, ""
		}
		if err != nil {
			return found, err.Error()
		}
		digest := sha256.New()
		size, err := io.Copy(digest, io.LimitReader(reader, 1<<27))
		if err != nil {
			return found, err.Error()
		}
		found = append(found, member{[]byte(header.Name), []byte(header.Linkname), header.Typeflag, size,
			hex.EncodeToString(digest.Sum(nil))})
	}
}

func write(format tar.Format) {
	writer := tar.NewWriter(os.Stdout)
	defer writer.Close()
	data := []byte("written by Go")
	name := "a"
	if format != tar.FormatUSTAR {
		name = "ü/" + strings.Repeat("n", 130)
	}
	headers := []tar.Header{
		{Typeflag: tar.TypeDir, Name: "d/"},
		{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data)), Uid: 1 << 20},
		{Typeflag: tar.TypeReg, Name: "d/" + strings.Repeat("m", 98), Size: int64(len(data))},
		{Typeflag: tar.TypeSymlink, Name: "s", Linkname: name},
		{Typeflag: tar.TypeLink, Name: "h", Linkname: name},
	}
	for _, header := range headers {
		header.Mode, header.ModTime, header.Format = 0o755, time.Unix(1700000000, 0), format
		if format == tar.FormatPAX {
			header.PAXRecords = map[string]string{"SCHILY.xattr.user.x": "\\x00\\x01"}
		}
		if err := writer.WriteHeader(&header); err != nil {
			panic(err)
		}
		if header.Size > 0 {
			writer.Write(data)
		}
	}
}

func main() {
	if len(os.Args) > 1 {
		write(map[string]tar.Format{"ustar": tar.FormatUSTAR, "pax": tar.FormatPAX, "gnu": tar.FormatGNU}[os.Args[1]])
		return
	}
	lines := bufio.NewScanner(os.Stdin)
	output := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		found, failed := list(lines.Text())
		output.Encode(map[string]any{"Members": found, "Failed": failed})
	}
}
"""

_TYPES = {"0": "file", "7": "file", "S": "file", "1": "hardlink", "2": "symlink", "5": "directory", "D": "directory"}
_TYPES |= dict.fromkeys("346", "special")


@dataclass(frozen=True)
class Entry:
    """A member as a reader sees it."""

    path: str
    kind: str
    size: int = 0
    digest: str = ""
    target: str = ""


def place(name: str) -> str:
    """Return a member's name without what does not change where it is unpacked."""
    return "/" + "/".join(part for part in name.split("/") if part not in ("", "."))


def ours(data: bytes) -> list[Entry]:
    """Return what this project reads. Raises `Refused`."""
    return [_entry(item) for item in members(io.BytesIO(data), root="/", archive="fuzz.tar", limits=LIMITS)]


def _entry(item: Member) -> Entry:
    content = b""
    if item.content is not None:
        content = item.content.read()
        assert len(content) == item.size
    digest = hashlib.sha256(content).hexdigest() if item.type == "file" else ""
    return Entry(item.path, item.type, item.size, digest, item.target or "")


def behind(data: bytes) -> list[Entry] | None:
    """Return what is read behind the last member that is refused; None where reading ends with the refusal."""
    found: list[Entry] | None = None
    try:
        for item in entries(io.BytesIO(data), root="/", archive="fuzz.tar", limits=LIMITS):
            if isinstance(item, Rejected):
                found = []
            elif found is not None:
                found.append(_entry(item))
    except Refused:
        return None
    return found


def go(paths: Sequence[Path]) -> Iterator[tuple[list[Entry], str]]:
    """Return for each tar what Go's archive/tar reads, and the error that ended it."""
    done = subprocess.run([_go_program()], input="\n".join(map(str, paths)), capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        result = json.loads(line)
        yield [*_go_entries(result["Members"] or ())], result["Failed"]


def written_by_go(form: str) -> bytes:
    """Return a tar as Go's archive/tar, and so docker and containerd, write it: ``ustar``, ``pax`` or ``gnu``."""
    return subprocess.run([_go_program(), form], capture_output=True, check=True).stdout


def _go_program() -> Path:
    return goprograms.build("list-tars", main=_GO_MAIN, boring=False)


def _go_entries(found: Sequence[dict[str, object]]) -> Iterator[Entry]:
    for item in found:
        letter = chr(int(str(item["Type"])))
        name, link = (os.fsdecode(base64.b64decode(str(item[key] or ""))) for key in ("Name", "Link"))
        if letter in "gV":
            continue
        kind = _TYPES.get(letter, f"type {letter!r}")
        target = {"hardlink": place(link), "symlink": link}.get(kind, "")
        is_file = kind == "file"
        size, digest = (int(str(item["Size"])), str(item["Digest"])) if is_file else (0, "")
        yield Entry(place(name), kind, size, digest, target)


def unpacked(command: Sequence[str], path: Path) -> tuple[dict[str, str], int]:
    """Return each regular file that the command unpacks, with its digest, and the command's exit code."""
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        root = Path(directory, "root")
        root.mkdir()
        done = subprocess.run(
            [*command, "-xf", path],
            cwd=root,
            capture_output=True,
            check=False,
            timeout=60,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"LC_ALL": "C.UTF-8"},
        )
        return dict(_files(root)), done.returncode


def merged(layers: Sequence[bytes], directory: Path) -> list[tuple[str, str]]:
    """Return each file, with its digest, of the file system that this project sees in the layers. Raises `Refused`."""
    read = []
    for data in layers:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        path = directory / "layer"
        path.write_bytes(data)
        read.append(read_layer(Blob(digest, len(data), OCI_LAYER, path), digest, _seen, limits=LIMITS))
    return list(merge(read))


def _seen(member: Member) -> str | None:
    return hashlib.sha256(member.content.read()).hexdigest() if member.content else None


def by_umoci(layers: Sequence[bytes], directory: Path) -> tuple[dict[str, str], bool]:
    """Return each file, with its digest, that umoci unpacks of the layers, and whether it came to their end."""
    make_image(directory / "layout", "v1", {"amd64": layers}, index=False)
    done = subprocess.run(
        ["umoci", "unpack", "--rootless", "--image", directory / "layout:v1", directory / "bundle"],
        capture_output=True,
        check=False,
    )
    found = dict(_files(directory / "bundle/rootfs"))
    shutil.rmtree(directory)
    return found, done.returncode == 0


def _files(root: Path) -> Iterator[tuple[str, str]]:
    for directory, _, names in os.walk(root):
        for name in names:
            path = Path(directory, name)
            if stat.S_ISREG(path.lstat().st_mode):
                yield "/" + str(path.relative_to(root)), hashlib.sha256(path.read_bytes()).hexdigest()


GNU_TAR = ("tar", "--no-same-owner")
BSDTAR = ("bsdtar", "--no-same-owner")
