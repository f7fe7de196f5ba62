"""``fipsmanifest check cluster``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..cluster import document
from ..cluster.document import ClusterReport
from ..errors import FipsManifestError, UsageError
from ..progress import Progress
from ..state import durable
from . import completion, options, output, progressbars

# It needs the extra "cluster", which `check node` does without.
if TYPE_CHECKING:
    from ..workflows.check_cluster import OnAnswer, Request

#: Options that only a check itself uses; parameter -> option.
_OF_A_RUN = {"report_dir": "--report-dir", "junit": "--junit", "metrics": "--metrics", "keep": "--keep"}
#: Those that a scheduled check takes over, and a dry run ignores.
_OF_A_RESULT = {"output_configmap": "--output-configmap", "open_reports": "--open-reports"}

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def cluster(
    ctx: typer.Context,
    manifests: Annotated[
        list[str], typer.Argument(metavar="MANIFEST...", help="Signed manifests, one for each system.")
    ],
    keys: options.Keys = options.KEYS,
    tool: Annotated[
        Path | None,
        typer.Option(
            envvar="FIPSMANIFEST_TOOL",
            metavar="FILE",
            help="The published dkp-fips-tool, with its .asc beside it.  [default: one built with --keys]",
        ),
    ] = None,
    kubeconfig: Annotated[
        Path | None,
        typer.Option(
            envvar="FIPSMANIFEST_KUBECONFIG", metavar="FILE", help="The kubeconfig.  [default: as kubectl finds it]"
        ),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(envvar="FIPSMANIFEST_CONTEXT", metavar="NAME", help="Its context, if not the current one."),
    ] = None,
    namespace: Annotated[
        str,
        typer.Option(
            "--namespace", "-n", envvar="FIPSMANIFEST_NAMESPACE", metavar="NAME", help="Where pods are created."
        ),
    ] = "fipsmanifest",
    selector: Annotated[str | None, typer.Option(metavar="LABELS", help="Only nodes with these labels.")] = None,
    node: Annotated[
        list[str] | None, typer.Option("--node", metavar="NAME", help="Only this node. Repeatable.")
    ] = None,
    role: Annotated[
        str,
        typer.Option(
            metavar="ROLE",
            help="Only nodes of this role: control-plane or worker; auto: all.",
            autocompletion=completion.one_of(("auto", "control-plane", "worker")),
        ),
    ] = "auto",
    min_serial: Annotated[
        int | None,
        typer.Option(envvar="FIPSMANIFEST_MIN_SERIAL", metavar="N", min=1, help="Refuse manifests of lower serials."),
    ] = None,
    parallel: Annotated[int, typer.Option(min=1, max=5000, metavar="N", help="Pods at the same time.")] = 200,
    node_timeout: Annotated[str, typer.Option(metavar="TIME", help="Time for one node, as in 90s, 5m, 1h.")] = "5m",
    timeout: Annotated[str, typer.Option(metavar="TIME", help="Time for everything; 0: no end.")] = "10m",
    image: Annotated[
        str | None, typer.Option(metavar="REF", help="An image that every node has.  [default: its pause image]")
    ] = None,
    report_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the whole reports of nodes that are not valid here.")
    ] = None,
    output_configmap: Annotated[
        str | None, typer.Option(metavar="NAME", help="Write the result to this ConfigMap as well.")
    ] = None,
    open_reports: Annotated[
        bool, typer.Option("--open-reports", help="Write a ClusterReport (openreports.io/v1alpha1) as well.")
    ] = False,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a JUnit report as well.")] = None,
    metrics: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write Prometheus metrics (textfile collector) as well.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave pods and their logs until the next check.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the objects that would be created, and create nothing.")
    ] = False,
    print_cronjob: Annotated[
        bool, typer.Option("--print-cronjob", help="Print what runs this check on a schedule in the cluster itself.")
    ] = False,
    cronjob_image: Annotated[
        str | None,
        typer.Option(metavar="REF", help="For --print-cronjob: an image with fipsmanifest[cluster] and gpgv."),
    ] = None,
    schedule: Annotated[str, typer.Option(metavar="CRON", help="For --print-cronjob: when.")] = "0 3 * * *",
    json: options.Json = False,
) -> None:
    """Check every node of a Kubernetes cluster with the node tool, in a pod on each node.

    Nothing is installed on nodes and no image is pulled. Every node is in the result by name; one without an answer is
    unknown, and the cluster incomplete.
    """
    if role not in ("auto", "control-plane", "worker"):
        raise UsageError(f"--role {role} is not a role.", "Use control-plane, worker or auto.")
    try:
        # Here, because what it needs comes with the extra "cluster", and may be missing.
        from ..workflows import check_cluster
    except ModuleNotFoundError as error:
        raise UsageError(
            f"The Python package {error.name} is missing.", "Install the extra: pip install 'fipsmanifest[cluster]'."
        ) from error
    request = check_cluster.Request(
        tuple(manifests),
        keys,
        tool,
        kubeconfig,
        context,
        namespace,
        selector,
        tuple(node or ()),
        role,
        parallel,
        _seconds(node_timeout, "--node-timeout") or 300,
        _seconds(timeout, "--timeout"),
        image,
        report_dir,
        output_configmap,
        open_reports,
        keep,
        min_serial,
    )
    if print_cronjob:
        if cronjob_image is None:
            raise UsageError("--print-cronjob needs --cronjob-image.", "Name an image with fipsmanifest[cluster].")
        options.refuse_ignored(ctx, {**_OF_A_RUN, "dry_run": "--dry-run"}, "with --print-cronjob")
        output.write_json(check_cluster.scheduled(request, cronjob_image, schedule, _given(ctx)))
        return
    options.refuse_ignored(
        ctx, {"cronjob_image": "--cronjob-image", "schedule": "--schedule"}, "without --print-cronjob"
    )
    if dry_run:
        options.refuse_ignored(ctx, _OF_A_RUN | _OF_A_RESULT, "with --dry-run")
        output.write_json(check_cluster.dry_run(request))
        return
    # The metrics have the time of their check, so that an old one is known.
    durable.discard(junit)
    with _shown(options.session_of(ctx)) as (progress, on_answer):
        report = check_cluster.check_cluster(request, progress, on_answer)
    code = _write(report, request, junit, metrics, json)
    raise typer.Exit(code)


def _write(report: ClusterReport, request: Request, junit: Path | None, metrics: Path | None, json: bool) -> int:
    """Write the result to wherever it was asked for, and return the exit code; a failure does not lose the rest."""
    # Here, because it needs the extra "cluster".
    from ..workflows import check_cluster

    code = document.exit_code(report)
    if json:
        output.write_json(document.to_document(report))
    else:
        for line in document.to_text(report):
            output.write(line)
    for path, text in ((junit, document.to_junit), (metrics, document.to_metrics)):
        try:
            if path is not None:
                durable.write(path, text(report).encode("utf-8"), 0o644)
        except (FipsManifestError, OSError) as error:
            output.say(f"error: {path} cannot be written: {error}")
            code = code or 4
    try:
        check_cluster.publish(request, report)
    except FipsManifestError as error:
        output.say(f"error: {error.message}")
        output.say(f"       {error.advice}")
        code = code or error.exit_code
    return code


def _seconds(text: str, option: str) -> int | None:
    """Return a time in seconds; None for 0. Raises `UsageError`."""
    found = re.fullmatch(r"([0-9]{1,6})(s|m|h|)", text, re.ASCII)
    if found is None:
        raise UsageError(f"{option} {text} is not a time.", "Write it as 90s, 5m or 1h.")
    return int(found[1]) * _UNITS[found[2]] or None


def _given(ctx: typer.Context) -> list[str]:
    """Return the options of this command line that a scheduled check takes over."""
    names = {
        "selector": "--selector",
        "role": "--role",
        "min_serial": "--min-serial",
        "parallel": "--parallel",
        "node_timeout": "--node-timeout",
        "timeout": "--timeout",
        "image": "--image",
        "output_configmap": "--output-configmap",
    }
    words = [f"{option}={ctx.params[name]}" for name, option in names.items() if options.was_given(ctx, name)]
    words += [f"--node={name}" for name in ctx.params["node"] or ()]
    return words + (["--open-reports"] if ctx.params["open_reports"] else [])


@contextmanager
def _shown(session: output.Session) -> Iterator[tuple[Progress, OnAnswer | None]]:
    """Show how many nodes have answered: a table on a terminal, notes elsewhere, nothing with ``--quiet``."""
    if session.quiet or not sys.stderr.isatty():
        with progressbars.progress(session) as progress:
            yield progress, None
        return
    # Here, because only a terminal needs rich.
    from .cluster_table import live_table

    with live_table() as table:
        yield table, table.answered
