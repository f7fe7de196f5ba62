"""From what the user writes to a bucket: ``s3://NAME[/PREFIX]``, or a folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from .bucket import check_key

if TYPE_CHECKING:
    from .folder import FolderBucket
    from .s3 import S3Bucket

#: S3 bucket naming rules (Amazon S3 user guide, "General purpose bucket naming rules").
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)

#: ``s3:/name`` is a slip of the pen and no folder.
_SCHEME = re.compile(r"\w+:/", re.ASCII)


def open_bucket(address: str, *, endpoint_url: str | None = None, region: str | None = None) -> FolderBucket | S3Bucket:
    """Open ``s3://name[/prefix]`` (``endpoint_url`` for a store that is not AWS), or a folder.

    Credentials, profile, region and CA bundle come from where every AWS client takes them. Nothing is contacted
    yet. Raises `UsageError` for an address that cannot be meant.
    """
    if not address or (_SCHEME.match(address) and "://" not in address):
        raise UsageError(f"{address!r} is not a bucket.", "Give s3://NAME[/PREFIX] or a folder.")
    scheme, separator, rest = address.partition("://")
    if not separator:
        if endpoint_url is not None:
            raise UsageError(f"An endpoint means nothing for the folder {address}.", "Leave it out, or give s3://NAME.")
        from .folder import FolderBucket

        return FolderBucket(Path(address))
    if scheme != "s3":
        raise UsageError(f"{address} is not a bucket.", "Give s3://NAME[/PREFIX] or a folder.")
    name, _, prefix = rest.partition("/")
    prefix = prefix.strip("/")
    if not _BUCKET_NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be a bucket's name.", "Give s3://NAME[/PREFIX].")
    if prefix:
        check_key(prefix)
    from .s3 import S3Bucket

    return S3Bucket(name, prefix, endpoint_url=endpoint_url, region=region)
