"""The signals of FIPS mode of each Enterprise Linux, as their vendors' tools leave them on disk."""

from __future__ import annotations

import os
import shutil
import stat
import struct
from pathlib import Path

import pytest

from fipsmanifest.node import tree
from fipsmanifest.node.checks import fips_mode
from fipsmanifest.node.result import Listed, Node, Result
from tests.support import roots

GRUBENV = "# GRUB Environment Block\nkernelopts=root=/dev/vda2 ro {}\n"
ENTRY = "title Red Hat Enterprise Linux\nlinux /vmlinuz-{}\noptions {}\n"


def signals(root: Path, el: int, live: bool = False) -> dict[str, Result]:
    roots.write(root, "/etc/os-release", f'ID="rhel"\nVERSION_ID="{el}.4"\n')
    node = Node(str(root), live, "worker")
    return {result.subject: result for result in fips_mode.check(node, [Listed("m", {"el": el, "files": []})])}


def el7(root: Path, arguments: str = "fips=1") -> None:
    roots.write(root, "/etc/system-fips", "")
    roots.write(root, "/usr/lib/dracut/modules.d/01fips/module-setup.sh", "")
    roots.write(root, "/etc/sysconfig/prelink", "PRELINKING=no\n")
    entry = "menuentry 'Linux' {{\n\tlinux16 /vmlinuz-{} ro {}\n}}\n"
    roots.write(root, "/boot/grub2/grub.cfg", entry.format("3.10", arguments) + entry.format("0-rescue", ""))


def el8(root: Path, arguments: str = "fips=1") -> None:
    roots.write(root, "/etc/system-fips", "")
    roots.write(root, "/usr/lib/dracut/modules.d/01fips/module-setup.sh", "")
    roots.write(root, "/etc/crypto-policies/config", "FIPS\n")
    roots.write(root, "/etc/crypto-policies/state/current", "FIPS\n")
    roots.write(root, "/boot/grub2/grubenv", GRUBENV.format(arguments).ljust(1024, "#"))
    roots.write(root, "/boot/loader/entries/a.conf", ENTRY.format("4.18", "$kernelopts $tuned_params"))


def el9(root: Path, arguments: str = "fips=1") -> None:
    roots.write(root, "/etc/crypto-policies/state/current", "FIPS\n")
    roots.write(root, "/usr/lib/dracut/modules.d/01fips/module-setup.sh", "")
    roots.write(root, "/usr/lib64/ossl-modules/fips.so", "")
    roots.write(root, "/boot/loader/entries/a.conf", ENTRY.format("5.14", f"ro {arguments}"))
    roots.write(root, "/boot/loader/entries/a-0-rescue.conf", ENTRY.format("0-rescue", "ro"))


def el10(root: Path, arguments: str = "fips=1") -> None:
    roots.write(root, "/etc/crypto-policies/state/current", "FIPS\n")
    roots.write(root, "/usr/lib64/ossl-modules/fips.so", "")
    roots.write(root, "/boot/loader/entries/a.conf", ENTRY.format("6.12", f"ro {arguments}"))


MADE = {7: el7, 8: el8, 9: el9, 10: el10}
ON_DISK = {
    7: {"boot-loader", "system-fips", "dracut-fips", "prelink"},
    8: {"crypto-policy", "boot-loader", "system-fips", "dracut-fips"},
    9: {"crypto-policy", "boot-loader", "dracut-fips", "openssl-fips-provider"},
    10: {"crypto-policy", "boot-loader", "openssl-fips-provider"},
}


@pytest.mark.parametrize("el", [7, 8, 9, 10])
def test_each_release_has_signals_of_its_own(el: int, tmp_path: Path) -> None:
    MADE[el](tmp_path)

    found = signals(tmp_path, el)

    assert {name for name, result in found.items() if result.status == "pass"} == ON_DISK[el]
    assert {result.status for result in found.values()} == {"pass", "not-applicable"}


@pytest.mark.parametrize("el", [7, 8, 9, 10])
def test_a_start_without_fips_fails(el: int, tmp_path: Path) -> None:
    # What follows -- is init's, and text between quotation marks is one word (the kernel's lib/cmdline.c).
    for arguments in ("", "fips=0", "fips=1 fips=0", "xfips=1", "fips=12", "ro -- fips=1", 'x="a fips=1 b"'):
        MADE[el](tmp_path, arguments)

        assert signals(tmp_path, el)["boot-loader"].status == "fail", arguments


@pytest.mark.parametrize("el", [7, 8, 9, 10])
def test_a_bare_tree_at_rest_has_no_signals_and_a_running_node_must(el: int, tmp_path: Path) -> None:
    at_rest = {name: result.status for name, result in signals(tmp_path, el).items()}
    assert at_rest.pop("signals") == "unknown"
    assert set(at_rest.values()) == {"not-applicable"}

    found = signals(tmp_path, el, live=True)

    missing = ON_DISK[el] - {"prelink"}
    assert {found[name].status for name in missing} <= {"fail", "unknown"}
    assert "system-fips" in found if el < 9 else "system-fips" not in found


@pytest.mark.parametrize("el", [7, 8, 9, 10])
def test_what_a_tree_could_do_does_not_say_that_it_is_in_fips_mode(el: int, tmp_path: Path) -> None:
    roots.write(tmp_path, "/usr/lib/dracut/modules.d/01fips/module-setup.sh", "")
    roots.write(tmp_path, "/usr/lib64/ossl-modules/fips.so", "")

    found = signals(tmp_path, el)

    assert (found["signals"].status, found["signals"].evidence["code"]) == ("unknown", "none")


def test_one_start_of_several_without_fips_is_a_mismatch(tmp_path: Path) -> None:
    el9(tmp_path)
    roots.write(tmp_path, "/boot/loader/entries/c.conf", ENTRY.format("5.15", "ro quiet"))

    result = signals(tmp_path, 9)["boot-loader"]

    assert (result.status, result.evidence["code"], result.evidence["path"]) == (
        "fail",
        "mismatch",
        "/boot/loader/entries/c.conf",
    )


@pytest.mark.parametrize(
    ("configured", "in_force", "policy", "other"),
    [
        ("FIPS:OSPP", "FIPS:OSPP", "pass", None),
        ("FIPS", "DEFAULT", "fail", "fail"),
        ("DEFAULT", "FIPS", "pass", "fail"),
        ("FIPS:STIG", "FIPS", "pass", "pass"),
        ("# nothing but a comment", "FIPS", "pass", None),
        ("NOT-FIPS", "FIPSISH", "fail", "fail"),
        ("FIPS:OSPP:", "FIPS:OSPP", "pass", "pass"),
    ],
)
def test_the_policy_in_force_and_the_configured_one_are_compared(
    configured: str, in_force: str, policy: str, other: str | None, tmp_path: Path
) -> None:
    el8(tmp_path)
    roots.write(tmp_path, "/etc/crypto-policies/config", configured + "\n")
    roots.write(tmp_path, "/etc/crypto-policies/state/current", in_force + "\n")

    found = signals(tmp_path, 8)

    assert found["crypto-policy"].status == policy
    assert (found["crypto-policy-configured"].status if other else None) == other


@pytest.mark.parametrize(
    ("policy", "el8", "later"),
    [
        ("FIPS", "pass", "pass"),
        ("FIPS:OSPP", "pass", "pass"),
        ("FIPS:STIG", "pass", "pass"),
        ("FIPS:OSPP:STIG", "pass", "pass"),
        ("FIPS:NO-ENFORCE-EMS", "pass", "fail"),
        ("FIPS:SHA1", "pass", "fail"),
        ("FIPS:OSPP:SHA1", "pass", "fail"),
        ("FIPS:", "pass", "fail"),
        ("DEFAULT:FIPS", "fail", "fail"),
    ],
)
def test_subpolicies_count_as_the_release_has_them(policy: str, el8: str, later: str, tmp_path: Path) -> None:
    roots.write(tmp_path, "/etc/crypto-policies/state/current", policy + "\n")

    assert [signals(tmp_path, el)["crypto-policy"].status for el in (8, 9, 10)] == [el8, later, later]


@pytest.mark.parametrize(("policy", "fails"), [("FIPS", False), ("DEFAULT", True), ("LEGACY", True)])
@pytest.mark.parametrize("el", [8, 9, 10])
def test_what_libraries_read_is_of_the_policy_in_force(el: int, policy: str, fails: bool, tmp_path: Path) -> None:
    MADE[el](tmp_path)
    shared = f"/usr/share/crypto-policies/{policy}/opensslcnf.txt"
    roots.write(tmp_path, shared, "x")
    roots.write(tmp_path, "/etc/crypto-policies/back-ends/nss.config", "of one's own\n")
    (tmp_path / "etc/crypto-policies/back-ends/opensslcnf.config").symlink_to(shared)
    (tmp_path / "etc/crypto-policies/back-ends/x.config").symlink_to("/usr/share/missing")

    found = signals(tmp_path, el)

    assert ("crypto-policy-applied" in found) == fails
    assert not fails or found["crypto-policy-applied"].status == "fail"


def test_signals_that_contradict_each_other_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    el8(tmp_path, "quiet")
    assert signals(tmp_path, 8)["signals"].evidence == {
        "code": "mismatch",
        "on": ["crypto-policy", "system-fips"],
        "off": ["boot-loader"],
    }
    el8(tmp_path)
    assert "signals" not in signals(tmp_path, 8)

    # Set up and not started again: the kernel contradicts all other signals.
    real = tree.read_small
    kernel = {"/proc/sys/crypto/fips_enabled": "0\n", "/proc/cmdline": "ro quiet\n"}
    monkeypatch.setattr(tree, "read_small", lambda root, path, *rest: kernel.get(path) or real(root, path, *rest))
    result = signals(tmp_path, 8, live=True)["signals"]

    assert (result.status, result.evidence["off"]) == ("fail", ["kernel", "kernel-command-line"])
    assert "Start the node again" in result.advice


def test_a_node_that_is_not_in_fips_mode_at_all_has_no_mismatch(tmp_path: Path) -> None:
    roots.write(tmp_path, "/etc/crypto-policies/state/current", "DEFAULT\n")
    roots.write(tmp_path, "/boot/loader/entries/a.conf", ENTRY.format("5.14", "ro"))

    assert "signals" not in signals(tmp_path, 9)


def test_prelinking_that_is_on_fails(tmp_path: Path) -> None:
    el7(tmp_path)
    roots.write(tmp_path, "/etc/sysconfig/prelink", "# PRELINKING=no\nPRELINKING=yes\n")

    assert signals(tmp_path, 7)["prelink"].status == "fail"


def test_the_firmwares_own_boot_directory_is_read(tmp_path: Path) -> None:
    roots.write(tmp_path, "/boot/efi/EFI/redhat/grub.cfg", "  linuxefi /vmlinuz-3.10 ro\n")

    assert signals(tmp_path, 7)["boot-loader"].status == "fail"


def test_a_built_in_hash_on_a_fips_kernel_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tree.read_small
    monkeypatch.setattr(tree, "HASH_PROVIDER", "builtin")
    monkeypatch.setattr(
        tree, "read_small", lambda root, path, *_: "1\n" if "fips_enabled" in path else real(root, path)
    )

    assert signals(tmp_path, 8, live=True)["hash-provider"].status == "fail"


def test_a_fifo_in_a_signals_place_is_no_hang_and_no_pass(tmp_path: Path) -> None:
    el8(tmp_path)
    for path in ("/etc/crypto-policies/state/current", "/boot/grub2/grubenv"):
        roots.make_fifo(tmp_path, path)

    found = signals(tmp_path, 8)

    assert found["crypto-policy"].status == found["boot-loader"].status == "unknown"


def test_a_file_in_the_place_of_dracuts_module_is_no_pass(tmp_path: Path) -> None:
    roots.write(tmp_path, "/usr/lib/dracut/modules.d/01fips", "")

    assert signals(tmp_path, 8)["dracut-fips"].status == "unknown"


@pytest.mark.parametrize("kind", ["directory", "device", "loop"])
@pytest.mark.parametrize(
    ("el", "path", "subject"),
    [
        (8, "/etc/crypto-policies/state/current", "crypto-policy"),
        (8, "/etc/crypto-policies/config", "crypto-policy"),
        (8, "/etc/system-fips", "system-fips"),
        (9, "/usr/lib64/ossl-modules/fips.so", "openssl-fips-provider"),
        (8, "/boot/grub2/grubenv", "boot-loader"),
        (9, "/boot/loader/entries/b.conf", "boot-loader"),
        (7, "/boot/grub2/grub.cfg", "boot-loader"),
        (7, "/etc/sysconfig/prelink", "prelink"),
    ],
)
def test_what_is_no_file_in_a_signals_place_is_unknown(
    el: int, path: str, subject: str, kind: str, tmp_path: Path
) -> None:
    MADE[el](tmp_path)
    place = tmp_path / path[1:]
    place.unlink(missing_ok=True)
    if kind == "directory":
        place.mkdir()
    else:
        # Only root makes devices; for other users it is a second loop.
        if kind == "device" and os.geteuid() == 0:
            os.mknod(place, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        else:
            place.symlink_to(place.name)

    assert signals(tmp_path, el)[subject].status == "unknown"


@pytest.mark.parametrize(("configured", "status"), [("DEFAULT", "fail"), ("FIPS", "unknown")])
def test_a_configured_policy_that_is_not_in_force_is_no_pass(configured: str, status: str, tmp_path: Path) -> None:
    el8(tmp_path)
    roots.write(tmp_path, "/etc/crypto-policies/config", configured + "\n")
    shutil.rmtree(tmp_path / "etc/crypto-policies/state")

    assert signals(tmp_path, 8)["crypto-policy"].status == status


@pytest.mark.parametrize("name", ["custom.cfg", "user.cfg"])
@pytest.mark.parametrize(("options", "status"), [("quiet", "fail"), ("quiet fips=1", "pass")])
def test_an_entry_in_what_the_menu_takes_in_counts(name: str, options: str, status: str, tmp_path: Path) -> None:
    el9(tmp_path)
    roots.write(tmp_path, f"/boot/grub2/{name}", f"menuentry x {{\n  linux /vmlinuz-5.14 {options}\n}}\n")

    boot = signals(tmp_path, 9)["boot-loader"]

    assert (boot.status, boot.evidence["count"]) == (status, 2)


def test_more_boot_entries_than_are_looked_at_are_unknown(tmp_path: Path) -> None:
    el9(tmp_path)
    for number in range(100):
        roots.write(tmp_path, f"/boot/loader/entries/{number:03}.conf", ENTRY.format("5.14", "ro fips=1"))
    roots.write(tmp_path, "/boot/loader/entries/zzz.conf", ENTRY.format("5.14", "ro"))

    assert signals(tmp_path, 9)["boot-loader"].status == "unknown"


def test_a_boot_menu_that_is_too_long_is_unknown(tmp_path: Path) -> None:
    el7(tmp_path)
    menu = tmp_path / "boot/grub2/grub.cfg"
    menu.write_text(menu.read_text() + "#" * (1 << 20) + "\nlinux16 /vmlinuz-3.10 ro\n")

    assert signals(tmp_path, 7)["boot-loader"].status == "unknown"


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("a-0-rescue.conf", "pass"),
        ("a-0-rescue-4.18.conf", "pass"),
        # GRUB starts the highest name where nothing else is chosen.
        ("f-0-rescue.conf", "fail"),
        ("my-rescued-4.18.conf", "fail"),
        ("rescue.conf", "fail"),
    ],
)
def test_rescue_entries_alone_need_no_fips(name: str, status: str, tmp_path: Path) -> None:
    el9(tmp_path)
    roots.write(tmp_path, f"/boot/loader/entries/{name}", ENTRY.format("5.14", "ro"))

    assert signals(tmp_path, 9)["boot-loader"].status == status


@pytest.mark.parametrize("variable", ["saved_entry", "next_entry"])
def test_a_rescue_entry_that_is_chosen_is_a_start(variable: str, tmp_path: Path) -> None:
    el9(tmp_path)
    roots.write(tmp_path, "/boot/grub2/grubenv", f"# GRUB Environment Block\n{variable}=a-0-rescue\n".ljust(1024, "#"))

    assert signals(tmp_path, 9)["boot-loader"].status == "fail"


def test_a_start_into_the_rescue_target_is_a_start(tmp_path: Path) -> None:
    el7(tmp_path, "systemd.unit=rescue.target")

    assert signals(tmp_path, 7)["boot-loader"].status == "fail"


@pytest.mark.parametrize(
    "options", ["options\tfips=1", "options ${kernelopts}", "options\t$kernelopts", " options  fips=1"]
)
def test_options_are_read_as_the_boot_loader_reads_them(options: str, tmp_path: Path) -> None:
    el8(tmp_path)
    roots.write(tmp_path, "/boot/loader/entries/a.conf", f"linux /vmlinuz-4.18\n{options}\n")

    assert signals(tmp_path, 8)["boot-loader"].status == "pass"


# What grub2-mkconfig of EL8 writes where the menu takes in the entries, and of EL7 where it does not.
TAKEN_IN = "insmod blscfg\nblscfg\n"
IN_MENU = "menuentry 'Linux' {{\n  linux /vmlinuz-4.18 root=/dev/vda2 ro {}\n}}\n"


@pytest.mark.parametrize(
    ("menu", "entry", "status", "count"),
    [
        (TAKEN_IN, "fips=1", "pass", 1),
        (TAKEN_IN, "quiet", "fail", 1),
        ("# blscfg\n" + IN_MENU.format("quiet"), "fips=1", "fail", 1),
        ("insmod blscfg\n" + IN_MENU.format("fips=1"), "quiet", "pass", 1),
        (TAKEN_IN + IN_MENU.format("quiet"), "fips=1", "fail", 2),
        (TAKEN_IN + IN_MENU.format("fips=1"), "fips=1", "pass", 2),
        # The firmware's own menu leads on to the other one.
        ("configfile $prefix/grub.cfg\n", "quiet", "fail", 1),
    ],
)
@pytest.mark.parametrize("el", [8, 9])
def test_the_menu_says_whether_the_entries_count(
    menu: str, entry: str, status: str, count: int, el: int, tmp_path: Path
) -> None:
    MADE[el](tmp_path)
    roots.write(tmp_path, "/boot/grub2/grub.cfg", menu)
    roots.write(tmp_path, "/boot/loader/entries/a.conf", ENTRY.format("4.18", f"ro {entry}"))

    result = signals(tmp_path, el)["boot-loader"]

    assert (result.status, result.evidence["count"]) == (status, count)


LINUX = "menuentry 'Linux' {{ {} }}\n"
GOOD = IN_MENU.format("fips=1")


# GRUB's manual, "Shell-like scripting"; tuned's 00_tuned and blscfg of Enterprise Linux.
@pytest.mark.parametrize(
    "files",
    [
        {"grub.cfg": 'set tuned_params="skew_tick=1 fips=0"\n' + TAKEN_IN},
        {"grub.cfg": TAKEN_IN, "grubenv": GRUBENV.format("fips=1") + "tuned_params=fips=0\n"},
        {"grub.cfg": "a=fips=0\nset tuned_params=${a}\n" + TAKEN_IN},
        {"grub.cfg": "set off=fips=0\n" + IN_MENU.format("fips=1 $off")},
        {"grub.cfg": GOOD + LINUX.format("linux /vmlinuz-4.18 ro; initrd /i;")},
        {"grub.cfg": GOOD + LINUX.format("insmod gzio; 'linux' /vmlinuz-4.18 ro")},
        {"grub.cfg": GOOD + "if true; then linux16 /vmlinuz-4.18 ro\nfi\n"},
        {"grub.cfg": IN_MENU.format("fips=1 \\\n fips=0")},
        {"grub.cfg": IN_MENU.format("fips=1 'fips=0'")},
        {"grub.cfg": GOOD + "source $prefix/site.cfg\n", "site.cfg": IN_MENU.format("ro")},
        {"grub.cfg": GOOD + "configfile (hd0,1)/site.cfg\n", "../site.cfg": IN_MENU.format("ro")},
        {"grub.cfg": "set blsdir=/other\n" + TAKEN_IN, "../other/b.conf": ENTRY.format("4.18", "ro")},
        {"grub.cfg": TAKEN_IN, "../loader/entries/b.conf": ENTRY.format("4.18", "fips=1; linux /vmlinuz ro")},
        {"grub.cfg": TAKEN_IN, "../loader/entries/b.conf": ENTRY.format("4.18 --", "fips=1")},
        {"grub.cfg": TAKEN_IN, "../loader/entries/b.conf": ENTRY.format("4.18", "fips=1") + "initrd /i; linux /v ro\n"},
        {"grub.cfg": GOOD + "set l=linux\n$l /vmlinuz ro\n"},
        {"grub.cfg": GOOD + "li'n'ux /vmlinuz ro\n"},
        {"grub.cfg": GOOD + "li\\nux /vmlinuz ro\n"},
        {"grub.cfg": GOOD + "if linux /vmlinuz ro; then boot; fi\n"},
        {"grub.cfg": GOOD + "! linux /vmlinuz ro\n"},
        {"grub.cfg": GOOD + "set a='\n# '; linux /vmlinuz ro\n"},
        {"grub.cfg": GOOD + "for a in x fips=0; do linux /vmlinuz fips=1 $a; done\n"},
        {"grub.cfg": IN_MENU.format("fips=1 'fip\\x73=0'")},
        {"grub.cfg": IN_MENU.format("fips=1 'x\\x20fips=0'")},
        {"grub.cfg": IN_MENU.format('fips=0 f\\"ips=1\\"')},
        {"grub.cfg": IN_MENU.format("fips=0 'fi\\ps=1'")},
        {"grub.cfg": "set a=fips=1\n" + IN_MENU.format("'$a'")},
        {"grub.cfg": "set b=fips=1\nset a='$b'\n" + IN_MENU.format("$a")},
        {"grub.cfg": "set a=fips=0\n" + IN_MENU.format('fips=1 "x\'" $a "\'"')},
        {"grub.cfg": "if false; then set a=fips=1; fi\n" + IN_MENU.format("$a")},
        {"grub.cfg": GOOD + "load_env -f /x.env\n" + IN_MENU.format("fips=1 $a"), "../x.env": "a=fips=0\n"},
        {"grub.cfg": GOOD + "set f=/x.cfg\nsource $f\n", "../x.cfg": IN_MENU.format("ro")},
    ],
)
def test_a_command_line_is_what_the_boot_loader_makes_of_it(files: dict[str, str], tmp_path: Path) -> None:
    el8(tmp_path)
    for name, text in files.items():
        roots.write(tmp_path, f"/boot/grub2/{name}", text)

    assert signals(tmp_path, 8)["boot-loader"].status == "fail"


@pytest.mark.parametrize(
    "menu",
    [
        "chainloader /EFI/x.efi\n",
        "menuentry x { multiboot2 /xen.gz; module2 /vmlinuz ro; }\n",
        'eval "linux /vmlinuz ro"\n',
        "legacy_configfile /menu.lst\n",
        "syslinux_configfile /x.cfg\n",
        "regexp --set 1:a '(.*)' fips=0\n" + IN_MENU.format("fips=1 $a"),
        "probe --set=a --label (hd0)\n" + IN_MENU.format("fips=1 ${a}"),
        "read a\n" + IN_MENU.format("fips=1 $a"),
        "function f { linux /vmlinuz fips=1 $1; }\nf fips=0\n",
        IN_MENU.format("fips=1 \N{LATIN SMALL LETTER A WITH GRAVE}fips=0"),
    ],
)
def test_a_menu_whose_command_lines_are_not_known_is_unknown(menu: str, tmp_path: Path) -> None:
    # The last byte of a letter may be a blank for the kernel (lib/ctype.c).
    el8(tmp_path)
    roots.write(tmp_path, "/boot/grub2/grub.cfg", GOOD + menu)

    assert signals(tmp_path, 8)["boot-loader"].status == "unknown"


@pytest.mark.parametrize(
    "menu",
    [
        'if [ -z "${kernelopts}" ]; then\n  set kernelopts="root=/dev/vda2 ro"\nfi\n' + TAKEN_IN,
        'set tuned_params="skew_tick=1"\nset tuned_initrd=""\n' + TAKEN_IN,
        "# linux /vmlinuz-4.18 ro; linux /vmlinuz-4.19 ro\n" + GOOD,
        IN_MENU.format("'dyndbg=file a +p; file b +p' fips=1"),
        IN_MENU.format('dyndbg=\\"file a +p\\" fips=1'),
        # The menu of Enterprise Linux 7 and the firmware's own.
        "set root='hd0,msdos1'\nsearch --no-floppy --fs-uuid --set=root 1\n"
        "menuentry 'Linux' --class os $menuentry_id_option 'x' {\n"
        "\tlinux16 ($root)/vmlinuz root=UUID=$root fips=1\n}\n",
        "search --no-floppy --fs-uuid --set=dev 1\nset prefix=($dev)/grub2\nexport $prefix\n" + GOOD,
        "menuentry 'UEFI Firmware Settings' $menuentry_id_option 'uefi-firmware' {\n\tfwsetup\n}\n" + GOOD,
        "if [ \"x$default\" = 'Linux' ]; then default='Advanced>Linux'; fi;\n" + GOOD,
        "if [ -f ${config_directory}/grubenv ]; then\n  load_env -f ${config_directory}/grubenv\nfi\n" + TAKEN_IN,
        TAKEN_IN + "if [ -f $prefix/custom.cfg ]; then\n  source $prefix/custom.cfg\nfi\nsource (hd1)/x.cfg\n",
    ],
)
def test_what_ordinary_menus_have_changes_no_command_line(menu: str, tmp_path: Path) -> None:
    el8(tmp_path)
    roots.write(tmp_path, "/boot/grub2/grub.cfg", menu)

    assert signals(tmp_path, 8)["boot-loader"].status == "pass"


@pytest.mark.parametrize("directory", ["/boot/efi/loader/entries", "/efi/loader/entries"])
@pytest.mark.parametrize(("options", "status"), [("ro fips=1", "pass"), ("ro", "fail")])
def test_entries_of_systemd_boot_count(directory: str, options: str, status: str, tmp_path: Path) -> None:
    el10(tmp_path)
    roots.write(tmp_path, f"{directory}/a.conf", ENTRY.format("6.12", options))

    assert signals(tmp_path, 10)["boot-loader"].status == status


@pytest.mark.parametrize("options", ['fips=0 f"ips=1"', 'fips=1 -"-" fips=0', 'fips=0 "x fips=1"', "-- fips=1"])
def test_quotation_marks_are_read_as_the_kernel_reads_them(options: str, tmp_path: Path) -> None:
    el10(tmp_path)
    roots.write(tmp_path, "/efi/loader/entries/a.conf", ENTRY.format("6.12", options))

    assert signals(tmp_path, 10)["boot-loader"].status == "fail"


def efi_program(*sections: tuple[bytes, bytes]) -> bytes:
    """Return an EFI program with sections, as far as their table goes (Microsoft's PE format)."""
    table, data, start = b"", b"", 512
    for name, content in sections:
        table += struct.pack("<8sIIII16x", name, len(content), 0x1000, 512, start + len(data))
        data += content.ljust(512, b"\0")
    header = b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, len(sections), 0, 0, 0, 0, 0)
    return (b"MZ".ljust(60, b"\0") + struct.pack("<I", 64) + header + table).ljust(start, b"\0") + data


def image(options: str) -> bytes:
    return efi_program((b".linux", b"x"), (b".cmdline", options.encode()))


@pytest.mark.parametrize("directory", ["/boot/efi/EFI/Linux", "/efi/EFI/Linux", "/boot/EFI/Linux"])
@pytest.mark.parametrize(
    ("content", "addon", "status"),
    [
        (image("ro fips=1\n"), None, "pass"),
        (image("ro\n"), None, "fail"),
        (image("ro\n"), image("fips=1"), "pass"),
        (image("ro fips=1\n"), image("fips=0"), "fail"),
        (efi_program((b".linux", b"x")), None, "fail"),
        # One of two profiles.
        (efi_program((b".cmdline", b"fips=1"), (b".profile", b"x"), (b".cmdline", b"ro")), None, "fail"),
        (b"MZ", None, "unknown"),
        (image("fips=1"), b"x", "unknown"),
    ],
)
def test_unified_kernel_images_count(
    content: bytes, addon: bytes | None, status: str, directory: str, tmp_path: Path
) -> None:
    el10(tmp_path)
    place = tmp_path / directory[1:]
    place.mkdir(parents=True)
    (place / "a.EFI").write_bytes(content)
    if addon is not None:
        (place / "a.EFI.extra.d").mkdir()
        (place / "a.EFI.extra.d/x.addon.efi").write_bytes(addon)

    assert signals(tmp_path, 10)["boot-loader"].status == status


def test_an_entry_that_starts_a_unified_kernel_image_has_that_ones_command_line(tmp_path: Path) -> None:
    el10(tmp_path)
    roots.write(tmp_path, "/efi/loader/entries/a.conf", "title x\nefi /other/a.efi\noptions fips=1\n")
    roots.write(tmp_path, "/efi/other/a.efi", "")
    (tmp_path / "efi/other/a.efi").write_bytes(image("ro"))

    assert signals(tmp_path, 10)["boot-loader"].status == "fail"


def test_more_values_of_variables_than_a_menu_needs_are_unknown(tmp_path: Path) -> None:
    el8(tmp_path)
    values = "".join(f"set {name}=v{number}\n" for name in "abcdefg" for number in range(8))
    roots.write(tmp_path, "/boot/grub2/grub.cfg", values + IN_MENU.format("$a $b $c $d $e $f $g fips=1"))

    assert signals(tmp_path, 8)["boot-loader"].status == "unknown"


@pytest.mark.parametrize(("other", "status", "count"), [("fips=1", "pass", 1), ("quiet", "fail", 2)])
def test_each_environment_block_may_be_the_one_that_counts(other: str, status: str, count: int, tmp_path: Path) -> None:
    el8(tmp_path)
    roots.write(tmp_path, "/boot/efi/EFI/redhat/grubenv", GRUBENV.format(other).ljust(1024, "#"))

    result = signals(tmp_path, 8)["boot-loader"]

    assert (result.status, result.evidence["count"]) == (status, count)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("PRELINKING='yes'", "fail"),
        ('PRELINKING="yes"', "fail"),
        ("PRELINKING=yes # as it was", "fail"),
        ("export PRELINKING=yes", "fail"),
        ("#PRELINKING=yes", "pass"),
        ("PRELINKING=no # yes", "pass"),
    ],
)
def test_the_prelink_setting_is_read_as_a_shell_reads_it(line: str, status: str, tmp_path: Path) -> None:
    el7(tmp_path)
    roots.write(tmp_path, "/etc/sysconfig/prelink", line + "\n")

    assert signals(tmp_path, 7)["prelink"].status == status
