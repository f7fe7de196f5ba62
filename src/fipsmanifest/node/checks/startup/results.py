"""The results of the check of what a node starts."""

from typing import Any, Dict, Optional

from ....trust.text import visible
from ...result import FAIL, PASS, UNKNOWN, Result, of_component
from .programs import LISTED, OTHER, UNREADABLE, Found

ID = "startup"


def result(
    subject: str, status: str, expected: Optional[str], actual: str, code: str, path: str, advice: str = "", **more: Any
) -> Result:
    """Return a result of this check: ``path`` is the file that says what starts."""
    evidence: Dict[str, Any] = {"code": code} if code else {}
    if path:
        evidence["path"] = visible(path)
    component = more.pop("component", None)
    evidence.update(more)
    expected = None if expected is None else visible(expected, 400)
    return Result(
        ID, visible(subject), status, expected, visible(actual, 400), of_component(evidence, component), advice
    )


def judge(subject: str, found: Found, path: str, component: Optional[str] = None) -> Result:
    """Return the result of a program that is started: a listed one passes, any other one fails."""
    expected = "a listed program" + (" of {}".format(component) if component else "")
    if found.replaceable.who:
        actual, advice = found.replaceable.shown, found.replaceable.advice
        return result(
            subject, FAIL, "changed by root alone", actual, "replaceable", path, advice, component=found.component
        )
    if found.status == LISTED and component in (None, found.component):
        return result(subject, PASS, expected, found.path, "", path, component=found.component)
    if found.status in (LISTED, OTHER):
        advice = "Let {} start the release's own program, and find out who changed that.".format(
            visible(path) or subject
        )
        what = "{}, which the manifest does not list".format(found.path)
        if found.status == LISTED:
            what = "{}, a program of {}".format(found.path, found.component)
        return result(subject, FAIL, expected, what, "other-program", path, advice, component=component)
    advice = "Run it as root." if found.status == UNREADABLE else "Install the program, or remove what starts it."
    actual = "{}: {}".format(found.path, found.status)
    return result(subject, UNKNOWN, expected, actual, "program-" + found.status, path, advice, component=component)
