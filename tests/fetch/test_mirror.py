"""Where addresses are fetched from."""

from __future__ import annotations

import pytest

from fipsmanifest.errors import UsageError
from fipsmanifest.fetch.mirror import Mirrors


@pytest.mark.parametrize(
    ("options", "address", "fetched"),
    [
        ([], "https://a.example/x", "https://a.example/x"),
        (["https://a.example/=http://127.0.0.1:80/"], "https://a.example/x/y", "http://127.0.0.1:80/x/y"),
        (["https://a.example=http://127.0.0.1:80/"], "https://a.example/x/y", "http://127.0.0.1:80/x/y"),
        (["https://a.example/=./folder"], "https://a.example/x/y", "./folder/x/y"),
        (["https://a.example/=/"], "https://a.example/x/y", "/x/y"),
        (["https://a.example/f.tgz=./f.tgz"], "https://a.example/f.tgz", "./f.tgz"),
        (["https://a.example/x=b:/=c"], "https://a.example/x", "b:/=c"),
        (["docker.io=127.0.0.1:5000"], "docker.io/mesosphere/etcd:v3", "127.0.0.1:5000/mesosphere/etcd:v3"),
        (["docker.io/m/etcd=r.example/e"], "docker.io/m/etcd:v3", "r.example/e:v3"),
        (["docker.io/m/etcd=r.example/e"], "docker.io/m/etcd@sha256:00", "r.example/e@sha256:00"),
    ],
)
def test_the_beginning_of_an_address_is_replaced(options: list[str], address: str, fetched: str) -> None:
    assert Mirrors.parse(options).rewrite(address) == fetched


@pytest.mark.parametrize(
    ("option", "address"),
    [
        ("https://a.example/x=http://m", "https://a.example/xy"),
        ("https://a.example=http://m", "https://a.example.evil/x"),
        ("https://a.example=http://m", "https://a.example:8443/x"),
        ("docker.io/m=http://m", "docker.io/mesosphere/etcd:v3"),
        ("docker.io=m", "https://docker.io/x"),
    ],
)
def test_a_part_of_a_name_is_not_its_beginning(option: str, address: str) -> None:
    assert Mirrors.parse([option]).rewrite(address) == address


def test_the_longest_beginning_counts_whatever_the_order() -> None:
    options = ["https://a.example/=one/", "https://a.example/x/y=three", "https://a.example/x=two"]
    for order in (options, options[::-1]):
        mirrors = Mirrors.parse(order)
        assert mirrors.rewrite("https://a.example/x/y/z") == "three/z"
        assert mirrors.rewrite("https://a.example/x/z") == "two/z"
        assert mirrors.rewrite("https://a.example/z") == "one/z"


@pytest.mark.parametrize("options", [["x"], ["=x"], ["x="], ["/=x"], ["a=b", "a/=c"]])
def test_what_is_no_mirror_or_two_of_one_is_a_usage_error(options: list[str]) -> None:
    with pytest.raises(UsageError):
        Mirrors.parse(options)
