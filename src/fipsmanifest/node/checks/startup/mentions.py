"""Files of /etc and /usr/local/etc that name another build of a component, whatever reads them.

Many programs start others that their configuration names, and no list of them is whole. In a tree at rest, a file that
names such a build is a doubt; on a running node the processes are compared, whatever started them.
"""

import errno
import os
import posixpath
import re
import stat
from typing import Dict, Iterator, List, Sequence, Tuple

from ... import tree
from ...result import FAIL, UNKNOWN, Node, Result
from .programs import OTHER, Programs
from .results import result

_DIRECTORIES = ("/etc", "/usr/local/etc")
# What lists files of the node and starts none: SELinux' labels, certificates, rules of integrity checks; and units.
_LISTS = frozenset(
    ("/etc/selinux", "/etc/pki", "/etc/ssl", "/etc/fapolicyd", "/etc/aide.conf", "/etc/audit/rules.d", "/etc/tripwire")
    + (
        "/etc/ld.so.cache",
        "/etc/alternatives",
        "/etc/audit/audit.rules",
        "/etc/ima",
        "/etc/ld.so.conf.d",
        "/etc/systemd/system",
    )
)
_PATH = re.compile(rb"/[^\s'\"`;|&<>()\[\]{}$=:,*?\0]+")
_COMMENT = re.compile(rb"(?m)^[ \t]*[#;](?!!).*")
_MAX_FILES = 20_000
_MAX_SIZE = 256 * 1024
_MAX_TOTAL = 64 * 1024 * 1024
_MAX_DEPTH = 12
_MAX_KNOWN = 20_000  # paths that are remembered
_ADVICE = "Find out whether it starts the program, and remove that or name the release's own one."


def check(node: Node, programs: Programs, found: Sequence[Result]) -> List[Result]:
    """Return a doubt for each file that names another build; raises nothing.

    ``found`` are the results so far: a file or build that one of them has is not reported again.
    """
    if node.live:
        return []
    bad = [one for one in found if one.status in (FAIL, UNKNOWN)]
    judged = {str(one.evidence.get("path")) for one in bad}.union(one.subject for one in bad)
    told = "\n".join(str(one.actual) for one in bad)
    results: List[Result] = []
    seen: Dict[bytes, str] = {}
    for path, content in _texts(node, results):
        for word in dict.fromkeys(_PATH.findall(_COMMENT.sub(b"", content))):
            if len(seen) > _MAX_KNOWN:
                seen.clear()
            if word not in seen:
                seen[word] = _build(programs, word)
            shown = word.decode("utf-8", "backslashreplace") if seen[word] else ""
            if shown and path not in judged and shown not in told:
                actual = "names {}, another build of {}".format(shown, seen[word])
                results.append(result(path, UNKNOWN, None, actual, "other-build", path, _ADVICE, component=seen[word]))
                break
    return results


def _build(programs: Programs, word: bytes) -> str:
    """Return the component of another build at a path; empty for any other file, or none."""
    path = posixpath.normpath(word.decode("utf-8", "surrogateescape"))
    if not programs.node_files.is_file(path) or programs.find(path).status != OTHER:
        return ""
    return programs.build_of(path) or ""


def _texts(node: Node, results: List[Result]) -> Iterator[Tuple[str, bytes]]:
    """Return the text files of configuration with their content, up to the limits on them."""
    waiting, files, left = [(one, 0) for one in _DIRECTORIES], 0, _MAX_TOTAL
    while waiting:
        directory, depth = waiting.pop()
        try:
            names = tree.list_names(node.root, directory)
        except OSError as error:
            if error.errno == errno.EFBIG:
                results.append(_too_many(directory))
            continue
        for path in (posixpath.join(directory, name) for name in names):
            if path in _LISTS:
                continue
            try:
                # A link leads to a file that is read itself, or to one elsewhere that others read.
                place = tree.resolve(node.root, path, follow_last=False)
                status = os.lstat(place)
            except OSError:
                continue
            if stat.S_ISDIR(status.st_mode) and depth < _MAX_DEPTH:
                waiting.append((path, depth + 1))
            elif stat.S_ISREG(status.st_mode) and status.st_size:
                files, left = files + 1, left - min(status.st_size, _MAX_SIZE)
                if files > _MAX_FILES or left < 0:
                    results.append(_too_many(_DIRECTORIES[0]))
                    return
                content = _read(place)
                if b"\0" not in content[:1024]:
                    yield path, content


def _read(place: bytes) -> bytes:
    try:
        descriptor = tree.open_file(place)
    except (OSError, tree.NotRegular):
        return b""
    try:
        return os.read(descriptor, _MAX_SIZE)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _too_many(subject: str) -> Result:
    advice = "Remove what the node does not need there."
    actual = "more than {} files, or {} bytes of them".format(_MAX_FILES, _MAX_TOTAL)
    return result(subject, UNKNOWN, None, actual, "too-many", "", advice)
