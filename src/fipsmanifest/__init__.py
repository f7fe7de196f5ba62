"""Cut, sign, publish and verify the manifests of FIPS builds of Kubernetes."""

__version__ = "0.1.0"

# The day of this version, as the node tool reports it: a constant, so that one commit builds one tool.
__released__ = "2026-11-23"
#: The day of the shipped list of certificates, as in inspect/modules.toml, which the node tool does not carry.
__certificates__ = "2026-11-23"
