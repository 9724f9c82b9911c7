"""Installed packages work without the source, and removing them removes their files."""

import re
import shutil
import subprocess
import sys

import pytest

from packages.conftest import install, stand_in
from running import CHECKOUT
from vmprobe.guest import image

pytestmark = pytest.mark.packaging
# HOME is a directory in which nothing can be written.
AS_NAGIOS = "HOME=/proc setpriv --reuid nagios --regid nagios --init-groups"
RUN = f"{AS_NAGIOS} /usr/lib/nagios/plugins/check_vm_lifecycle"


def requires(path):
    """What a package file requires, without rpm's own features."""
    done = subprocess.run(
        ["rpm", "--dbpath", "/nonexistent", "-qp", "--requires", str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted({line for line in done.stdout.splitlines() if "rpmlib(" not in line})


def test_what_is_required_has_the_names_that_el_9_and_epel_use(rpms):
    own, same = "nagios-plugins-vmprobe", "nagios-plugins-vmprobe = 0.1.0-1"

    assert requires(rpms[own]) == [
        "(nagios-plugins-vmprobe-selinux = 0.1.0-1 if selinux-policy-targeted)",
        "/bin/sh",
        "/usr/bin/python3",
        "config(nagios-plugins-vmprobe) = 0.1.0-1",
        "python3 >= 3.9",
        "python3-nagiosplugin >= 1.3.2",
        "python3-requests >= 2.25",
        "systemd",
    ]
    assert requires(rpms[f"{own}-config"]) == [same, "python3-jinja2"]
    assert requires(rpms[f"{own}-hyperv"]) == [same, "python3-pypsrp"]
    assert requires(rpms[f"{own}-libvirt"]) == [same, "python3-libvirt"]
    assert requires(rpms[f"{own}-qemu"]) == [
        "busybox",
        same,
        "python3-qemu-qmp",
        "qemu-system-x86-core",
    ]
    assert requires(rpms[f"{own}-selinux"]) == [
        "/bin/sh",
        "policycoreutils",
        "selinux-policy-targeted",
    ]
    assert requires(rpms["argo-probe-vmprobe"]) == [same]


@pytest.mark.parametrize(
    "release, expected", [(8, "python3.11-requests >= 2.25"), (9, "python3-requests >= 2.25")]
)
def test_the_package_for_an_el_release_requires_its_python(release, expected):
    done = subprocess.run(
        [
            "rpmspec",
            "-q",
            "--requires",
            "--define",
            f"rhel {release}",
            "--define",
            f"dist .el{release}",
            str(CHECKOUT / "rpm" / "nagios-plugins-vmprobe.spec"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )

    assert expected in done.stdout.splitlines()


def test_an_installed_check_runs_for_an_unprivileged_user_with_a_read_only_home(installed):
    output = installed.does(
        f"{RUN} --site memory -v; {AS_NAGIOS} ls -A /var/lib/vmprobe/ledger/memory"
    )

    assert output.startswith("VM_LIFECYCLE OK - memory: test VM ran and is gone in ")
    assert re.search(r"\nrequests \d+\n$", output), (
        "no ledger is left: ls would list it after this line"
    )
    assert installed.run(f"ls {CHECKOUT}/setup.cfg")[0] == 2, "the source cannot be seen"


@pytest.mark.live
def test_an_installed_check_starts_a_real_vm_for_an_unprivileged_user(installed):
    folder = installed.upper / "var" / "cache" / "vmprobe" / "image"
    for name in image.FORMATS["kernel"]:
        shutil.copy(f"{image.directory()}/{name}", folder)
    python = installed.does("/usr/bin/python3 -c 'import sys; print(sys.path[-1])'").strip()
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--target",
            f"{installed.upper}{python}",
            "qemu.qmp",
        ],
        check=True,
    )

    assert installed.does(f"{RUN} --site demo").startswith(
        "VM_LIFECYCLE OK - demo: test VM ran and is gone in "
    )


def test_a_missing_sub_package_is_reported_in_one_line(new_root, rpms):
    root = new_root()
    install(root, [rpms["nagios-plugins-vmprobe"]])

    code, output = root.run(
        "mkdir -p /etc/vmprobe/sites && cp /usr/share/vmprobe/etc/sites/memory.ini /etc/vmprobe/sites && "
        "vmprobectl config --target nagios --output /out"
    )
    assert (code, output) == (
        1,
        "vmprobectl: templates/nagios is not installed with vmprobe in /usr/libexec/vmprobe/vmprobe\n",
    )


def test_directories_have_the_right_owner_and_mode(installed):
    listed = installed.does(
        "stat -c '%a %U %G %n' /etc/vmprobe /etc/vmprobe/credentials /var/lib/vmprobe /var/cache/vmprobe/image"
    )

    assert listed.splitlines() == [
        "755 root root /etc/vmprobe",
        "750 root nagios /etc/vmprobe/credentials",
        "2770 nagios nagios /var/lib/vmprobe",
        "755 root root /var/cache/vmprobe/image",
    ]
    installed.does(
        "rmdir /var/lib/vmprobe /var/cache/vmprobe/image && systemd-tmpfiles --create vmprobe.conf"
    )
    assert listed == installed.does(
        "stat -c '%a %U %G %n' /etc/vmprobe /etc/vmprobe/credentials /var/lib/vmprobe "
        "/var/cache/vmprobe/image"
    )


def test_argo_finds_every_plug_in_in_its_directories(installed):
    for directory in (
        "/usr/libexec/argo/probes/vmprobe",
        "/usr/libexec/argo-monitoring/probes/vmprobe",
        "/usr/lib/nagios/plugins",
    ):
        versions = installed.does(
            f"for check in {directory}/check_vm_*; do $check --version; done; true"
        ).splitlines()

        assert versions == [
            f"{path.name} 0.1.0" for path in sorted((CHECKOUT / "probes").glob("check_vm_*"))
        ]


def test_every_option_is_in_a_man_page_that_mandoc_accepts(installed):
    for path in sorted((CHECKOUT / "probes").glob("check_vm_*")):
        options = set(
            re.findall(r"--[a-z-]+", installed.run(f"/usr/libexec/vmprobe/{path.name} --help")[1])
        )
        page = installed.does(
            f"mandoc -T lint -W error /usr/share/man/man1/{path.name}.1; man {path.name} | col -b",
            MANWIDTH="1000",
        )

        assert len(options) >= 7 and {option for option in options if option not in page} == set()


@pytest.mark.parametrize(
    "line, expected",
    [
        ("check_vm_lifecycle --timeo", ["--timeout", "--timeout-state"]),
        ("check_vm_lifecycle --depth ", ["api", "console", "reach"]),
        ("check_vm_leftovers --site ex", ["example-site"]),
        ("vmprobectl ima", ["image"]),
        ("vmprobectl config --target nag", ["nagios"]),
    ],
)
def test_bash_completes_what_help_lists(installed, line, expected):
    words = line.split(" ")
    script = (
        f"touch /etc/vmprobe/sites/example-site.ini; . /usr/share/bash-completion/completions/{words[0]}; COMP_WORDS=({' '.join(words[:-1])} "
        f"'{words[-1]}'); COMP_CWORD={len(words) - 1}; _{words[0]}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    (installed.upper / "complete").write_text(script)

    assert installed.does("bash /complete").splitlines() == expected


def test_an_upgrade_and_a_removal_keep_only_what_the_administrator_changed(new_root, rpms):
    root = new_root()
    stand_in(root)
    before = root.changed()
    install(root, [rpms["nagios-plugins-vmprobe"], rpms["nagios-plugins-vmprobe-config"]])
    (root.upper / "etc/vmprobe/submit.conf").write_text("SUBMIT=--submit file:/tmp/results\n")
    shutil.copy(
        CHECKOUT / "tests" / "sites" / "0.1.0" / "memory.ini",
        root.upper / "etc/vmprobe/sites/mine.ini",
    )
    root.does("systemctl enable vmprobe@mine.timer")
    root.does(
        f"{RUN} --site mine; vmprobectl config --target icinga2 --output /etc/icinga2/vmprobe",
        TMPDIR="/tmp",
    )

    spec = re.sub(
        r"Release: .*", "Release: 2", (CHECKOUT / "rpm" / "nagios-plugins-vmprobe.spec").read_text()
    )
    (root.upper / "next.spec").write_text(spec.replace("0.1.0-1\n", "0.1.0-2\n"))
    sources = root.upper / "next" / "SOURCES"
    shutil.copytree(rpms["nagios-plugins-vmprobe"].parents[2] / "SOURCES", sources)
    root.does(
        "rpmbuild -bb --quiet --nodeps --nocheck --without selinux --define '_topdir /next' /next.spec"
    )
    root.does(
        "rpm -U --nodeps /next/RPMS/noarch/nagios-plugins-vmprobe-0.1.0-2*.rpm /next/RPMS/noarch/*-config-*.rpm"
    )

    assert (
        root.upper / "etc/vmprobe/submit.conf"
    ).read_text() == "SUBMIT=--submit file:/tmp/results\n"
    assert (root.upper / "etc/systemd/system/timers.target.wants/vmprobe@mine.timer").is_symlink()
    assert root.does(f"{RUN} --site mine --plan").startswith(
        "VM_LIFECYCLE OK - memory: would start 1 test VM"
    )

    root.does("rpm -e nagios-plugins-vmprobe nagios-plugins-vmprobe-config")
    not_of_the_packages = re.compile(
        r"/(next|stand-in|tmp|root/\.rpmdb|var/lib/rpm|var/tmp|var/cache/(man|ldconfig))\b|/etc/(passwd|group|g?shadow)-?$"
        r"|/etc/icinga2/vmprobe/|/(\.pwd\.lock|next\.spec|.*\.rpm)$"
    )
    assert sorted(
        path for path in root.changed() - before if not not_of_the_packages.search(path)
    ) == [
        "/etc/vmprobe/sites/mine.ini",
        "/etc/vmprobe/submit.conf.rpmsave",
    ]


def test_a_removal_keeps_ledgers_with_debts(installed):
    ledger = installed.upper / "var/lib/vmprobe/ledger/mine/vmprobe-mon-20260101t000000z-2-x7k2m9qp"
    ledger.parent.mkdir(parents=True)
    ledger.write_text("{}\n")
    installed.does("rpm -e $(rpm -qa | grep vmprobe)")

    assert installed.does("find /var/lib/vmprobe -type f").splitlines() == [
        "/" + str(ledger.relative_to(installed.upper))
    ]
