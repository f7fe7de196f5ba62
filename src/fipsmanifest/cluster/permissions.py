"""What a check may do in a cluster, and nothing else: the rules of `deploy/rbac.yaml`."""

from __future__ import annotations

from typing import Any

from .objects import MANAGED_BY, namespace_object

NAME = "fipsmanifest-check"
_GROUP = "rbac.authorization.k8s.io"
_COORDINATION = "coordination.k8s.io"
_REPORTS = "openreports.io"


def cluster_rules(namespace: str) -> list[dict[str, Any]]:
    """Return the rules that hold in the whole cluster."""
    return [
        _rule("", "nodes", "get", "list"),
        {**_rule("", "namespaces", "get"), "resourceNames": [namespace]},
        # For --open-reports alone.
        _rule(_REPORTS, "clusterreports", "create"),
        {**_rule(_REPORTS, "clusterreports", "get", "update"), "resourceNames": ["fipsmanifest"]},
    ]


def namespace_rules() -> list[dict[str, Any]]:
    """Return the rules for the namespace of the check."""
    return [
        _rule("", "pods", "create", "delete", "deletecollection", "get", "list", "watch"),
        # For --report-dir alone.
        _rule("", "pods/log", "get"),
        _rule("", "configmaps", "create", "deletecollection", "get", "list", "update"),
        _rule(_COORDINATION, "leases", "create", "delete", "list", "patch"),
    ]


def system_rules() -> list[dict[str, Any]]:
    """Return the rules for kube-system: the images that nodes have, where a node does not list its pause image."""
    return [_rule("", "pods", "list")]


def _rule(group: str, resource: str, *verbs: str) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}


def access_objects(namespace: str) -> list[dict[str, Any]]:
    """Return the namespace, a service account in it, and its roles with their bindings."""
    subject = {"kind": "ServiceAccount", "name": NAME, "namespace": namespace}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _metadata(namespace)}
    return [
        namespace_object(namespace),
        {**account, "automountServiceAccountToken": False},
        *_role("ClusterRole", None, cluster_rules(namespace), subject),
        *_role("Role", namespace, namespace_rules(), subject),
        *_role("Role", "kube-system", system_rules(), subject),
    ]


def _role(
    kind: str, namespace: str | None, rules: list[dict[str, Any]], subject: dict[str, str]
) -> list[dict[str, Any]]:
    """Return a role and its binding."""
    reference = {"apiGroup": _GROUP, "kind": kind, "name": NAME}
    return [
        {"apiVersion": f"{_GROUP}/v1", "kind": kind, "metadata": _metadata(namespace), "rules": rules},
        {
            "apiVersion": f"{_GROUP}/v1",
            "kind": f"{kind}Binding",
            "metadata": _metadata(namespace),
            "roleRef": reference,
            "subjects": [subject],
        },
    ]


def _metadata(namespace: str | None) -> dict[str, Any]:
    placed = {} if namespace is None else {"namespace": namespace}
    return {"name": NAME, **placed, "labels": dict(MANAGED_BY)}


def missing_rule(resource: str, verb: str, group: str = "") -> str:
    """Return what to do about a missing permission."""
    return f'Grant the rule apiGroups: ["{group}"], resources: ["{resource}"], verbs: ["{verb}"]; see deploy/rbac.yaml.'
