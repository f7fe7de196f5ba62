"""The verbs of the command line. A verb's module is imported when the verb is used.

This is the one place that defers imports for the start-up time: help needs the table below only, and a verb imports
what it needs at the top of its module.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

import click
import typer
from typer.core import TyperGroup

RELEASE = "Release and publish"
CONSUME = "Verify and validate"
INSPECT = "Inspect, compare and export"
TRUST = "Keys, modules and definitions"
START = "Start and set up"


@dataclass(frozen=True, slots=True)
class Verb:
    """An entry of the command list."""

    module: str
    """The module of this package that implements it: as a function with the verb's name, or as a group ``app``."""
    panel: str
    """The heading under which help lists it."""
    summary: str
    """The first paragraph of its help."""


VERBS = {
    "release": Verb("release", RELEASE, "Make a release: collect, inspect, generate, sign, and with --to publish."),
    "collect": Verb("stages", RELEASE, "Download and authenticate the artifacts that the definitions name."),
    "generate": Verb("stages", RELEASE, "Inspect the collected artifacts and write the manifests."),
    "sign": Verb("stages", RELEASE, "Sign the generated manifests and the node tool, and verify the signatures."),
    "publish": Verb("stages", RELEASE, "Publish the signed manifests and the node tool."),
    "reissue": Verb("reissue", RELEASE, "Publish the newest manifest under the next serial, signed with today's key."),
    "ci": Verb("ci", RELEASE, "Make a release unattended: generate without secrets, then sign and publish."),
    "verify": Verb("verify", CONSUME, "Verify a signed manifest, or a published node tool, as a consumer does."),
    "audit": Verb("audit", CONSUME, "Verify everything that a bucket contains."),
    "check": Verb("check", CONSUME, "Validate a node, or every node of a Kubernetes cluster."),
    "inspect": Verb("inspect", INSPECT, "Inspect files, archives and images for the validated cryptographic module."),
    "diff": Verb("diff", INSPECT, "Show the differences between two manifests, by component."),
    "overrides": Verb("overrides", INSPECT, "Print konvoy-image-builder's override file for a release."),
    "schema": Verb("schema", INSPECT, "Print the JSON Schema of the manifest, of a definition or of a report."),
    "export": Verb("export", INSPECT, "Write a manifest, a report or an inspection in a format of another tool."),
    "explain": Verb("explain", INSPECT, "Explain an exit code, a reason, a verdict, a requirement or a check."),
    "bundle": Verb("bundle", INSPECT, "Export a release to carry it across an air gap."),
    "keys": Verb("keys", TRUST, "Manage the trust directory: who may sign manifests, the tool and upstream packages."),
    "modules": Verb("modules", TRUST, "List and extend the table of known cryptographic modules."),
    "definitions": Verb("definitions", TRUST, "List, check and lock release definitions."),
    "init": Verb("init", START, "Start a project: definition, trust directory, workflow, options and .gitignore."),
    "doctor": Verb("doctor", START, "Report what is missing on this machine, and what to do about it."),
    "config": Verb("config", START, "Show the options in force, and where each comes from."),
    "tool": Verb("tool", TRUST, "Build the single-file node tool, dkp-fips-tool."),
}


class _Commands(MutableMapping[str, click.Command]):
    """The commands by name; one is imported at its first use."""

    def __init__(self) -> None:
        self._loaded: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._loaded:
            self._loaded[name] = _load(name, VERBS[name])
        return self._loaded[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(VERBS)

    def __len__(self) -> int:
        return len(VERBS)


def _load(name: str, verb: Verb) -> click.Command:
    module = importlib.import_module(f".{verb.module}", __package__)
    if hasattr(module, "app"):
        command: click.Command = typer.main.get_group(module.app)
    else:
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(name)(getattr(module, name))
        command = typer.main.get_command(alone)
    command.name = name
    return command


class _Members(TyperGroup):
    """A verb with verbs of its own, which help lists with whole sentences."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs."""
        members = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(limit=200)) for name, one in members if one is not None])


def group(name: str) -> typer.Typer:
    """Return the application of a verb that has verbs of its own."""
    return typer.Typer(
        cls=_Members,
        no_args_is_help=True,
        rich_markup_mode=None,
        suggest_commands=False,  # click suggests, too
        help=VERBS[name].summary,
    )


class VerbGroup(TyperGroup):
    """A group of commands that are imported when they are used; help lists them by what they are for."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.commands = _Commands()

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        """Return the names of the verbs, in the order of help."""
        return list(VERBS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the verbs, under a heading for each panel."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for name, verb in VERBS.items():
            panels.setdefault(verb.panel, []).append((name, verb.summary))
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)
