"""Cut, sign, publish and verify the manifests of FIPS builds of Kubernetes."""

__version__ = "0.1.0"

# The day of this version, as the node tool reports it: a constant, so that one commit builds one tool.
__released__ = "2026-11-23"
