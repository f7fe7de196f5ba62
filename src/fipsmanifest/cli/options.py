"""Options that several verbs have in common: one name, one meaning, one environment variable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from . import completion
from .output import Session


def _remember(ctx: typer.Context, value: bool) -> bool:
    ctx.find_root().ensure_object(Session).json = value
    return value


def session_of(ctx: typer.Context) -> Session:
    """Return the output settings of this run."""
    session: Session = ctx.find_root().ensure_object(Session)
    return session


def was_given(ctx: typer.Context, name: str) -> bool:
    """Return whether an option was given on the command line, and not by the environment or as a default."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def refuse_ignored(ctx: typer.Context, names: dict[str, str], because: str) -> None:
    """Raise `UsageError` if one of ``names`` (parameter -> option) was given although it would be ignored."""
    for name, option in names.items():
        if was_given(ctx, name):
            raise UsageError(f"{option} has no effect {because}.", f"Remove {option}.")


Json = Annotated[
    bool,
    typer.Option(
        "--json", callback=_remember, show_default=False, help="Write one JSON document to stdout and nothing else."
    ),
]
Version = Annotated[
    str,
    typer.Argument(
        metavar="VERSION", help="Kubernetes version, for example v1.21.3.", autocompletion=completion.versions
    ),
]
OneEl = Annotated[
    int,
    typer.Option("--el", metavar="N", help="Enterprise Linux release.", autocompletion=completion.enterprise_linuxes),
]
Definitions = Annotated[
    Path, typer.Option(envvar="FIPSMANIFEST_DEFINITIONS", metavar="DIR", help="Directory of the release definitions.")
]
Work = Annotated[
    Path,
    typer.Option(envvar="FIPSMANIFEST_WORK", metavar="DIR", help="Work directory: the results of the stages."),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        envvar="FIPSMANIFEST_CACHE",
        metavar="DIR",
        help="Cache of downloads, by digest.  [default: fipsmanifest in the user's cache directory]",
    ),
]
Keys = Annotated[
    Path, typer.Option(envvar="FIPSMANIFEST_KEYS", metavar="DIR", help="Trust directory: trust.json and certificates.")
]
El = Annotated[
    list[int] | None,
    typer.Option(
        "--el",
        envvar="FIPSMANIFEST_EL",
        metavar="N",
        help="Enterprise Linux release. Repeatable (in the variable: separated by spaces).",
        autocompletion=completion.enterprise_linuxes,
    ),
]
To = Annotated[
    str | None,
    typer.Option(
        "--to",
        envvar="FIPSMANIFEST_TO",
        metavar="BUCKET",
        help="Where to publish: s3://NAME[/PREFIX], or a directory.",
    ),
]
EndpointUrl = Annotated[
    str | None,
    typer.Option(envvar="FIPSMANIFEST_ENDPOINT_URL", metavar="URL", help="S3 endpoint, if it is not AWS."),
]
SigningKey = Annotated[
    str | None,
    typer.Option(
        envvar="FIPSMANIFEST_SIGNING_KEY",
        metavar="FPR",
        help="Full fingerprint of the signing key.  [default: the only manifest key whose secret key gpg has]",
        autocompletion=completion.signing_keys,
    ),
]
CosignKey = Annotated[
    Path | None,
    typer.Option(
        envvar="FIPSMANIFEST_COSIGN_KEY",
        metavar="FILE",
        help="Also sign for cosign with this private key; COSIGN_PASSWORD has its passphrase.",
    ),
]
Mirror = Annotated[
    list[str] | None,
    typer.Option(
        "--mirror",
        envvar="FIPSMANIFEST_MIRROR",
        metavar="FROM=TO",
        help="Fetch addresses that begin with FROM from TO instead, for example https://packages.example/=./mirror/. "
        "Digests and signatures are checked as always. Repeatable (in the variable: separated by spaces).",
    ),
]
LockFile = Annotated[
    Path | None,
    typer.Option(
        "--lock", envvar="FIPSMANIFEST_LOCK", metavar="FILE", help="Lock file.  [default: beside the definition]"
    ),
]
FirstLock = Annotated[
    bool, typer.Option("--first-lock", help="Write a lock from the authenticated artifacts if there is none yet.")
]
CaBundle = Annotated[
    Path | None,
    typer.Option(envvar="FIPSMANIFEST_CA_BUNDLE", metavar="FILE", help="CA certificates for HTTPS (PEM)."),
]
AllowHttp = Annotated[
    bool, typer.Option("--allow-http", envvar="FIPSMANIFEST_ALLOW_HTTP", help="Allow downloads over plain HTTP.")
]
Modules = Annotated[
    Path | None,
    typer.Option(
        "--modules", envvar="FIPSMANIFEST_MODULES", metavar="FILE", help="Additional rows of the module table (TOML)."
    ),
]
References = Annotated[
    Path | None,
    typer.Option(
        "--references",
        envvar="FIPSMANIFEST_REFERENCES",
        metavar="DIR",
        help="Additional references of Go's native module, which 'modules learn --native' wrote.",
    ),
]
PublicUrl = Annotated[
    str | None,
    typer.Option(
        "--public-url",
        envvar="FIPSMANIFEST_PUBLIC_URL",
        metavar="URL",
        help="Also read everything back from this public address; waits up to 5 minutes for caches.",
    ),
]
DEFINITIONS = Path("releases")
WORK = Path("work")
KEYS = Path("keys")
