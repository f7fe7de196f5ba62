"""Names of machine architectures: RPM's (``x86_64``), which this program uses, and those of Go and OCI (``amd64``)."""

from __future__ import annotations

#: Go and OCI name -> RPM name (OCI image specification, "platform"; GOARCH values).
_FROM_OCI = {"amd64": "x86_64", "arm64": "aarch64"}
_TO_OCI = {rpm: oci for oci, rpm in _FROM_OCI.items()}


def from_oci(name: str) -> str:
    """Return the RPM name of an OCI or Go architecture; an unknown name is returned unchanged."""
    return _FROM_OCI.get(name, name)


def to_oci(name: str) -> str:
    """Return the OCI name of an RPM architecture; an unknown name is returned unchanged."""
    return _TO_OCI.get(name, name)
