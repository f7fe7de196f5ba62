"""Options that several verbs share: one name, one meaning, one environment variable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from .output import Session


def _remember(ctx: typer.Context, value: bool) -> bool:
    ctx.find_root().ensure_object(Session).json = value
    return value


def session_of(ctx: typer.Context) -> Session:
    """Give how this run is to speak."""
    session: Session = ctx.find_root().ensure_object(Session)
    return session


def was_given(ctx: typer.Context, name: str) -> bool:
    """Tell whether an option stands on the command line (not in the environment, not by default)."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def refuse_ignored(ctx: typer.Context, names: dict[str, str], because: str) -> None:
    """Raise `UsageError` where one of ``names`` (parameter -> option) was given though it would be ignored."""
    for name, option in names.items():
        if was_given(ctx, name):
            raise UsageError(f"{option} would be ignored {because}.", f"Leave {option} out.")


Json = Annotated[
    bool, typer.Option("--json", callback=_remember, help="Write one JSON document to stdout, nothing else.")
]
Definitions = Annotated[
    Path, typer.Option(envvar="FIPSMANIFEST_DEFINITIONS", metavar="DIR", help="The folder of release definitions.")
]
Work = Annotated[
    Path, typer.Option(envvar="FIPSMANIFEST_WORK", metavar="DIR", help="Where each stage leaves its result.")
]
Cache = Annotated[
    Path | None,
    typer.Option(
        envvar="FIPSMANIFEST_CACHE",
        metavar="DIR",
        help="Where downloads are kept, by digest.  [default: fipsmanifest in the user's cache folder]",
    ),
]
Keys = Annotated[
    Path, typer.Option(envvar="FIPSMANIFEST_KEYS", metavar="DIR", help="The trust folder (certificates, trust.json).")
]
El = Annotated[
    list[int] | None,
    typer.Option(
        "--el",
        envvar="FIPSMANIFEST_EL",
        metavar="N",
        help="Enterprise Linux release; may be repeated (in the variable: separated by blanks).",
    ),
]
To = Annotated[
    str | None,
    typer.Option(
        "--to", envvar="FIPSMANIFEST_TO", metavar="BUCKET", help="s3://name[/prefix], or a folder. Needed to publish."
    ),
]
EndpointUrl = Annotated[
    str | None,
    typer.Option(envvar="FIPSMANIFEST_ENDPOINT_URL", metavar="URL", help="The S3 endpoint, where it is not AWS."),
]
SigningKey = Annotated[
    str | None,
    typer.Option(
        envvar="FIPSMANIFEST_SIGNING_KEY",
        metavar="FPR",
        help="Full fingerprint of the signing key.  [default: the one manifest key whose secret is here]",
    ),
]
Mirror = Annotated[
    list[str] | None,
    typer.Option(
        "--mirror",
        envvar="FIPSMANIFEST_MIRROR",
        metavar="FROM=TO",
        help="Fetch what lies under FROM from TO instead, as in https://packages.example/=./mirror/; digests and "
        "signatures are checked all the same. Repeatable (in the variable: separated by blanks).",
    ),
]
LockFile = Annotated[
    Path | None,
    typer.Option(
        "--lock", envvar="FIPSMANIFEST_LOCK", metavar="FILE", help="The lock.  [default: beside the definition]"
    ),
]
FirstLock = Annotated[
    bool, typer.Option("--first-lock", help="Where there is no lock yet, write one from what was authenticated.")
]
CaBundle = Annotated[
    Path | None,
    typer.Option(envvar="FIPSMANIFEST_CA_BUNDLE", metavar="FILE", help="Certificate authorities for https."),
]
AllowHttp = Annotated[
    bool, typer.Option("--allow-http", envvar="FIPSMANIFEST_ALLOW_HTTP", help="Fetch over plain http as well.")
]
Modules = Annotated[
    Path | None,
    typer.Option("--modules", envvar="FIPSMANIFEST_MODULES", metavar="FILE", help="Your own module rows (TOML)."),
]
PublicUrl = Annotated[
    str | None,
    typer.Option(
        "--public-url",
        envvar="FIPSMANIFEST_PUBLIC_URL",
        metavar="URL",
        help="Read everything back from where the world reads it, too; waits up to 5 minutes for caches.",
    ),
]
DEFINITIONS = Path("releases")
WORK = Path("work")
KEYS = Path("keys")
