"""Malformed indexes, manifests and configurations."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fipsmanifest.errors import Refused
from fipsmanifest.oci.document import (
    DOCKER_LIST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Index,
    Manifest,
    parse,
    parse_config,
)

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
        ({"digest": "sha512:" + "0" * 128}, "not a SHA-256 digest"),
        ({"digest": "sha256:../../../../etc/passwd"}, "not a SHA-256 digest"),
        ({"digest": DIGEST + "\n"}, "not a SHA-256 digest"),
        ({"digest": None}, "not a SHA-256 digest"),
        ({"size": -1}, "no size"),
        ({"size": True}, "no size"),
        ({"size": "12"}, "no size"),
        ({"mediaType": None}, "no size or media type"),
        ({"data": "e30="}, "has embedded data that is not"),
        ({"data": "!"}, "has embedded data that is not"),
        ({"data": 1}, "has embedded data that is not"),
        ({"Digest": DIGEST}, "the key 'Digest'"),
        ({"platform": {"os": "linux", "OS": "windows"}}, "the key 'OS'"),
    ],
)
def test_a_descriptor_that_cannot_be_relied_on_is_refused(change: dict[str, object], why: str) -> None:
    with pytest.raises(Refused, match=f"image .*{why}"):
        parse(document(config=CONFIG, layers=[{**LAYER, **change}]), "image")


# printf '{}' | sha256sum, base64: the empty configuration of OCI 1.1 as its specification gives it.
def test_embedded_data_that_is_what_the_descriptor_names_is_taken() -> None:
    empty = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    config = {"digest": f"sha256:{empty}", "size": 2, "mediaType": "application/vnd.oci.empty.v1+json", "data": "e30="}
    found = parse(document(config=config, layers=[]), "x")
    assert isinstance(found, Manifest)


# encoding/json of Go takes any spelling of a key, folds the long s and the Kelvin sign too, and takes the last of two.
@pytest.mark.parametrize("key", ["Layers", "LAYERS", "layer\u017f", "MANIFESTS", "mediatype", "FSLAYERS", "Config"])
def test_a_key_that_go_would_take_for_another_spelling_is_refused(key: str) -> None:
    with pytest.raises(Refused, match=r"image (has the key|is a Docker schema 1)"):
        parse(document(config=CONFIG, layers=[LAYER], **{key: []}), "image")


@pytest.mark.parametrize("place", ["top", "config", "map"])
def test_a_key_that_is_there_twice_is_refused(place: str) -> None:
    data = document(config={**CONFIG, "annotations": {"a": "b"}}, layers=[LAYER])
    key = {"top": b'"layers": [], "layers": ', "config": b'"size": 1, "size": ', "map": b'"a": "c", "a": '}[place]
    changed = data.replace(key.rpartition(b", ")[2], key, 1)
    assert changed != data
    with pytest.raises(Refused, match=r"image has the key .* twice"):
        parse(changed, "image")


def test_labels_and_annotations_may_differ_in_case_alone() -> None:
    labels = {"maintainer": "a", "Maintainer": "b", "os": "c", "OS": "\U0001f600"}
    config = {"os": "linux", "architecture": "amd64", "config": {"Labels": labels}, "rootfs": {"diff_ids": []}}
    assert parse_config(json.dumps(config).encode(), "x").os == "linux"
    assert isinstance(parse(document(config={**CONFIG, "annotations": labels}, layers=[]), "x"), Manifest)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"schemaVersion": 1, "fsLayers": []}', "schema 1"),
        (document(config=CONFIG, layers=[], manifests=[]), "an image index and an image manifest at once"),
        (document(), "neither an image index nor an image manifest"),
        (document(config=CONFIG, layers=[]) + b"{}", "is not JSON"),
        (document(config=CONFIG, layers=[], annotations={"a": "\ud800"}), "has half a character"),
        (document(config=CONFIG, layers=[]).decode().encode("utf-16"), "is not JSON"),
        (b"\xef\xbb\xbf" + document(config=CONFIG, layers=[]), "is not JSON"),
        (b'{"schemaVersion": 2.0, "manifests": []}', "of version '2.0'"),
        (b'{"manifests": []}', "of version 'None'"),
        (b'{"schemaVersion": NaN, "manifests": []}', "is not JSON"),
        (b'{"schemaVersion": ' + b"9" * 5000 + b"}", "is not JSON"),
        (b"{}", "neither an image index nor an image manifest"),
        (b"[]", "not a JSON object"),
        (b"{", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (document(manifests={}), "no list of manifests"),
        (document(manifests=[{}] * 1001), "beyond 1000"),
        (document(manifests=["x"]), "not a descriptor"),
        (document(config=CONFIG, layers=[], mediaType=OCI_INDEX), "its content is that of an image manifest"),
        (document(manifests=[], mediaType=OCI_MANIFEST), "its content is that of an image index"),
    ],
)
def test_what_is_not_plainly_one_document_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(Refused, match=f"image .*{why}"):
        parse(data, "image")


def test_a_document_announced_as_another_one_is_refused() -> None:
    with pytest.raises(Refused, match=f"it is served as {DOCKER_LIST}".replace("+", "[+]")):
        parse(document(manifests=[], mediaType=OCI_INDEX), "image", DOCKER_LIST)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"os": None}, "not an image configuration"),
        ({"OS": "windows"}, "the key 'OS'"),
        ({"rootfs": {"diff_ids": [DIGEST], "DIFF_IDS": []}}, "the key 'DIFF_IDS'"),
        ({"architecture": 1}, "not an image configuration"),
        ({"rootfs": []}, "not an image configuration"),
        ({"rootfs": {"diff_ids": "x"}}, "not an image configuration"),
        ({"rootfs": {"diff_ids": ["md5:0"]}}, "not a SHA-256 digest"),
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


@given(_VALUES)
def test_any_json_is_a_document_or_refused(value: object) -> None:
    document = {"schemaVersion": 2, **value} if isinstance(value, dict) else value
    for read in (parse, parse_config):
        try:
            read(json.dumps(document).encode(), "image")
        except Refused as error:
            assert "image" in str(error)
