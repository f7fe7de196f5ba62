"""What differs between two manifests, and what of it makes another release."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fipsmanifest.model.diff import compare, describe_additions, describe_conflicts, describe_hidden
from tests.support.releases import document


def with_file(**changes: Any) -> dict[str, Any]:
    made = document()
    made["files"] = [{**made["files"][0], **changes}]
    return made


def additions(new: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
    differences = compare(old or document(), new)
    assert describe_conflicts(differences) == []
    return describe_additions(differences)


def conflicts(new: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
    return describe_conflicts(compare(old or document(), new))


def test_equal_documents_are_the_same() -> None:
    assert compare(document(), document()) == []


def test_more_evidence_of_the_same_bytes_is_only_an_addition() -> None:
    crypto = {"verdict": "proven", "module": "boringcrypto", "evidence": {"offset": 4096, "callers": 3}}

    assert additions(with_file(crypto=crypto)) == ["evidence of 1 files"]


def test_evidence_inside_images_is_only_an_addition_too() -> None:
    def image(evidence: dict[str, int]) -> list[Any]:
        file = {"path": "/etcd", "crypto": {"verdict": "proven", "evidence": evidence}}
        return [{"reference": "example.com/etcd:3", "platforms": [{"architecture": "x86_64", "files": [file]}]}]

    old, new = document(images=image({"a": 1})), document(images=image({"a": 2}))
    assert additions(new, old) == ["evidence of 1 images"]


def test_another_tool_or_more_known_of_modules_is_only_an_addition() -> None:
    assert additions(document(tool="0.2.0", modules={})) == ["modules", "tool 0.2.0"]


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
    assert conflicts(new) == list(what)


def test_other_content_is_not_hidden_by_additions() -> None:
    assert conflicts(document(kubelet=b"rebuilt", tool="0.2.0")) == ["files: /usr/bin/kubelet"]


def two_files() -> list[dict[str, Any]]:
    first = document()["files"][0]
    return [first, {**first, "path": "/usr/bin/runc", "component": "runc"}]


def test_another_order_of_entries_is_another_release_and_not_in_a_summary() -> None:
    old, new = document(files=two_files()), document(files=two_files()[::-1])

    assert conflicts(new, old) == ["files"]
    assert [item for item in compare(old, new) if item.is_shown] == []


def test_a_second_entry_of_the_same_path_is_a_difference() -> None:
    new = document(files=[*document()["files"], *document()["files"]])

    assert conflicts(new) == ["files: /usr/bin/kubelet"]


def test_a_summary_has_what_people_compare_and_no_evidence() -> None:
    new = document(kubelet=b"rebuilt", serial=2, reason="fixed")
    new["files"][0]["crypto"] = {"verdict": "proven", "module": "boringcrypto", "evidence": {"offset": 8192}}

    shown = [(item.change, item.component, item.subject) for item in compare(document(), new) if item.is_shown]
    assert shown == [
        ("added", None, "reason"),
        ("changed", None, "serial"),
        ("changed", "kubelet", "/usr/bin/kubelet (x86_64)"),
    ]
    evidence = with_file(crypto=new["files"][0]["crypto"])
    assert [item.is_shown for item in compare(document(), evidence)] == [False]


@pytest.mark.parametrize("key", sorted(document()))
def test_no_key_of_a_manifest_is_left_out(key: str) -> None:
    new = document()
    del new[key]

    assert {item.section for item in compare(document(), new)} == {key}


def test_a_module_that_is_in_process_is_shown_as_such_until_it_has_a_certificate() -> None:
    module = {"name": "m", "algorithm": "sha256-source", "digest": "ab" * 32, "architecture": "x86_64"}
    before = document(modules={"m": {**module, "validation": "in-process"}})
    (shown,) = (item for item in compare(before, document(modules={"m": module})) if item.subject == "module m")
    assert (shown.before, shown.after) == (f"{'ab' * 32} (in process, no certificate)", "ab" * 32)


def whole() -> dict[str, Any]:
    """Return a manifest with something in each section."""
    program = document()["files"][0]
    platform = {
        "architecture": "x86_64",
        **dict.fromkeys(("manifest", "config"), f"sha256:{'ab' * 32}"),
        **{key: [f"sha256:{'cd' * 32}"] for key in ("layers", "diff_ids")},
        "files": [{**program, "path": "/etcd"}],
    }
    link = {"path": "/usr/bin/k", "type": "symlink", "role": "program", "mode": "0777", "target": "kubelet"}
    image = {"reference": "example.com/etcd:3", "component": "etcd", "index": "sha256:1", "platforms": [platform]}
    return document(files=[program, link], images=[image])


def changed_everywhere(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Return the place of each value in a document with the document in which that value is another."""
    if not isinstance(value, dict | list):
        yield at, not value if isinstance(value, bool) else f"other {value}" if isinstance(value, str) else value + 1
        return
    for key, inner in list(value.items()) if isinstance(value, dict) else list(enumerate(value)):
        for place, other in changed_everywhere(inner, (*at, key)):
            copy: Any = {**value} if isinstance(value, dict) else [*value]
            copy[key] = other
            yield place, copy


CHANGES = [(at, new) for at, new in changed_everywhere(whole()) if "evidence" not in at]


@pytest.mark.parametrize(("at", "new"), CHANGES, ids=[".".join(map(str, at)) for at, _ in CHANGES])
def test_every_value_that_changes_is_shown(at: tuple[Any, ...], new: dict[str, Any]) -> None:
    assert any(item.is_shown and item.section == at[0] for item in compare(whole(), new))


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"role": "doc"}, ("role=program", "role=doc")),
        ({"crypto": {"verdict": "plain"}}, ("crypto.module=boringcrypto", "crypto.verdict=plain")),
    ],
)
def test_other_bytes_hide_no_other_change_of_a_file(change: dict[str, Any], detail: tuple[str, str]) -> None:
    other = {"sha256": "ab" * 32, "size": 1, **change}

    (found,) = (item for item in compare(document(), with_file(**other)) if item.is_shown)

    assert found.before is not None and detail[0] in found.before
    assert found.after is not None and found.after.startswith(f"file 0755 {'ab' * 32}; ") and detail[1] in found.after
    assert "size" not in found.after


def test_what_looks_alike_is_shown_apart() -> None:
    old, new = document(node={"a": "1", "b": "2"}), document(node={"a": "1, b=2"})

    (found,) = (item for item in compare(old, new) if item.is_shown)
    assert (found.before, found.after) == ('{"a": "1", "b": "2"}', '{"a": "1, b=2"}')


def test_what_is_not_shown_is_named() -> None:
    files = two_files()
    other = [{**file, "crypto": {**file["crypto"], "evidence": {}}} for file in files]

    assert describe_hidden(compare(document(files=files), document(files=files))) == []
    assert describe_hidden(compare(document(files=files), document(files=files[::-1]))) == ["the order of files"]
    assert describe_hidden(compare(document(files=files), document(files=other))) == ["evidence of 2 files"]
