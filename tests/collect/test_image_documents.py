"""Indexes, manifests and configurations as nobody should write them."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fipsmanifest.collect.imagedocument import (
    DOCKER_LIST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Index,
    Manifest,
    parse,
    parse_config,
)
from fipsmanifest.errors import Refused

DIGEST = "sha256:" + "a" * 64
LAYER = {"digest": DIGEST, "size": 10, "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"}
CONFIG = {"digest": DIGEST, "size": 10, "mediaType": OCI_CONFIG}


def document(**keys: object) -> bytes:
    return json.dumps({"schemaVersion": 2, **keys}).encode()


def test_media_types_may_be_left_out_as_the_specification_allows() -> None:
    assert isinstance(parse(document(config=CONFIG, layers=[LAYER]), "x"), Manifest)
    assert isinstance(parse(document(manifests=[]), "x"), Index)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"}, "is not distributed with"),
        ({"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}, "is not distributed with"),
        ({"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip"}, "is of the unknown type"),
        ({"digest": "sha512:" + "0" * 128}, "no SHA-256 digest"),
        ({"digest": "sha256:../../../../etc/passwd"}, "no SHA-256 digest"),
        ({"digest": DIGEST + "\n"}, "no SHA-256 digest"),
        ({"digest": None}, "no SHA-256 digest"),
        ({"size": -1}, "no size"),
        ({"size": True}, "no size"),
        ({"size": "12"}, "no size"),
        ({"mediaType": None}, "no size or media type"),
    ],
)
def test_a_layer_that_cannot_be_looked_through_is_refused(change: dict[str, object], why: str) -> None:
    with pytest.raises(Refused, match=f"image: .*{why}|image .*{why}"):
        parse(document(config=CONFIG, layers=[{**LAYER, **change}]), "image")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"schemaVersion": 1, "fsLayers": []}', "schema 1"),
        (document(config=CONFIG, layers=[], manifests=[]), "not plainly an image index or an image manifest"),
        (document(), "not plainly"),
        (b"{}", "neither an image index nor an image manifest"),
        (b"[]", "not a JSON object"),
        (b"{", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (document(manifests={}), "no list of manifests"),
        (document(manifests=[{}] * 1001), "beyond 1000"),
        (document(manifests=["x"]), "not a descriptor"),
        (document(config=CONFIG, layers=[], mediaType=OCI_INDEX), "says that it is"),
        (document(manifests=[], mediaType=OCI_MANIFEST), "says that it is"),
        (
            document(config={**CONFIG, "mediaType": "application/vnd.cncf.helm.config.v1+json"}, layers=[]),
            "no container",
        ),
    ],
)
def test_what_is_not_plainly_one_document_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(Refused, match=f"image .*{why}"):
        parse(data, "image")


def test_a_document_announced_as_another_one_is_refused() -> None:
    with pytest.raises(Refused, match=f"announced as {DOCKER_LIST}".replace("+", "[+]")):
        parse(document(manifests=[], mediaType=OCI_INDEX), "image", DOCKER_LIST)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"os": None}, "not an image configuration"),
        ({"architecture": 1}, "not an image configuration"),
        ({"rootfs": []}, "not an image configuration"),
        ({"rootfs": {"diff_ids": "x"}}, "not an image configuration"),
        ({"rootfs": {"diff_ids": ["md5:0"]}}, "no SHA-256 digest"),
    ],
)
def test_a_configuration_without_platform_or_layers_is_refused(change: dict[str, object], why: str) -> None:
    good = {"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": [DIGEST]}}
    assert parse_config(json.dumps(good).encode(), "image").diff_ids == (DIGEST,)
    with pytest.raises(Refused, match=f"image .*{why}"):
        parse_config(json.dumps({**good, **change}).encode(), "image")


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.sampled_from(["", DIGEST, OCI_INDEX, OCI_MANIFEST, OCI_CONFIG]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                [
                    "schemaVersion",
                    "mediaType",
                    "manifests",
                    "config",
                    "layers",
                    "digest",
                    "size",
                    "platform",
                    "annotations",
                ]
            ),
            inner,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(_VALUES)
def test_any_json_is_a_document_or_refused(value: object) -> None:
    document = {"schemaVersion": 2, **value} if isinstance(value, dict) else value
    for read in (parse, parse_config):
        try:
            read(json.dumps(document).encode(), "image")
        except Refused as error:
            assert "image" in str(error)
