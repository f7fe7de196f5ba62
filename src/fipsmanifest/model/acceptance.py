"""The rule by which a program meets a requirement: one for the gate and for the components of a release. Pure.

A program that is not a FIPS build, or wrongly claims to be one, can be accepted with a reason. One whose module was
changed, or can be, is never accepted: it is not what its publisher tested. Neither is one that cannot be read: it would
be unknown what is accepted.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, Protocol

from .finding import CryptoFacts, DetectedModule, ModuleFamily, Verdict

UNOPENED: Literal["unopened"] = "unopened"
"""What an exception expects of a container that is not opened, in place of a verdict."""

RequirementName = Literal["proven", "module", "known"]

DEFAULT_FAMILIES: tuple[ModuleFamily, ...] = ("boringcrypto",)
"""The families of modules that are accepted unless others are named."""

#: Codes of `contradicted` for a validated module that was changed, or that can be changed in memory.
TAMPERED = frozenset(
    (
        "module-changed",
        "self-test-would-fail",
        "module-writable",
        "module-overlaid",
        "native-module-changed",
        "native-module-writable",
        "native-function-differs",
        "native-function-unknown",
        "native-target-differs",
        "native-data-differs",
        "native-mode-differs",
        "native-not-initialized",
    )
)
#: Formats of what a kernel, a shell or rpm starts although it was not opened; other formats are data to all of them.
_STARTED = re.compile(
    r"(?:program|script|RPM|image configuration) with |AppImage|self-extracting |ZIP archive behind other data"
)
#: What may be beside a proven program: it has no cryptography that a Go module would have to provide.
WITHOUT_CRYPTO = frozenset((Verdict.NO_CRYPTO, Verdict.NOT_GO))

_NOT_ACCEPTABLE = {
    Verdict.CONTRADICTED: "no exception can excuse a module that was changed or can be",
    Verdict.UNREADABLE: "no exception can excuse what cannot be read",
}
_ADVICE_TAMPERED = "Do not ship it. Find out where it was changed, and get the package again from its publisher."
_ADVICE_UNREADABLE = "Inspect the program as it will run: whole, not packed, and with its build info."


#: Forbidden packages that a rule names.
_MAX_NAMED = 4


class Expectation(Protocol):
    """What an exception expects of a program."""

    @property
    def path(self) -> str:
        """The glob of the exception."""

    @property
    def verdict(self) -> str:
        """The verdict that is expected."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """What is required of programs."""

    name: RequirementName
    """``proven``: a validated module. ``module``: one of ``digests``. ``known``: nothing."""
    digests: Collection[str] = ()
    """For ``module``: integrity digests (hex) of modules that the table does not know."""
    families: Collection[ModuleFamily] = DEFAULT_FAMILIES
    """The families of modules that are accepted as proven."""
    certified: Collection[str] | None = None
    """Digests (hex) of the modules with a certificate of the standard that is required; None where none is required."""
    standard: str | None = None
    """The standard of `certified` (``140-3``), for reports."""
    forbidden: Collection[str] = ()
    """Globs over packages and libraries with cryptography beside the module that no program may have."""

    def has_module(self, crypto: CryptoFacts | None) -> bool:
        """Return whether a program contains a module that meets the requirement."""
        if crypto is None:
            return False
        if self.name == "module" and crypto.verdict == Verdict.UNLISTED:
            return crypto.module is not None and crypto.module.digest in self.digests
        return crypto.verdict == Verdict.PROVEN and self._accepts(crypto.module)

    def _accepts(self, module: DetectedModule | None) -> bool:
        """Return whether a proven module is one that is accepted. Only a shipped row has certificates."""
        if (module.family if module is not None else "boringcrypto") not in self.families:
            return False
        if self.certified is None:
            return True
        return module is not None and module.row == "shipped" and module.digest in self.certified

    def rule_for(self, crypto: CryptoFacts | None) -> str:
        """Return the rule that a program violates which does not meet the requirement, a clause."""
        if crypto is None or crypto.verdict != Verdict.PROVEN or crypto.module is None:
            return f"'{self.name}' is required"
        if crypto.module.family not in self.families:
            return f"the module has to be {' or '.join(sorted(self.families))}, not {crypto.module.family}"
        return "the module has no certificate of the standard that is required"

    def find_forbidden(self, crypto: CryptoFacts | None) -> str | None:
        """Return the rule that a program violates by what it has beside the module, a clause; None where it may pass.

        Programs in other languages have nothing that is judged. ``known`` forbids nothing.
        """
        if not self.forbidden or self.name == "known" or crypto is None or crypto.verdict == Verdict.NOT_GO:
            return None
        found = crypto.evidence.get("beside_module")
        unknown = crypto.evidence.get("beside_unknown")
        listed = map(str, found) if isinstance(found, list) else ()
        names = [name for name in listed if any(is_named_by(name, glob) for glob in self.forbidden)]
        if names:
            more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
            verb = "is" if len(names) == 1 else "are"
            return f"{', '.join(names[:_MAX_NAMED])}{more} beside the module {verb} forbidden"
        if unknown is not None or not isinstance(found, list):
            return f"its packages cannot be compared with what is forbidden ({unknown or 'not listed'})"
        return None

    def is_met(self, crypto: CryptoFacts | None) -> bool:
        """Return whether a program meets the requirement, or has no cryptography."""
        if self.name == "known" or (crypto is not None and crypto.verdict in WITHOUT_CRYPTO):
            return True
        return self.has_module(crypto)


def is_named_by(package: str, glob: str) -> bool:
    """Return whether a glob names a package, by its path or by that below a ``vendor`` directory of a module."""
    return any(fnmatchcase(path, glob) for path in {package, package.rpartition("/vendor/")[2]})


PROVEN = Requirement("proven")
"""The requirement of the gate."""


@dataclass(frozen=True, slots=True)
class Violation:
    """Why a program is refused."""

    kind: Literal["not-acceptable", "requirement", "exception", "forbidden"]
    """Whether no exception could accept it, it does not meet the requirement, it is not what its exception expects, or
    it has cryptography beside the module that is forbidden."""
    rule: str
    """The rule that it violates, a clause."""


def find_violation(
    crypto: CryptoFacts | None, requirement: Requirement, exception: Expectation | None
) -> Violation | None:
    """Return why an ELF file is refused; None where it may pass.

    ``crypto`` is None for a file without a verdict, ``exception`` is the one that names the file. What an exception
    names must have exactly the verdict that it expects. One that expects ``proven`` accepts what is forbidden beside
    the module, or a program that is packed, but not another module: which ones are accepted is required of all.
    """
    reason = reason_not_acceptable(crypto)
    if reason is not None:
        return Violation("not-acceptable", reason)
    if exception is not None:
        if crypto is None or crypto.verdict != exception.verdict:
            return Violation("exception", f"the exception for {exception.path} expects '{exception.verdict}'")
        if crypto.verdict == Verdict.PROVEN and not requirement.is_met(crypto):
            return Violation("requirement", requirement.rule_for(crypto))
        return None
    if not requirement.is_met(crypto):
        return Violation("requirement", requirement.rule_for(crypto))
    rule = requirement.find_forbidden(crypto)
    return Violation("forbidden", rule) if rule is not None else None


def reason_not_acceptable(crypto: CryptoFacts | None) -> str | None:
    """Return why no exception or requirement accepts a program; None where one may.

    ``crypto`` is None for an ELF file without a verdict.
    """
    if crypto is None or crypto.verdict == Verdict.UNREADABLE:
        return _NOT_ACCEPTABLE[Verdict.UNREADABLE]
    return _NOT_ACCEPTABLE[Verdict.CONTRADICTED] if is_tampered(crypto) else None


def is_tampered(crypto: CryptoFacts | None) -> bool:
    """Return whether the module in a program was changed, or can be."""
    return (
        crypto is not None and crypto.verdict == Verdict.CONTRADICTED and str(crypto.evidence.get("code")) in TAMPERED
    )


def advise(crypto: CryptoFacts | None) -> str:
    """Return what to do about a program that is never accepted."""
    return _ADVICE_TAMPERED if is_tampered(crypto) else _ADVICE_UNREADABLE


def is_started(format: str) -> bool:
    """Return whether a file of a format that is not opened can be started as it is."""
    return _STARTED.match(format) is not None


def reason_not_expectable(verdict: str) -> str | None:
    """Return why an exception cannot expect ``verdict``; None where it can."""
    return _NOT_ACCEPTABLE[Verdict.UNREADABLE] if verdict == Verdict.UNREADABLE else None
