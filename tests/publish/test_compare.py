"""What counts as the same release."""

from __future__ import annotations

from typing import Any

import pytest

from fipsmanifest.publish.compare import Differs, OnlyAdditions, Same, compare
from tests.support.releases import document


def with_file(**changes: Any) -> dict[str, Any]:
    made = document()
    made["files"] = [{**made["files"][0], **changes}]
    return made


def test_equal_documents_are_the_same() -> None:
    assert compare(document(), document()) == Same()


def test_more_evidence_of_the_same_bytes_is_only_an_addition() -> None:
    crypto = {"verdict": "proven", "module": "boringcrypto", "evidence": {"offset": 4096, "callers": 3}}

    assert compare(document(), with_file(crypto=crypto)) == OnlyAdditions(("evidence of 1 files",))


def test_evidence_inside_images_is_only_an_addition_too() -> None:
    def image(evidence: dict[str, int]) -> list[Any]:
        file = {"path": "/etcd", "crypto": {"verdict": "proven", "evidence": evidence}}
        return [{"reference": "example.com/etcd:3", "platforms": [{"architecture": "x86_64", "files": [file]}]}]

    assert compare(document(images=image({"a": 1})), document(images=image({"a": 2}))) == OnlyAdditions(
        ("evidence of 1 images",)
    )


def test_another_tool_or_more_known_of_modules_is_only_an_addition() -> None:
    assert compare(document(), document(tool="0.2.0", modules={})) == OnlyAdditions(("modules", "tool 0.2.0"))


@pytest.mark.parametrize(
    ("new", "what"),
    [
        (document(kubelet=b"rebuilt"), ("files: /usr/bin/kubelet",)),
        (with_file(mode="4755"), ("files: /usr/bin/kubelet",)),
        (with_file(crypto={"verdict": "plain", "evidence": {}}), ("files: /usr/bin/kubelet",)),
        (document(files=[]), ("files: /usr/bin/kubelet",)),
        (document(sources=[]), ("sources: kubernetes",)),
        (document(images=[{"reference": "example.com/etcd:3"}]), ("images: example.com/etcd:3",)),
        (document(expires="2027-01-01T00:00:00Z"), ("expires",)),
        (document(el=7), ("el", "node")),
    ],
)
def test_other_content_is_another_release(new: dict[str, Any], what: tuple[str, ...]) -> None:
    assert compare(document(), new) == Differs(what)


def test_other_content_is_not_hidden_by_additions() -> None:
    assert compare(document(), document(kubelet=b"rebuilt", tool="0.2.0")) == Differs(("files: /usr/bin/kubelet",))
