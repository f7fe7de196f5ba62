"""A small real upstream: what a FIPS build of Kubernetes publishes, made and served on this machine."""

from .noderoot import node_root
from .world import Served, World

__all__ = ["Served", "World", "node_root"]
