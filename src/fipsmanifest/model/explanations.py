"""What exit codes, reasons of errors, requirements and node checks mean, and what to do: the text of `docs/reasons.md`.

What verdicts and the codes of their evidence mean is with the inspection (`inspect.descriptions`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExitCode:
    """An exit code, the same for every verb and for the node tool."""

    code: int
    """Of the process."""
    meaning: str
    """One sentence."""
    advice: str
    """What to do, in one sentence; empty if there is nothing to do."""


@dataclass(frozen=True, slots=True)
class Reason:
    """A value of ``error.reason``."""

    name: str
    """Stable: scripts compare it."""
    codes: tuple[int, ...]
    """The exit codes of errors with this reason; mostly one."""
    meaning: str
    """One sentence."""
    advice: str
    """What to do, in one sentence."""


EXIT_CODES = (
    ExitCode(0, "Done, or valid.", ""),
    ExitCode(1, "What was checked is not what it should be.", "Read the report: it names what differs."),
    ExitCode(2, "The command line, or a file that you wrote, is not valid.", "See `--help` of the command."),
    ExitCode(
        3,
        "Not trusted: a signature, a key, its role, or the release, serial or date that a signed document is bound to.",
        "Do not use the document; get it again from its publisher.",
    ),
    ExitCode(
        4,
        "Incomplete: something could not be fetched, read or checked, which is never a pass.",
        "Mend what the message names, and run the same command again.",
    ),
    ExitCode(
        5,
        "Refused by policy: a module is not proven, a lock differs, an upstream digest or signature is wrong.",
        "Find out which of the two is right: what was fetched, or what the definition and the lock say.",
    ),
    ExitCode(
        6,
        "Conflict: what is published differs from what would be published, or changed meanwhile.",
        "Give the definition the next serial and a reason, or wait for the other publisher.",
    ),
    ExitCode(69, "The node tool found no Python 3.6 or later.", "Name an interpreter: python3 dkp-fips-tool."),
    ExitCode(70, "An internal error.", "Run it again with --debug and report what it prints."),
    ExitCode(130, "Interrupted by Ctrl-C (129 and 143: hang-up and SIGTERM).", "Run the same command again."),
    ExitCode(141, "The reader of the output ended before all of it was written.", ""),
)

REASONS = (
    Reason("invalid", (1,), "What was checked is not what it should be.", "Read the message: it names what differs."),
    Reason(
        "definition",
        (1, 2, 5),
        "A release definition has mistakes.",
        "Correct what the message names; `definitions lint` shows all.",
    ),
    Reason("no-definition", (2,), "There is no definition of that version and EL.", "`definitions list` shows all."),
    Reason("usage", (2,), "An option, argument or file is not valid.", "See `--help` of the command."),
    Reason(
        "bad-signature", (3,), "The signature does not hold for these bytes.", "Get the file again; change nothing."
    ),
    Reason("expired", (3, 5), "The manifest is past its `expires`.", "Get the newest manifest of the release."),
    Reason(
        "fingerprint-mismatch",
        (3,),
        "A certificate file does not contain the key that was named.",
        "Compare the fingerprint with the one that the key's owner states through another channel.",
    ),
    Reason("future-signature", (3,), "A signature or key is dated more than a day ahead.", "Compare the clocks."),
    Reason("malformed", (3,), "A signed file or certificate is not written as it must be.", "Get it again, unchanged."),
    Reason("not-trusted", (3,), "Something is not trusted, for another cause than those listed.", "Read the message."),
    Reason("rolled-back", (3,), "The serial is lower than one that was seen or asked for.", "Get the newest manifest."),
    Reason(
        "trust-directory",
        (3, 5),
        "The trust directory is missing, malformed or has no suitable key.",
        "`keys list` shows what is in it.",
    ),
    Reason(
        "unknown-key",
        (3,),
        "The signature is by a key that is not listed.",
        "Add it with `keys add`, if it is the publisher's.",
    ),
    Reason("unsigned", (3,), "The file has no signature, where one is needed.", "Name the signed file."),
    Reason(
        "untrusted-key",
        (3,),
        "The key is revoked, outside its lifetime or has another role.",
        "`keys list` shows its state.",
    ),
    Reason(
        "wrong-document", (3,), "It is another kind of document than the one that is needed.", "Name the right file."
    ),
    Reason(
        "wrong-release", (3,), "The manifest is of another version, EL, name or serial.", "Get that of the release."
    ),
    Reason("bucket-refuses", (4,), "The S3 service answered with an error.", "Read its code in the message."),
    Reason("bucket-unreachable", (4,), "The S3 service did not answer.", "Check --endpoint-url and the network."),
    Reason(
        "credentials", (4,), "Stored credentials are missing, damaged or could not be obtained.", "Log in there again."
    ),
    Reason("incomplete", (4,), "Something could not be read or checked.", "Mend what the message names; run it again."),
    Reason("interrupted", (130,), "A signal ended the command.", "Run the same command again."),
    Reason("no-gnupg", (4,), "gpg or gpgv is missing, too old or does not run.", "Install GnuPG."),
    Reason("no-openssl", (4,), "openssl is missing or does not run.", "Install the package openssl."),
    Reason("no-secret-key", (4,), "gpg has no secret key to sign with.", "Import it, or set GNUPGHOME."),
    Reason("not-found", (4,), "An object, package or address does not exist.", "Compare it with the definition."),
    Reason(
        "not-read", (4,), "A file could not be read, or changed while it was read.", "Check its permissions and disk."
    ),
    Reason("not-written", (4,), "A file could not be written.", "Free space, or choose another directory."),
    Reason("not-yet-public", (4,), "The public address does not serve yet what was published.", "Run it again later."),
    Reason("over-budget", (4,), "A limit of time or size was reached.", "Raise --max-seconds or --max-expanded."),
    Reason("passphrase", (4,), "The passphrase of the signing key is missing or wrong.", "See `docs/keys.md`."),
    Reason("server-refuses", (4,), "A server answered with an error.", "Read its status in the message."),
    Reason("stopped", (4,), "A part was stopped because another one failed.", "Mend what the other message names."),
    Reason("timeout", (4,), "Something took longer than its limit.", "Run it again; check the network or the machine."),
    Reason("unauthorized", (4,), "A server wants credentials, or refuses those that it got.", "Log in there."),
    Reason("unopened", (4, 5), "A container was not opened.", "Unpack it, or accept it with an exception."),
    Reason("unreachable", (4,), "A server could not be reached.", "Check the address, proxy and certificates."),
    Reason("wrong-platform", (4, 5), "The image is not made for the system that is needed.", "Choose another image."),
    Reason(
        "ambiguous-archive",
        (5,),
        "Tools would unpack different files from the archive.",
        "Have it packed again, with an ordinary tool.",
    ),
    Reason(
        "ambiguous-image",
        (5,),
        "Runtimes would take different images from what describes it.",
        "Have it built again, with an ordinary tool.",
    ),
    Reason(
        "ambiguous-package",
        (5,),
        "A repository has different packages of the same name, version and architecture.",
        "Ask those who run it which one is right.",
    ),
    Reason(
        "cache-directory",
        (5,),
        "Another user can write to the cache directory.",
        "Take the permission away, or name another with --cache.",
    ),
    Reason("damaged-archive", (5,), "An archive is damaged, cut off or malformed.", "Get it again from its publisher."),
    Reason("digest-mismatch", (5,), "What was fetched has another digest or size.", "Do not use it; find out why."),
    Reason(
        "lock-differs",
        (5,),
        "An artifact is not the one that the lock pins.",
        "Find out why; `definitions lock --update`, if the change is wanted.",
    ),
    Reason(
        "forbidden",
        (5,),
        "A program has cryptography beside the module that is forbidden.",
        "Build it without that, or accept it with an exception.",
    ),
    Reason("foreign-layer", (5,), "A layer is not distributed with its image.", "Use an image with all of its layers."),
    Reason(
        "malformed-image",
        (5,),
        "A document of an image is malformed, or names what the image does not have.",
        "Get it again from its publisher.",
    ),
    Reason("malformed-repodata", (5,), "The metadata of a repository is malformed.", "Ask those who run it."),
    Reason("no-lock", (5,), "There is no lock to compare with.", "Use --first-lock, and commit the lock."),
    Reason("not-an-image", (5,), "A manifest is that of something else than an image.", "Name an image."),
    Reason(
        "not-derived", (5,), "A manifest does not follow from its definition, lock and facts.", "Generate it again."
    ),
    Reason("not-https", (5,), "An address is not https.", "Use https, or --allow-http in a network of your own."),
    Reason(
        "not-installable",
        (5,),
        "A system in FIPS mode would refuse to install the package.",
        "Ask upstream to build it with SHA-256 digests.",
    ),
    Reason(
        "not-proven",
        (5,),
        "A program is not proven to use the module.",
        "Build it with a validated module, or accept it with a reason.",
    ),
    Reason("nothing-proven", (5,), "There is nothing that is proven.", "Check what the gate inspects."),
    Reason("refused", (5,), "Policy refuses it, for another cause than those listed.", "Read the message."),
    Reason(
        "token-server",
        (4, 5),
        "A registry's token server is not its own, or its answer is no token.",
        "Ask those who run the registry.",
    ),
    Reason("too-large", (5,), "Something is larger, or has more entries, than its limit.", "Check what it is."),
    Reason("unsafe-path", (5,), "A name or link leads outside, or cannot be on a node.", "Have it packed again."),
    Reason("unsupported-format", (5,), "A format, or version of it, that is not read.", "Have it packed in another."),
    Reason(
        "upstream-signature",
        (5,),
        "Upstream's signature is missing or wrong.",
        "Compare the key; if it is upstream's, `keys add --role upstream`.",
    ),
    Reason(
        "weak-digest",
        (5,),
        "Something is named by a digest weaker than SHA-256, or by none.",
        "Ask upstream for a SHA-256 digest.",
    ),
    Reason("wrong-format", (5,), "A file is of another format than the one that is needed.", "Check the address."),
    Reason("wrong-package", (5,), "A package is another one than its repository says.", "Ask those who run it."),
    Reason(
        "changed-meanwhile", (4, 6), "Another publisher wrote to the bucket meanwhile.", "Run the same command again."
    ),
    Reason("conflict", (6,), "Something that exists is in the way.", "Read the message."),
    Reason("foreign-object", (6,), "An object of that name was not written by fipsmanifest.", "Move it away by hand."),
    Reason("key-state", (6,), "The key is listed already, or revoked.", "`keys list` shows its state."),
    Reason("no-conditions", (6,), "The bucket ignores conditions on writes.", "Use a service that has them."),
    Reason("published-differs", (6,), "The serial is published with other content.", "Use the next serial."),
    Reason("internal", (70,), "A defect of fipsmanifest.", "Run it again with --debug and report what it prints."),
)

REQUIREMENTS = {
    "proven": "Every Go program of the component must be proven, or the release is refused.",
    "module": "The definition names the digest of a module that the table does not know, and who claims what of it.",
    "known": "Not a FIPS build, and the definition says why it is in the release.",
}

#: The checks of the node tool (`docs/nodes.md`), with what to do where one fails.
CHECKS = {
    "signature": (
        "The manifest's signature and release, and the node tool's own digest.",
        "Get the newest manifest and tool from their publisher.",
    ),
    "platform": (
        "The operating system and the architecture are those of the manifest.",
        "Use the manifest of this system, or another machine.",
    ),
    "fips-mode": (
        "The kernel, the boot entries, dracut and the crypto policy are in FIPS mode.",
        "Run fips-mode-setup --enable and start the machine again.",
    ),
    "files": (
        "Each listed program has the listed digest, mode and link target, and only root can replace it.",
        "Install the listed package again.",
    ),
    "startup": (
        "What systemd, cron, containerd, the kubelet and static pods start is a listed program.",
        "Make the unit or configuration that is named start the listed program.",
    ),
    "images": (
        "Containers and stored images have the listed digests and files.",
        "Pull the listed image, and remove the other one.",
    ),
    "processes": (
        "Running daemons are the listed programs, without injected code or settings.",
        "Start the daemon again from the listed program.",
    ),
    "services": (
        "TLS services accept only the listed versions and cipher suites.",
        "Set the TLS options of the service as the manifest lists them.",
    ),
}

#: The verdict on a node or a cluster (`docs/nodes.md`), with what to do.
NODE_VERDICTS = {
    "valid": ("Everything that was checked is as the manifest lists it.", "Nothing."),
    "invalid": ("Something is not as the manifest lists it.", "Keep the node out of service; read what failed."),
    "incomplete": ("Something could not be checked, which is never a pass.", "Remove the cause, and check again."),
    "untrusted": ("The manifest or the node tool is not trusted.", "Get both again from their publisher."),
}

#: What a node report is about (`docs/nodes.md`).
SCOPES = {
    "live": "The running node: files, images, processes, services and kernel.",
    "at-rest": "A file tree (--root): files, images, and FIPS mode as it is configured.",
    "partial": "What --only and --skip left; a valid report says nothing about the rest.",
}

#: The findings of an audit (`docs/publishing.md`), with what to do.
FINDINGS = {
    "bundle": (
        "A Sigstore bundle does not hold for its file, or has none.",
        "Find out who wrote it, move it away by hand, and sign again with --cosign-key.",
    ),
    "expired": (
        "The newest serial has expired: consumers refuse it.",
        "Cut the release again: give the definition a later `expires`, the next serial and a reason.",
    ),
    "foreign": (
        "An object below `tool/` is not part of the layout.",
        "Move it away: this prefix is reserved for published objects.",
    ),
    "index": (
        "`index.json` or `index.html` does not match the published objects.",
        "Publish any release again; if that changes nothing, move index.html away by hand before.",
    ),
    "lost": (
        "An object that `index.json` lists does not exist.",
        "Put it back from a copy; if it was removed on purpose, run `fipsmanifest publish --withdraw`.",
    ),
    "missing": ("An object that others refer to does not exist.", "Publish that release again."),
    "pointer": (
        "A pointer is behind, or is not a copy of a published object.",
        "Publish any release again: that writes it again.",
    ),
    "serial": (
        "The newest serial was signed more than a day before the previous one, or has no reason.",
        "Find out which of the two clocks was wrong; the next serial corrects it.",
    ),
    "sidecar": (
        "A SHA-256 file does not match its tool.",
        "Find out who wrote it, move it away by hand, and publish that release again.",
    ),
    "signature": (
        "A manifest or tool does not verify, or belongs to another address.",
        "Find out who wrote it; move it away, or publish under the next serial or version.",
    ),
    "size": (
        "An object below `tool/` is too large for the layout.",
        "It was not written by fipsmanifest: move it away.",
    ),
    "tool": ("A manifest names a tool that is not published.", "Publish that tool."),
    "unsigned": (
        "A tool has no signature.",
        "Publish that version of the tool again with its signature, or move it away.",
    ),
}
