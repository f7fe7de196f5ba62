"""No message of the attack corpus is accepted, and no honest variant is refused."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fipsmanifest.errors import FipsManifestError
from fipsmanifest.generate.tool import build_tool
from fipsmanifest.trust.document import Bindings
from fipsmanifest.trust.verify import verify_cleartext
from tests.support.forge import PYTHONS, Forge, payload
from tests.trust.attacks import Case, good
from tests.trust.corpus import CASES, PARTS


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_case_ends_with_its_exit_code_and_sentence(case: Case, forge: Forge) -> None:
    if case.code == 0:
        assert case.verify(forge).manifest["schema"] == "fipsmanifest/v1"
        return
    with pytest.raises(FipsManifestError) as caught:
        case.verify(forge)
    assert caught.value.exit_code == case.code
    assert case.reason in caught.value.message
    assert caught.value.advice
    assert all(" " <= character <= "~" for character in str(caught.value)), "hostile text reaches the terminal"


def test_there_are_as_many_cases_as_promised(record_property: Callable[[str, object], None]) -> None:
    names = [case.name for case in CASES]

    assert len(set(names)) == len(names) >= 120
    assert all(case.reason for case in CASES if case.code != 0)
    for part, cases in PARTS.items():
        accepted = sum(case.code == 0 for case in cases)
        record_property("corpus", (part, len(cases), accepted, len(cases) - accepted))


def test_every_truncation_of_a_good_message_is_refused(forge: Forge) -> None:
    message = good(forge)

    for length in range(0, len(message), 7):
        with pytest.raises(FipsManifestError) as caught:
            verify_cleartext(message[:length], forge.trust())
        assert caught.value.exit_code == 3


def test_what_was_signed_comes_back_with_who_signed_it(forge: Forge) -> None:
    found = verify_cleartext(good(forge), forge.trust())

    assert found.payload == payload()
    assert found.fingerprint == forge.fingerprints["release"]
    assert found.signature.signing_key == forge.fingerprints["manifest"]
    assert found.signature.hash_name == "SHA512"
    assert abs((datetime.now(UTC) - found.signed_at).total_seconds()) < 3600
    assert found.warnings == ()


def test_a_signature_from_the_near_future_is_taken_with_a_warning(forge: Forge) -> None:
    found = verify_cleartext(good(forge), forge.trust(), now=datetime.now(UTC) - timedelta(hours=23))

    assert "ahead of this machine's clock" in found.warnings[0]


def test_an_expired_manifest_that_is_allowed_carries_a_warning(forge: Forge) -> None:
    message = forge.clearsign(payload(expires="2020-01-01T00:00:00Z"))

    found = verify_cleartext(message, forge.trust(), bindings=Bindings(allow_expired=True))

    assert found.warnings == ("The manifest expired on 2020-01-01T00:00:00Z.",)


_EVERY_CASE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from fipsmanifest.errors import FipsManifestError
from fipsmanifest.trust import gpgv
from fipsmanifest.trust.document import Bindings
from fipsmanifest.trust.store import load_trust
from fipsmanifest.trust.verify import verify_cleartext
codes = {}
gpgv._PROGRAMS = [name for name in gpgv._PROGRAMS if name.rsplit("/", 1)[1].rstrip("2") == sys.argv[2]]
for case in json.load(sys.stdin):
    bindings = Bindings(*case["bindings"]) if case["bindings"] is not None else None
    with open(case["path"], "rb") as file:
        data = file.read()
    try:
        trust = load_trust(case["keys"])
        verify_cleartext(data, trust, case["role"], fingerprint=case["fingerprint"], bindings=bindings)
        codes[case["name"]] = 0
    except FipsManifestError as error:
        codes[case["name"]] = error.exit_code
json.dump(codes, sys.stdout)
"""


@pytest.fixture(scope="module")
def written(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Every case in files, and where they are, as JSON."""
    directory = tmp_path_factory.mktemp("cases")
    listed = []
    for number, case in enumerate(CASES):
        path = directory / str(number)
        path.write_bytes(case.make(forge))
        options = case.arguments(forge)
        keys = case.pinned(forge).write(directory / f"{number}.keys") if case.pinned else forge.trust_directory
        listed.append(
            {
                "name": case.name,
                "keys": str(keys),
                "path": str(path),
                "role": options.get("role", "manifest"),
                "fingerprint": options.get("fingerprint"),
                "bindings": options.get("bindings"),
            }
        )
    time.sleep(max(case.options.get("wait", 0) for case in CASES))
    return json.dumps(listed)


@pytest.mark.parametrize(("python", "program"), [*((python, "gpgv") for python in PYTHONS), (PYTHONS[0], "gpg")])
def test_every_python_ends_every_case_alike_with_gpgv_and_gpg(
    python: str, program: str, forge: Forge, written: str, tmp_path: Path
) -> None:
    build_tool(forge.trust_directory, tmp_path / "tool")
    command = [python, "-I", "-S", "-B", "-c", _EVERY_CASE, str(tmp_path / "tool"), program]

    done = subprocess.run(command, input=written, capture_output=True, text=True, check=False, timeout=120)

    assert done.stderr == ""
    assert json.loads(done.stdout) == {case.name: case.code for case in CASES}
