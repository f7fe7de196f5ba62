"""Commands of units and scripts that put something in the place of what was checked, or start it in another way."""

import posixpath
import re
from typing import Iterator, Optional, Tuple

from ... import systemd
from ...result import UNKNOWN, Result
from .. import variables
from .programs import Programs
from .results import result

PLACES = (
    *systemd.SEARCH_PATH,
    *("/etc/systemd/system.conf", "/etc/systemd/system.conf.d", "/etc/sysconfig/kubelet", "/etc/default/kubelet"),
    *("/etc/ld.so.preload", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d"),
    *("/etc/containerd", "/opt/containerd", "/etc/cni", "/usr/libexec/kubernetes"),
    *("/opt/cni", "/opt/nri", "/etc/kubernetes", "/var/lib/kubelet/config.yaml", "/var/lib/kubelet/kubeadm-flags.env"),
    *("/etc/crontab", "/etc/cron.d", "/etc/cron.hourly", "/etc/cron.daily", "/etc/cron.weekly", "/etc/cron.monthly"),
    *("/var/spool/cron", "/etc/rc.local", "/etc/rc.d", "/etc/init.d", "/var/lib/containerd/plugins"),
)
"""What the loader, systemd, containerd and the kubelet read when they start."""
BINARY_FORMATS = "/proc/sys/fs/binfmt_misc/"
"""With what is written here the kernel gives programs to an interpreter."""
_START = r"(?:^|[\s/;&|('\"])"
_ENGINES = frozenset(("podman", "docker", "nerdctl"))
# What runs all the time; that a script calls kubectl is nothing to wonder at.
DAEMONS = (
    *("kubelet", "containerd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "etcd"),
)
CHANGES_ROOT = re.compile(
    _START + r"(?:chroot|nsenter|unshare|bwrap|pivot_root|switch_root)\s|\bRootDirectory=|\bBindPaths="
)
# The last word of these commands, or what follows a sign or an option, is where they write.
_WRITERS = frozenset(
    ("mount", "systemd-mount", "systemd-dissect", "unzip", "cp", "mv", "ln", "install", "rsync", "tee")
)
_WRITTEN = ("-o", "-O", "--output", "-C", "--directory")
_COMMAND = re.compile(r"[^\n;&|]+")
# What a command has that is read word by word: most have none of it.
_MAY_WRITE = re.compile(r">|-[oOC]|--output|--directory|of|mount|systemd-dissect|unzip|cp|mv|ln|install|rsync|tee")
_MAY_CONTAIN = re.compile(r"ctr|runc|podman|docker|nerdctl")
_IMAGE_END = re.compile(r"[@:]")
_REDIRECTED = re.compile(r"[0-9]?>+[ \t]*([^\s>]*)")
_BETWEEN = re.compile(r"[\s'\"()=]+")
# These write nothing, although a path is the last word of theirs.
_NO_WRITER = re.compile(
    r"\bmount\s[^\n;&|]{0,400}(?:\bremount\b|--make-)"
    r"|\btar\s+(?:-\S{1,400}\s+){0,20}?(?:-?[a-wyzA-Z]{0,9}[ct][a-wyzA-Z]{0,9}|--create)\s"
)
# What puts another version of a package in the place of the installed one.
_INSTALLS = re.compile(
    r"\b(?:dnf|yum|microdnf|rpm)\s(?=(?:[^\n;&|]{0,200}\s)?"
    r"(?:(?:local|re)?install|update|upgrade|downgrade|-(?![A-Za-z]{0,9}[qV])[A-Za-z]{0,9}[UFi][A-Za-z]{0,9})\s)[^\n;&|]{0,2000}"
)
# Another kernel, and units of an image; vendors' units merge extensions and change the root of the initramfs.
_REPLACES_ROOT = re.compile(
    r"\b(?:kexec\s+(?:-\S{1,400}\s+){0,20}(?:-l|-e|--load|--exec)|portablectl\s+(?:-\S{1,400}\s+){0,20}(?:re)?attach)\b[^\n;&|]{0,200}"
)
_MANAGER = re.compile(
    r"\bsystemctl\s+(?!(?:-\S+\s+)*--user\s)(?:-\S+\s+)*"
    r"(?:(?:set-environment|import-environment|link)\s|enable\s+(?:-\S+\s+)*/)[^\n;&|]*"
)


def judge(subject: str, text: str, path: str, programs: Programs, component: Optional[str]) -> Iterator[Result]:
    """Judge a text of commands. A running node's files and processes are what the other checks inspect."""
    advice = "Remove it, and find out who put it there: with it something else starts than what was checked."
    for code, actual in () if programs.is_live else _found(text, programs):
        yield result(subject, UNKNOWN, None, actual[:200], code, path, advice, component=component)


def _found(text: str, programs: Programs) -> Iterator[Tuple[str, str]]:
    for target in map(posixpath.normpath, _targets(text)):
        covers = any(one == target or one.startswith(target.rstrip("/") + "/") for one in programs.paths)
        if (
            covers
            or target.startswith(BINARY_FORMATS)
            or any(target == one or target.startswith(one + "/") for one in (*PLACES, *programs.configurations))
        ):
            yield "replaced-at-start", "writes or mounts over {}".format(target)
    for component, file in programs.configured_in(text)[:1]:
        yield "wrapped", "starts a program that is not listed with the configuration of {} ({})".format(component, file)
    for match in _INSTALLS.finditer(text):
        for word in map(posixpath.basename, match.group().split()):
            if re.split(r"[-.=*]", word)[0] in programs.hosted:
                yield "replaced-at-start", "installs {}".format(word)
    for match in _REPLACES_ROOT.finditer(text):
        yield "replaced-at-start", match.group()
    for match in _MANAGER.finditer(text):
        yield "environment", match.group(0)
    starts = programs.listed_in(text) or programs.called_in(text)
    if starts and [one for one in variables.named_in(text) if one + "=" in text]:
        yield "environment", "sets {} for {}".format(", ".join(variables.named_in(text)), starts[0])


def _targets(text: str) -> Iterator[str]:
    """Return the paths that commands write to or mount over."""
    for match in _COMMAND.finditer(text):
        if _MAY_WRITE.search(match.group()) is None or _NO_WRITER.search(match.group()):
            continue
        found = [one.strip("'\")") for one in _REDIRECTED.findall(match.group())]
        words = [one for one in _BETWEEN.split(_REDIRECTED.sub(" ", match.group())) if one]
        if _WRITERS.intersection(map(posixpath.basename, words)):
            found += words[-1:]
        found += [words[at + 1] for at, word in enumerate(words[:-1]) if word in (*_WRITTEN, "of")]
        found += [word[2:] for word in words if word.startswith("-C/")]
        yield from (one for one in found if one.startswith("/"))


def starts_container(text: str) -> bool:
    """Return whether a text makes a container: any with containerd's or runc's own commands, else a daemon's."""
    for match in _COMMAND.finditer(text):
        if _MAY_CONTAIN.search(match.group()) is None:
            continue
        words = [posixpath.basename(one) for one in _BETWEEN.split(match.group())]
        at = next((place for place, word in enumerate(words) if word in ("ctr", "runc")), len(words))
        if {"run", "create", "restore"}.intersection(words[at:]) or (
            _ENGINES.intersection(words) and names_daemon(match.group())
        ):
            return True
    return False


def names_daemon(text: str) -> bool:
    """Return whether a text names a daemon: a program or an image's repository of that name."""
    return any(_IMAGE_END.split(posixpath.basename(word))[0] in DAEMONS for word in _BETWEEN.split(text))
