"""Open the bucket that the user names: ``s3://NAME[/PREFIX]``, or a directory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from .bucket import check_key
from .directory import DirectoryBucket

# See `open_bucket`.
if TYPE_CHECKING:
    from .s3 import S3Bucket

#: S3 bucket naming rules (Amazon S3 user guide, "General purpose bucket naming rules").
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)

#: ``s3:/name`` is a typing error for ``s3://name``, not a directory.
_SCHEME = re.compile(r"\w+:/", re.ASCII)


def open_bucket(
    address: str, *, endpoint_url: str | None = None, region: str | None = None
) -> DirectoryBucket | S3Bucket:
    """Open ``s3://name[/prefix]`` (``endpoint_url`` for a store that is not AWS), or a directory.

    Credentials, profile, region and CA bundle are configured as for every AWS client. No connection is made yet. Raises
    `UsageError` for an invalid address.
    """
    if not address or (_SCHEME.match(address) and "://" not in address):
        raise UsageError(f"{address!r} is not a bucket.", "Name s3://NAME[/PREFIX] or a directory.")
    scheme, separator, rest = address.partition("://")
    if not separator:
        if endpoint_url is not None:
            raise UsageError(
                f"An endpoint has no effect with the directory {address}.",
                "Omit the endpoint, or name an S3 bucket: s3://NAME.",
            )
        return DirectoryBucket(Path(address))
    if scheme != "s3":
        raise UsageError(f"{address} is not a bucket.", "Name s3://NAME[/PREFIX] or a directory.")
    name, _, prefix = rest.partition("/")
    prefix = prefix.strip("/")
    if not _BUCKET_NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a valid bucket name.",
            "Name s3://NAME[/PREFIX], with 3 to 63 lower-case letters, digits, dots and hyphens.",
        )
    if prefix:
        check_key(prefix)
    # Here, because importing boto3 takes longer than publishing to a directory, and it is an extra.
    try:
        from .s3 import S3Bucket
    except ModuleNotFoundError as error:
        raise UsageError(
            f"s3:// needs the Python package {error.name}, which is missing.",
            "Install the extra: pip install 'fipsmanifest[s3]'.",
        ) from error

    return S3Bucket(name, prefix, endpoint_url=endpoint_url, region=region)
