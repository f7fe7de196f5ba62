"""Registries that require authentication: passwords, tokens, and where credentials are found."""

import base64
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from fipsmanifest.errors import Incomplete, Refused
from fipsmanifest.oci import credentials
from tests.collect.test_image import context, pull
from tests.support.faultyhttp import FaultyServer, Handler
from tests.support.registry import PASSWORD, USER, Registry, TokenServer, make_image, make_layer

LAYER = make_layer({"usr/bin/x": b"x" * 5000})


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Hide the credentials of the user who runs the tests, and return the new home directory."""
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_AUTH_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("layout")
    make_image(directory, "v1", {"amd64": [LAYER]})
    return directory


@pytest.fixture(scope="module")
def basic(layout: Path) -> Iterator[Registry]:
    with Registry(auth="basic") as registry:
        registry.push(layout, "v1", "team/kube-proxy")
        yield registry


@pytest.fixture(scope="module")
def token(layout: Path) -> Iterator[Registry]:
    with Registry(auth="token") as registry:
        registry.push(layout, "v1", "team/kube-proxy")
        yield registry


def log_in(path: Path, key: str, user: str = USER, password: str = PASSWORD) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    entry = {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}
    path.write_text(json.dumps({"auths": {key: entry}}))


def tokens(registry: Registry) -> TokenServer:
    assert registry.tokens is not None
    return registry.tokens


@pytest.mark.parametrize("kind", ["basic", "token"])
def test_an_image_is_pulled_with_what_docker_login_wrote(
    kind: str, request: pytest.FixtureRequest, nobody: Path, tmp_path: Path
) -> None:
    registry: Registry = request.getfixturevalue(kind)
    log_in(nobody / ".docker/config.json", registry.address)
    assert pull(f"{registry.address}/team/kube-proxy:v1", context(tmp_path)).platforms


@contextmanager
def guarded(
    layout: Path, directory: Path, refuse: Callable[[Handler], None], accept: Callable[[str, str], bool]
) -> Iterator[FaultyServer]:
    """Serve the image to requests that ``accept`` allows, and a token that names its scope to all."""
    web = directory / "web"
    digest = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    for kind in ("manifests", "blobs"):
        shutil.copytree(layout / "blobs/sha256", web / "v2/team/kube-proxy" / kind)
        for blob in list((web / "v2/team/kube-proxy" / kind).iterdir()):
            blob.rename(blob.with_name(f"sha256:{blob.name}"))
    shutil.copy(layout / "blobs/sha256" / digest[7:], web / "v2/team/kube-proxy/manifests/v1")

    class Guard(Handler):
        def do_GET(self) -> None:  # noqa: N802 - the name that http.server asks for
            if self.path.startswith("/token"):
                self.server.targets.append(self.path)
                scope = parse_qs(self.path.partition("?")[2]).get("scope", [""])[0]
                self.answer(200, json.dumps({"token": f"tok-{scope}"}).encode())
            elif accept(self.headers.get("Authorization", ""), self.path):
                super().do_GET()
            else:
                refuse(self)

    with FaultyServer(web) as server:
        server.RequestHandlerClass = Guard
        yield server


def test_a_token_is_asked_for_once_and_for_pulling_alone(token: Registry, nobody: Path, tmp_path: Path) -> None:
    log_in(nobody / ".docker/config.json", token.address)
    tokens(token).asked.clear()
    pull(f"{token.address}/team/kube-proxy:v1", context(tmp_path))
    (asked,) = tokens(token).asked
    assert asked == {"scope": "repository:team/kube-proxy:pull", "service": tokens(token).service, "account": USER}


def test_a_challenge_cannot_ask_for_more_than_pulling(token: Registry, nobody: Path, tmp_path: Path) -> None:
    def challenge(handler: Handler, body: bytes) -> None:
        value = f'Bearer realm="{tokens(token).realm}",service="s",scope="repository:team/other:push,delete"'
        handler.answer(401, b"", {"WWW-Authenticate": value})

    with FaultyServer(tmp_path) as server:
        host = server.url.removeprefix("http://")
        log_in(nobody / ".docker/config.json", host)
        server.faults["/v2/kube-proxy/manifests/v1"] = [challenge]
        tokens(token).asked.clear()
        with pytest.raises(Incomplete, match="404"):
            pull(f"{host}/kube-proxy:v1", context(tmp_path))
    assert [asked["scope"] for asked in tokens(token).asked] == ["repository:kube-proxy:pull"]


@pytest.mark.parametrize("answer", [b"{}", b'{"token": 1}', b'{"token": "a\\r\\nX-Evil: 1"}', b"[]"])
def test_a_token_server_that_gives_no_token_is_incomplete(answer: bytes, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(answer)
    with FaultyServer(tmp_path) as server:

        def challenge(handler: Handler, body: bytes) -> None:
            handler.answer(401, b"", {"WWW-Authenticate": f'Bearer realm="{server.url}/token"'})

        server.faults["/v2/kube-proxy/manifests/v1"] = [challenge]
        with pytest.raises(Incomplete, match="gave no token"):
            pull(f"{server.url.removeprefix('http://')}/kube-proxy:v1", context(tmp_path))


def test_an_identity_token_is_exchanged_for_a_token(token: Registry, nobody: Path, tmp_path: Path) -> None:
    path = nobody / ".docker/config.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"auths": {token.address: {"identitytoken": tokens(token).identity_token}}}))
    tokens(token).asked.clear()
    assert pull(f"{token.address}/team/kube-proxy:v1", context(tmp_path)).platforms
    assert tokens(token).asked[0]["grant_type"] == "refresh_token"


def test_strangers_get_a_token_where_the_registry_gives_them_one(
    token: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tokens(token), "anonymous", True)
    assert pull(f"{token.address}/team/kube-proxy:v1", context(tmp_path)).platforms


@pytest.mark.parametrize("kind", ["basic", "token"])
def test_without_credentials_the_way_to_log_in_is_named(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    registry: Registry = request.getfixturevalue(kind)
    with pytest.raises(Incomplete, match=rf"docker login {registry.address}"):
        pull(f"{registry.address}/team/kube-proxy:v1", context(tmp_path))


@pytest.mark.parametrize("kind", ["basic", "token"])
def test_a_wrong_password_is_incomplete_and_stays_out_of_the_message(
    kind: str, request: pytest.FixtureRequest, nobody: Path, tmp_path: Path
) -> None:
    registry: Registry = request.getfixturevalue(kind)
    log_in(nobody / ".docker/config.json", registry.address, password="hunter2hunter2")
    with pytest.raises(Incomplete) as raised:
        pull(f"{registry.address}/team/kube-proxy:v1", context(tmp_path))
    assert raised.value.exit_code == 4
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    "realm",
    [
        "http://tokens.example.com/token",
        "ftp://127.0.0.1/",
        "https://",
        "",
        "https://user@tokens.example.com/",
        "http://[",
    ],
)
def test_credentials_go_to_no_realm_that_anyone_could_read(realm: str, nobody: Path, tmp_path: Path) -> None:
    def challenge(handler: Handler, body: bytes) -> None:
        handler.answer(401, b"", {"WWW-Authenticate": f'Bearer realm="{realm}",service="s"'})

    with FaultyServer(tmp_path) as server:
        host = server.url.removeprefix("http://")
        log_in(nobody / ".docker/config.json", host)
        server.faults["/v2/kube-proxy/manifests/v1"] = [challenge]
        with pytest.raises(Refused, match=r"is not (an )?https"):
            pull(f"{host}/kube-proxy:v1", context(tmp_path))
        assert not any("Authorization" in headers for _, headers in server.requests)


# A registry elsewhere must not make this machine's own services its token server. The proxy represents the network.
def test_a_registry_elsewhere_cannot_point_at_this_machine(
    nobody: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def challenge(handler: Handler, body: bytes) -> None:
        handler.answer(401, b"", {"WWW-Authenticate": 'Bearer realm="https://127.0.0.1:1/token",service="s"'})

    with FaultyServer(tmp_path) as server:
        monkeypatch.setenv("http_proxy", server.url)
        log_in(nobody / ".docker/config.json", "registry.example.com")
        server.faults["/v2/kube-proxy/manifests/v1"] = [challenge]
        where = context(tmp_path, "docker.io/team=http://registry.example.com", allow_http=True)
        with pytest.raises(Refused, match=r"names the token server 'https://127\.0\.0\.1:1/token'"):
            pull("docker.io/team/kube-proxy:v1", where)


# A blob store behind the registry, or an attacker who controls it, may not name the place where credentials go.
@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_a_challenge_from_where_a_registry_redirects_to_is_not_answered(
    kind: str, nobody: Path, tmp_path: Path
) -> None:
    with FaultyServer(tmp_path) as server, FaultyServer(tmp_path) as elsewhere:

        def redirect(handler: Handler, body: bytes) -> None:
            handler.answer(307, b"", {"Location": f"{elsewhere.url}/blob"})

        def challenge(handler: Handler, body: bytes) -> None:
            value = 'Basic realm="r"' if kind == "basic" else f'Bearer realm="{elsewhere.url}/token",service="s"'
            handler.answer(401, b"", {"WWW-Authenticate": value})

        host = server.url.removeprefix("http://")
        log_in(nobody / ".docker/config.json", host)
        server.faults["/v2/kube-proxy/manifests/v1"] = [redirect, redirect]
        elsewhere.faults["/blob"] = [challenge, challenge]
        with pytest.raises(Incomplete, match=f"{elsewhere.url}/blob answers 401"):
            pull(f"{host}/kube-proxy:v1", context(tmp_path))
        assert [path for path, _ in elsewhere.requests] == ["/blob"]
        assert not any("Authorization" in headers for _, headers in server.requests + elsewhere.requests)


# Several challenges, and the scopes of gateways


BEARER, BASIC = 'Bearer realm="http://HOST/token",service="reg, istry"', 'Basic realm="a \\"quoted\\" one, and more"'


@pytest.mark.parametrize(
    ("challenges", "logged_in", "wanted"),
    [
        ([BEARER], False, "Bearer tok"),
        ([BASIC], True, "Basic"),
        (["Negotiate", BASIC], True, "Basic"),
        ([f"Negotiate, {BASIC}"], True, "Basic"),
        ([f"Negotiate YII+/abc==, {BASIC}"], True, "Basic"),
        ([f'Digest realm="x", qop="auth, auth-int", nonce="n", {BASIC}'], True, "Basic"),
        ([BASIC, BEARER], False, "Bearer tok"),
        ([f"{BASIC}, {BEARER}"], False, "Bearer tok"),
        ([f"{BEARER}, {BASIC}"], True, "Bearer tok"),
        ([BEARER.replace("=", " = ").replace("Bearer", "bearer").replace("realm", "REALM")], False, "Bearer tok"),
    ],
)
def test_of_several_challenges_one_that_can_be_answered_is_taken(
    challenges: list[str], logged_in: bool, wanted: str, layout: Path, nobody: Path, tmp_path: Path
) -> None:
    def answer(handler: Handler) -> None:
        values = [challenge.replace("HOST", handler.headers["Host"]) for challenge in challenges]
        handler.send_response(401)
        for value in values:
            handler.send_header("WWW-Authenticate", value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with guarded(layout, tmp_path, answer, lambda given, _: given.startswith(wanted)) as server:
        if logged_in:
            log_in(nobody / ".docker/config.json", server.url.removeprefix("http://"))
        assert pull(f"{server.url.removeprefix('http://')}/team/kube-proxy:v1", context(tmp_path)).platforms


# A gateway that maps its own paths passes on the challenge of the registry behind it; others send scopes of no use.
@pytest.mark.parametrize(
    ("scope", "needed", "asked"),
    [
        ("aws", "repository:team/kube-proxy:pull", ["team/kube-proxy:pull"]),
        ("repository:kube-proxy:pull", "repository:kube-proxy:pull", ["team/kube-proxy:pull", "kube-proxy:pull"]),
        ("repository:other:pull,push", None, ["team/kube-proxy:pull"]),
        ("registry:catalog:*", None, ["team/kube-proxy:pull"]),
        ("repository:x:push repository:kube-proxy:pull", "repository:kube-proxy:pull",
         ["team/kube-proxy:pull", "kube-proxy:pull"]),
    ],
)  # fmt: skip
def test_a_pull_that_a_challenge_names_is_tried_after_the_own_one(
    scope: str, needed: str | None, asked: list[str], layout: Path, tmp_path: Path
) -> None:
    def answer(handler: Handler) -> None:
        value = f'Bearer realm="http://{handler.headers["Host"]}/token",service="s",scope="{scope}"'
        handler.answer(401, b"", {"WWW-Authenticate": value})

    with guarded(layout, tmp_path, answer, lambda given, _: given == f"Bearer tok-{needed}") as server:
        reference = f"{server.url.removeprefix('http://')}/team/kube-proxy:v1"
        if needed:
            assert pull(reference, context(tmp_path)).platforms
        else:
            with pytest.raises(Incomplete, match="401"):
                pull(reference, context(tmp_path))
        scopes = [parse_qs(target.partition("?")[2])["scope"][0] for target in server.targets if "token" in target]
        assert scopes == [f"repository:{name}" for name in asked]


# Where credentials are found


def found(registry: str = "registry.example.com", repository: str = "team/app") -> tuple[str, str, str] | None:
    notes: list[str] = []
    seen = credentials.find(registry, repository, notes.append)
    return None if seen is None else (seen.username, seen.password, seen.identity_token)


def test_nobody_is_nobody() -> None:
    assert found() is None


def test_podmans_file_goes_before_dockers(nobody: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    log_in(nobody / ".docker/config.json", "registry.example.com", "docker", "d")
    assert found() == ("docker", "d", "")
    log_in(tmp_path / "run/containers/auth.json", "registry.example.com", "podman", "p")
    assert found() == ("podman", "p", "")
    log_in(tmp_path / "chosen.json", "registry.example.com", "chosen", "c")
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "chosen.json"))
    assert found() == ("chosen", "c", "")


@pytest.mark.parametrize(
    ("registry", "key"),
    [
        ("registry.example.com", "registry.example.com"),
        ("registry.example.com", "https://registry.example.com"),
        ("registry.example.com", "registry.example.com/team"),
        ("registry.example.com", "registry.example.com/team/app"),
        ("127.0.0.1:5000", "127.0.0.1:5000"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000/v2/"),
        ("registry.example.com", "https://registry.example.com/"),
        ("registry.example.com", "https://registry.example.com/v1/"),
        ("registry.example.com", "https://registry.example.com/v2"),
        ("registry.example.com", "https://registry.example.com/anything"),
        ("registry.example.com", "http://registry.example.com"),
        ("registry.example.com", "registry.example.com/"),
        ("registry.example.com", "registry.example.com/v2/"),
        ("docker.io", "index.docker.io/v1/"),
        ("docker.io", "https://index.docker.io/v1/"),
        ("docker.io", "docker.io"),
        ("docker.io", "docker.io/team"),
    ],
)
def test_a_registry_is_found_by_every_name_that_is_written(registry: str, key: str, nobody: Path) -> None:
    log_in(nobody / ".docker/config.json", key)
    assert found(registry) == (USER, PASSWORD, "")


@pytest.mark.parametrize(
    "key",
    [
        "other.example.com",
        "https://other.example.com/registry.example.com",
        "registry.example.com/te",
        "ftp://registry.example.com",
        "example.com",
        "registry.example.com:5000",
    ],
)
def test_another_registrys_credentials_are_not_shown(key: str, nobody: Path) -> None:
    log_in(nobody / ".docker/config.json", key)
    assert found() is None


def test_of_two_entries_for_a_registry_its_plain_name_counts(nobody: Path) -> None:
    def entry(user: str) -> dict[str, str]:
        return {"auth": base64.b64encode(f"{user}:p".encode()).decode()}

    path = nobody / ".docker/config.json"
    path.parent.mkdir()
    for keys in (["https://r.example/v1/", "r.example"], ["r.example", "https://r.example/v1/"]):
        path.write_text(json.dumps({"auths": {key: entry(key[0]) for key in keys}}))
        assert found("r.example") == ("r", "p", "")


# As docker's CLI and GitLab's runners take it.
def test_the_document_may_be_in_a_variable(nobody: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    log_in(tmp_path / "variable", "registry.example.com", "variable", "v")
    log_in(tmp_path / "chosen", "other.example.com", "chosen", "c")
    log_in(nobody / ".docker/config.json", "registry.example.com", "docker", "d")
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", (tmp_path / "variable").read_text())
    assert found() == ("variable", "v", "")
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "chosen"))
    assert (found(), found("other.example.com")) == (("variable", "v", ""), ("chosen", "c", ""))
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", "{")
    with pytest.raises(Incomplete, match="DOCKER_AUTH_CONFIG is not JSON"):
        found()


def test_the_file_of_docker_before_1_7_is_read(nobody: Path) -> None:
    log_in(nobody / "x", "https://registry.example.com/v1/")
    (nobody / ".dockercfg").write_text(json.dumps(json.loads((nobody / "x").read_text())["auths"]))
    assert found() == (USER, PASSWORD, "")


# Where podman keeps it without XDG_RUNTIME_DIR, as under sudo and cron: getAuthFilePath of containers/image.
def test_podmans_file_for_whoever_has_no_runtime_directory_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(Path, "is_file", lambda path: asked.append(str(path)))
    assert found() is None
    assert asked[0] == f"/run/containers/{os.getuid()}/auth.json"


def helper(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = directory / "bin/docker-credential-test"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({"credHelpers": {"registry.example.com": "test"}}, "registry.example.com"),
        ({"credsStore": "test"}, "registry.example.com"),
    ],
)
def test_a_credential_helper_is_asked(
    settings: dict[str, object], asked: str, nobody: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    helper(tmp_path, monkeypatch, f"""cat > {tmp_path}/asked; echo '{{"Username": "u", "Secret": "s"}}'""")
    (nobody / ".docker").mkdir()
    (nobody / ".docker/config.json").write_text(json.dumps(settings))
    assert found() == ("u", "s", "")
    assert (tmp_path / "asked").read_text() == asked


def test_a_helper_may_give_an_identity_token(nobody: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    helper(tmp_path, monkeypatch, """echo '{"Username": "<token>", "Secret": "refresh"}'""")
    (nobody / ".docker").mkdir()
    (nobody / ".docker/config.json").write_text('{"credsStore": "test"}')
    assert found() == ("", "", "refresh")


@pytest.mark.parametrize(
    ("settings", "note"),
    [
        ({"credsStore": "missing"}, "docker-credential-missing is not installed"),
        ({"credsStore": "../../evil"}, "is not installed"),
        ({"credsStore": "test"}, "docker-credential-test gave no credentials"),
    ],
)
def test_a_helper_that_cannot_help_is_noted_and_not_fatal(
    settings: dict[str, str], note: str, nobody: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    helper(tmp_path, monkeypatch, "echo credentials not found; exit 1")
    (nobody / ".docker").mkdir()
    (nobody / ".docker/config.json").write_text(json.dumps(settings))
    notes: list[str] = []
    assert credentials.find("registry.example.com", "team/app", notes.append) is None
    assert re.search(note, notes[0])


@pytest.mark.parametrize("text", ["{", '{"auths": {"registry.example.com": {"auth": "%%%"}}}'])
def test_a_damaged_file_is_named(text: str, nobody: Path) -> None:
    (nobody / ".docker").mkdir()
    (nobody / ".docker/config.json").write_text(text)
    with pytest.raises(Incomplete, match="Log in to the registry again"):
        found()


def test_a_credential_helper_does_not_see_the_signing_keys_passphrase(
    nobody: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIPSMANIFEST_PASSPHRASE", "correct horse battery")
    helper(tmp_path, monkeypatch, f"env >{tmp_path}/seen; exit 1")
    (nobody / ".docker").mkdir(parents=True)
    (nobody / ".docker/config.json").write_text('{"credsStore": "test"}')

    assert credentials.find("registry.example.com", "team/app", print) is None

    assert "PATH=" in (tmp_path / "seen").read_text()
    assert "FIPSMANIFEST_PASSPHRASE" not in (tmp_path / "seen").read_text()


def test_credentials_never_print_themselves() -> None:
    assert "secret" not in repr(credentials.Credentials("user", "secret"))
