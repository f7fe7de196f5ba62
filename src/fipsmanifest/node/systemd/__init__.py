"""systemd as it is on disk: which units it loads, and what they start."""

from .commands import COMMANDS, Command, expand, read_commands
from .syntax import NEWEST, Entry, Malformed, first_word, parse, read_environment_file, split
from .units import DEFAULT_PATH, SEARCH_PATH, Unit, Units

__all__ = [
    "COMMANDS",
    "DEFAULT_PATH",
    "NEWEST",
    "SEARCH_PATH",
    "Command",
    "Entry",
    "Malformed",
    "Unit",
    "Units",
    "expand",
    "first_word",
    "parse",
    "read_commands",
    "read_environment_file",
    "split",
]
