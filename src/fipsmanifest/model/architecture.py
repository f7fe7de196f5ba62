"""One name for a machine: RPM's (``x86_64``, ``aarch64``), whatever the source calls it."""

from __future__ import annotations

#: Go and OCI name -> RPM name (OCI image specification, "platform"; GOARCH values).
_FROM_OCI = {"amd64": "x86_64", "arm64": "aarch64"}
_TO_OCI = {rpm: oci for oci, rpm in _FROM_OCI.items()}


def from_oci(name: str) -> str:
    """Give the RPM name of an OCI or Go architecture; a name that is not known comes back as it is."""
    return _FROM_OCI.get(name, name)


def to_oci(name: str) -> str:
    """Give the OCI name of an RPM architecture; a name that is not known comes back as it is."""
    return _TO_OCI.get(name, name)
