"""Commands of units that are no component's own: they may start an unlisted program, or replace a listed one."""

import base64
import contextlib
import itertools
import posixpath
import re
from typing import Iterator, List, Optional

from ....trust.text import visible
from ... import systemd, tree
from ...result import FAIL, UNKNOWN, Result
from . import changes, shell
from .programs import OTHER, Found, Programs
from .results import result

INSTEAD = "Let {} start the release's own program, and find out who changed that."
FOLLOW = "Start the program itself there: what goes through another one cannot be followed."
_NO_POD = "Stop and remove it: what a container starts that is no pod is not compared with the manifest."
_CONTAINERS = "systemd-nspawn"
_ENGINES = ("podman", "docker", "nerdctl")
_BYTE = re.compile(r"\\x([0-9A-Fa-f]{2})")
_OUTSIDE = re.compile(r"socket|fd")  # standard input from another process
_TO_FILE = re.compile(r"(?:file|append|truncate):")
# Where the operating system's own programs are.
_SYSTEM = ("/usr/bin/", "/usr/sbin/", "/bin/", "/sbin/", "/usr/lib/systemd/", "/lib/systemd/", "/usr/libexec/")
# Commands with which a shell puts another file into a program's place, or output that it writes to a file.
_REPLACES = re.compile(r"(?:\A|[\s;&|(/\"'])(?:mount|cp|mv|ln|install|rsync|dd|tar|curl|wget|tee|unzip)\s|>")
# What a shell only looks for, as RKE2's unit looks for the processes that it ends.
_SEARCHED = re.compile(r"\b[ef]?grep\s+(?:-\S+\s+)*'[^']*'")
_DISCARDED = re.compile(r">+[ \t]*(?:/dev/(?:null|std(?:out|err))\b|&[0-9-])")


class OtherCommand:
    """A command whose program is no component's, with all that it reads, as far as that can be followed."""

    def __init__(
        self,
        unit: systemd.Unit,
        subject: str,
        command: systemd.Command,
        found: Found,
        text: str,
        script: Optional[str],
        component: Optional[str],
        programs: Programs,
    ) -> None:
        """Follow a command whose program is ``found``.

        ``text`` are its words and the paths that the unit gives them, ``script`` is the program's content where that is
        a script, and ``component`` the one that the unit is named after.
        """
        self._unit, self._subject, self._command, self._found = unit, subject, command, found
        self._script, self._component, self._programs = script, component, programs
        self._name = posixpath.basename(command.program)
        self._arguments = " ".join(command.arguments)
        self._is_shell = shell.is_wrapper(command.program) or script is not None
        scripts = [one for one in shell.BETWEEN_PATHS.split(self._arguments) if one[:1] == "/"]
        self._runs = self._is_shell or any(programs.node_files.script(one) is not None for one in scripts)
        if self._runs:
            text = "{}\n{}{}".format(_assignments(unit), text, _read_by(unit, programs))
        self._text = text + _written_by(unit)
        self._everything = (
            programs.texts.followed("{}\n{}".format(self._text, script or ""), found.path) if self._runs else self._text
        )
        self._is_open = programs.node_files.is_kernels(command.program)
        if self._is_open and not self._runs:
            self._everything += programs.texts.followed(_read_by(unit, programs))

    def judge(self) -> List[Result]:
        """Return what the command may start or replace; what surely starts something else is returned alone."""
        subject, everything, path = self._subject, self._everything, self._command.path
        # A path with blanks is one word here alone.
        builds = judge_builds(subject, everything, self._command, self._programs, self._found.path)
        certain = list(builds) or list(self._unlisted())
        if certain:
            return certain
        written = "{}\n{}".format(self._arguments, self._script or "")
        daemons, replaced = self._called(written), self._replaced(written)
        return list(
            itertools.chain(
                self._helper(),
                self._containers(),
                self._other_root(daemons),
                () if replaced else changes.judge(subject, everything, path, self._programs, self._component),
                self._hidden(),
                self._opened(),
                self._mentioned(daemons, replaced),
            )
        )

    def _unknown(self, code: str, actual: str, advice: str = FOLLOW) -> Result:
        return result(self._subject, UNKNOWN, None, actual, code, self._command.path, advice, component=self._component)

    def _unlisted(self) -> Iterator[Result]:
        others = self._programs.others_in(self._everything)
        if others:
            actual = "{}, which the manifest does not list".format(", ".join(others))
            status = FAIL if self._runs else UNKNOWN
            component = self._component or self._programs.names[posixpath.basename(others[0])]
            path, advice = self._command.path, INSTEAD.format(visible(self._command.path))
            yield result(
                self._subject, status, "listed programs", actual, "other-program", path, advice, component=component
            )

    def _called(self, written: str) -> List[str]:
        """Return the components' programs that are called by their names."""
        called = self._programs.called_in(_SEARCHED.sub("grep", written)) if self._runs else []
        return [name for name in called if name in changes.DAEMONS]

    def _replaced(self, written: str) -> List[str]:
        """Return the listed programs that may be replaced."""
        if self._runs and not _REPLACES.search(_DISCARDED.sub("", written)):
            return []
        return self._programs.listed_in(written)

    def _helper(self) -> Iterator[Result]:
        found = self._found
        path = self._programs.node_files.resolved(found.path) if tree.leads_up(found.path) else found.path
        if self._component is not None and found.status == OTHER and not path.startswith(_SYSTEM):
            actual = "{}, which is not the operating system's".format(found.path)
            advice = "Start it from a unit of its own, if {} needs it, or remove it.".format(self._component)
            yield self._unknown("unlisted-helper", actual, advice)

    def _containers(self) -> Iterator[Result]:
        if self._name == _CONTAINERS and not re.search(r"@\.[a-z]+\Z", self._unit.name):
            yield self._unknown("other-root", "a container of systemd ({})".format(self._arguments[:100]), _NO_POD)
        if (self._runs or self._name in _ENGINES) and changes.starts_container(self._everything):
            yield judge_container(self._subject, self._text, self._command.path, self._component)

    def _other_root(self, daemons: List[str]) -> Iterator[Result]:
        if not self._runs or not changes.CHANGES_ROOT.search(self._everything):
            return
        if daemons or self._programs.listed_in(self._everything):
            actual = "starts a program in another root or of other mounts ({})".format(self._text[:100])
            yield self._unknown("other-root", actual)

    def _hidden(self) -> Iterator[Result]:
        """Report what a shell starts that its text does not name."""
        if not self._is_shell or self._programs.is_live:
            return
        started = self._text
        if self._script is not None:
            started = "" if self._component is None else "{}\n{}".format(self._text, self._script)
        hidden = shell.hidden_commands(started)
        # Only what an instance or the machine decides is left of specifiers.
        hidden += shell.SPECIFIER.findall(" " + self._arguments) if self._is_shell else []
        given = self._unit.values("StandardInput")
        hidden += ["standard input"] if given and _OUTSIDE.match(given[-1].value) else []
        hidden += [one.path for one in self._programs.builds_by_pattern(self._everything)[:1]]
        if hidden:
            yield self._unknown("wrapped", "starts the value of {}".format(", ".join(hidden[:4])))

    def _opened(self) -> Iterator[Result]:
        if self._is_open and not self._programs.is_live:
            yield self._unknown("wrapped", "starts what {} leads to when it runs".format(self._command.program))

    def _mentioned(self, daemons: List[str], replaced: List[str]) -> Iterator[Result]:
        if daemons or replaced:
            verb = "mentions" if replaced else "starts"
            yield self._unknown("mentioned", "{} {}".format(verb, ", ".join(daemons or replaced)))


def judge_container(subject: str, text: str, path: str, component: Optional[str]) -> Result:
    """Return the result for a container that is made without a pod."""
    actual = "a container that is no pod ({})".format(text[:100])
    return result(subject, UNKNOWN, None, actual, "other-root", path, _NO_POD, component=component)


def judge_builds(
    subject: str, text: str, command: systemd.Command, programs: Programs, *paths: str
) -> Iterator[Result]:
    """Judge the other builds of a component that a command names, and also those that a listed program may start."""
    paths = tuple(one for one in (*paths, *command.arguments) if one[:1] == "/")
    builds = programs.builds_in(text, *paths)
    if builds:
        advice, actual = INSTEAD.format(visible(command.path)), ", ".join(one.shown for one in builds)
        owner = builds[0].component
        yield result(subject, FAIL, "a listed program", actual, "other-build", command.path, advice, component=owner)


def _assignments(unit: systemd.Unit) -> str:
    """Return the unit's environment as a shell would write it: what the unit starts may be named by a variable."""
    return "\n".join("{}={}".format(name, entry.value) for name, entry in sorted(unit.environment.items()))


def _read_by(unit: systemd.Unit, programs: Programs) -> str:
    """Return what a shell of the unit has beside its words: directory and standard input (systemd.exec(5))."""
    found = ["cd " + entry.value.lstrip("-") for entry in unit.values("WorkingDirectory")]
    found += [entry.value.replace("\\n", "\n") for entry in unit.values("StandardInputText")]
    for entry in unit.values("StandardInputData"):
        with contextlib.suppress(ValueError):
            found.append(base64.b64decode("".join(entry.value.split())).decode("utf-8", "backslashreplace"))
    for entry in unit.values("StandardInput"):
        found += [". " + entry.value[5:]] if entry.value.startswith("file:") else []
    for key in ("OpenFile", "LoadCredential", "SetCredential"):
        for entry in unit.values(key):
            value = _BYTE.sub(lambda match: chr(int(match.group(1), 16)), entry.value)
            first, _, second = value.partition(":")
            found += [". " + (first if key == "OpenFile" else second), second]
            names = programs.node_files.names(second) if key == "LoadCredential" and second[:1] == "/" else ()
            found += [". {}/{}".format(second, name) for name in names]
    for directory in re.split(
        "[:\\s]", unit.environment["PYTHONPATH"].value if "PYTHONPATH" in unit.environment else ""
    ):
        found += [". {}/{}customize.py".format(directory, one) for one in ("site", "user")] if directory else []
    return "".join("\n" + one for one in found)


def _written_by(unit: systemd.Unit) -> str:
    """Return the files that systemd writes a unit's output to, as a shell would (systemd.exec(5))."""
    values = [entry.value for key in ("StandardOutput", "StandardError") for entry in unit.values(key)]
    paths = [value.partition(":")[2] for value in values if _TO_FILE.match(value)]
    return "".join("\n>{}".format(path) for path in paths)
