"""The signals of FIPS mode: the kernel's own word, its command line, and what each Enterprise Linux keeps on disk.

What a release has not got is not asked of it: EL7 has no crypto policies; EL10 has no /etc/system-fips, and goes into
FIPS mode at installation alone. Signals are what a system says of itself. They do not certify anything.
"""

import errno
import os
import posixpath
import re
from typing import AbstractSet, Dict, Iterator, List, NamedTuple, Optional, Pattern, Sequence, Tuple

from ...trust.text import visible
from .. import provenance, tree
from ..result import FAIL, NOT_APPLICABLE, PASS, UNKNOWN, Listed, Node, Result
from . import boot_entries, grub, procfs
from .platform import os_release

ID = "fips-mode"

_KERNEL = "/proc/sys/crypto/fips_enabled"
_SYSCTL = "/proc/sys/kernel/ostype"
_COMMAND_LINE = "/proc/cmdline"
_POLICY = "/etc/crypto-policies/state/current"
_POLICY_WANTED = "/etc/crypto-policies/config"
_BACK_ENDS = "/etc/crypto-policies/back-ends"
# What update-crypto-policies links there, of a policy without subpolicies and settings of one's own.
_OF_POLICY = re.compile(r"/usr/share/crypto-policies/(?:back-ends/)?([A-Z][A-Z0-9_-]*)/")
_MARK = "/etc/system-fips"
_DRACUT = "/usr/lib/dracut/modules.d"
_PRELINK = "/etc/sysconfig/prelink"
_PROVIDERS = ("/usr/lib64/ossl-modules/fips.so", "/usr/lib/ossl-modules/fips.so")
_LOADERS = (grub.DIRECTORY, grub.VENDORS + "/*")
_ENVIRONMENT_BLOCKS = tuple(posixpath.join(directory, grub.BLOCK) for directory in _LOADERS)
_MENUS = tuple(posixpath.join(directory, name) for name in grub.MENUS for directory in _LOADERS)
# What says that FIPS mode is on; the others say that it could be.
_MODES = ("kernel", "kernel-command-line", "crypto-policy", "boot-loader", "system-fips")
_MAX_ENTRIES = 100
_MAX_MENU = 1024 * 1024
_COVERED = "mounted-over"
_ADVICE = "Put the node into FIPS mode as its vendor says, and start it again."
_BOOT = "Give the kernel fips=1 at every start: grubby --update-kernel=ALL --args=fips=1"
_RESCUE_KERNEL = re.compile(r"\S*vmlinuz-0-rescue(?:-\S*)?(?:\s|$)")
_PRELINKING = re.compile(r"""^\s*(?:export\s+)?PRELINKING=(["']?)yes\1(?:[\s;].*)?$""", re.MULTILINE)
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR)
# A word of a command line, with the spaces that stand between quotation marks (lib/cmdline.c, next_arg).
_WORD = re.compile(r'(?:"[^"]*"?|[^\s"])+')
_BETWEEN_BLANKS = re.compile(r"\S+")
_PLAIN = re.compile(r"[\t -~]*\Z")
# The variables with which GRUB chooses an entry.
_CHOOSE = ("saved_entry", "next_entry", "default", "fallback")
# The subpolicies that EL9 and later count as FIPS mode; others, as NO-ENFORCE-EMS and SHA1, may take back what it asks.
_NARROWING = frozenset(("OSPP", "STIG"))


class _Unread(Exception):
    """A signal is there, and cannot be read to its end."""

    def __init__(self, subject: str, reason: str, path: str) -> None:
        super().__init__(subject)
        advice = "Run it as root." if reason in ("EACCES", "EPERM") else "Find out what is there in its place."
        self.result = Result(
            ID, subject, UNKNOWN, actual="unreadable", evidence={"code": reason, "path": visible(path)}, advice=advice
        )

    @classmethod
    def by(cls, error: OSError, subject: str, path: str) -> "_Unread":
        return cls(subject, errno.errorcode.get(error.errno or 0, "unknown"), path)


class _Unclear(_Unread):
    """The boot loader starts something whose command line is not known."""

    def __init__(self, subject: str, actual: str, path: str) -> None:
        super().__init__(subject, "", path)
        evidence = {"code": "boot-menu", "path": visible(path)}
        advice = "Remove it there, or write the kernel's command line plainly."
        self.result = Result(ID, subject, UNKNOWN, "fips=1", visible(actual, 200), evidence, advice)


def check(node: Node, manifests: Sequence[Listed]) -> List[Result]:
    """Read each signal that the node's release has; raises nothing."""
    if not any((listed.manifest.get("node") or {}).get("fips_mode", True) for listed in manifests):
        return [Result(ID, "kernel", NOT_APPLICABLE, actual="not required by the manifest")]
    el = _major(node, manifests)
    results = [_unless_covered(_KERNEL, _kernel(node)), _unless_covered(_COMMAND_LINE, _command_line(node))]
    for signal in (_policy, _boot_loader, _mark, _dracut, _prelink, _provider):
        try:
            results += signal(node, el)
        except _Unread as unread:
            results.append(unread.result)
    results += _native(manifests)
    results += _disagreement(results)
    if all(result.status == NOT_APPLICABLE for result in results if result.subject in _MODES):
        advice = "Set the tree up for FIPS mode as its vendor says, or leave this out with --skip fips-mode."
        results.append(Result(ID, "signals", UNKNOWN, "FIPS mode", "nothing says so", {"code": "none"}, advice))
    is_said = results[0].status == PASS or results[0].evidence.get("code") == _COVERED
    if node.live and is_said and tree.HASH_PROVIDER != "openssl":
        advice = "Use the distribution's own Python, which hashes with the system's OpenSSL."
        results.append(Result(ID, "hash-provider", FAIL, "openssl", tree.HASH_PROVIDER, advice=advice))
    return results


def _disagreement(results: Sequence[Result]) -> List[Result]:
    """Return a failure that lists the signals for FIPS mode and those against it; nothing if they agree."""
    said = [(result.subject, result.status) for result in results if result.subject in _MODES]
    on = [subject for subject, status in said if status == PASS]
    off = [subject for subject, status in said if status == FAIL]
    if not on or not off:
        return []
    advice = "Set up what is off, or the node may leave FIPS mode at its next start."
    if "kernel" in off:
        advice = "Start the node again, so that what is configured comes into force; then inspect what is still off."
    evidence = {"code": "mismatch", "on": on, "off": off}
    actual = "on: {}; off: {}".format(", ".join(on), ", ".join(off))
    return [Result(ID, "signals", FAIL, "all alike", actual, evidence, advice)]


def _native(manifests: Sequence[Listed]) -> List[Result]:
    """Note which components have Go's native module, whose FIPS mode the node's does not decide (crypto/fips140)."""
    rows = [row for listed in manifests for row in provenance.components(listed.manifest)]
    own = sorted({row["name"] for row in rows if any(one.startswith(provenance.NATIVE) for one in row["modules"])})
    if not own:
        return []
    actual = "FIPS mode is built into {}; GODEBUG can change it, the kernel's FIPS mode does not".format(", ".join(own))
    return [Result(ID, "go-native", NOT_APPLICABLE, actual=visible(actual, 400), evidence={"components": own})]


def _major(node: Node, manifests: Sequence[Listed]) -> int:
    version = (os_release(node.root) or {}).get("VERSION_ID", "").split(".")[0]
    return int(version) if version.isdigit() and len(version) < 4 else int(manifests[0].manifest["el"])


# ---- the kernel ----------------------------------------------------------------------------------------------------


def _kernel(node: Node) -> Result:
    if not node.live:
        return Result(ID, "kernel", NOT_APPLICABLE, actual="at rest")
    try:
        value = tree.read_small("/", _KERNEL).strip()
    except (OSError, tree.NotRegular) as error:
        # sysctl is there and has nothing of this kind: the kernel was built without CONFIG_CRYPTO_FIPS.
        if isinstance(error, FileNotFoundError) and os.path.exists(_SYSCTL):
            evidence = {"path": _KERNEL, "code": "no-fips-kernel"}
            return Result(ID, "kernel", FAIL, "1", "the kernel has no FIPS mode", evidence, _fix(False))
        return Result(ID, "kernel", UNKNOWN, "1", "missing", {"path": _KERNEL}, _ADVICE)
    return Result(
        ID, "kernel", PASS if value == "1" else FAIL, "1", visible(value, 20), {"path": _KERNEL}, _fix(value == "1")
    )


def _command_line(node: Node) -> Result:
    if not node.live:
        return Result(ID, "kernel-command-line", NOT_APPLICABLE, actual="at rest")
    try:
        words = tree.read_small("/", _COMMAND_LINE)
    except (OSError, tree.NotRegular):
        return Result(ID, "kernel-command-line", UNKNOWN, "fips=1", "unreadable", {"path": _COMMAND_LINE}, _ADVICE)
    found = _fips_words(words)
    good = _is_on(words)
    actual = visible(" ".join(found) or "no fips=", 40)
    return Result(ID, "kernel-command-line", PASS if good else FAIL, "fips=1", actual, {}, _fix(good))


def _unless_covered(path: str, told: Result) -> Result:
    """Return the kernel's word, unknown where something is mounted over the file that has it."""
    try:
        covered = [one for one in procfs.covered() if (path + "/").startswith(one + "/")]
    except OSError:
        covered = [procfs.PROC]
    if told.status != PASS or not covered:
        return told
    actual = "{}, of what is mounted over {}".format(told.actual, visible(covered[0], 60))
    advice = "Unmount it, and find out who put it there: it hides what the kernel says."
    return told._replace(status=UNKNOWN, actual=actual, evidence={"path": path, "code": _COVERED}, advice=advice)


def _fips_words(text: str, form: "Pattern[str]" = _WORD) -> List[str]:
    """Return the fips= words of a kernel command line; the last of them counts, and what follows ``--`` is init's."""
    words = [word.replace('"', "") for word in form.findall(text)]
    own = words[: words.index("--")] if "--" in words else words
    return [word for word in own if word.startswith("fips=")]


def _is_on(text: str) -> bool:
    """Return whether a command line has fips=1, however its quotation marks are read.

    A quotation mark within a name is a part of it for the kernel, and not for GRUB.
    """
    words = [word[1:].rstrip('"') if word[:1] == '"' else word for word in _WORD.findall(text)]
    own = words[: words.index("--")] if "--" in words else words
    literal = [word.replace('="', "=").rstrip('"') for word in own if word.startswith("fips=")]
    return all(one[-1:] == ["fips=1"] for one in (literal, _fips_words(text), _fips_words(text, _BETWEEN_BLANKS)))


def _fix(good: bool) -> str:
    return "" if good else _ADVICE


# ---- what lies on disk ---------------------------------------------------------------------------------------------


def _policy(node: Node, el: int) -> List[Result]:
    subject = "crypto-policy"
    if el < 8:
        return [Result(ID, subject, NOT_APPLICABLE, actual="EL7 has no crypto policies")]
    policy = _read(node, _POLICY, subject)
    lines = (_read(node, _POLICY_WANTED, subject) or "").splitlines()
    wanted = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    if policy is None:
        if not wanted:
            return [node.unless_live(ID, subject, "no crypto policy")]
        # Only what is in force tells that the configured one was applied; one that is not FIPS would not help.
        status = UNKNOWN if _is_fips(wanted[0], el) else FAIL
        evidence = {"path": _POLICY, "code": "missing"}
        actual = "{} configured, none in force".format(visible(wanted[0], 60))
        return [Result(ID, subject, status, "FIPS", actual, evidence, "Set it: update-crypto-policies --set FIPS")]
    policy = policy.strip()
    good = _is_fips(policy, el)
    advice = "" if good else "Set it: update-crypto-policies --set FIPS"
    expected = "FIPS" if el < 9 else "FIPS, FIPS:OSPP or FIPS:STIG"
    results = [Result(ID, subject, PASS if good else FAIL, expected, visible(policy, 60), {"path": _POLICY}, advice)]
    results += _back_ends(node, policy, subject)
    if wanted and wanted[0] != policy:
        advice = "Apply or correct the configured policy: update-crypto-policies --set FIPS"
        evidence = {"path": _POLICY_WANTED, "code": "mismatch"}
        actual = "{} configured, {} in force".format(visible(wanted[0], 60), visible(policy, 60))
        # Both may be FIPS with other subpolicies: then the next update changes the one into the other.
        status = PASS if good and _is_fips(wanted[0], el) else FAIL
        results.append(Result(ID, subject + "-configured", status, visible(policy, 60), actual, evidence, advice))
    return results


def _back_ends(node: Node, policy: str, subject: str) -> Iterator[Result]:
    """Return a failure where what libraries read is of another policy than the one that is said to be in force."""
    others: Dict[str, str] = {}
    for name in _few_names(node, _BACK_ENDS, subject):
        path = posixpath.join(_BACK_ENDS, name)
        try:
            place = tree.path_of(node.root, tree.resolve(node.root, path))
        except OSError:
            continue  # a link that leads nowhere
        match = _OF_POLICY.match(place)
        if match is not None and match.group(1) != policy.split(":")[0]:
            others.setdefault(match.group(1), path)
    if others:
        advice = "Apply the policy: update-crypto-policies --set FIPS"
        evidence = {"path": sorted(others.values())[0], "code": "mismatch"}
        actual = "{} of libraries".format(", ".join(sorted(others)))
        yield Result(ID, subject + "-applied", FAIL, visible(policy, 60), visible(actual, 200), evidence, advice)


def _is_fips(policy: str, el: int) -> bool:
    """Take FIPS and FIPS with subpolicies (``FIPS:OSPP``): on EL8 any, later those alone that only narrow it."""
    name, *subpolicies = policy.split(":")
    return name == "FIPS" and (el < 9 or _NARROWING.issuperset(subpolicies))


class _Start(NamedTuple):
    """One way to start the node."""

    where: str
    arguments: str


def _boot_loader(node: Node, el: int) -> List[Result]:
    """Inspect how the node will start next time, which its running kernel does not tell."""
    subject = "boot-loader"
    starts = list(_starts(node, el, subject))
    if not starts:
        return [node.unless_live(ID, subject, "no configuration that is known")]
    for start in starts:
        # What is a blank there differs between readers.
        if not _PLAIN.match(start.arguments):
            raise _Unclear(subject, start.arguments, start.where)
    lacking = [start for start in starts if not _is_on(start.arguments)]
    evidence = {"count": len(starts), "path": visible((lacking or starts)[0].where)}
    if not lacking:
        return [Result(ID, subject, PASS, "fips=1", "fips=1 in each of {}".format(len(starts)), evidence)]
    evidence["code"] = "mismatch" if len(lacking) < len(starts) else "not-set"
    actual = "no fips=1 in {} of {}".format(len(lacking), len(starts))
    return [Result(ID, subject, FAIL, "fips=1", actual, evidence, _BOOT)]


def _starts(node: Node, el: int, subject: str) -> Iterator[_Start]:
    """Return every kernel command line that the boot loader has, except for rescue entries.

    EL8 and later keep them as entries, which GRUB's menu includes unless it is configured otherwise
    (GRUB_ENABLE_BLSCFG=false); then the menu has them itself, as on EL7.
    """
    own = {path: _read(node, path, subject) or "" for path in _matching(node, _MENUS, subject)}
    try:
        menus = grub.with_taken_in(own, lambda path: _read(node, path, subject))
        paths = dict.fromkeys((*_matching(node, _ENVIRONMENT_BLOCKS, subject), *grub.blocks_of(menus)))
        blocks = [grub.read_block(_read(node, path, subject) or "") for path in paths]
        # More than one block is there where firmware of either kind may start the node: it may be any of them.
        variables = grub.variables_of(menus, blocks)
        found = [_Start(path, line) for path, menu in menus.items() for line in grub.command_lines(menu, variables)]
        # What a menu itself sets may not be set yet where a command uses it.
        kept = {grub.FALLBACK}.union(*blocks)
        certain = {name: values for name, values in variables.items() if name in kept}
        bare = [_Start(path, line) for path, menu in menus.items() for line in grub.command_lines(menu, certain)]
        found += [one for one in bare if one not in found and not _is_on(one.arguments)]
        found = [one for one in found if not _RESCUE_KERNEL.match(one.arguments)]
        has_menu = any(start.where.endswith("/grub.cfg") for start in found)
        if el >= 8 and (not has_menu or any(map(grub.takes_entries, menus.values()))):
            chosen = {value for name in _CHOOSE for value in variables.get(name, [])}
            directories = (boot_entries.DIRECTORY, *grub.entry_directories(variables))
            texts = {path: boot_entries.commands(one) for path, one in _entries(node, subject, directories, chosen)}
            if not texts and not found and any(grub.FALLBACK in block for block in blocks):
                texts = {grub.FALLBACK: "linux x $" + grub.FALLBACK}
            # GRUB makes commands of an entry (blscfg).
            found += [
                _Start(path, line) for path, text in texts.items() for line in grub.command_lines(text, variables)
            ]
        found += _of_firmware(node, subject)
    except grub.TooMany:
        raise _Unread(subject, "too-many", grub.DIRECTORY)
    except grub.Unclear as error:
        raise _Unclear(subject, str(error), grub.DIRECTORY)
    yield from found


def _of_firmware(node: Node, subject: str) -> Iterator[_Start]:
    """Return what systemd-boot and the firmware itself start: entries, and unified kernel images."""
    images = [posixpath.join(one, name) for one in boot_entries.IMAGES for name in _few_names(node, one, subject)]
    images = [one for one in images if boot_entries.is_image(one)]
    for path, entry in _entries(node, subject, boot_entries.FIRMWARES, frozenset()):
        own = [
            image
            for key in ("efi", "uki")
            for value in entry.get(key, [])
            for image in boot_entries.places(path, value)
        ]
        images += own
        if not own:
            yield _Start(path, boot_entries.options(entry))
    for path in dict.fromkeys(images):
        try:
            for line in boot_entries.image_command_lines(node.root, path):
                yield _Start(path, line)
        except FileNotFoundError:
            continue  # an entry's, on another disk
        except (OSError, ValueError) as error:
            raise _Unclear(subject, str(error), path)


def _entries(
    node: Node, subject: str, directories: Sequence[str], chosen: AbstractSet[str]
) -> Iterator[Tuple[str, Dict[str, List[str]]]]:
    """Return the entries of the Boot Loader Specification in directories, by path."""
    for directory in directories:
        for name in boot_entries.without_rescue(_few_names(node, directory, subject), chosen):
            path = posixpath.join(directory, name)
            yield path, boot_entries.fields(_read(node, path, subject) or "")


def _mark(node: Node, el: int) -> List[Result]:
    if el > 8:
        return []
    return [_present(node, "system-fips", (_MARK,), "file", _ADVICE)]


def _dracut(node: Node, el: int) -> List[Result]:
    """EL7 has a package of its own for it; later it is a part of dracut, and EL10 needs no setting up."""
    subject = "dracut-fips"
    if el > 9:
        return []
    names = [name for name in _names(node, _DRACUT, subject) if name.lstrip("0123456789") == "fips"]
    paths = [posixpath.join(_DRACUT, name) for name in names] or [posixpath.join(_DRACUT, "01fips")]
    advice = "Install dracut-fips (EL7) or dracut, and make the initial ramdisk again."
    return [_present(node, subject, paths, "directory", advice)]


def _prelink(node: Node, el: int) -> List[Result]:
    """Prelinking changes programs and libraries on disk, and so their integrity checks fail."""
    text = _read(node, _PRELINK, "prelink") if el < 8 else None
    if text is None:
        return []
    on = _PRELINKING.search(text) is not None
    advice = "Set PRELINKING=no in {} and undo it: prelink -ua".format(_PRELINK) if on else ""
    actual = "PRELINKING=yes" if on else "off"
    return [Result(ID, "prelink", FAIL if on else PASS, "off", actual, {"path": _PRELINK}, advice)]


def _provider(node: Node, el: int) -> List[Result]:
    if el < 9:
        return []
    return [
        _present(node, "openssl-fips-provider", _PROVIDERS, "file", "Install openssl-libs or openssl-fips-provider.")
    ]


# ---- reading -------------------------------------------------------------------------------------------------------


def _present(node: Node, subject: str, paths: Sequence[str], kind: str, advice: str) -> Result:
    """Judge a signal that is there or not: a running node must have it, a tree at rest need not have it yet."""
    for path in paths:
        try:
            found = tree.kind(os.lstat(tree.resolve(node.root, path)).st_mode)
            if found != kind:
                raise _Unread(subject, found, path)
            return Result(ID, subject, PASS, "present", "present", {"path": path})
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise _Unread.by(error, subject, path)
    if not node.live:
        return Result(ID, subject, NOT_APPLICABLE, "present", "missing", {"path": paths[0]})
    return Result(ID, subject, FAIL, "present", "missing", {"path": paths[0], "code": "missing"}, advice)


def _read(node: Node, path: str, subject: str) -> Optional[str]:
    """Read a signal's file; None where there is none, raises `_Unread` where it cannot be read, or is too long."""
    try:
        text = tree.read_small(node.root, path, _MAX_MENU + 1)
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise _Unread.by(error, subject, path)
        return None
    except tree.NotRegular as error:
        raise _Unread(subject, str(error), path)
    if len(text.encode("utf-8")) > _MAX_MENU:
        raise _Unread(subject, "too-large", path)
    return text


def _names(node: Node, directory: str, subject: str) -> List[str]:
    try:
        return tree.list_names(node.root, directory)
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise _Unread.by(error, subject, directory)
        return []


def _few_names(node: Node, directory: str, subject: str) -> List[str]:
    """Return all names of a directory; raises `_Unread` where it has more than are read."""
    names = _names(node, directory, subject)
    if len(names) > _MAX_ENTRIES:
        raise _Unread(subject, "too-many", directory)
    return names


def _matching(node: Node, patterns: Sequence[str], subject: str) -> Iterator[str]:
    """Return the paths with each vendor's name in place of the star."""
    for pattern in patterns:
        before, star, after = pattern.partition("*")
        for name in _few_names(node, before, subject) if star else [""]:
            yield before + name + after
