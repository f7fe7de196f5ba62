"""The same check on a schedule: a CronJob with the keys and manifests that it uses, and its service account."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import UsageError
from ..model.version import version_key
from .objects import MANAGED_BY
from .payload import MAX_PART
from .permissions import NAME, access_objects

#: From this Kubernetes on there is CronJob in batch/v1; v1beta1 was served from 1.8 to 1.24.
_CRON_JOB_V1 = (1, 21)
#: Where the CronJob's pod finds the trust directory and the manifests.
_KEYS, _MANIFESTS = "/config/keys", "/config/manifests"


def cron_job_objects(
    namespace: str,
    image: str,
    schedule: str,
    keys: Mapping[str, bytes],
    manifests: Mapping[str, bytes],
    options: Sequence[str],
    kubernetes: Sequence[str],
) -> list[dict[str, Any]]:
    """Return the objects that run a check on a schedule.

    ``image`` has fipsmanifest with its extra ``cluster``, and gpgv. ``options`` are more options of the check,
    ``kubernetes`` the versions that the manifests are of: the oldest one decides the CronJob's API version. Raises
    `UsageError` for more manifests than a ConfigMap takes.
    """
    for what, files in (("keys", keys), ("manifests", manifests)):
        size = sum(map(len, files.values()))
        if size > MAX_PART:
            raise UsageError(f"The {what} have {size} bytes; a ConfigMap takes {MAX_PART}.", "Name fewer manifests.")
    oldest = min(map(version_key, kubernetes), default=_CRON_JOB_V1)
    names = [f"{_MANIFESTS}/{name}" for name in manifests]
    return [
        *access_objects(namespace),
        _config_map(namespace, "keys", keys),
        _config_map(namespace, "manifests", manifests),
        {
            "apiVersion": "batch/v1" if oldest >= _CRON_JOB_V1 else "batch/v1beta1",
            "kind": "CronJob",
            "metadata": {"name": NAME, "namespace": namespace, "labels": dict(MANAGED_BY)},
            "spec": {
                "schedule": schedule,
                "concurrencyPolicy": "Forbid",
                "successfulJobsHistoryLimit": 1,
                "failedJobsHistoryLimit": 3,
                "jobTemplate": {
                    # A verdict is no reason to run again; the next time is.
                    "spec": {"backoffLimit": 0, "template": {"spec": _pod(namespace, image, names, options)}}
                },
            },
        },
    ]


def _pod(namespace: str, image: str, manifests: Sequence[str], options: Sequence[str]) -> dict[str, Any]:
    command = ["fipsmanifest", "check", "cluster", "--json", "--keys", _KEYS, "-n", namespace, *options, *manifests]
    mounts: list[dict[str, Any]] = [
        {"name": name, "mountPath": path, "readOnly": True}
        for name, path in (("keys", _KEYS), ("manifests", _MANIFESTS))
    ]
    mounts.append({"name": "tmp", "mountPath": "/tmp"})  # noqa: S108
    return {
        "serviceAccountName": NAME,
        "automountServiceAccountToken": True,
        "restartPolicy": "Never",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "check",
                "image": image,
                "command": command,
                "env": [{"name": "HOME", "value": "/tmp"}],  # noqa: S108
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                "volumeMounts": mounts,
            }
        ],
        "volumes": [
            *({"name": name, "configMap": {"name": f"{NAME}-{name}"}} for name in ("keys", "manifests")),
            {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
        ],
    }


def _config_map(namespace: str, name: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{NAME}-{name}", "namespace": namespace, "labels": dict(MANAGED_BY)},
        "binaryData": {key: base64.b64encode(data).decode("ascii") for key, data in files.items()},
    }
