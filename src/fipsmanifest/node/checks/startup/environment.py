"""What a component's environment and the loader's files (ld.so(8)) make of its program."""

import contextlib
import errno
import fnmatch
import itertools
import posixpath
import re
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

from ....trust.text import visible
from ... import tree
from ...formats import libraries
from ...result import FAIL, NOT_APPLICABLE, UNKNOWN, Node, Result
from .. import variables
from .programs import Programs
from .results import result

_PRELOAD = "/etc/ld.so.preload"
_CACHE = "/etc/ld.so.cache"
_SEARCHED = ("/etc/ld.so.conf", "/etc/ld.so.conf.d")
_MAX_CACHE = 2 * 1024 * 1024
_MAX_PRELOAD = 64 * 1024
_MAX_DIRECTORIES = 100
# What runc, the kubelet and containerd may load beside the C library.
_NEEDED = re.compile(
    r"lib(?:seccomp|btrfs|devmapper|selinux|systemd|udev|cap|gcc_s|crypto|ssl|pcre|pcre2-8|blkid|uuid)\.so[0-9.]*\Z"
)
# Searched before these, by what the processor can: since glibc 2.33, and until 2.36 (ld.so(8)).
_BY_PROCESSOR = ("glibc-hwcaps", "tls", "haswell", "x86_64", "avx512_1", "atomics")
_SERVICES = "/etc/nsswitch.conf"
_DATABASE = re.compile(r"(?m)^[ \t]*[a-z]+:([^#\n]*)")
# Those of glibc, systemd and Enterprise Linux, and of directories and clouds that are usual there.
_KNOWN_SERVICE = re.compile(
    r"(?:files|db|dns|compat|nis|nisplus|hesiod|systemd|myhostname|mymachines|resolve|sss|altfiles|winbind|wins|ldap"
    r"|mdns[46]?(?:_minimal)?|libvirt(?:_guest)?|(?:cache_)?oslogin|cache|extrausers|usrfiles|vas[34]|centrifydc|lsass)\Z"
)
_FEWER = "Remove directories from /etc/ld.so.conf that nothing needs, and run ldconfig."
_INCLUDED = re.compile(r"(?m)^[ \t]*include[ \t]+(.+)")
_ADVICE = "Remove {} there, start the service again, and find out who set it."


def judge(
    subject: str, environment: Dict[str, Optional[str]], path: str, component: Optional[str], programs: Programs
) -> List[Result]:
    """Return what the environment of a component's program changes; ``None`` is a value that is not known."""
    found = []
    for name in sorted(environment):
        value = environment[name]
        status = variables.status_of(name, value)
        if name == "GODEBUG" and status == FAIL and not programs.has_mode:
            status = NOT_APPLICABLE
        if status is None:
            continue
        code = {FAIL: "environment", UNKNOWN: "environment", NOT_APPLICABLE: "environment-noted"}[status]
        actual = "{}={}".format(name, value) if value is not None else "{} comes from elsewhere".format(name)
        advice = "" if status == NOT_APPLICABLE else _ADVICE.format(visible(name))
        expected = None if status == NOT_APPLICABLE else "no {}".format(name)
        found.append(
            result(subject + " (environment)", status, expected, actual, code, path, advice, component=component)
        )
    return found


def preloaded(node: Node) -> List[Result]:
    """Return the libraries that /etc/ld.so.preload injects into every program of the node (ld.so(8))."""
    try:
        text = tree.read_small(node.root, _PRELOAD, _MAX_PRELOAD + 1)
    except FileNotFoundError:
        return []
    except (OSError, tree.NotRegular):
        return [result(_PRELOAD, UNKNOWN, "no libraries", "unreadable", "preload", _PRELOAD, "Run it as root.")]
    if len(text) > _MAX_PRELOAD:
        actual = "larger than {} bytes".format(_MAX_PRELOAD)
        return [result(_PRELOAD, UNKNOWN, "no libraries", actual, "preload", _PRELOAD, "Empty it, or remove it.")]
    found = re.sub(r"#.*", "", text).replace(":", " ").split()
    if not found:
        return []
    advice = "Empty it, start the node again, and find out who injects code into its programs."
    return [result(_PRELOAD, FAIL, "no libraries", " ".join(found), "preload", _PRELOAD, advice)]


def redirected(node: Node) -> List[Result]:
    """Return what makes the loader find another C library before the operating system's (ld.so(8), ldconfig(8))."""
    candidates: List[str] = []
    unread: List[Result] = []
    try:
        cache = tree.read_small(node.root, _CACHE, _MAX_CACHE + 1)
        if len(cache) > _MAX_CACHE:
            return [
                result(_CACHE, UNKNOWN, None, "larger than {} bytes".format(_MAX_CACHE), "library-path", _CACHE, _FEWER)
            ]
        candidates = libraries.cached_libraries(cache)
    except FileNotFoundError:
        pass
    except (OSError, tree.NotRegular):
        return [result(_CACHE, UNKNOWN, "readable", "unreadable", "library-path", _CACHE, "Run it as root.")]
    searched, doubts = _searched(node)
    for path in dict.fromkeys(doubts):
        unread.append(result(path, UNKNOWN, "readable", "not read whole", "library-path", path, _FEWER))
    for directory in [*searched, *_by_processor(node)]:
        try:
            candidates += [posixpath.join(directory, name) for name in tree.list_names(node.root, directory)]
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                advice = "Remove what is not needed there, or run as root."
                told = str(error.strerror)
                unread.append(result(directory, UNKNOWN, "readable", told, "library-path", _CACHE, advice))
    found = [one for one in candidates if libraries.is_other_library(one)]
    if not found:
        return unread + _hidden_libraries(node, candidates)
    advice = "Remove it, run ldconfig, start the node again, and find out who put it there."
    actual = ", ".join(list(dict.fromkeys(found))[:8])
    return [result("ld.so.cache", FAIL, "the operating system's C library", actual, "library-path", _CACHE, advice)]


def _hidden_libraries(node: Node, candidates: Sequence[str]) -> List[Result]:
    """Return a doubt where a library may be found before the operating system's one that runc or a daemon loads.

    What runc loads is not seen on a running node: it ends at once.
    """
    others = [one for one in candidates if _NEEDED.match(posixpath.basename(one)) and not libraries.SYSTEM.match(one)]
    hiding = [
        one for one in dict.fromkeys(others) if any(_exists(node, base, one) for base in ("/usr/lib64", "/lib64"))
    ]
    if not hiding:
        return []
    advice = "Remove its directory from /etc/ld.so.conf, run ldconfig, and give it to the programs that need it alone."
    actual, expected = ", ".join(hiding[:8]), "the operating system's libraries"
    return [result("ld.so.cache", UNKNOWN, expected, actual, "library-path", _CACHE, advice)]


def services(node: Node) -> Iterator[Result]:
    """Return a doubt where the name service has a module of its own: the kubelet and containerd load it (nss(5)).

    On a running node the code of their processes is compared.
    """
    text = ""
    with contextlib.suppress(OSError, tree.NotRegular):
        text = "" if node.live else tree.read_small(node.root, _SERVICES, _MAX_PRELOAD)
    words = re.sub(r"\[[^][\n]*\]", " ", " ".join(_DATABASE.findall(text))).split()
    others = [one for one in dict.fromkeys(words) if not _KNOWN_SERVICE.match(one)]
    if others:
        advice = "Remove it there, or inspect its library: components of the release load it."
        actual, expected = ", ".join(others[:8]), "the operating system's name services"
        yield result(_SERVICES, UNKNOWN, expected, actual, "library-path", _SERVICES, advice)


def _exists(node: Node, base: str, path: str) -> bool:
    with contextlib.suppress(OSError):
        tree.resolve(node.root, posixpath.join(base, posixpath.basename(path)))
        return True
    return False


def _by_processor(node: Node) -> List[str]:
    """Return the directories below the system's that the loader searches first on some processors."""
    found = [posixpath.join(base, name) for base in ("/usr/lib64", "/lib64") for name in _BY_PROCESSOR]
    for directory in found:  # grows meanwhile
        with contextlib.suppress(OSError):
            names = tree.list_names(node.root, directory) if len(found) < _MAX_DIRECTORIES else ()
            found += [posixpath.join(directory, name) for name in names if "." not in name]
    return found


def _searched(node: Node) -> Tuple[List[str], List[str]]:
    """Return the directories that ldconfig is configured to search, and what of its configuration is not read whole."""
    paths, doubts = [_SEARCHED[0]], []
    with contextlib.suppress(OSError):
        paths += [posixpath.join(_SEARCHED[1], name) for name in tree.list_names(node.root, _SEARCHED[1])]
    words: List[str] = []
    for path in itertools.islice(paths, _MAX_DIRECTORIES):  # grows meanwhile
        with contextlib.suppress(OSError, tree.NotRegular):
            text = tree.read_small(node.root, path, _MAX_PRELOAD + 1)
            doubts += [path] if len(text) > _MAX_PRELOAD else []
            text = re.sub(r"#.*", "", text)
            words += re.split(r"[\s,:]+", text)
            # "include" takes patterns of file names; those of the usual directory are read already.
            for pattern in " ".join(_INCLUDED.findall(text)).split():
                directory, form = posixpath.split(posixpath.join(_SEARCHED[0], "..", pattern))
                directory = posixpath.normpath(directory)
                if re.search(r"[*?[]", directory):
                    doubts.append(path)
                elif directory != _SEARCHED[1]:
                    with contextlib.suppress(OSError):
                        names = fnmatch.filter(tree.list_names(node.root, directory), form)
                        named = [posixpath.join(directory, name) for name in names]
                        paths += [one for one in named if one not in paths]
    found = [one for one in dict.fromkeys(words) if one.startswith("/")]
    doubts += [_SEARCHED[0]] if len(paths) > _MAX_DIRECTORIES or len(found) > _MAX_DIRECTORIES else []
    return found[:_MAX_DIRECTORIES], doubts
