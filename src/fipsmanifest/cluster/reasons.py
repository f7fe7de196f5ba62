"""Why a node has no answer that counts: a code for programs, and what to do for people."""

from __future__ import annotations

#: Each code with what it means and what to do about it. The codes are part of the published schema.
ADVICE = {
    "other-system": "The node runs another operating system than Linux; the node tool cannot check it.",
    "virtual": "The node is virtual (virtual-kubelet, Fargate): it runs no programs of its own that can be checked.",
    "not-ready": "The node's kubelet does not report. Start it, or remove the node.",
    "no-image": "No image for the pod was found on the node. Name one that is there with --image.",
    "image-missing": "The image for the pod is not on the node. Name another one with --image.",
    "refused": "The API server refused the pod. Allow it in the admission policy or quota of the namespace.",
    "changed": "Admission changed what the pod starts or sees. Exempt its namespace from that webhook or policy.",
    "payload-changed": "Admission changed the node tool or the manifests. Exempt its namespace from that webhook.",
    "rejected": "The kubelet did not accept the pod. Free what it names on the node.",
    "evicted": "The pod was evicted. Free memory or disk on the node.",
    "not-started": "The container could not be started. Read its reason, and the kubelet's log.",
    "no-python": "The node has no Python 3.6 or newer. Install the package python3.",
    "out-of-memory": "The node tool needed more memory than the pod may use. Check the node itself.",
    "no-report": "The pod ended without a report. Run again with --keep and read its log.",
    "unreadable-report": "The report of the node cannot be read. Check the node itself.",
    "foreign-report": "The report is not one of this run, this node or these manifests. Check the node itself.",
    "timed-out": "The node gave no answer in time. Check its kubelet, or use a longer --node-timeout.",
    "pod-deleted": "The pod was deleted before it had an answer. Run again.",
    "node-deleted": "The node was deleted before it had an answer. Run again.",
    "node-replaced": "Another node took this name meanwhile. Run again.",
    "not-found": "The cluster has no such node, or not of that role. Correct --node.",
    "run-ended": "The run ended before the node had its turn. Use a longer --timeout.",
}

#: What a second attempt may change.
RETRIED = frozenset({"image-missing", "rejected", "evicted", "pod-deleted", "no-report", "not-started"})
