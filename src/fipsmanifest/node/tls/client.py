"""Asking a server which TLS versions and cipher suites it accepts, with raw ClientHello records.

A library would offer only what the host's policy allows, and on a FIPS host that is never what is looked for. No
cryptography is needed: a server chooses its suite in the ServerHello, before any key is used and before it asks for a
client certificate. Nothing but ClientHellos is sent, and the connection is closed at the answer.

Rules: RFC 5246 and RFC 8446 (records, hellos, alerts), RFC 8422 and RFC 7919 (groups), RFC 7627.
"""

import os
import socket
import struct
import time
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from . import suites

VERSIONS = (("SSLv3", 0x0300), ("TLSv1.0", 0x0301), ("TLSv1.1", 0x0302), ("TLSv1.2", 0x0303), ("TLSv1.3", 0x0304))
"""Each protocol version's name and number, oldest first."""

CONNECTION_SECONDS = 3.0
"""How long one connection may take."""
MAX_ANSWER = 32 * 1024
"""How many bytes of one answer are read; a ServerHello has some hundred."""
_MAX_ROUNDS = 80
_MAX_PROBLEMS = 2
_MAX_WARNINGS = 8

_ALERT, _HANDSHAKE = 21, 22
_SERVER_HELLO = 2
_WARNING, _FATAL, _CLOSE_NOTIFY = 1, 2, 0
_TLS13 = 0x0304
_PREFERRED = {"TLSv1.3": _TLS13, "TLSv1.2": 0x0303}
_CLOSED = "closed"
_SUPPORTED_VERSIONS = 43
_MAX_RECORD = 16384 + 2048  # RFC 5246, 6.2.3

# x25519, secp256r1, secp384r1, secp521r1, x448 and ffdhe2048 to 8192; then all others of IANA's registry "TLS Supported
# Groups", as a server that knows none of what is offered looks like one that refuses: sect and secp curves, Brainpool,
# GOST, SM2, ML-KEM, its hybrids and their last draft.
_USUAL_GROUPS = (0x001D, 0x0017, 0x0018, 0x0019, 0x001E, 0x0100, 0x0101, 0x0102, 0x0103, 0x0104)
_OTHER_GROUPS = (*range(0x0001, 0x0017), *range(0x001A, 0x001D), *range(0x001F, 0x002A), *range(0x0200, 0x0203))
_GROUPS = _USUAL_GROUPS + _OTHER_GROUPS + (0x11EB, 0x11EC, 0x11ED, 0x6399)
# ECDSA, RSA-PSS and RSA with SHA-256, 384 and 512; EdDSA; DSA and the SHA-1 ones for servers that are old.
_SIGNATURES = (
    (0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0809, 0x080A, 0x080B)
    + (0x0401, 0x0501, 0x0601, 0x0807, 0x0808, 0x0402, 0x0203, 0x0201, 0x0202)
)  # fmt: skip


class Unanswered(Exception):
    """The server gave no answer that can be understood; the text says what it did instead."""


class Refused(Exception):
    """Nothing listens there."""


class Choice(NamedTuple):
    """What a server chose."""

    version: int
    """Number of the version."""
    suite: int
    """Cipher suite's code."""


class Accepted(NamedTuple):
    """What a server accepts, as far as it could be asked."""

    suites: Dict[str, List[str]]
    """Version -> suites in the order in which the server chose them; only versions that it accepts."""
    preferred: Optional[str]
    """What it chooses of those that are allowed; None where it takes none of them."""
    alerts: Dict[str, str]
    """Version -> how it was refused."""
    problem: Optional[str]
    """Why the asking ended early; None where it came to its end."""
    connections: int
    """How many were made."""


def ask(address: Tuple[Any, ...], allowed: Sequence[str], seconds: float) -> Accepted:
    """Find all that the server at ``address`` accepts, within ``seconds``; raises `Refused` where none is there.

    ``address`` is a numeric one with its port and, where it is link-local, its flow and scope (socket(7)).
    """
    asking = _Asking(address, time.monotonic() + seconds)
    codes = suites.codes_of(allowed)
    unsure = []
    for name, version in reversed(VERSIONS):
        first = not asking.found
        asking.enumerate(name, version)
        if first and asking.refused.get(name) == _CLOSED:
            unsure.append((name, version))
    for name, version in unsure if asking.found else []:
        # It closed before it was known to answer at all.
        asking.enumerate(name, version)
    preferred = asking.prefer(codes) if asking.found else None
    if preferred is None:
        asking.ask_again()
    taken = {code for name in _PREFERRED for code in asking.found.get(name, [])}
    if preferred is None and taken.intersection(codes):
        asking.problems.append("refuses together what it accepts one by one")
    if not asking.found and not asking.problems:
        asking.problems.append("refuses every version ({})".format(asking.refusal))
    named = {
        name: [suites.name_of(code) for code in asking.found[name]] for name, _ in VERSIONS if name in asking.found
    }
    problem = asking.problems[0] if asking.problems else None
    return Accepted(named, preferred, asking.refused, problem, asking.connections)


class _Asking:
    """One server, the time that is left for it, and what it has answered so far."""

    def __init__(self, address: Tuple[Any, ...], deadline: float) -> None:
        self._address = address
        self._deadline = deadline
        self._taken: Optional[Choice] = None
        self.found: Dict[str, List[int]] = {}
        """Version -> codes in the order in which they were chosen."""
        self.refused: Dict[str, str] = {}
        """Version of which nothing was chosen -> how it was refused."""
        self.problems: List[str] = []
        self.connections = 0
        self.refusal = ""
        """How the last connection was refused; empty where it was not."""

    def enumerate(self, name: str, version: int) -> None:
        """Offer everything, then everything but what was chosen, until the server takes nothing more."""
        if len(self.problems) >= _MAX_PROBLEMS:
            return
        chosen: List[int] = []
        self.refused.pop(name, None)
        try:
            refusal = self._enumerate(version, chosen)
        except Unanswered as error:
            self.problems.append("{} ({})".format(error, name))
        else:
            self.refused.update({} if chosen else {name: refusal})
        if chosen:
            self.found[name] = chosen

    def _enumerate(self, version: int, chosen: List[int]) -> str:
        """Describe how the server refused in the end; ``chosen`` grows as it goes, as an `Unanswered` may end it."""
        left = set(suites.OFFERED)
        if version != _TLS13:
            left -= {code for code in left if code >> 8 == 0x13}
        while len(chosen) < _MAX_ROUNDS:
            choice = self._offer(version, sorted(left))
            if choice is None:
                return self.refusal
            if choice.version != version:
                return "another version"
            if choice.suite not in left:
                raise Unanswered("chose the suite 0x{:04X}, which was not offered".format(choice.suite))
            chosen.append(choice.suite)
            left.discard(choice.suite)
            self._taken = choice
        raise Unanswered("accepts more suites than can be true")

    def ask_again(self) -> None:
        """Offer once more what was accepted: a server that answers no longer is not one that refuses."""
        try:
            if self._taken is not None and self._offer(self._taken.version, [self._taken.suite]) != self._taken:
                raise Unanswered("stops answering, as it refuses what it accepted before")
        except Unanswered as error:
            self.problems.append(str(error))

    def prefer(self, allowed: Sequence[int]) -> Optional[str]:
        """Offer what is allowed alone, newest version first; None where nothing of it is chosen."""
        try:
            for version in _PREFERRED.values():
                offered = [code for code in allowed if (code >> 8 == 0x13) == (version == _TLS13)]
                choice = self._offer(version, offered) if offered else None
                if choice is not None and choice.version == version and choice.suite in offered:
                    return suites.name_of(choice.suite)
        except Unanswered as error:
            self.problems.append(str(error))
        return None

    def _offer(self, version: int, offered: Sequence[int]) -> Optional[Choice]:
        """Make one connection; None where the server refuses what was offered."""
        deadline = min(self._deadline, time.monotonic() + CONNECTION_SECONDS)
        if deadline <= time.monotonic():
            raise Unanswered("takes too long to answer")
        self.connections += 1
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                connection.connect(self._address)
            except socket.timeout:
                raise Unanswered("does not accept the connection in time")
            except OSError as error:
                if self.connections > 1:
                    raise Unanswered("stops taking connections")
                raise Refused(error.strerror or "refused")
            try:
                connection.sendall(client_hello(version, offered))
            except socket.timeout:
                raise Unanswered("does not take the ClientHello in time")
            except OSError:
                pass  # It may have answered before it closed.
            reader = _Reader(connection, deadline)
            try:
                return reader.answer()
            finally:
                self.refusal = reader.refusal


class _Reader:
    """Reads one answer: records up to the first handshake message, or the alert that ends it."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self._read = 0
        self.refusal = ""

    def answer(self) -> Optional[Choice]:
        """Return the ServerHello's choice, None for a refusal; raises `Unanswered`."""
        message, warnings = b"", 0
        while True:
            header = self._exactly(5, at_start=not message and not warnings)
            if header is None:
                self.refusal = _CLOSED
                return None
            kind, major, length = header[0], header[1], struct.unpack(">H", header[3:])[0]
            if kind not in (_ALERT, _HANDSHAKE) or major != 3 or not 0 < length <= _MAX_RECORD:
                raise Unanswered("answers something that is not TLS")
            body = self._exactly(length) or b""
            if kind == _HANDSHAKE:
                message += body
                if len(message) >= 4 and message[0] != _SERVER_HELLO:
                    raise Unanswered("answers with another message than a ServerHello")
                if len(message) >= 4 and len(message) - 4 >= int.from_bytes(message[1:4], "big"):
                    return read_server_hello(message)
            elif self._ends(body):
                return None
            else:
                warnings += 1
                if warnings > _MAX_WARNINGS:
                    raise Unanswered("sends alert after alert")

    def _ends(self, alert: bytes) -> bool:
        """Return whether an alert ends the handshake: all do but warnings (RFC 5246, 7.2)."""
        if len(alert) != 2 or alert[0] not in (_WARNING, _FATAL):
            raise Unanswered("sends an alert that is none")
        self.refusal = "alert {}".format(alert[1])
        return alert[0] != _WARNING or alert[1] == _CLOSE_NOTIFY

    def _exactly(self, count: int, at_start: bool = False) -> Optional[bytes]:
        """Read ``count`` bytes; None where the server closed instead of answering, ``at_start`` alone."""
        parts: List[bytes] = []
        missing = count
        self._read += count
        if self._read > MAX_ANSWER:
            raise Unanswered("answers without end")
        while missing:
            seconds = self._deadline - time.monotonic()
            if seconds <= 0:
                raise Unanswered("does not answer in time")
            self._connection.settimeout(seconds)
            try:
                part = self._connection.recv(missing)
            except socket.timeout:
                raise Unanswered("does not answer in time")
            except OSError:
                part = b""
            if not part:
                if at_start and missing == count:
                    return None
                raise Unanswered("ends in the middle of its answer")
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)


def read_server_hello(message: bytes) -> Choice:
    """Read version and suite from a ServerHello or HelloRetryRequest (they have one form); raises `Unanswered`."""
    try:
        version = struct.unpack_from(">H", message, 4)[0]
        after_session = 39 + message[38]
        suite, compression = struct.unpack_from(">HB", message, after_session)
        extensions = message[after_session + 3 : 4 + int.from_bytes(message[1:4], "big")]
        if compression == 0 and len(message) >= after_session + 3:
            return Choice(_selected_version(extensions) or version, suite)
    except (IndexError, struct.error):
        pass
    raise Unanswered("answers with a ServerHello that is malformed")


def _selected_version(extensions: bytes) -> Optional[int]:
    """Return what the extension supported_versions says, the only place where TLS 1.3 is named (RFC 8446, 4.2.1)."""
    if not extensions:
        return None
    end = 2 + struct.unpack_from(">H", extensions)[0]
    place = 2
    while place < end:
        kind, length = struct.unpack_from(">HH", extensions, place)
        if kind == _SUPPORTED_VERSIONS and length == 2:
            return int(struct.unpack_from(">H", extensions, place + 4)[0])
        place += 4 + length
    return None


def client_hello(version: int, offered: Sequence[int]) -> bytes:
    """Write the records of a ClientHello that offers one protocol version and these suites."""
    new = version == _TLS13
    body = struct.pack(">H", min(version, 0x0303)) + os.urandom(32)
    body += _vector(">B", os.urandom(32) if new else b"")
    body += _vector(">H", b"".join(struct.pack(">H", code) for code in offered))
    body += _vector(">B", b"\0")
    if version > 0x0300:
        body += _vector(">H", _extensions(version))
    message = b"\x01" + struct.pack(">I", len(body))[1:] + body
    # The record's own version is the oldest, for servers that inspect it first (RFC 8446, 5.1).
    record = struct.pack(">BH", _HANDSHAKE, min(version, 0x0301))
    return record + _vector(">H", message)


def _extensions(version: int) -> bytes:
    groups = _vector(">H", b"".join(struct.pack(">H", group) for group in _GROUPS))
    signatures = _vector(">H", b"".join(struct.pack(">H", one) for one in _SIGNATURES))
    # Some servers in FIPS mode refuse TLS 1.2 without extension 23, the extended master secret (RFC 7627).
    written = _extension(10, groups) + _extension(11, b"\x01\x00") + _extension(23, b"") + _extension(0xFF01, b"\x00")
    if version >= 0x0303:
        written += _extension(13, signatures)
    if version == _TLS13:
        # No key share: the server asks for one in a HelloRetryRequest, which names the suite it chose (4.1.4).
        written += _extension(_SUPPORTED_VERSIONS, _vector(">B", struct.pack(">H", version)))
        written += _extension(51, _vector(">H", b"")) + _extension(45, b"\x01\x01")
    return written


def _extension(kind: int, content: bytes) -> bytes:
    return struct.pack(">H", kind) + _vector(">H", content)


def _vector(length: str, content: bytes) -> bytes:
    return struct.pack(length, len(content)) + content
