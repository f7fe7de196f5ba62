"""The node tool and the signed manifests as ConfigMaps, and how a pod puts them together again."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import UsageError
from ..generate.tool import NAME as TOOL

#: Bytes in one ConfigMap. The API server refuses more than 1,048,576 with its keys (core/v1 ConfigMap).
MAX_PART = 900_000
#: ConfigMaps of one run.
MAX_PARTS = 8
#: Manifests of one run: the digests of all must fit into a termination message.
MAX_MANIFESTS = 16

#: What a ConfigMap takes as a key, and a shell as a word.
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")


@dataclass(frozen=True, slots=True)
class Payload:
    """What a run brings to each node."""

    parts: tuple[tuple[tuple[str, bytes], ...], ...]
    """The files of each ConfigMap: name and content."""
    names: tuple[str, ...]
    """What each manifest is called on the node, in the order given."""
    digests: frozenset[str]
    """SHA-256 of each manifest: what a report of this run must name."""
    tool_digest: str
    """SHA-256 of the node tool."""
    packed: bool
    """Whether the manifests are gzip files cut into pieces (``NAME.gz.00``, ...), for the pod to put together."""

    def paths(self) -> tuple[str, ...]:
        """Return where the node tool finds each manifest in the pod."""
        return tuple(f"{'/tmp' if self.packed else '/payload'}/{name}" for name in self.names)  # noqa: S108

    def unpacking(self) -> str:
        """Return the shell commands that put the manifests together; empty where they are whole."""
        if not self.packed:
            return ""
        return "".join(f"cat /payload/{name}.gz.* | gzip -dc >/tmp/{name} && " for name in self.names)


def make_payload(tool: bytes, manifests: Sequence[tuple[str, bytes]]) -> Payload:
    """Return the payload for a tool and signed manifests, each with its path or address.

    The same bytes given twice are taken once. Raises `UsageError` for more manifests or bytes than ConfigMaps should
    carry.
    """
    files = named(manifests)
    if len(files) > MAX_MANIFESTS:
        raise UsageError(
            f"{len(files)} manifests are given; one check takes at most {MAX_MANIFESTS}.",
            "Check the nodes in parts, with --selector.",
        )
    names = tuple(name for name, _ in files)
    digests = frozenset(hashlib.sha256(data).hexdigest() for _, data in files)
    packed = len(tool) + sum(len(data) for _, data in files) > MAX_PART
    if packed:
        files = [piece for name, data in files for piece in _pieces(f"{name}.gz", gzip.compress(data, 9, mtime=0))]
    parts = _fill([(TOOL, tool), *files])
    if len(parts) > MAX_PARTS:
        raise UsageError(
            f"The manifests need {len(parts)} ConfigMaps even when packed; a check uses at most {MAX_PARTS}.",
            "Name fewer manifests, or check the nodes in parts, with --selector.",
        )
    return Payload(parts, names, digests, hashlib.sha256(tool).hexdigest(), packed)


def named(manifests: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Return manifests, given by path or address, each with a name that the API and a shell take, no two alike.

    The same bytes given twice are taken once.
    """
    names: list[str] = []
    once = list({data: name for name, data in reversed(manifests)}.items())[::-1]
    for number, (_, name) in enumerate(once, 1):
        numbered = (f"manifest-{count}.asc" for count in itertools.count(number))
        wanted = itertools.chain(filter(_KEY.match, [name.rpartition("/")[2]]), numbered)
        names.append(next(one for one in wanted if one not in (TOOL, *names)))
    return list(zip(names, (data for data, _ in once), strict=True))


def _pieces(name: str, data: bytes) -> list[tuple[str, bytes]]:
    """Cut a file into pieces that fit into a ConfigMap; a shell's ``*`` gives them in order."""
    cut = range(0, len(data), MAX_PART)
    return [(f"{name}.{number:02}", data[at : at + MAX_PART]) for number, at in enumerate(cut)]


def _fill(files: Sequence[tuple[str, bytes]]) -> tuple[tuple[tuple[str, bytes], ...], ...]:
    """Distribute files over ConfigMaps in their order."""
    parts: list[list[tuple[str, bytes]]] = [[]]
    for name, data in files:
        if parts[-1] and sum(len(other) for _, other in parts[-1]) + len(data) > MAX_PART:
            parts.append([])
        parts[-1].append((name, data))
    return tuple(map(tuple, parts))
