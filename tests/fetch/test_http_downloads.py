"""Downloads from a real loopback server with the faults of real servers."""

from __future__ import annotations

import email.utils
import os
import random
import resource
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fipsmanifest.errors import Incomplete, Refused, UsageError
from fipsmanifest.fetch.cache import Cache
from fipsmanifest.fetch.http import Http, Limits, Unauthorized
from fipsmanifest.progress import SILENT, Task
from tests.support import faultyhttp
from tests.support.faultyhttp import FaultyServer

QUICK = Limits(connect=2, read=2, attempts=4, backoff=0.01, longest_wait=0.3, window=0.5, size=64 << 20)

BODY = random.Random(7).randbytes(700_000)


def sha256sum(path: Path) -> str:
    """The digest of a file by coreutils."""
    done = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True)
    return "sha256:" + done.stdout.split()[0].removeprefix("\\")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyServer]:
    directory = tmp_path / "served"
    directory.mkdir()
    (directory / "a.rpm").write_bytes(BODY)
    os.utime(directory / "a.rpm", (1_600_000_000, 1_600_000_000))
    with FaultyServer(directory) as running:
        yield running


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def http(cache: Cache) -> Iterator[Http]:
    with Http(cache, limits=QUICK) as running:
        yield running


@pytest.fixture
def digest(server: FaultyServer) -> str:
    return sha256sum(server.directory / "a.rpm")


def leftovers(cache: Cache) -> list[str]:
    return sorted(path.suffix for path in (cache.root / "partial").iterdir())


def test_a_file_lands_under_its_digest_and_is_not_asked_for_again(
    server: FaultyServer, http: Http, cache: Cache, digest: str
) -> None:
    file = http.download(f"{server.url}/a.rpm", expected=digest, size=len(BODY))
    assert file.path == cache.root / "blobs/sha256" / digest.removeprefix("sha256:")
    assert file.path.read_bytes() == BODY
    assert (file.sha256, file.size) == (digest.removeprefix("sha256:"), len(BODY))
    assert leftovers(cache) == []
    assert http.download(f"{server.url}/a.rpm", expected=digest) == file
    with Http(Cache(cache.root), limits=QUICK) as another_run:
        assert another_run.download("https://unreachable.invalid/a.rpm", expected=digest) == file
    assert len(server.requests) == 1


def test_sha512_is_checked_where_metadata_names_it(server: FaultyServer, http: Http) -> None:
    done = subprocess.run(["sha512sum", server.directory / "a.rpm"], capture_output=True, text=True, check=True)
    right = done.stdout.split()[0]
    assert http.download(f"{server.url}/a.rpm", expected=f"sha512:{right}").size == len(BODY)
    with pytest.raises(Refused, match=right):
        http.download(f"{server.url}/a.rpm", expected=f"sha512:{'0' * 128}")


@pytest.mark.parametrize("expected", ["md5:" + "0" * 32, "sha1:" + "0" * 40, "sha256:" + "0" * 63, "sha256:../../../x"])
def test_a_weak_or_malformed_digest_is_refused_before_anything_is_asked(
    server: FaultyServer, http: Http, expected: str
) -> None:
    with pytest.raises(Refused, match="not a SHA-256"):
        http.download(f"{server.url}/a.rpm", expected=expected)
    assert server.requests == []


def test_a_wrong_digest_is_refused_naming_both_and_nothing_is_kept(
    server: FaultyServer, http: Http, cache: Cache, digest: str
) -> None:
    wrong = "sha256:" + "ab" * 32
    with pytest.raises(Refused) as refused:
        http.download(f"{server.url}/a.rpm", expected=wrong)
    assert digest.removeprefix("sha256:") in refused.value.message
    assert "ab" * 32 in refused.value.message
    assert refused.value.exit_code == 5
    assert leftovers(cache) == []
    assert list((cache.root / "blobs/sha256").iterdir()) == []
    assert len(server.requests) == 1


def test_a_missing_file_is_incomplete_at_once_and_the_advice_says_where_to_look(
    server: FaultyServer, http: Http
) -> None:
    with pytest.raises(Incomplete, match=r"answers 404") as missing:
        http.download(f"{server.url}/b.rpm")
    assert "--mirror" in missing.value.advice
    assert missing.value.exit_code == 4
    assert len(server.requests) == 1


# RFC 9110 and 6585, nginx's 499, and what CDNs answer for an origin that they cannot reach.
@pytest.mark.parametrize("code", [408, 425, 429, 499, 500, 502, 503, 504, *range(520, 531)])
def test_a_server_in_trouble_is_asked_again(server: FaultyServer, http: Http, digest: str, code: int) -> None:
    server.faults["/a.rpm"] = [faultyhttp.status(code), faultyhttp.status(code)]
    assert http.download(f"{server.url}/a.rpm", expected=digest).path.read_bytes() == BODY
    assert len(server.requests) == 3


def test_a_server_that_stays_in_trouble_is_given_up_after_a_bounded_number_of_attempts(
    server: FaultyServer, http: Http, digest: str
) -> None:
    server.faults["/a.rpm"] = [faultyhttp.status(500)] * 20
    with pytest.raises(Incomplete, match=r"in 4 attempts: 500"):
        http.download(f"{server.url}/a.rpm", expected=digest)
    assert len(server.requests) == 4


@pytest.mark.parametrize("code", [400, 401, 403, 405, 410, 501])
def test_what_will_not_change_is_not_asked_again(server: FaultyServer, http: Http, code: int) -> None:
    server.faults["/a.rpm"] = [faultyhttp.status(code)] * 2
    with pytest.raises(Incomplete, match=f"answers {code}"):
        http.download(f"{server.url}/a.rpm")
    assert len(server.requests) == 1


def test_a_401_brings_the_challenge_that_a_registry_client_answers(server: FaultyServer, http: Http) -> None:
    challenge = 'Bearer realm="https://auth.example/token",service="r"'
    server.faults["/a.rpm"] = [faultyhttp.status(401, {"WWW-Authenticate": challenge})]
    with pytest.raises(Unauthorized) as unauthorized:
        http.fetch_bytes(f"{server.url}/a.rpm", 1 << 20)
    assert unauthorized.value.challenge == challenge


@pytest.mark.parametrize(
    ("retry_after", "least"),
    [("0", 0.0), ("99999999", 0.3), (email.utils.formatdate(4_000_000_000, usegmt=True), 0.3), ("soon", 0.0)],
)
def test_retry_after_is_followed_within_bounds(
    server: FaultyServer, http: Http, digest: str, retry_after: str, least: float
) -> None:
    server.faults["/a.rpm"] = [faultyhttp.status(503, {"Retry-After": retry_after})]
    begin = time.monotonic()
    http.download(f"{server.url}/a.rpm", expected=digest)
    assert least <= time.monotonic() - begin < least + 2


def test_a_connection_reset_in_the_middle_is_resumed_with_the_validator(
    server: FaultyServer, http: Http, digest: str
) -> None:
    server.faults["/a.rpm"] = [faultyhttp.reset_after(300_000)]
    assert http.download(f"{server.url}/a.rpm", expected=digest).path.read_bytes() == BODY
    first, second = server.asked("/a.rpm")
    assert "Range" not in first
    assert second["Range"] == "bytes=300000-"
    assert second["If-Range"].startswith('"')


def test_a_part_is_resumed_by_its_validator_where_no_digest_is_known(server: FaultyServer, http: Http) -> None:
    server.faults["/a.rpm"] = [faultyhttp.reset_after(300_000)]
    assert http.download(f"{server.url}/a.rpm").path.read_bytes() == BODY
    assert server.asked("/a.rpm")[1]["Range"] == "bytes=300000-"


def test_a_part_of_what_has_changed_since_is_not_continued(server: FaultyServer, http: Http) -> None:
    # If-Range makes the server send the whole new file; half of each would be neither.
    new = random.Random(8).randbytes(500_000)

    def break_off_and_change(handler: faultyhttp.Handler, body: bytes) -> None:
        (server.directory / "a.rpm").write_bytes(new)
        faultyhttp.reset_after(300_000)(handler, body)

    server.faults["/a.rpm"] = [break_off_and_change]
    assert http.download(f"{server.url}/a.rpm").path.read_bytes() == new


def test_a_server_without_ranges_sends_the_whole_again(server: FaultyServer, http: Http, digest: str) -> None:
    server.ranges = False
    server.faults["/a.rpm"] = [faultyhttp.reset_after(300_000)]
    assert http.download(f"{server.url}/a.rpm", expected=digest).path.read_bytes() == BODY


@pytest.mark.parametrize("with_digest", [True, False])
def test_a_server_that_continues_somewhere_else_is_not_believed(
    server: FaultyServer, http: Http, digest: str, with_digest: bool
) -> None:
    elsewhere = {"Content-Range": f"bytes 10-{len(BODY) - 1}/{len(BODY)}"}
    server.faults["/a.rpm"] = [
        faultyhttp.reset_after(300_000),
        lambda handler, body: handler.answer(206, body[10:], elsewhere),
    ]
    file = http.download(f"{server.url}/a.rpm", expected=digest if with_digest else None)
    assert file.path.read_bytes() == BODY


def test_a_part_that_does_not_fit_is_fetched_afresh_before_upstream_is_accused(
    server: FaultyServer, http: Http, cache: Cache, digest: str
) -> None:
    server.validators = set()
    with cache.partial(digest) as partial:
        partial.begin({"url": "elsewhere"})
        partial.append(iter([b"\0" * 5000]))
    assert http.download(f"{server.url}/a.rpm", expected=digest).path.read_bytes() == BODY
    assert [headers.get("Range") for headers in server.asked("/a.rpm")] == ["bytes=5000-", None]


def test_a_truncated_body_is_resumed_and_never_taken_for_the_whole(
    server: FaultyServer, http: Http, digest: str
) -> None:
    server.faults["/a.rpm"] = [faultyhttp.truncate(1000)]
    assert http.download(f"{server.url}/a.rpm", expected=digest).path.read_bytes() == BODY
    server.faults["/a.rpm"] = [faultyhttp.truncate(1000)] * 9
    with pytest.raises(Incomplete, match=r"in 4 attempts"):
        http.fetch_bytes(f"{server.url}/a.rpm", 1 << 20)


def test_a_body_shorter_than_its_known_size_is_truncated_even_where_the_server_announces_nothing(
    server: FaultyServer, http: Http, digest: str
) -> None:
    def cut(handler: faultyhttp.Handler, body: bytes) -> None:
        handler.head(200, {"Connection": "close"})
        handler.wfile.write(body[:1000])
        handler.close_connection = True

    server.faults["/a.rpm"] = [cut] * 9
    with pytest.raises(Incomplete, match=rf"1000 of {len(BODY)} bytes"):
        http.download(f"{server.url}/a.rpm", expected=digest, size=len(BODY))


def test_a_length_that_is_too_long_is_incomplete_and_one_that_contradicts_the_metadata_is_refused(
    server: FaultyServer, http: Http, digest: str
) -> None:
    server.faults["/a.rpm"] = [faultyhttp.announce(len(BODY) + 5)] * 9
    with pytest.raises(Incomplete, match="attempts"):
        http.download(f"{server.url}/a.rpm")
    server.faults["/a.rpm"] = [faultyhttp.announce(len(BODY) + 5)]
    with pytest.raises(Refused, match=rf"{len(BODY) + 5} bytes; it must have {len(BODY)}"):
        http.download(f"{server.url}/a.rpm", expected=digest, size=len(BODY))


def test_a_length_that_is_too_short_does_not_make_a_piece_pass_for_the_whole(
    server: FaultyServer, http: Http, digest: str
) -> None:
    server.faults["/a.rpm"] = [faultyhttp.announce(500)]
    with pytest.raises(Refused, match=digest.removeprefix("sha256:")):
        http.download(f"{server.url}/a.rpm", expected=digest)


def test_an_announced_size_beyond_the_cap_is_refused_before_the_body_is_read(server: FaultyServer, http: Http) -> None:
    server.faults["/a.rpm"] = [faultyhttp.announce(1 << 40)]
    with pytest.raises(Refused, match="at most"):
        http.download(f"{server.url}/a.rpm")


@pytest.mark.parametrize("size", [None, len(BODY)])
def test_an_endless_body_is_cut_at_the_cap_and_nothing_is_kept(
    server: FaultyServer, http: Http, cache: Cache, digest: str, size: int | None
) -> None:
    server.faults["/a.rpm"] = [faultyhttp.endless()]
    with pytest.raises(Refused, match="has more"):
        http.download(f"{server.url}/a.rpm", expected=digest, size=size, limit=1 << 20)
    assert leftovers(cache) == []
    server.faults["/a.rpm"] = [faultyhttp.endless()]
    with pytest.raises(Refused, match="longer than"):
        http.fetch_bytes(f"{server.url}/a.rpm", 1 << 20)


def test_metadata_that_names_an_absurd_size_is_refused(server: FaultyServer, http: Http, digest: str) -> None:
    with pytest.raises(Refused, match="is listed with"):
        http.download(f"{server.url}/a.rpm", expected=digest, size=1 << 60)


def test_a_body_that_drips_is_given_up_though_it_never_pauses_for_long(
    server: FaultyServer, cache: Cache, digest: str
) -> None:
    limits = Limits(read=2, attempts=2, backoff=0.01, window=0.4, slowest=4096)
    server.faults["/a.rpm"] = [faultyhttp.drip(0.01)] * 4
    begin = time.monotonic()
    with Http(cache, limits=limits) as http, pytest.raises(Incomplete, match="bytes per second"):
        http.download(f"{server.url}/a.rpm", expected=digest)
    assert time.monotonic() - begin < 5


def test_a_body_that_goes_on_for_too_long_is_given_up_however_steady_it_is(server: FaultyServer, cache: Cache) -> None:
    server.faults["/a.rpm"] = [slow_but_steady]
    with Http(cache, limits=Limits(total=0.2)) as http, pytest.raises(Incomplete, match=r"took more than"):
        http.download(f"{server.url}/a.rpm")


# A socket's timeout begins again with every byte, so these keep a request as long as they like.
DRIPS = {
    "header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000,
    "informational": b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
    "chunk size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 1000,
    "trailer": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n" + b"a: b\r\n" * 1000,
}


@pytest.mark.parametrize("part", DRIPS)
def test_a_server_that_sends_a_byte_now_and_then_is_given_up(part: str, server: FaultyServer, cache: Cache) -> None:
    def drip(handler: faultyhttp.Handler, body: bytes) -> None:
        for place in range(len(DRIPS[part])):
            handler.wfile.write(DRIPS[part][place : place + 1])
            time.sleep(0.05 if place > 60 else 0)

    server.faults["/a.rpm"] = [drip]
    limits = Limits(read=0.5, window=0.5, headers=0.5, attempts=1)
    begin = time.monotonic()
    with Http(cache, limits=limits) as http, pytest.raises(Incomplete):
        http.download(f"{server.url}/a.rpm")
    assert time.monotonic() - begin < 20


def test_a_server_that_falls_silent_is_given_up_after_the_read_limit(server: FaultyServer, cache: Cache) -> None:
    server.faults["/a.rpm"] = [lambda *_: time.sleep(3)] * 2
    with Http(cache, limits=Limits(read=0.3, attempts=2, backoff=0.01)) as http, pytest.raises(Incomplete):
        http.download(f"{server.url}/a.rpm")


def test_nobody_listening_is_incomplete(http: Http) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        with pytest.raises(Incomplete, match="refused") as caught:
            http.download(f"http://127.0.0.1:{port}/a.rpm")
    # The names of classes are nothing that a user can do something about.
    assert "host=" not in caught.value.message


def test_redirects_are_followed_to_a_bound(server: FaultyServer, http: Http, digest: str) -> None:
    server.faults["/r"] = [faultyhttp.redirect("/s")]
    server.faults["/s"] = [faultyhttp.redirect(f"{server.url}/a.rpm", 307)]
    assert http.download(f"{server.url}/r", expected=digest).size == len(BODY)
    server.faults["/r"] = [faultyhttp.redirect("/r")] * 20
    with pytest.raises(Incomplete, match="redirects"):
        http.fetch_bytes(f"{server.url}/r", 100)


def test_credentials_do_not_follow_a_redirect_to_another_host(server: FaultyServer, http: Http) -> None:
    # Registries redirect blobs to storage, whose signed addresses fail beside a token, and which must not see it.
    with FaultyServer(server.directory) as storage:
        server.faults["/blob"] = [faultyhttp.redirect(f"{storage.url}/a.rpm")]
        http.fetch_bytes(f"{server.url}/blob", 1 << 20, {"Authorization": "Bearer secret", "Accept": "x/y"})
        assert server.asked("/blob")[0]["Authorization"] == "Bearer secret"
        assert "Authorization" not in storage.asked("/a.rpm")[0]
        assert storage.asked("/a.rpm")[0]["Accept"] == "x/y"


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A .netrc for 127.0.0.1 and localhost, and a default."""
    path = tmp_path / "netrc"
    entries = "".join(f"machine {host} login me password secret\n" for host in ("127.0.0.1", "localhost"))
    path.write_text(f"{entries}default login any password body\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
    return path


# A server that is asked must not get to name another one, for which the user's .netrc has a password.
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.usefixtures("netrc")
def test_what_netrc_has_does_not_follow_a_redirect_to_another_host(server: FaultyServer, http: Http, host: str) -> None:
    with FaultyServer(server.directory) as elsewhere:
        target = elsewhere.url.replace("127.0.0.1", host)
        server.faults["/r"] = [faultyhttp.redirect(f"{target}/a.rpm")]
        http.fetch_bytes(f"{server.url}/r", 1 << 20)
        assert "Authorization" in server.asked("/r")[0]
        assert "Authorization" not in elsewhere.asked("/a.rpm")[0]


@pytest.mark.usefixtures("netrc")
def test_a_redirect_within_the_host_that_was_asked_keeps_what_netrc_has(server: FaultyServer, http: Http) -> None:
    server.faults["/r"] = [faultyhttp.redirect("/a.rpm")]
    http.fetch_bytes(f"{server.url}/r", 1 << 20)
    assert "Authorization" in server.asked("/a.rpm")[0]


def test_the_default_entry_of_netrc_is_for_nobody(server: FaultyServer, http: Http, netrc: Path) -> None:
    netrc.write_text("machine upstream.example login me password secret\ndefault login any password body\n")
    http.fetch_bytes(f"{server.url}/a.rpm", 1 << 20)
    netrc.write_text("machine 127.0.0.1 login me password secret\nnonsense\n")
    http.fetch_bytes(f"{server.url}/a.rpm", 1 << 20)
    assert not any("Authorization" in headers for _, headers in server.requests)


def test_cookies_are_not_kept(server: FaultyServer, http: Http) -> None:
    server.faults["/a.rpm"] = [lambda handler, body: handler.answer(200, body, {"Set-Cookie": "a=b; Path=/"})]
    for _ in range(2):
        http.fetch_bytes(f"{server.url}/a.rpm", 1 << 20)
    assert "Cookie" not in server.asked("/a.rpm")[1]


# S3 takes a + in a path for a space, as in a form; a redirect may be signed, and is followed as it is.
def test_a_plus_in_a_path_is_sent_so_that_s3_understands_it(server: FaultyServer, http: Http) -> None:
    (server.directory / "g++-1.rpm").write_bytes(BODY)
    assert http.fetch_bytes(f"{server.url}/g++-1.rpm?a+b", 1 << 20).url.startswith(server.url)
    server.faults["/r"] = [faultyhttp.redirect("/g++-1.rpm?sig=a+b%2Bc")]
    http.fetch_bytes(f"{server.url}/r", 1 << 20)
    http.fetch_bytes(f"{server.url}/g%2B%2B-1.rpm", 1 << 20)
    assert server.targets == [
        "/g%2B%2B-1.rpm?a+b", "/r", "/g++-1.rpm?sig=a+b%2Bc", "/g%2B%2B-1.rpm"
    ]  # fmt: skip


def test_the_retries_of_many_files_for_one_cause_are_one_line(server: FaultyServer, cache: Cache) -> None:
    notes: list[str] = []

    class Noting:
        def task(self, *_: object) -> Task:
            return SILENT.task("")

        def note(self, text: str) -> None:
            notes.append(text)

    for number in range(9):
        server.faults[f"/{number}"] = [faultyhttp.status(503)] * 10
    server.faults["/a.rpm"] = [faultyhttp.reset_after(1000), faultyhttp.reset_after(300_000)]
    with Http(cache, limits=QUICK, progress=Noting()) as http:
        for number in range(9):
            with pytest.raises(Incomplete, match="in 4 attempts: 503"):
                http.fetch_bytes(f"{server.url}/{number}", 100)
        http.download(f"{server.url}/a.rpm")
    assert len(server.requests) == 9 * 4 + 3
    assert [("503" in note, server.url in note) for note in notes[:1]] == [(True, True)]
    assert len(notes) == 2


@pytest.mark.parametrize("size", [60_000, 3])
def test_headers_beyond_what_any_server_sends_are_refused(server: FaultyServer, http: Http, size: int) -> None:
    many = {f"X-{number}": "x" * size for number in range(5 if size > 3 else 150)}
    server.faults["/a.rpm"] = [lambda handler, body: handler.answer(200, body, many)] * 10
    with pytest.raises((Refused, Incomplete), match="headers"):
        http.fetch_bytes(f"{server.url}/a.rpm", 1 << 20)


@pytest.mark.parametrize("name", ["WWW-Authenticate", "Content-Range", "Retry-After", "ETag", "Last-Modified"])
def test_a_header_that_no_pattern_should_see_is_taken_for_none(server: FaultyServer, http: Http, name: str) -> None:
    value = "Bearer " + 'a="' + "\\\\" * 15_000
    status = {"WWW-Authenticate": 401, "Retry-After": 503}.get(name, 200)
    server.faults["/a.rpm"] = [lambda handler, body: handler.answer(status, body, {name: value})]
    if status == 401:
        with pytest.raises(Unauthorized) as unauthorized:
            http.download(f"{server.url}/a.rpm")
        assert unauthorized.value.challenge == ""
    else:
        assert http.download(f"{server.url}/a.rpm").size == len(BODY)


# A part that was not requested, or that is not what it states, must not be taken for the whole.
@pytest.mark.parametrize("status", [201, 202, 204, 206, 226, 300, 416])
def test_an_answer_that_is_not_the_whole_file_is_not_taken_for_it(
    server: FaultyServer, http: Http, status: int
) -> None:
    part = {"Content-Range": f"bytes 0-99/{len(BODY)}"}
    server.faults["/a.rpm"] = [lambda handler, body: handler.answer(status, body[:100], part)] * 9
    with pytest.raises(Incomplete, match=f"answers {status}"):
        http.download(f"{server.url}/a.rpm")
    with pytest.raises(Incomplete, match=f"answers {status}"):
        http.fetch_bytes(f"{server.url}/a.rpm", 1 << 20)


@pytest.mark.parametrize(
    ("said", "end"),
    [
        ("bytes 1000-1999/700000", 2001),
        ("bytes 1000-699999/800000", 2001),
        ("bytes 1000-1999/*", 2001),
        # A part as long as it says; how long the whole is, it does not say (RFC 9110, 14.4).
        ("bytes 1000-1999/*", 2000),
        ("bytes", 2001),
    ],
)
def test_a_rest_that_is_not_all_that_was_missing_is_not_taken(
    server: FaultyServer, http: Http, said: str, end: int, digest: str
) -> None:
    def rest(handler: faultyhttp.Handler, body: bytes) -> None:
        handler.answer(206, body[1000:end], {"Content-Range": said, "ETag": '"x"'})

    def cut(handler: faultyhttp.Handler, body: bytes) -> None:
        handler.head(200, {"Content-Length": str(len(body)), "ETag": '"x"'})
        handler.wfile.write(body[:1000])
        handler.reset()

    server.faults["/a.rpm"] = [cut, rest]
    assert http.download(f"{server.url}/a.rpm").sha256 == digest.removeprefix("sha256:")


# What a registry says of an error (OCI distribution specification, "Error codes"), made harmless.
@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (403, b'{"errors": [{"code": "DENIED", "message": "licence not accepted"}]}', r"403 Forbidden \(DENIED: lic"),
        (404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}', r"404 Not Found \(MANIFEST_UNKNOWN\)"),
        (
            429,
            b'{"errors": [{"message": "pull rate limit"}]}',
            r"429 Too Many Requests \(pull rate limit\)",
        ),
        (403, b'{"details": "incorrect username"}', r"\(incorrect username\)"),
        (403, b'{"errors": [{"message": "a\\u001b[31mb\\nerror: c"}]}', r"\(a\\x1b\[31mb\\nerror: c\)"),
        (403, b'{"errors": [{"message": "' + b"x" * 9000 + b'"}]}', r"\(x{200}\)"),
        (403, b'{"errors": [{"message": 1}, {}]}', "403 Forbidden[.]"),
        (403, b'{"errors": ' + b"[" * 9000, "403 Forbidden[.]"),
        (403, b"<html>" + b"x" * 100_000, "403 Forbidden[.]"),
        (403, b"[]", "403 Forbidden[.]"),
    ],
)
def test_the_reason_that_a_registry_gives_is_in_the_message(
    server: FaultyServer, http: Http, status: int, body: bytes, said: str
) -> None:
    server.faults["/a.rpm"] = [lambda handler, _: handler.answer(status, body)] * 10
    with pytest.raises(Incomplete, match=said) as raised:
        http.fetch_bytes(f"{server.url}/a.rpm", 100)
    assert raised.value.message.isprintable()
    assert ("log in" in raised.value.advice) == (status == 429)


def test_a_netrc_does_not_replace_the_token_that_was_given(
    server: FaultyServer, http: Http, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    http.fetch_bytes(f"{server.url}/a.rpm", 1 << 20, {"Authorization": "Bearer token"})
    http.fetch_bytes(f"{server.url}/a.rpm", 1 << 20)
    token, basic = server.asked("/a.rpm")
    assert token["Authorization"] == "Bearer token"
    assert basic["Authorization"] == "Basic bWU6c2VjcmV0"  # printf me:secret | base64


def test_the_body_is_not_decoded_on_the_way(server: FaultyServer, http: Http) -> None:
    # Some servers label .tar.gz with Content-Encoding: gzip; the digest is of the file as it is published.
    server.faults["/a.rpm"] = [lambda handler, body: handler.answer(200, body, {"Content-Encoding": "gzip"})]
    assert http.fetch_bytes(f"{server.url}/a.rpm", 1 << 20).data == BODY
    assert server.asked("/a.rpm")[0]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("url", ["http://example.com/a", "http://127.0.0.1.example.com/a", "http://10.0.0.1/a"])
def test_plain_http_is_for_loopback_only(http: Http, url: str) -> None:
    with pytest.raises(Refused, match="not https") as refused:
        http.fetch_bytes(url, 10)
    assert "--allow-http" in refused.value.advice


@pytest.mark.parametrize("url", ["ftp://example.com/a", "https:///a", "https://[::1/a"])
def test_an_address_that_is_none_is_a_usage_error(http: Http, url: str) -> None:
    with pytest.raises(UsageError):
        http.fetch_bytes(url, 10)


def test_credentials_in_an_address_are_a_usage_error_that_does_not_repeat_them(http: Http) -> None:
    with pytest.raises(UsageError) as refused:
        http.fetch_bytes("https://user:secret@example.com/a?token=secret", 10)
    assert "secret" not in str(refused.value)


@pytest.fixture
def https(tmp_path: Path) -> Iterator[tuple[FaultyServer, Path]]:
    """The same server behind TLS, with a certificate authority of its own."""
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls/a.rpm").write_bytes(BODY)
    certificate, key = tmp_path / "ca.pem", tmp_path / "key.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", *names, *files]
    subprocess.run(command, check=True, capture_output=True)
    server = FaultyServer(tmp_path / "tls")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.url = server.url.replace("http:", "https:")
    with server:
        yield server, certificate


def test_a_certificate_authority_of_the_site_is_accepted_when_named_and_only_then(
    https: tuple[FaultyServer, Path], cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, certificate = https
    with Http(cache, limits=QUICK) as http, pytest.raises(Incomplete, match="TLS") as unknown:
        http.fetch_bytes(f"{server.url}/a.rpm", 1 << 20)
    assert "--ca-bundle" in unknown.value.advice
    with Http(cache, limits=QUICK, ca_bundle=certificate) as http:
        assert http.fetch_bytes(f"{server.url}/a.rpm", 1 << 20).data == BODY
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with Http(cache, limits=QUICK) as http:
        assert http.fetch_bytes(f"{server.url}/a.rpm", 1 << 20).data == BODY


def test_a_certificate_authority_that_is_not_there_is_a_usage_error(cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a file"):
        Http(cache, ca_bundle=tmp_path / "none.pem")


def test_a_redirect_from_https_to_http_is_refused_even_on_loopback(
    https: tuple[FaultyServer, Path], server: FaultyServer, cache: Cache
) -> None:
    secure, certificate = https
    secure.faults["/r"] = [faultyhttp.redirect(f"{server.url}/a.rpm")]
    with Http(cache, limits=QUICK, ca_bundle=certificate) as http, pytest.raises(Refused, match="from https"):
        http.fetch_bytes(f"{secure.url}/r", 1 << 20)
    assert server.requests == []


def test_a_proxy_of_the_environment_is_used(
    server: FaultyServer, cache: Cache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    proxied = tmp_path / "proxied"
    proxied.mkdir()
    (proxied / "a.rpm").write_bytes(b"by proxy")
    with FaultyServer(proxied) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        with Http(cache, limits=QUICK, allow_http=True) as http:
            assert http.fetch_bytes("http://upstream.invalid/a.rpm", 100).data == b"by proxy"
            # What is served on this machine is not what the proxy's machine serves.
            assert http.fetch_bytes(f"{server.url}/a.rpm", 1 << 20).data == BODY


def test_paths_and_file_addresses_are_read_through_the_cache(cache: Cache, http: Http, tmp_path: Path) -> None:
    file = tmp_path / "with space"
    file.write_bytes(BODY)
    assert http.download(str(file)).path.read_bytes() == BODY
    assert http.download(f"file://{tmp_path}/with%20space", expected=sha256sum(file)).size == len(BODY)
    assert http.fetch_bytes(str(file), 1 << 20).data == BODY
    with pytest.raises(Refused, match="longer than"):
        http.fetch_bytes(str(file), 100)
    with pytest.raises(Incomplete, match="cannot be read"):
        http.download(str(tmp_path / "none"))
    with pytest.raises(UsageError, match="not a regular file"):
        http.download(str(tmp_path))
    with pytest.raises(UsageError, match="another machine"):
        http.download("file://elsewhere/a")
    assert leftovers(cache) == []


def test_progress_counts_each_byte_once_though_some_come_twice(server: FaultyServer, cache: Cache, digest: str) -> None:
    class Counting:
        def __init__(self) -> None:
            self.bytes, self.totals, self.ended, self.notes = 0, set[int](), 0, list[str]()

        def task(self, *_: object) -> Task:
            return self

        def note(self, text: str) -> None:
            self.notes.append(text)

        def advance(self, amount: int) -> None:
            self.bytes += amount

        def total(self, amount: int) -> None:
            self.totals.add(amount)

        def done(self) -> None:
            self.ended += 1

    seen = Counting()
    server.faults["/a.rpm"] = [faultyhttp.reset_after(300_000), faultyhttp.status(500)]
    server.ranges = False
    with Http(cache, limits=QUICK, progress=seen) as http:
        http.download(f"{server.url}/a.rpm", expected=digest)
    assert (seen.bytes, seen.totals, seen.ended) == (len(BODY), {len(BODY)}, 1)
    assert any("500" in note for note in seen.notes)


def test_two_threads_that_want_one_file_fetch_it_once(server: FaultyServer, http: Http, digest: str) -> None:
    server.faults["/a.rpm"] = [slow_but_steady]
    paths: list[Path] = []
    threads = [
        threading.Thread(target=lambda: paths.append(http.download(f"{server.url}/a.rpm", expected=digest).path))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 4
    assert len(server.requests) == 1


def slow_but_steady(handler: faultyhttp.Handler, body: bytes) -> None:
    handler.head(200, {"Content-Length": str(len(body)), "ETag": '"steady"'})
    for start in range(0, len(body), 20_000):
        handler.wfile.write(body[start : start + 20_000])
        handler.wfile.flush()
        time.sleep(0.02)


DOWNLOADER = textwrap.dedent(
    """
    import resource, sys
    from pathlib import Path
    from fipsmanifest.fetch.cache import Cache
    from fipsmanifest.fetch.http import Http
    from fipsmanifest.errors import FipsManifestError
    root, url, expected, largest = sys.argv[1:]
    if int(largest):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest), int(largest)))
    try:
        with Http(Cache(Path(root))) as http:
            print(http.download(url, expected=expected).path)
    except FipsManifestError as error:
        print(type(error).__name__, error)
        sys.exit(error.exit_code)
    """
)


def start_downloader(cache: Cache, url: str, expected: str, largest: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", DOWNLOADER, str(cache.root), url, expected, str(largest)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_that_want_one_file_fetch_it_once(server: FaultyServer, cache: Cache, digest: str) -> None:
    server.faults["/a.rpm"] = [slow_but_steady]
    running = [start_downloader(cache, f"{server.url}/a.rpm", digest) for _ in range(2)]
    said = {process.communicate(timeout=60)[0].strip() for process in running}
    assert said == {str(cache.path(digest.removeprefix("sha256:")))}
    assert len(server.requests) == 1


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_after_kill_9_in_the_middle_the_next_run_resumes(
    server: FaultyServer, http: Http, cache: Cache, digest: str
) -> None:
    server.faults["/a.rpm"] = [slow_but_steady]
    process = start_downloader(cache, f"{server.url}/a.rpm", digest)
    parts = cache.root / "partial"
    wait_until(lambda: any(path.suffix == ".part" and path.stat().st_size > 100_000 for path in parts.iterdir()))
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert list((cache.root / "blobs/sha256").iterdir()) == []
    assert http.download(f"{server.url}/a.rpm", expected=digest).path.read_bytes() == BODY
    assert int(server.asked("/a.rpm")[1]["Range"].removeprefix("bytes=").rstrip("-")) > 100_000
    assert leftovers(cache) == []


def test_a_disk_that_is_full_is_incomplete_and_leaves_nothing_half(
    server: FaultyServer, http: Http, cache: Cache, digest: str
) -> None:
    # A limit on file sizes makes write() fail in the middle as a full disk does.
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    process = start_downloader(cache, f"{server.url}/a.rpm", digest, largest=250_000)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 4
    assert "Free space" in said
    assert leftovers(cache) == []
    assert list((cache.root / "blobs/sha256").iterdir()) == []
    assert len(server.requests) == 1
    assert http.download(f"{server.url}/a.rpm", expected=digest).path.read_bytes() == BODY


def test_stopping_ends_a_download_soon_and_keeps_the_part(
    server: FaultyServer, http: Http, cache: Cache, digest: str
) -> None:
    server.faults["/a.rpm"] = [slow_but_steady]
    outcome: list[BaseException] = []

    def run() -> None:
        try:
            http.download(f"{server.url}/a.rpm", expected=digest)
        except Incomplete as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    parts = cache.root / "partial"
    wait_until(lambda: any(path.suffix == ".part" and path.stat().st_size > 0 for path in parts.iterdir()))
    http.stop()
    thread.join(timeout=5)
    assert not thread.is_alive()
    assert "Stopped" in str(outcome[0])
    assert ".part" in leftovers(cache)


def test_the_module_of_downloads_does_not_load_requests_until_it_asks() -> None:
    code = "import sys, fipsmanifest.fetch.http, fipsmanifest.collect.rpmrepo; print('requests' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
