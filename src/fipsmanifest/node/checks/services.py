"""TLS services.

They are not probed by this version: on a running node that is unknown, and the verdict incomplete; a tree at rest has
none.
"""

from typing import List, Sequence

from ..result import NOT_APPLICABLE, UNKNOWN, Listed, Node, Result

ID = "services"


def check(node: Node, manifests: Sequence[Listed]) -> List[Result]:
    """Say that the services the manifests name were not probed; raises nothing."""
    if not node.live:
        return [Result(ID, ID, NOT_APPLICABLE, actual="at rest")]
    if not any((listed.manifest.get("node") or {}).get("services") for listed in manifests):
        return [Result(ID, ID, NOT_APPLICABLE, actual="none listed")]
    advice = "This version of the tool does not probe them; leave them out with --skip services to judge the rest."
    return [Result(ID, ID, UNKNOWN, actual="not probed", advice=advice)]
