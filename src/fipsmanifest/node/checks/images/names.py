"""What containerd's image names lead to: a listed image's name may have been given to another image.

A pod that runs goes on with the image that it was made of, and the next one is made of what has the name by then.
"""

import contextlib
import json
from typing import Dict, FrozenSet, List, Optional, Sequence, Set

from ....trust.text import visible
from ... import tree
from ...containerd import bolt
from ...result import FAIL, UNKNOWN, Node, Result, of_component
from .. import container_pods
from ..platform import architecture_of
from . import content
from .listed import ID, OCI_NAMES, Image

_MAX_DOCUMENT = 4 * 1024 * 1024
_MAX_DEPTH = 3
_PULL = "Find out who gave it the name; remove the name (ctr --namespace k8s.io images rm) and pull the image again."


def check(node: Node, images: Sequence[Image]) -> List[Result]:
    """Compare what each listed name leads to with the listed images of that name; raises nothing."""
    try:
        named = bolt.read(
            tree.resolve(node.root, container_pods.METADATA), (*container_pods.BUCKETS, b"images"), b"target"
        )
    except (FileNotFoundError, NotADirectoryError):
        return []  # whose containers run is then unknown to the check of processes
    except (OSError, bolt.Malformed, bolt.Busy) as error:
        told = visible("the database of names cannot be read: {}".format(error or "it changes all the time"), 200)
        advice = "Run it as root, and again."
        return [Result(ID, "names", UNKNOWN, "a database", told, {"code": "database"}, advice)]
    targets = {
        container_pods.text(name): container_pods.text(target.get(b"digest", b"")) for name, target in named.items()
    }
    by_reference: Dict[str, List[Image]] = {}
    for image in images:
        by_reference.setdefault(image.reference, []).append(image)
    names = {str(architecture_of(node, [])), str(OCI_NAMES.get(str(architecture_of(node, []))))}
    found = []
    for reference, alike in sorted(by_reference.items()):
        identities = frozenset(digest for image in alike for _, digest in image.identities)
        digest = targets.get(reference)
        leads = None if digest is None else _leads(node, digest, identities, names)
        if digest is None or leads:
            continue
        evidence = of_component({"code": "renamed"}, alike[0].component)
        expected = visible(" or ".join(sorted(identities)), 400)
        status = UNKNOWN if leads is None else FAIL
        found.append(Result(ID, "{} (name)".format(reference), status, expected, visible(digest), evidence, _PULL))
    return found


def _leads(node: Node, digest: str, identities: FrozenSet[str], names: Set[str], depth: int = 0) -> Optional[bool]:
    """Return whether a document is a listed image, or leads to one on this machine; None where it cannot be read."""
    if digest in identities:
        return True
    document = None
    with contextlib.suppress(OSError, tree.NotRegular, ValueError, RecursionError):
        if content.is_whole(node, digest):
            path = "{}/{}".format(content.STORE, digest.partition(":")[2])
            document = json.loads(tree.read_small(node.root, path, _MAX_DOCUMENT))
    if not isinstance(document, dict) or depth >= _MAX_DEPTH:
        return None
    config, manifests = document.get("config"), document.get("manifests")
    if isinstance(config, dict):
        return config.get("digest") in identities
    entries = [one for one in manifests if isinstance(one, dict)] if isinstance(manifests, list) else []
    platforms = [one["platform"] if isinstance(one.get("platform"), dict) else {} for one in entries]
    own = [one for one, platform in zip(entries, platforms) if platform.get("architecture") in (None, *names)]  # noqa: B905 - Python 3.6 has no strict=
    told = [_leads(node, str(one.get("digest")), identities, names, depth + 1) for one in own]
    return None if not told or None in told else all(told)
