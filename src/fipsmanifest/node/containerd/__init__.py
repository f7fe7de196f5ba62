"""containerd as it is on disk: its configuration, its databases, and what overlayfs makes of its snapshots."""

from .configuration import OVERLAYFS, ROOT, Configuration, Program, is_same, read

__all__ = ["OVERLAYFS", "ROOT", "Configuration", "Program", "is_same", "read"]
