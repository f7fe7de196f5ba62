"""Files of configuration that name another build of a component, or lead to one, whatever reads them.

Many programs start others that their configuration names, and no list of them is whole. In a tree at rest, a file that
names such a build is a doubt; on a running node the processes are compared, whatever started them.
"""

import contextlib
import errno
import itertools
import os
import posixpath
import re
import stat
from typing import Dict, Iterator, List, Sequence, Set, Tuple

from ....trust.text import visible
from ... import tree
from ...result import FAIL, UNKNOWN, Node, Result
from . import shell
from .programs import OTHER, Programs
from .results import result

_DIRECTORIES = (
    *("/etc", "/usr/local/etc"),
    # Of the same kind as below /etc, where packages bring it or a service makes it: hooks of OCI runtimes
    # (oci-hooks(5)) and devices (Container Device Interface), polkit(8), kernel-install(8), dracut(8), dnf(8), rpm(8).
    *("/usr/share/containers", "/usr/local/share/containers", "/run/containers/oci", "/run/cdi", "/var/run/cdi"),
    *("/usr/share/polkit-1", "/usr/local/share/polkit-1", "/run/polkit-1", "/usr/lib/kernel", "/usr/lib/dracut"),
    *("/usr/lib/yum-plugins", "/usr/share/yum-plugins", "/usr/lib/rpm", "/usr/lib/NetworkManager"),
    *("/run/NetworkManager", "/usr/lib/networkd-dispatcher", "/usr/share/dbus-1/services", "/usr/lib/dnf-plugins"),
    *("/usr/lib/binfmt.d", "/usr/local/lib/binfmt.d", "/usr/lib/tmpfiles.d", "/usr/local/lib/tmpfiles.d"),
)
_OF_PYTHON = ("/usr/lib", "/usr/lib64")
_PLUGINS = "site-packages/dnf-plugins"  # of each version of Python
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
_MAX_LINKED = 2000  # files below links
_MAX_LINKED_TOTAL = 16 * 1024 * 1024
_MAX_LINKED_DEPTH = 3
_MAX_NAMED = 500  # paths in a script
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
    seen: Dict[bytes, Tuple[str, str]] = {}
    for path, content in _texts(node, results):
        for word in dict.fromkeys(_PATH.findall(_COMMENT.sub(b"", content))):
            if len(seen) > _MAX_KNOWN:
                seen.clear()
            if word not in seen:
                seen[word] = _build(programs, word)
            shown, component = seen[word]
            if shown and path not in judged and shown not in told:
                verb = "leads to" if shown == path or os.fsencode(shown) != word else "names"
                actual = "{} {}, another build of {}".format(verb, visible(shown), component)
                results.append(result(path, UNKNOWN, None, actual, "other-build", path, _ADVICE, component=component))
                break
    return results


def _build(programs: Programs, word: bytes) -> Tuple[str, str]:
    """Return another build at a path, or in the script there, and its component; empty for any other file, or none."""
    path = posixpath.normpath(word.decode("utf-8", "surrogateescape"))
    component = _component(programs, path)
    if component:
        return path, component
    script = programs.node_files.script(path) or ""
    for one in itertools.islice(dict.fromkeys(_PATH.findall(_in_script(script, path))), _MAX_NAMED):
        named = posixpath.normpath(one.decode("utf-8", "surrogateescape"))
        component = _component(programs, named)
        if component:
            return named, component
    return "", ""


def _component(programs: Programs, path: str) -> str:
    if not programs.node_files.is_file(path) or programs.find(path).status != OTHER:
        return ""
    return programs.build_of(path) or ""


def _in_script(script: str, path: str) -> bytes:
    return _COMMENT.sub(b"", shell.expand(script, path).encode("utf-8", "surrogateescape")) if script else b""


def _texts(node: Node, results: List[Result]) -> Iterator[Tuple[str, bytes]]:
    """Return the text files of configuration with their content, and programs among them with their own path.

    They end with the limits on them. A link to a directory may lead to the whole node: what it leads to comes last, no
    program of it counts, and its limits are no doubt.
    """
    files, left = 0, _MAX_TOTAL
    seen: Set[bytes] = set()
    links: List[str] = []
    for path, place, size in _files(node, list(_directories(node)), _MAX_DEPTH, seen, links, results):
        files, left = files + 1, left - min(size, _MAX_SIZE)
        if files > _MAX_FILES or left < 0:
            results.append(_too_many(_DIRECTORIES[0]))
            return
        content = _read(place)
        if content.startswith(b"\x7fELF"):
            yield path, os.fsencode(path)
        elif b"\0" not in content[:1024]:
            yield path, content
    left = _MAX_LINKED_TOTAL
    for path, place, size in itertools.islice(_files(node, links, _MAX_LINKED_DEPTH, seen, links, []), _MAX_LINKED):
        left -= min(size, _MAX_SIZE)
        content = _read(place) if left > 0 else b"\0"
        if b"\0" not in content[:1024]:
            yield path, content


def _files(
    node: Node, directories: Sequence[str], most: int, seen: Set[bytes], links: List[str], results: List[Result]
) -> Iterator[Tuple[str, bytes, int]]:
    """Return the files below directories that were not ``seen``, by path, place and size; ``links`` lead to others."""
    waiting = [(one, 0) for one in directories]
    while waiting:
        directory, depth = waiting.pop()
        try:
            names = tree.list_names(node.root, directory)
        except OSError as error:
            if error.errno == errno.EFBIG:
                results.append(_too_many(directory))
            continue
        for path in itertools.filterfalse(_LISTS.__contains__, (posixpath.join(directory, name) for name in names)):
            try:
                place = tree.resolve(node.root, path)
                status = os.lstat(place)
                is_link = place != tree.resolve(node.root, path, follow_last=False)
            except OSError:
                continue
            if stat.S_ISDIR(status.st_mode):
                if is_link:
                    links.append(path)
                elif depth < most and place not in seen:
                    seen.add(place)
                    waiting.append((path, depth + 1))
            elif stat.S_ISREG(status.st_mode) and status.st_size and place not in seen:
                seen.add(place)
                yield path, place, status.st_size


def _directories(node: Node) -> Iterator[str]:
    yield from _DIRECTORIES
    for base in _OF_PYTHON:
        with contextlib.suppress(OSError):
            for name in tree.list_names(node.root, base):
                if name.startswith("python"):
                    yield posixpath.join(base, name, _PLUGINS)


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
