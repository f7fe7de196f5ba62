"""Instances of templates, and other specifiers of systemd, are followed to the programs that they make.

Rules: systemd.unit(5), "Specifiers"; systemd-escape(1); what names an instance from systemd.timer(5), systemd.path(5).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fipsmanifest.node import systemd
from tests.node.test_hidden_starts import all_of, copy, file, service
from tests.node.test_starters import Change, codes, link, tree_with_another_build
from tests.node.test_startup import Tree
from tests.support import roots

UNITS = "/etc/systemd/system"
TEMPLATE = f"{UNITS}/x@.service"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return tree_with_another_build(tmp_path)


def template(command: str) -> Change:
    return file(TEMPLATE, f"[Service]\nExecStart={command}\n")


NAMED: dict[str, Change] = {
    "a unit wants it": all_of(template("/opt/plain/%i"), file(f"{UNITS}/y.service", "[Unit]\nWants=x@agent.service\n")),
    "a target wants it": all_of(
        template("/opt/plain/%i"), file(f"{UNITS}/y.target", "[Unit]\nWants=x@agent.service\n")
    ),
    "a drop-in of a target wants it": all_of(
        template("/opt/plain/%i"), file(f"{UNITS}/basic.target.d/a.conf", "[Unit]\nWants=x@agent.service\n")
    ),
    "a timer starts it": all_of(template("/opt/plain/%i"), file(f"{UNITS}/y.timer", "[Timer]\nUnit=x@agent.service\n")),
    "a path starts it": all_of(template("%f"), file(f"{UNITS}/y.path", "[Path]\nUnit=x@opt-plain-agent.service\n")),
    "an instance names another one": all_of(
        template("/opt/plain/%i"),
        file(f"{UNITS}/y@.service", "[Unit]\nWants=x@%i.service\n"),
        lambda t: link(t, f"{UNITS}/basic.target.wants/y@agent.service", "../y@.service"),
    ),
    "a link leads to it": all_of(
        template("/%I"), lambda t: link(t, f"{UNITS}/basic.target.wants/x@opt-plain-agent.service", "../x@.service")
    ),
    "a rule of udev names it": all_of(
        template("/opt/plain/%i"), file("/etc/udev/rules.d/x.rules", 'ENV{SYSTEMD_WANTS}="x@agent.service"\n')
    ),
    "its path is escaped": all_of(
        copy("/opt/a-b"),
        template("%f"),
        file(f"{UNITS}/y.timer", "[Timer]\nUnit=x@opt-a\\x2db.service\n"),
    ),
}


@pytest.mark.parametrize("how", NAMED)
def test_an_instance_that_starts_another_build_fails_whatever_names_it(how: str, tree: Tree) -> None:
    # The template itself is judged beside its instances.
    assert codes(NAMED[how], tree).difference({("unknown", "specifier")}) == {("fail", "other-build")}


DOUBTS: dict[str, Change] = {
    "a template that a rule of udev may start": template("/opt/plain/%i"),
    "a directory of a template": all_of(copy("/opt/a/bin/x"), template("/opt/%i/bin/x --all")),
    "a shell of a template": template("/bin/sh -c 'exec /opt/plain/%i'"),
    "a path that is all instance": template("%f"),
    "a program below the root that is all instance": template("/%I"),
    "the host's name": all_of(copy("/opt/hosts/n1"), service("ExecStart=/opt/hosts/%H")),
    "the machine's number in a shell": all_of(copy("/opt/m/01ab"), service("ExecStart=/bin/sh -c '/opt/m/%m run'")),
    "a program with a component's name": all_of(
        lambda t: t.write(TEMPLATE, "[Service]\nExecStart=/opt/%i/kubelet\n"),
    ),
}


@pytest.mark.parametrize("how", DOUBTS)
def test_what_a_specifier_may_make_another_build_is_unknown(how: str, tree: Tree) -> None:
    assert codes(DOUBTS[how], tree) == {("unknown", "specifier")}


def test_a_shell_of_a_template_that_starts_what_the_instance_says_is_unknown(tree: Tree) -> None:
    assert codes(template("/bin/sh -ec 'sleep 1; exec %f'"), tree) == {("unknown", "wrapped")}


ORDINARY: dict[str, Change] = {
    "an instance that is an argument": template("/bin/sh -c 'echo %i; ip link set %I up'"),
    "the vendor's rules of udev": file(
        "/usr/lib/udev/rules.d/x.rules",
        'ENV{SYSTEMD_WANTS}+="lvm2-pvscan@$major:$minor.service"\nENV{SYSTEMD_WANTS}="site@x:$name.service"\n',
    ),
    "the vendor's templates": all_of(
        file(
            "/usr/lib/systemd/system/systemd-fsck@.service", "[Service]\nExecStart=/usr/lib/systemd/systemd-fsck %f\n"
        ),
        file(
            "/usr/lib/systemd/system/getty@.service", "[Service]\nExecStart=-/sbin/agetty -o '-p' --noclear %I $TERM\n"
        ),
        file(
            "/usr/lib/systemd/system/getty.target", "[Unit]\nWants=getty@tty1.service systemd-fsck@dev-sda1.service\n"
        ),
    ),
    "an application of several instances": all_of(
        lambda t: t.write("/opt/app/blue/bin/run", "#!/bin/sh\n"),
        template("/opt/app/%i/bin/run"),
        file(f"{UNITS}/y.target", "[Unit]\nWants=x@blue.service x@green.service\n"),
    ),
    "a date": service("ExecStart=/bin/sh -c 'date +%%s'"),
}


@pytest.mark.parametrize("how", ORDINARY)
def test_ordinary_templates_pass(how: str, tree: Tree) -> None:
    assert codes(ORDINARY[how], tree) == set()


def test_more_instances_than_any_node_has_are_a_doubt(tmp_path: Path) -> None:
    names = " ".join(f"x@{number}.service" for number in range(2000))
    roots.write(tmp_path, f"{UNITS}/y.target", f"[Unit]\nWants={names}\n")
    units = systemd.Units(str(tmp_path))

    units.load_all()

    assert units.doubts == ["units name more than 1000 instances of templates"]
