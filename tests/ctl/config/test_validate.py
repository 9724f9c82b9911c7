"""--validate: what the monitoring daemons themselves say of generated files."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from configuring import GOLDEN, HOSTILE, ctl, tree, write, written
from running import CHECKOUT, PROBES
from vmprobe.core.errors import ClientError

DAEMONS = [
    pytest.param("nagios", "nagios4", id="nagios"),
    pytest.param("icinga2", "icinga2", id="icinga2"),
]


def hostile_sites(sites):
    write(
        sites,
        name="hostile",
        site=f"name = hostile\ncontact = {HOSTILE}\nnotes = {HOSTILE}",
        schedule="contact groups = admins, Zoë on call",
        labels=f"word = {HOSTILE}\nfor = words of Icinga\ntemplate = and another\ntrue = one more",
    )


@pytest.mark.parametrize("target, daemon", DAEMONS)
def test_the_daemon_accepts_the_generated_files(sites, tmp_path, target, daemon):
    if not shutil.which(daemon):
        pytest.skip(f"{daemon} is not installed (Debian: see tests/packages.txt)")
    hostile_sites(sites)

    assert ctl(target, tmp_path / "out", sites, "--validate")[::2] == (0, "")


def test_nagios_gives_no_warning_if_somebody_is_notified(sites, tmp_path):
    from vmprobe.ctl.config import validate

    if not shutil.which("nagios4"):
        pytest.skip("nagios4 is not installed (Debian: see tests/packages.txt)")
    assert ctl("nagios", tmp_path / "out", sites, "--contact-groups", "admins")[0] == 0
    place = tmp_path / "nagios"
    place.mkdir()
    words = validate.nagios(validate.Check(str(place), str(tmp_path / "out")))

    done = subprocess.run(["nagios4", *words], capture_output=True, text=True, check=False)
    assert (done.returncode, re.findall(r"(?m)^Warning.*|^Total.*", done.stdout)) == (
        0,
        ["Total Warnings: 0", "Total Errors:   0"],
    )


def test_nagios_looks_at_all_that_its_main_file_reads(tmp_path):
    if not shutil.which("nagios4"):
        pytest.skip("nagios4 is not installed (Debian: see tests/packages.txt)")
    from vmprobe.ctl.config import validate

    server, output = tmp_path / "nagios", tmp_path / "nagios" / "conf.d" / "vmprobe"
    (server / "conf.d").mkdir(parents=True)
    (server / "contacts.cfg").write_text(validate.CONTACT)
    (server / "resource.cfg").write_text("$USER1$=/usr/lib/nagios/plugins\n")
    (server / "nagios.cfg").write_bytes(
        b"# \xdcberwachung\ncfg_file=contacts.cfg\nresource_file=resource.cfg\n cfg_dir = conf.d\nlog_file=/nowhere/log\n"
    )
    write(tmp_path / "sites", schedule="contact groups = cloud-admins")

    def config(place, *options):
        return ctl(
            "nagios",
            place,
            tmp_path / "sites",
            "--validate",
            "--main",
            str(server / "nagios.cfg"),
            *options,
        )[::2]

    assert config(output) == (
        1,
        "vmprobectl: nagios4 rejects these files, and nothing was changed: Error: Contactgroup 'cloud-admins' is not "
        "defined anywhere / Error: Could not add contactgroup 'cloud-admins' to host (config file "
        "'sites/one.cfg', starting on line 3) / Error processing object config files!\n",
    )
    assert sorted(output.iterdir()) == []
    assert config(tmp_path / "out") == (
        1,
        f"vmprobectl: --main: {server}/nagios.cfg has no cfg_dir that contains {tmp_path}/out\n",
    )

    (server / "conf.d" / "groups.cfg").write_text(
        "define contactgroup {\n    contactgroup_name cloud-admins\n    alias all\n}\n"
    )
    assert config(output) == (0, "")
    write(tmp_path / "sites", schedule="contact groups = cloud-admins\ninterval = 2 h")
    assert config(output) == (0, "")  # beside what is there of it already


def test_a_main_file_is_only_for_nagios(tmp_path):
    write(tmp_path / "sites")

    assert ctl(
        "icinga2",
        tmp_path / "out",
        tmp_path / "sites",
        "--validate",
        "--main",
        "/etc/icinga2/icinga2.conf",
    )[2] == ("vmprobectl: --main: only for Nagios; Icinga checks all its files when it reloads\n")


@pytest.mark.parametrize(
    "known", [("cloud-admins", "Zoë on call"), ("cloud-admins",)], ids=["known", "unknown"]
)
def test_icinga_notifies_whom_a_site_names_by_the_rule_of_the_documentation(known):
    from vmprobe.ctl.config import validate

    if not shutil.which("icinga2"):
        pytest.skip("icinga2 is not installed (Debian: see tests/packages.txt)")
    rule = re.search(
        r"(?ms)^apply Notification.*?^}", (CHECKOUT / "docs" / "vmprobectl.md").read_text()
    )[0]
    server = (
        'object NotificationCommand "mail" { command = [ "/bin/true" ] }\n'
        'template Notification "mail-service-notification" { command = "mail" }\n'
        + "".join(f'object UserGroup "{name}" {{ }}\n' for name in known)
    )
    wanted = {**tree("icinga2", GOLDEN / "sites"), "server.conf": server + rule}

    if len(known) == 2:
        assert validate.validate("icinga2", wanted) == "icinga2"
    else:  # so the rule did apply
        with pytest.raises(ClientError, match="UserGroup"):
            validate.validate("icinga2", wanted)


def test_a_validation_does_not_change_icinga_s_cache(sites, tmp_path):
    if not shutil.which("icinga2"):
        pytest.skip("icinga2 is not installed (Debian: see tests/packages.txt)")
    cache = Path(
        "/var/cache/icinga2"
    )  # compiled in; icinga2 api setup looks there for the name of its node

    def known():
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in cache.glob("*")}

    before = known()

    assert ctl("icinga2", tmp_path / "out", sites, "--validate")[::2] == (0, "")
    assert known() == before


@pytest.mark.parametrize("target, daemon", DAEMONS)
def test_files_that_the_daemon_rejects_do_not_replace_the_old_ones(sites, tmp_path, target, daemon):
    if not shutil.which(daemon):
        pytest.skip(f"{daemon} is not installed (Debian: see tests/packages.txt)")
    output = tmp_path / "out"
    ctl(target, output, sites)
    before = written(output)
    own = tmp_path / "own" / target
    shutil.copytree(PROBES.parent / "templates" / target, own)
    for path in own.rglob("SITE.*"):
        path.write_text(
            path.read_text()
            .replace("  address  ", "  adress  ")
            .replace("  address =", "  adress =")
        )

    code, said, errors = ctl(target, output, sites, "--validate", "--templates", str(own.parent))

    assert (code, said) == (1, "")
    assert (
        errors.startswith(f"vmprobectl: {daemon} rejects these files, and nothing was changed: ")
        and "adress" in errors
    )
    assert written(output) == before


@pytest.mark.parametrize("target, daemon", DAEMONS)
def test_the_daemon_accepts_a_thousand_sites(tmp_path, target, daemon):
    if not shutil.which(daemon):
        pytest.skip(f"{daemon} is not installed (Debian: see tests/packages.txt)")
    for number in range(1000):
        write(tmp_path / "sites", name=f"site-{number:04}", labels=f"vo = vo-{number % 20}")

    assert ctl(target, tmp_path / "out", tmp_path / "sites", "--validate")[::2] == (0, "")
