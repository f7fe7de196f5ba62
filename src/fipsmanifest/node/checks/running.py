"""Running processes and TLS services.

Neither is examined by this version: on a running node that is unknown, and the verdict incomplete; a tree at rest has
none.
"""

from typing import List, Sequence

from ..result import NOT_APPLICABLE, UNKNOWN, Listed, Node, Result

PROCESSES = "processes"
SERVICES = "services"


def check_processes(node: Node, _manifests: Sequence[Listed]) -> List[Result]:
    """Say that running programs were not compared; raises nothing."""
    return [_unexamined(node, PROCESSES)]


def check_services(node: Node, _manifests: Sequence[Listed]) -> List[Result]:
    """Say that TLS services were not probed; raises nothing."""
    return [_unexamined(node, SERVICES)]


def _unexamined(node: Node, name: str) -> Result:
    if not node.live:
        return Result(name, name, NOT_APPLICABLE, actual="at rest")
    advice = "This version of the tool does not examine them; leave them out with --skip {} to judge the rest.".format(
        name
    )
    return Result(name, name, UNKNOWN, actual="not examined", advice=advice)
