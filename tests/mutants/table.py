"""Mutants made by hand: one wrong line each in a rule that people rely on, with the tests that must find it."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """One change of the source."""

    name: str
    """What the mutant gets wrong."""
    file: str
    """Below ``src/fipsmanifest``."""
    before: str
    """Text that is in the file exactly once."""
    after: str
    """What replaces it."""
    tests: tuple[str, ...]
    """Below ``tests``; at least one of them must fail."""


_TRUST = ("trust/test_attacks.py::test_each_case_ends_with_its_exit_code_and_sentence",)
_STATUS = ("trust/test_status_lines.py",)
_MATRIX = ("inspect/test_verdicts.py", "inspect/test_matrix.py")
_PLAN = ("publish/test_plan.py", "publish/test_records.py")
_LAYERS = ("archive/test_layers.py",)
_EXCEPTIONS = ("inspect/test_gate.py", "generate/test_packed_files.py")
_NATIVE = ("inspect/test_native.py",)
_ADMISSION = ("cluster/test_message.py",)
_BUNDLES = ("sign/test_cosign.py",)
_CERTIFICATES = ("cli/test_modules_update.py",)

MUTANTS = (
    # ---- trust -----------------------------------------------------------------------------------------------------
    Mutant(
        "what is not signed by a trusted key is accepted",
        "trust/statuslines.py",
        'if "NO_PUBKEY" in found:',
        'if "NO_PUBKEYS" in found:',
        (*_STATUS, *_TRUST),
    ),
    Mutant(
        "gpgv's exit code is ignored",
        "trust/statuslines.py",
        "if exit_code != 0:\n        raise",
        "if False:\n        raise",
        _STATUS,
    ),
    Mutant(
        "a signature that has expired is accepted",
        "trust/statuslines.py",
        '    "EXPSIG": "the signature has expired",\n',
        "",
        (*_STATUS, *_TRUST),
    ),
    Mutant(
        "several signatures are accepted",
        "trust/statuslines.py",
        'len(found.get("NEWSIG", ())) > 1',
        'len(found.get("NEWSIG", ())) > 9',
        (*_STATUS, *_TRUST),
    ),
    Mutant(
        "SHA-1 and SHA-224 are accepted",
        "trust/statuslines.py",
        '("8", "9", "10")',
        '("2", "8", "9", "10", "11")',
        (*_STATUS, *_TRUST),
    ),
    Mutant(
        "any class of signature is accepted",
        "trust/statuslines.py",
        'if found_class != "{:02x}".format(signature_class):',
        "if False:",
        (*_STATUS, *_TRUST),
    ),
    Mutant(
        "keys of other algorithms are accepted",
        "trust/statuslines.py",
        "if key_algorithm != str(openpgp.RSA):",
        "if False:",
        _STATUS,
    ),
    Mutant(
        "an upstream's key may expire before it signs",
        "trust/statuslines.py",
        "valid.signed_at.timestamp() >= min(times)",
        "valid.signed_at.timestamp() >= max(times) + 10**9",
        (*_STATUS, "collect/test_upstream_signatures.py"),
    ),
    Mutant(
        "the text that gpgv read is not compared",
        "trust/verify.py",
        "if outcome.has_output and outcome.output != parsed.payload:",
        "if False:",
        ("trust/test_verifier_steps.py", *_TRUST),
    ),
    Mutant(
        "a signature of the far future is accepted",
        "trust/verify.py",
        "if valid.signed_at > now + _MAX_AHEAD:",
        "if False:",
        _TRUST,
    ),
    Mutant(
        "the fingerprint that was asked for is ignored",
        "trust/verify.py",
        "if fingerprint is not None and _normalize(fingerprint) not in",
        "if fingerprint is None and _normalize('') not in",
        _TRUST,
    ),
    Mutant(
        "a manifest of another Kubernetes version is accepted",
        "trust/document.py",
        "if kubernetes is not None and plain_version",
        "if False and plain_version",
        _TRUST,
    ),
    Mutant(
        "a manifest of another EL is accepted",
        "trust/document.py",
        'if el is not None and manifest["el"] != el:',
        "if False:",
        _TRUST,
    ),
    Mutant(
        "an older serial is accepted",
        "trust/document.py",
        'manifest["serial"] < min_serial',
        'manifest["serial"] < min_serial - 1',
        _TRUST,
    ),
    Mutant(
        "an expired manifest is accepted", "trust/document.py", "if (now or utc_now()) < expires:", "if True:", _TRUST
    ),
    Mutant(
        "every key is carried by the node tool",
        "trust/keys.py",
        "tuple(key for key in self.keys if key.role in TOOL_ROLES)",
        "tuple(key for key in self.keys if key.role)",
        _CERTIFICATES,
    ),
    # ---- inspect ---------------------------------------------------------------------------------------------------
    Mutant(
        "a changed module does not contradict",
        "inspect/verdict.py",
        "    if changed:\n        return",
        "    if changed and not whole:\n        return",
        _MATRIX,
    ),
    Mutant(
        "plain cryptography beside the module passes",
        "inspect/verdict.py",
        "if observed.standard or (observed.wrappers is not None and observed.wrappers.standard):",
        "if False:",
        _MATRIX,
    ),
    Mutant(
        "a module in writable memory passes",
        "inspect/verdict.py",
        "if any(item.writable for item in whole) or observed.text_relocations:",
        "if False:",
        _MATRIX,
    ),
    Mutant(
        "a module that is overlaid in memory passes",
        "inspect/verdict.py",
        '"module-overlaid" if any(item.overlaid for item in whole) else None',
        "None",
        _MATRIX,
    ),
    Mutant(
        "a module that nothing calls passes", "inspect/verdict.py", "    if not module.wired:", "    if False:", _MATRIX
    ),
    Mutant(
        "a module that build info does not claim passes",
        "inspect/verdict.py",
        "if not claims(observed.go):",
        "if False:",
        _MATRIX,
    ),
    Mutant(
        "a module without cgo passes",
        "inspect/verdict.py",
        'if observed.go.settings.get("CGO_ENABLED") == "0":\n        # Go reaches',
        "if False:\n        # Go reaches",
        _MATRIX,
    ),
    Mutant(
        "a module that Go's wrappers do not call passes",
        "inspect/verdict.py",
        "return None if observed.wrappers.enough else",
        "return None if True else",
        _MATRIX,
    ),
    Mutant(
        "a module that the table does not know is proven",
        "inspect/verdict.py",
        "    if module.row is None:",
        "    if False:",
        _MATRIX,
    ),
    Mutant(
        "a program with another interpreter is proven",
        "inspect/verdict.py",
        "if observed.dependencies.interpreter is not None:",
        "if False:",
        ("inspect/test_dependencies.py", *_MATRIX),
    ),
    Mutant(
        "an unreadable function table means no cryptography",
        "inspect/verdict.py",
        "if observed.packages is None or observed.packages.table is None or not observed.functions:",
        "if observed.packages is None:",
        _MATRIX,
    ),
    Mutant(
        "an exception accepts a changed module",
        "model/acceptance.py",
        "return _NOT_ACCEPTABLE[Verdict.CONTRADICTED] if is_tampered(crypto) else None",
        "return None",
        ("inspect/test_gate.py", "generate/test_policy.py"),
    ),
    Mutant(
        "an exception accepts any verdict",
        "model/acceptance.py",
        "if crypto is None or crypto.verdict != exception.verdict:",
        "if crypto is None:",
        ("inspect/test_gate.py", "generate/test_policy.py"),
    ),
    Mutant(
        "what is declared meets the requirement",
        "model/acceptance.py",
        "return crypto.verdict == Verdict.PROVEN",
        "return crypto.verdict in (Verdict.PROVEN, Verdict.DECLARED)",
        ("inspect/test_gate.py", "generate/test_policy.py"),
    ),
    Mutant(
        "an exception for data accepts what can be started",
        "model/exceptions.py",
        "return not is_started(format) if self.format is None",
        "return True if self.format is None",
        _EXCEPTIONS,
    ),
    Mutant(
        "an exception accepts another format than it names",
        "model/exceptions.py",
        "else self.format == format",
        "else True",
        _EXCEPTIONS,
    ),
    Mutant(
        "a call of the native module may lead to any function",
        "inspect/native/compare.py",
        "if not any(code.itself is target for code, _ in self._matches.equal.get(address, ())):",
        "if False:",
        _NATIVE,
    ),
    Mutant(
        "a variable of the native module may have a value at first",
        "inspect/native/compare.py",
        "if not self._data.is_zero(address, size) or self._data",
        "if self._data",
        _NATIVE,
    ),
    Mutant(
        "variables of the native module may overlap",
        "inspect/native/compare.py",
        "            if address < behind:\n",
        "            if False:\n",
        _NATIVE,
    ),
    Mutant(
        "a task of the native module may be marked as done",
        "inspect/native/initialization.py",
        "if state or not 0 < length",
        "if not 0 < length",
        _NATIVE,
    ),
    Mutant(
        "packages of the native module may be initialized in any order",
        "inspect/native/initialization.py",
        "if waiting.pop(address, None) is None and any(address in stage for stage in stages):",
        "if [stage.pop(address, None) for stage in stages] is None:",
        _NATIVE,
    ),
    Mutant(
        "the runtime may have two copies of its data",
        "inspect/functions.py",
        "if len(found) != 1:\n        return None\n    at,",
        "if not found:\n        return None\n    at,",
        _NATIVE,
    ),
    Mutant(
        "an instruction of a call is not compared, only masked",
        "inspect/native/relocations.py",
        "_word(data, at) & ~IMM26)",
        "0)",
        ("inspect/test_native_prepared.py", *_NATIVE),
    ),
    Mutant(
        "a table of certificates is signed by a key for manifests",
        "workflows/certificate_update.py",
        'trust, "modules", fingerprint',
        'trust, "manifest", fingerprint',
        _CERTIFICATES,
    ),
    Mutant(
        "an older table of certificates is accepted",
        "workflows/certificate_update.py",
        "if found.serial < before.serial:",
        "if False:",
        _CERTIFICATES,
    ),
    Mutant(
        "a table turns a certificate into another",
        "inspect/certificates.py",
        "if (before.standard, before.module) != (after.standard, after.module):",
        "if False:",
        _CERTIFICATES,
    ),
    # ---- generate --------------------------------------------------------------------------------------------------
    Mutant(
        "a component without its module passes",
        "generate/policy.py",
        'if component.requirement != "known" and not held:',
        "if False:",
        ("generate/test_policy.py", "generate/test_assemble.py"),
    ),
    Mutant(
        "a file without a component is left out",
        "generate/assemble.py",
        "                refusals.append(str(error))\n                continue\n            architecture",
        "                continue\n            architecture",
        ("generate/test_assemble.py",),
    ),
    Mutant(
        "two files with different content share a path",
        "generate/assemble.py",
        "if _content(other) != _content(record):",
        "if False:",
        ("generate/test_assemble.py",),
    ),
    # ---- sign ------------------------------------------------------------------------------------------------------
    Mutant(
        "a Sigstore bundle by any key is accepted",
        "sign/openssl.py",
        "return done.returncode == 0 and done.stdout.startswith(",
        "return True or done.stdout.startswith(",
        _BUNDLES,
    ),
    Mutant(
        "what a Sigstore bundle states of its file is not compared",
        "sign/cosign.py",
        "    check_digest(bundle, digest)\n",
        "",
        _BUNDLES,
    ),
    Mutant(
        "a key that nobody trusts signs bundles",
        "sign/cosign.py",
        "if key.public.fingerprint not in {one.fingerprint for one in public_keys(directory)}:",
        "if False:",
        _BUNDLES,
    ),
    # ---- publish ---------------------------------------------------------------------------------------------------
    Mutant(
        "another payload under a published serial is the same",
        "publish/plan.py",
        "if published.payload == signed.payload:",
        "if True:",
        _PLAN,
    ),
    Mutant(
        "a lower serial is published after a higher one",
        "publish/plan.py",
        "if newest > manifest.id.serial:",
        "if False:",
        _PLAN,
    ),
    Mutant(
        "a manifest may name a tool that is not published",
        "publish/plan.py",
        "            _require_tool(manifest, signed, tools)\n",
        "",
        _PLAN,
    ),
    Mutant(
        "what was withdrawn is published again",
        "publish/plan.py",
        "if create.key in there.published.withdrawn:",
        "if False:",
        ("publish/test_lost.py",),
    ),
    Mutant(
        "what a stranger wrote is overwritten",
        "publish/plan.py",
        "elif is_ours(key, stored.data):",
        "elif True:",
        (*_PLAN, "publish/test_foreign_files.py"),
    ),
    Mutant(
        "what was written is not compared with what is read back",
        "publish/publisher.py",
        "        if stored.data != action.data:\n            raise _Overtaken",
        "        if False:\n            raise _Overtaken",
        ("publish/test_faults.py", "publish/test_fault_table.py"),
    ),
    Mutant(
        "the index is believed about a signer that is not trusted",
        "publish/records.py",
        'if indexed is not None and self._consumer.trusts(indexed.fingerprint, "manifest")',
        "if indexed is not None",
        _PLAN,
    ),
    Mutant(
        "a pointer that was moved back is not noticed",
        "publish/pointer_state.py",
        "State.BEHIND if serial < newest.id.serial else State.AHEAD",
        "State.CURRENT if serial < newest.id.serial else State.AHEAD",
        (*_PLAN, "publish/test_audit.py"),
    ),
    Mutant(
        "a directory overwrites what another publisher wrote",
        "publish/directory.py",
        "if there is None or there.token != only_if.token:",
        "if there is None:",
        ("publish/test_bucket_contract.py",),
    ),
    # ---- archive ---------------------------------------------------------------------------------------------------
    Mutant(
        "a name may lead out of an archive",
        "archive/paths.py",
        'if ".." in parts:',
        "if False:",
        ("archive/test_paths.py", "archive/test_tar.py"),
    ),
    Mutant(
        "more links are followed than the kernel follows",
        "archive/paths.py",
        "if followed > _MAX_LINKS:",
        "if followed > _MAX_LINKS + 1:",
        ("archive/test_paths.py",),
    ),
    Mutant(
        "a whiteout with content hides it",
        "archive/layers.py",
        "    if member.size:\n        raise",
        "    if False:\n        raise",
        _LAYERS,
    ),
    Mutant(
        "a directory that is made again hides what is below",
        "archive/layers.py",
        "    if below is not None:\n            raise",
        "    if False:\n            raise",
        _LAYERS,
    ),
    Mutant(
        "what an entry of the same layer replaces is not judged",
        "archive/layers.py",
        "            found += node.replaced\n            if node.seen is not None:\n",
        "            if node.seen is not None:\n",
        _LAYERS,
    ),
    Mutant(
        "a budget has no end",
        "archive/limits.py",
        "if self._expanded < 0:",
        "if False:",
        ("archive/test_limits.py",),
    ),
    Mutant(
        "an image's index counts only in lower case",
        "archive/open.py",
        "keys = {key.casefold() for key in document}",
        "keys = set(document)",
        ("archive/test_open.py", "inspect/test_nested.py"),
    ),
    Mutant(
        "a document that Python does not read is no image's",
        "archive/open.py",
        "        # Larger or deeper than Python reads.\n        return True",
        "        return False",
        ("archive/test_open.py", "inspect/test_nested.py"),
    ),
    # ---- node ------------------------------------------------------------------------------------------------------
    Mutant(
        "unknown is a pass",
        "node/result.py",
        "return VALID if passed and UNKNOWN not in statuses",
        "return VALID if passed",
        ("node/test_result.py",),
    ),
    Mutant(
        "nothing checked is a pass",
        "node/result.py",
        "return VALID if passed and",
        "return VALID if",
        ("node/test_result.py", "node/test_tool_surroundings.py::TestVerdicts"),
    ),
    Mutant(
        "another file at a listed path passes",
        "node/checks/files.py",
        'if found.sha256 and entry.file.get("sha256") == found.sha256]',
        "if found.sha256]",
        ("node/test_checks.py",),
    ),
    Mutant(
        "another program beside the listed one passes",
        "node/checks/files.py",
        "results.append(Result(ID, path, FAIL, expected, actual, evidence, advice))",
        "pass",
        ("node/test_beside.py::TestFiles",),
    ),
    Mutant(
        "a link to somewhere else passes",
        "node/checks/files.py",
        'if entry.file.get("target") == actual:',
        "if True:",
        ("node/test_checks.py",),
    ),
    Mutant(
        "who may replace a program is not asked",
        "node/checks/files.py",
        "    if not replaceable.who:\n",
        "    if True:\n",
        ("node/test_checks.py",),
    ),
    Mutant(
        "two contents for one path in a manifest vouch for each other",
        "node/checks/files.py",
        "if result.status == PASS and _is_listed_twice(",
        "if False and _is_listed_twice(",
        ("node/test_checks.py",),
    ),
    # ---- cluster ---------------------------------------------------------------------------------------------------
    Mutant(
        "admission may change what a pod starts",
        "cluster/admission.py",
        'if container.get("command") != own.get("command"):',
        "if False:",
        _ADMISSION,
    ),
    Mutant(
        "admission may give a pod another runtime",
        "cluster/admission.py",
        '("hostPID", "hostNetwork", "runtimeClassName")',
        '("hostPID", "hostNetwork")',
        _ADMISSION,
    ),
    Mutant(
        "another container may mount a pod's volumes",
        "cluster/admission.py",
        "shared = ours.keys() & _by(",
        "shared = set() & _by(",
        _ADMISSION,
    ),
    Mutant(
        "admission may give a pod another network",
        "cluster/admission.py",
        '("hostPID", "hostNetwork", "runtimeClassName")',
        '("hostPID", "runtimeClassName")',
        _ADMISSION,
    ),
    Mutant(
        "admission may mount something over what a pod reads",
        "cluster/admission.py",
        "if path not in own and any(",
        "if False and any(",
        _ADMISSION,
    ),
    Mutant(
        "admission may set the loader's variables",
        "cluster/admission.py",
        "if name not in own and _VARIABLES.match(name)",
        "if False",
        _ADMISSION,
    ),
)
