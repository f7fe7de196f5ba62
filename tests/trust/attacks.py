"""The attack corpus: signed messages that must be refused, and the honest variants that must not.

Each case says what is done to a message, the exit code and a part of the sentence that a user reads. The cases follow
the traps that gpg, gpgv and python-gnupg leave to their callers, the ones that apt and GnuPG keep tests for, and the
weaknesses published in December 2025 (gpg.fail).
"""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from fipsmanifest.trust.armor import armor, dearmor
from fipsmanifest.trust.document import Bindings
from fipsmanifest.trust.verify import VerifiedManifest, verify_cleartext
from tests.support.forge import GOOD_MANIFEST, Forge, Pinned, payload

SIGNATURE = b"-----BEGIN PGP SIGNATURE-----\n"
END = b"-----END PGP SIGNATURE-----\n"

Edit = Callable[[bytes], bytes]
Make = Callable[[Forge], bytes]


@dataclass(frozen=True)
class Case:
    """One message and the expected result."""

    name: str
    make: Make
    code: int = 3
    reason: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    pinned: Callable[[Forge], Pinned] | None = None
    """The keys that the reader trusts; None for those that the forge's directory lists."""

    def verify(self, forge: Forge) -> VerifiedManifest:
        """Verify the message, and return the result."""
        message, options = self.make(forge), self.arguments(forge)
        time.sleep(self.options.get("wait", 0))
        trust = forge.trust() if self.pinned is None else self.pinned(forge).load()
        return verify_cleartext(message, trust, **options)

    def arguments(self, forge: Forge) -> dict[str, Any]:
        """Return the verifier's options."""
        options = {name: value for name, value in self.options.items() if name in ("bindings", "role")}
        if "pin" in self.options:
            options["fingerprint"] = forge.fingerprints[self.options["pin"]]
        if "pin_text" in self.options:
            options["fingerprint"] = forge.fingerprints["manifest"][self.options["pin_text"] :]
        return options


def good(forge: Forge) -> bytes:
    """Sign the usual manifest."""
    return forge.clearsign(payload())


def edited(edit: Edit) -> Make:
    """Sign the usual manifest, then change the signed file."""
    return lambda forge: edit(good(forge))


def replaced(old: bytes, new: bytes) -> Make:
    """Sign the usual manifest, then replace one thing in the signed file."""

    def edit(message: bytes) -> bytes:
        if old not in message:
            raise ValueError(f"nothing to replace: {old!r}")
        return message.replace(old, new, 1)

    return edited(edit)


def signed(data: bytes, name: str = "manifest", *extra: str) -> Make:
    """Sign other bytes, with another key, or otherwise."""
    return lambda forge: forge.clearsign(data, name, *extra)


def split(message: bytes) -> tuple[bytes, bytes, bytes]:
    """Return what precedes the signature, its packet, and its armor."""
    head, armor = message.split(SIGNATURE)
    packet = dearmor(SIGNATURE + armor, b"SIGNATURE")
    return head, packet, armor


def with_packets(change: Edit) -> Make:
    """Sign the usual manifest, then change the signature's binary form and write a right armor around it."""

    def edit(message: bytes) -> bytes:
        head, packet, _ = split(message)
        return head + armor(change(packet), b"SIGNATURE")

    return edited(edit)


def body_wrapped(change: Edit) -> Make:
    """Change the armor's base64 lines of the usual manifest, leaving the rest."""

    def edit(message: bytes) -> bytes:
        head, armor = message.split(SIGNATURE)
        return head + SIGNATURE + change(armor)

    return edited(edit)


def without_checksum(forge: Forge) -> bytes:
    """Remove the checksum from an armor whose base64 has no padding; a rare, shorter signature has some."""
    for _ in range(20):
        message = good(forge)
        if len(split(message)[1]) % 3 == 0:
            return re.sub(rb"\n=.{4}\n", b"\n", message)
    raise ValueError("every signature has a padded armor")


def reframed(forge: Forge, text: bytes, data: bytes) -> bytes:
    """Put ``text`` before the signature over ``data``."""
    return (
        b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n"
        + text
        + SIGNATURE
        + forge.clearsign(data).split(SIGNATURE)[1]
    )


def two_signatures(forge: Forge, other: str, data: bytes | None = None) -> bytes:
    """Put a second signature, over ``data`` or the same text, into the one armor."""
    head, first, _ = split(good(forge))
    _, second, _ = split(forge.clearsign(data or payload(), other))
    return head + armor(first + second, b"SIGNATURE")


def literal(forge: Forge, *form: str) -> bytes:
    """Make an inline-signed message instead of a cleartext one."""
    return forge.gpg(*form, "--local-user", f"{forge.fingerprints['manifest']}!", "--sign", stdin=payload())


def flip(data: bytes, position: int) -> bytes:
    """Change one bit of a byte."""
    changed = bytearray(data)
    changed[position] ^= 1
    return bytes(changed)


def text_json(text: str) -> Make:
    """Sign a text that is no canonical manifest."""
    return signed(text.encode())


def nested(depth: int) -> str:
    """Write a manifest with a list nested ``depth`` levels deep, a level on a line."""
    inner = "[\n" * depth + "]\n" * depth
    return json.dumps(GOOD_MANIFEST)[:-1] + f', "modules":\n{inner}}}\n'


def with_pair(pair: str) -> str:
    """Write a manifest with one more pair."""
    return json.dumps(GOOD_MANIFEST)[:-1] + f", {pair}}}\n"


@functools.cache
def too_large() -> bytes:
    """Write a manifest that is as it should be but for its size."""
    files = [{"path": f"/usr/share/doc/{number:060d}"} for number in range(200_000)]
    return json.dumps(GOOD_MANIFEST | {"files": files}, indent=2).encode() + b"\n"


def base64_lines(armor: bytes) -> list[bytes]:
    """Return the lines of an armor's base64."""
    return armor.lstrip(b"\n").split(b"\n=")[0].split(b"\n")


def cut_line(armor: bytes) -> bytes:
    """Drop the end of a base64 line, as a reader with a short buffer would."""
    line = base64_lines(armor)[1]
    return armor.replace(line, line[:40])


def dated(offset: timedelta) -> Make:
    """Sign at another time than now."""

    def make(forge: Forge) -> bytes:
        moment = datetime.now(UTC) + offset
        return forge.clearsign(payload(), "manifest", "--faked-system-time", f"{moment:%Y%m%dT%H%M%S}!")

    return make


def service(**changes: Any) -> Make:
    """Sign a manifest with one service that is as it should be but for this."""
    usual = {"name": "etcd", "port": 2379, "roles": ["control-plane"], "tls_versions": ["TLSv1.2"], "cipher_suites": []}
    return signed(payload(node={"services": [usual | changes]}))


DASHES = payload()[:-2] + b',\n"list": [\n-1,\n-2\n]}\n'

GOOD = [
    Case("as gpg signs it", good, 0),
    Case("SHA-256", signed(payload(), "manifest", "--digest-algo", "SHA256"), 0),
    Case("SHA-384", signed(payload(), "manifest", "--digest-algo", "SHA384"), 0),
    Case("signed by a primary key", signed(payload(), "plain"), 0),
    Case("two values in one Hash header", replaced(b"Hash: SHA512", b"Hash: SHA256,SHA512"), 0),
    Case("two values with a blank between", replaced(b"Hash: SHA512", b"Hash: SHA256, SHA512"), 0),
    Case("two Hash headers", replaced(b"Hash: SHA512", b"Hash: SHA256\nHash: SHA512"), 0),
    Case("dash-escaped lines", signed(DASHES), 0),
    Case("a Comment in the armor", replaced(SIGNATURE, SIGNATURE + b"Comment: made by hand\n"), 0),
    Case("a Version in the armor", replaced(SIGNATURE, SIGNATURE + b"Version: GnuPG v2.0.22 (GNU/Linux)\n"), 0),
    Case("letters beyond ASCII", text_json(with_pair('"reason2": "gr\u00fc\u00dfe"')), 0),
    Case("a line of 4096 bytes", signed(payload(reason="r" * (4096 - len('  "reason": "",')))), 0),
    Case("signed twelve hours ahead", dated(timedelta(hours=12)), 0),
    Case("the version asked for", good, 0, options={"bindings": Bindings("v1.21.3", 8, 2)}),
    Case("the version without its v", good, 0, options={"bindings": Bindings("1.21.3")}),
    Case("pinned by the primary key", good, 0, options={"pin": "release"}),
    Case("pinned by the signing subkey", good, 0, options={"pin": "manifest"}),
    Case("with a service", service(), 0),
    Case("expires later", signed(payload(expires="2999-01-01T00:00:00Z")), 0, options={"bindings": Bindings()}),
    Case(
        "expired, and allowed to be",
        signed(payload(expires="2020-01-01T00:00:00Z")),
        0,
        options={"bindings": Bindings(allow_expired=True)},
    ),
]

FRAME = [
    Case("nothing at all", lambda _: b"", reason="does not begin"),
    Case("one line feed", lambda _: b"\n", reason="does not begin"),
    Case("not signed", lambda _: payload(), reason="does not begin"),
    Case("an HTML error page", lambda _: b"<html><body>404</body></html>\n", reason="does not begin"),
    Case("text before", edited(lambda m: b"hello\n" + m), reason="does not begin"),
    Case("an empty line before", edited(lambda m: b"\n" + m), reason="does not begin"),
    Case("a blank before", edited(lambda m: b" " + m), reason="does not begin"),
    Case("a BOM before", edited(lambda m: b"\xef\xbb\xbf" + m), reason="does not begin"),
    Case("text after", edited(lambda m: m + b"hello\n"), reason="does not end with"),
    Case("an empty line after", edited(lambda m: m + b"\n"), reason="does not end with"),
    Case("no line feed at the end", edited(lambda m: m[:-1]), reason="does not end with"),
    Case("the same message twice", edited(lambda m: m + m), reason="does not end with"),
    Case(
        "two messages by one key",
        lambda forge: good(forge) + forge.clearsign(payload(serial=3)),
        reason="does not end with",
    ),
    Case(
        "an unknown signer's message, then a good one",
        lambda forge: forge.clearsign(payload(serial=9), "stranger") + good(forge),
        reason="does not end with",
    ),
    Case(
        "a second signature block", edited(lambda m: m + SIGNATURE + m.split(SIGNATURE)[1]), reason="does not end with"
    ),
    Case(
        "a signature block inside the text",
        edited(lambda m: m.replace(b'  "el"', SIGNATURE + b'  "el"', 1)),
        reason="headers other than Version",
    ),
    Case(
        "a message within the message",
        edited(lambda m: m.replace(b"\n\n", b"\n\n" + m, 1)),
        reason="does not end with its end line",
    ),
    Case("CRLF", edited(lambda m: m.replace(b"\n", b"\r\n")), reason="does not begin"),
    Case("CRLF in the text alone", replaced(b'"el": 8,\n', b'"el": 8,\r\n'), reason="U+000D"),
    Case("CRLF in the armor alone", body_wrapped(lambda a: a.replace(b"\n", b"\r\n")), reason="begin and end"),
    Case("blanks in the separator line", replaced(b"SHA512\n\n", b"SHA512\n \n"), reason="header"),
    Case("a tab in the separator line", replaced(b"SHA512\n\n", b"SHA512\n\t\n"), reason="header"),
    Case("blanks after the begin line", replaced(b"MESSAGE-----\n", b"MESSAGE----- \n"), reason="does not begin"),
    Case("begin line alone", lambda _: b"-----BEGIN PGP SIGNED MESSAGE-----\n", reason="empty line"),
    Case("no empty line", replaced(b"SHA512\n\n", b"SHA512\n"), reason="header"),
    Case("no Hash header", replaced(b"Hash: SHA512\n", b""), reason="header"),
    Case("an unknown header", replaced(b"Hash: SHA512\n", b"Hash: SHA512\nComment: hi\n"), reason="header"),
    Case("a Charset header", replaced(b"Hash: SHA512\n", b"Hash: SHA512\nCharset: utf-8\n"), reason="header"),
    Case(
        "NotDashEscaped",
        replaced(b"Hash: SHA512\n", b"Hash: SHA512\nNotDashEscaped: You need GnuPG\n"),
        reason="header",
    ),
    Case(
        "Hash names another algorithm",
        replaced(b"Hash: SHA512", b"Hash: SHA256"),
        reason="a hash that is not in its headers",
    ),
    Case("Hash names MD5", replaced(b"Hash: SHA512", b"Hash: MD5"), reason="header"),
    Case("Hash names MD5 and the right one", replaced(b"Hash: SHA512", b"Hash: MD5,SHA512"), reason="header"),
    Case("Hash in small letters", replaced(b"Hash: SHA512", b"hash: SHA512"), reason="header"),
    Case("Hash with a blank more", replaced(b"Hash: SHA512", b"Hash:  SHA512"), reason="header"),
    Case("Hash hides text", replaced(b"Hash: SHA512", b"Hash: SHA512\x0b text"), reason="header"),
    Case("a very long header", replaced(b"Hash: SHA512", b"Hash: SHA512" + b",SHA512" * 5000 + b"x"), reason="header"),
    Case("an inline message, binary", lambda forge: literal(forge), reason="does not begin"),
    Case("an inline message, armored", lambda forge: literal(forge, "--armor"), reason="does not begin"),
    Case("a detached signature", lambda forge: forge.detach(payload()), reason="does not begin"),
    Case("a certificate", lambda forge: forge.gpg("--armor", "--export"), reason="does not begin"),
    Case("more than 16 MiB of text", lambda forge: forge.clearsign(too_large()), reason="larger than 16777216 bytes"),
    Case("more than 16 MiB", edited(lambda m: m + b"\n" * (16 << 20)), reason="larger than"),
]

TEXT = [
    Case("a changed digit", replaced(b'"el": 8', b'"el": 7'), reason="does not fit"),
    Case("a changed letter", replaced(b"schema", b"Schema"), reason="does not fit"),
    Case("a line more", replaced(b'  "el": 8,\n', b'  "el": 8,\n  "el": 7,\n'), reason="does not fit"),
    Case("a line less", replaced(b'  "el": 8,\n', b""), reason="does not fit"),
    Case("an empty line more", replaced(b'  "el": 8,\n', b'\n  "el": 8,\n'), reason="does not fit"),
    Case("trailing blanks", replaced(b'"el": 8,\n', b'"el": 8,  \n'), reason="ends in a blank"),
    Case("a trailing tab", replaced(b'"el": 8,\n', b'"el": 8,\t\n'), reason="U+0009"),
    Case("a signed tab", signed(payload().replace(b'"el": ', b'"el":\t')), reason="U+0009"),
    Case("a trailing no-break space", replaced(b'"el": 8,\n', b'"el": 8,\xc2\xa0\n'), reason="ends in a blank"),
    Case("a blank after the last line", replaced(b"}\n-----BEGIN", b"} \n-----BEGIN"), reason="ends in a blank"),
    Case("an empty line at the end", replaced(b"}\n-----BEGIN", b"}\n\n-----BEGIN"), reason="empty line"),
    Case("a form feed", replaced(b"}\n-----BEGIN", b"}\f\n-----BEGIN"), reason="U+000C"),
    Case("a NUL", replaced(b'"el"', b'"el\0"'), reason="U+0000"),
    Case("an escape sequence", replaced(b"containerd", b"\x1b[2Jcontainerd"), reason="U+001B"),
    Case("a backspace", replaced(b"containerd", b"\bcontainerd"), reason="U+0008"),
    Case("a DEL", replaced(b"containerd", b"\x7fcontainerd"), reason="U+007F"),
    Case("a C1 control", replaced(b"containerd", b"\xc2\x9bcontainerd"), reason="U+009B"),
    Case("a line separator", replaced(b"containerd", b"\xe2\x80\xa8containerd"), reason="U+2028"),
    Case("not UTF-8", replaced(b"containerd", b"\xffcontainerd"), reason="UTF-8"),
    Case("an overlong encoding", replaced(b"containerd", b"\xc0\xafcontainerd"), reason="UTF-8"),
    Case("a surrogate", replaced(b"containerd", b"\xed\xa0\x80containerd"), reason="UTF-8"),
    Case("a line of 4097 bytes", signed(payload(reason="r" * (4097 - len('  "reason": "",')))), reason="longer than"),
    Case("a line that gpg truncates", signed(payload(reason="r" * 30000)), reason="longer than"),
    Case("an unescaped dash", lambda forge: forge.clearsign(DASHES).replace(b"- -1", b"-1"), reason="dash"),
    Case(
        "a dash escaped twice", lambda forge: forge.clearsign(DASHES).replace(b"- -1", b"- - -1"), reason="does not fit"
    ),
    Case("an escape where none is needed", replaced(b"{\n", b"- {\n"), 0),
    Case("From escaped as in mail", replaced(b"{\n", b">From {\n"), reason="does not fit"),
    Case("no text", lambda forge: reframed(forge, b"", payload()), reason="no signature, or no text"),
    Case("an empty text", signed(b"\n"), reason="ends in an empty line"),
    Case(
        "another message's signature",
        lambda forge: reframed(forge, payload(), payload(serial=1)),
        reason="does not fit",
    ),
]

SIGNATURES = [
    Case("cut before the signature", edited(lambda m: m.split(SIGNATURE)[0]), reason="no signature"),
    Case("cut in the armor", edited(lambda m: m[:-120]), reason="begin and end"),
    Case("no end line", replaced(END, b""), reason="begin and end"),
    Case("no base64", edited(lambda m: m.split(SIGNATURE)[0] + SIGNATURE + b"\n" + END), reason="base64"),
    Case("no empty line in the armor", replaced(SIGNATURE + b"\n", SIGNATURE), reason="empty line after its headers"),
    Case("a base64 line cut short", body_wrapped(cut_line), reason="checksum is wrong"),
    Case(
        "a base64 line of 20000",
        body_wrapped(lambda a: b"\n" + b"".join(base64_lines(a)) * 40 + b"\n" + END),
        reason="base64",
    ),
    Case("a letter that is not base64", body_wrapped(lambda a: a.replace(b"\niQ", b"\n!Q", 1)), reason="base64"),
    # RFC 9580 makes the checksum optional; gpgv 2.2 needs one where no padding ends the base64.
    Case("no checksum in the armor", without_checksum, reason="no signature in it"),
    Case("a wrong checksum", edited(lambda m: re.sub(rb"\n=.{4}\n", b"\n=AAAA\n", m)), reason="checksum"),
    Case("text between base64 lines", body_wrapped(lambda a: a.replace(b"\n=", b"\n\n=", 1)), reason="base64"),
    Case("a Hash header in the armor", replaced(SIGNATURE, SIGNATURE + b"Hash: SHA1\n"), reason="headers"),
    Case("a terminal's control in a Comment", replaced(SIGNATURE, SIGNATURE + b"Comment: \x1b[2J\n"), reason="headers"),
    Case("nine Comments", replaced(SIGNATURE, SIGNATURE + b"Comment: x\n" * 9), reason="headers"),
    Case("the value changed", with_packets(lambda p: flip(p, -1)), reason="does not fit"),
    Case("the hashed part changed", with_packets(lambda p: flip(p, 12)), reason="does not fit"),
    Case("the signature's type changed", with_packets(lambda p: flip(p, 4)), reason="does not fit"),
    Case("the hash algorithm changed", with_packets(lambda p: flip(p, 6)), reason="a hash that is not in its headers"),
    Case("a packet cut short", with_packets(lambda p: p[:-3]), reason="cut short"),
    Case("bytes after the packet", with_packets(lambda p: p + b"\0\0"), reason="packet"),
    Case("no signature packet", with_packets(lambda _: b"\xcd\x02hi"), reason="not one signature"),
    Case("a packet of partial length", with_packets(lambda p: b"\xc2\xe9" + p[3:]), reason="partial length"),
    Case("a packet without length", with_packets(lambda p: b"\x8b" + p[3:]), reason="no length"),
    Case("a packet that claims 4 GiB", with_packets(lambda p: b"\xc2\xff\xff\xff\xff\xff" + p[3:]), reason="cut short"),
    Case("a marker packet before", with_packets(lambda p: b"\xca\x03PGP" + p), reason="not one signature"),
    Case("the same signature twice", with_packets(lambda p: p + p), reason="not one signature"),
    Case("two good signatures", lambda forge: two_signatures(forge, "plain"), reason="not one signature"),
    Case(
        "a good and a bad one",
        lambda forge: two_signatures(forge, "plain", payload(serial=7)),
        reason="not one signature",
    ),
    Case("a good and a stranger's", lambda forge: two_signatures(forge, "stranger"), reason="not one signature"),
    Case(
        "a detached signature in cleartext's place",
        lambda forge: (
            good(forge).split(SIGNATURE)[0] + forge.detach(payload()[:-1], "manifest", "--digest-algo", "SHA512")
        ),
        reason="does not fit",
    ),
    Case("SHA-1", signed(payload(), "manifest", "--digest-algo", "SHA1"), reason="header"),
    Case(
        "SHA-1 under another name",
        lambda forge: forge.clearsign(payload(), "manifest", "--digest-algo", "SHA1").replace(
            b"Hash: SHA1", b"Hash: SHA256"
        ),
        reason="a hash that is not in its headers",
    ),
    Case("SHA-224", signed(payload(), "manifest", "--digest-algo", "SHA224"), reason="header"),
    Case("RIPEMD-160", signed(payload(), "manifest", "--digest-algo", "RIPEMD160"), reason="header"),
    Case(
        "a signature that has expired",
        signed(payload(), "plain", "--default-sig-expire", "seconds=1"),
        reason="expired",
        options={"wait": 2},
    ),
    Case("dated next year", dated(timedelta(days=365)), reason="more than a day ahead"),
    Case("dated in two days", dated(timedelta(hours=25)), reason="more than a day ahead"),
]

DOCUMENT = [
    Case("a key twice", text_json(with_pair('"el": 7')), reason=" twice"),
    Case("a key twice, inside", text_json(with_pair('"node": {"a": 1, "a": 2}')), reason=" twice"),
    Case("a key twice, once escaped", text_json(with_pair('"\\u0065l": 7')), reason=" twice"),
    Case("NaN", text_json(with_pair('"x": NaN')), reason="number NaN"),
    Case("Infinity", text_json(with_pair('"x": -Infinity')), reason="number -Infinity"),
    Case("a fraction", text_json(with_pair('"x": 1.5')), reason="number 1.5"),
    Case("an exponent", text_json(with_pair('"x": 1e999')), reason="number 1e999"),
    Case("a number of 4000 digits", text_json(with_pair('"x":\n' + "9" * 4000)), reason="4000 digits"),
    Case("forty levels", text_json(nested(40)), reason="nested"),
    Case("100000 levels", text_json(nested(100000)), reason="nested"),
    Case("a BOM", signed(b"\xef\xbb\xbf" + payload()), reason="not JSON"),
    Case("a list", text_json("[1]\n"), reason="not an object"),
    Case("a string", text_json('"fipsmanifest/v1"\n'), reason="not an object"),
    Case("text after the object", text_json(json.dumps(GOOD_MANIFEST) + "\n{}\n"), reason="not JSON"),
    Case("a comment", text_json("// hi\n" + json.dumps(GOOD_MANIFEST) + "\n"), reason="not JSON"),
    Case("single quotes", text_json(json.dumps(GOOD_MANIFEST).replace('"', "'") + "\n"), reason="not JSON"),
    Case("not JSON at all", text_json("hello\n"), reason="not JSON"),
    Case("a key that looks alike", text_json(with_pair('"\u0435l": 7')), reason="printable ASCII"),
    Case("a key that looks alike, escaped", text_json(with_pair('"\\u0435l": 7')), reason="printable ASCII"),
    Case("a key with a zero-width space", text_json(with_pair('"el\\u200b": 7')), reason="printable ASCII"),
    Case("no schema", text_json(json.dumps({"a": 1}) + "\n"), reason="schema is None"),
    Case(
        "another document of the same signer", signed(payload(schema="fipsmanifest/trust/v1")), reason="not a manifest"
    ),
    Case("a newer schema", signed(payload(schema="fipsmanifest/v2")), reason="not a manifest"),
    Case("a schema in a list", signed(payload(schema=["fipsmanifest/v1"])), reason="not a manifest"),
    Case("a schema with a control character", signed(payload(schema="\x1b[2J")), reason="\\x1b"),
    Case("a serial that is true", signed(payload(serial=True)), reason="serial"),
    Case("a serial that is text", signed(payload(serial="2")), reason="serial"),
    Case("serial 0", signed(payload(serial=0)), reason="not positive"),
    Case("a negative serial", signed(payload(serial=-1)), reason="not positive"),
    Case("an EL that is text", signed(payload(el="8")), reason="el is"),
    Case("a version that is a number", signed(payload(kubernetes=1)), reason="kubernetes is"),
    Case("files that are no list", signed(payload(files={})), reason="files is"),
    Case("a file that is no object", signed(payload(files=["x"])), reason="files is not an object"),
    Case("a file without a path", signed(payload(files=[{}])), reason="path in files"),
    Case("a path that is a list", signed(payload(files=[{"path": ["/x"]}])), reason="path in files"),
    Case("a size that is text", signed(payload(files=[{"path": "/x", "size": "1"}])), reason="size in files"),
    Case(
        "a component that is an object", signed(payload(files=[{"path": "/x", "component": {}}])), reason="component in"
    ),
    Case("diff_ids that are numbers", signed(payload(images=[{"platforms": [{"diff_ids": [1]}]}])), reason="diff_ids"),
    Case("diff_ids that are text", signed(payload(images=[{"platforms": [{"diff_ids": "x"}]}])), reason="diff_ids"),
    Case("an image's file without a path", signed(payload(images=[{"platforms": [{"files": [{}]}]}])), reason="path"),
    Case("services that are an object", signed(payload(node={"services": {}})), reason="services is not a list"),
    Case("a service that is text", signed(payload(node={"services": ["etcd"]})), reason="services is not an object"),
    Case("a service without a name", service(name=None), reason="name in services"),
    Case("a service without a port", service(port=None), reason="port"),
    Case("a port that is text", service(port="2379"), reason="port"),
    Case("a port that is true", service(port=True), reason="port"),
    Case("a port that is none", service(port=65536), reason="port"),
    Case("a service's roles in text", service(roles="worker"), reason="roles"),
    Case("TLS versions that are numbers", service(tls_versions=[12]), reason="tls_versions"),
    Case("cipher suites in an object", service(cipher_suites={"x": 1}), reason="cipher_suites"),
    Case("a preferred suite in a list", service(preferred=["x"]), reason="preferred"),
    Case("a FIPS mode that is 0", signed(payload(node={"fips_mode": 0})), reason="fips_mode"),
    Case("layers that are numbers", signed(payload(images=[{"platforms": [{"layers": [1]}]}])), reason="layers"),
    Case("platforms that are an object", signed(payload(images=[{"platforms": {}}])), reason="platforms"),
    Case("roles that are a list", signed(payload(node={"roles": ["worker"]})), reason="roles"),
    Case("a role that is text", signed(payload(node={"roles": {"worker": "kubelet"}})), reason="worker"),
    Case(
        "versions that are numbers", signed(payload(node={"operating_systems": [{"versions": [8]}]})), reason="versions"
    ),
    Case("a component that is text", signed(payload(components=["kubelet"])), reason="components is not an object"),
    Case(
        "a component without a name", signed(payload(components=[{"verdict": "proven"}])), reason="name in components"
    ),
    Case("a reason that is a list", signed(payload(reason=["x"])), reason="reason is"),
    Case("a tool that is text", signed(payload(tool="x")), reason="tool is"),
    Case("images that are no list", signed(payload(images=1)), reason="images is"),
    Case("a node that is no object", signed(payload(node=[])), reason="node is"),
    Case("another version", good, reason="for Kubernetes v1.21.3", options={"bindings": Bindings("v1.22.8")}),
    Case("a version's beginning", good, reason="for Kubernetes v1.21.3", options={"bindings": Bindings("v1.21")}),
    Case("another EL", good, reason="for EL8", options={"bindings": Bindings(el=7)}),
    Case("a lower serial", good, reason="older than serial 3", options={"bindings": Bindings(min_serial=3)}),
    Case(
        "expired",
        signed(payload(expires="2020-01-01T00:00:00Z")),
        reason="expired on",
        options={"bindings": Bindings()},
    ),
    Case("expires never came", signed(payload(expires="soon")), reason="expires", options={"bindings": Bindings()}),
    Case(
        "expires in February 30",
        signed(payload(expires="2030-02-30T00:00:00Z")),
        reason="expires",
        options={"bindings": Bindings()},
    ),
]
