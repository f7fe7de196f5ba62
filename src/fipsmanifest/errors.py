"""One family of errors: each kind carries the exit code that users' scripts rely on, and its advice.

Nothing but ``cli/`` and ``node/output.py`` prints, and nothing below ``cli/`` exits: it raises one of these, and one
handler turns it into a sentence on what is wrong, a sentence on what to do, and the code. The node tool carries this
file, so it keeps to Python 3.6 and the standard library.
"""

from typing import Sequence

#: Which code wins where several failures meet: a release reports a refusal before a failed fetch, a consumer
#: reports missing trust before a failed comparison before an incomplete one.
RELEASE_PRECEDENCE = (5, 6, 3, 1, 4, 2)
CONSUMER_PRECEDENCE = (3, 1, 4, 2)

INTERRUPTED = 130


class FipsManifestError(Exception):
    """The root of all errors that a user can meet.

    ``message`` is one sentence on what is wrong, ``advice`` one sentence on what to do about it (it may be empty
    where there is nothing to do). ``reason`` is the stable name of the cause, for programs (`docs/reasons.md`); that of
    the class is for errors that name no other.
    """

    exit_code = 70
    reason = "internal"

    def __init__(self, message: str, advice: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
        if reason:
            self.reason = reason

    def __str__(self) -> str:
        return "{} {}".format(self.message, self.advice).strip()


class ValidationFailed(FipsManifestError):
    """What was checked is not what it should be."""

    exit_code = 1
    reason = "invalid"


class UsageError(FipsManifestError):
    """The command line, or a file that the user wrote, is not valid."""

    exit_code = 2
    reason = "usage"


class NotTrusted(FipsManifestError):
    """A signature, a key, its role, or what a signed document is bound to."""

    exit_code = 3
    reason = "not-trusted"


class Incomplete(FipsManifestError):
    """Something could not be fetched or checked; unknown is never a pass."""

    exit_code = 4
    reason = "incomplete"


class Refused(FipsManifestError):
    """Policy says no: a module not proven, a lock that differs, an upstream digest or signature that is wrong."""

    exit_code = 5
    reason = "refused"


class Conflict(FipsManifestError):
    """What is published differs from what would be published."""

    exit_code = 6
    reason = "conflict"


class Several(FipsManifestError):
    """More than one thing went wrong; the exit code is the first of ``precedence`` that occurs."""

    def __init__(self, errors: Sequence[FipsManifestError], precedence: Sequence[int] = RELEASE_PRECEDENCE) -> None:
        self.errors = list(errors)
        codes = {error.exit_code for error in self.errors}
        self.exit_code = next((code for code in precedence if code in codes), FipsManifestError.exit_code)
        # The cause of the exit code: of the first error that has it.
        cause = next((error.reason for error in self.errors if error.exit_code == self.exit_code), "")
        super().__init__("\n".join(str(error) for error in self.errors), reason=cause)
