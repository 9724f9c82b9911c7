"""No secret is written anywhere, whatever fails and whatever -v is set: no output, ledger, file, process title or argument has one."""

import io
import json
import shutil

import pytest

from disasters import Disaster
from secrets_check import Secrets
from vmprobe.core.redact import Redactor
from vmprobe.drivers.memory.cloud import FAULTS, REQUEST_FAULTS

SECRETS = Secrets(password='Pass&word/"4%1 <|>=+ç')


@pytest.fixture
def world(tmp_path):
    disaster = Disaster(tmp_path / "world")
    disaster.credentials = SECRETS.credentials(
        disaster.directory / "credentials.ini", username="robot"
    )
    disaster.site.set("endpoint", credentials=str(disaster.credentials))
    return disaster


def run_loudly(world, monkeypatch):
    """Run with every option that writes something, and check each part. Returns the output."""
    monkeypatch.setenv("VMPROBE_STATE", str(world.state))
    shutil.rmtree(world.directory / "evidence", ignore_errors=True)
    code, output = world.site.lifecycle(
        "-vv",
        "--json",
        str(world.directory / "timeline.json"),
        "--evidence",
        str(world.directory / "evidence"),
    )
    sessions = {f"session {number}": token for number, token in enumerate(world.cloud.sessions)}
    secrets = Secrets(**SECRETS.known, **sessions)
    secrets.check(output, "the output")
    assert (
        secrets.check_files(world.directory, but=[world.credentials]) >= 3
    )  # site file, timeline, evidence
    return output


@pytest.mark.parametrize("fault", FAULTS)
def test_no_secret_leaves_whatever_is_wrong_with_the_cloud(world, monkeypatch, fault):
    world.site.set("endpoint", faults=fault)

    assert "***" in run_loudly(world, monkeypatch), (
        "the credential that was sent is told, but redacted"
    )


@pytest.mark.parametrize("fault", REQUEST_FAULTS)
def test_no_secret_leaves_whatever_is_wrong_with_a_request(world, monkeypatch, fault):
    for number in (1, 4, 6, 27, 29):
        world.cloud.plot[len(world.cloud.log) + number] = fault

        run_loudly(world, monkeypatch)
        world.repaired()


def test_no_secret_leaves_by_a_traceback(world, monkeypatch):
    def boom(server):
        raise RuntimeError(f"cannot log in as robot with {SECRETS.known['password']}")

    monkeypatch.setattr(world.cloud, "metrics", boom)

    output = run_loudly(world, monkeypatch)

    assert "RuntimeError: cannot log in as robot with ***" in output


def test_no_secret_is_shown_on_a_terminal(world, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    world.site.set("endpoint", faults="auth-rejected")

    world.run()

    SECRETS.check(terminal.getvalue(), "the terminal")
    assert terminal.getvalue().endswith("auth      user robot *** is not accepted\n")


def test_no_secret_is_left_in_a_ledger_by_a_kill(world):
    world.cloud.plot[8] = "killed-before"
    world.run_and_be_killed()

    assert len(world.ledgers()) == 1
    (world.directory / "survived").unlink()
    SECRETS.check_files(world.directory, but=[world.credentials])


@pytest.mark.parametrize(
    "probe, options",
    [
        ("check_vm_lifecycle", ["-vv", "--json", "{}/timeline.json", "--evidence", "{}/evidence"]),
        ("check_vm_lifecycle", ["-vv", "--plan"]),
        ("check_vm_leftovers", ["-vv", "--remove"]),
    ],
)
def test_no_secret_can_be_seen_of_a_process(tmp_path, probe, options):
    credentials = SECRETS.credentials(tmp_path / "credentials.ini", username="robot")
    site = tmp_path / "site.ini"
    site.write_text(
        f"[site]\nname = quick\n[endpoint]\nmanager = memory\nboot = 0.3 s\ncredentials = {credentials}\n"
        "[test vm]\nimage = vmprobe-test\n[budget]\ndeadline = 30 s\nreserve = 10 s\n"
        "[polling]\nfirst = 0.1 s\nshortest = 0.1 s\n[sample]\nreadings = 0\n"
    )

    done = SECRETS.run(
        probe,
        "--site",
        str(site),
        *(option.format(tmp_path) for option in options),
        files=[tmp_path],
        but=[credentials],
        env={"VMPROBE_STATE": str(tmp_path / "state")},
    )

    assert (done.code, done.stderr) == (0, "")
    assert done.watched >= 2


def test_the_check_finds_a_secret_in_each_form_and_place(tmp_path):
    secrets = Secrets(password="a b&c=1234")
    for form in (
        "a b&c=1234",
        "a%20b%26c%3D1234",
        "a+b%26c%3D1234",
        "YSBiJmM9MTIzNA",
        "61206226633d31323334",
    ):
        with pytest.raises(AssertionError, match="the password is in a letter"):
            secrets.check(f"x{form}x", "a letter")
    (tmp_path / "note").write_text("a b&c=1234")
    with pytest.raises(AssertionError, match="the password is in .*note"):
        secrets.check_files(tmp_path)


# --- the redactor -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, redacted",
    [
        ("the key s3cr3t! is wrong", "the key *** is wrong"),
        ("s3cr3t!s3cr3t!", "******"),
        ('{"password": "other words"}', '{"password": ***}'),
        ("password=other&next=1", "password=***&next=1"),
        ("X-Auth-Token: gAAAAABj", "X-Auth-Token: ***"),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("authorization: Basic dTpw", "authorization: ***"),
        ("aws_secret_access_key = abc", "aws_secret_access_key = ***"),
        ("<password>hush</password>", "<password>***</password>"),
        ("-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----\nnext", "***\nnext"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMII without an end", "***"),
        ("https://u:s3cr3t!@host/", "https://u:***@host/"),
        ("the password is not accepted", "the password is not accepted"),
        ("no secret here", "no secret here"),
    ],
)
def test_secrets_are_redacted(text, redacted):
    assert Redactor(["s3cr3t!"]).redact(text) == redacted


@pytest.mark.parametrize(
    "form", ['p%s w"/&+=x', 'p%s w\\"/&+=x', "p%25s%20w%22%2F%26%2B%3Dx", "p%25s+w%22%2F%26%2B%3Dx"]
)
def test_a_known_secret_is_redacted_as_json_and_urls_write_it(form):
    assert Redactor(['p%s w"/&+=x']).redact(f"<{form}>") == "<***>"


def test_a_secret_learned_at_run_time_is_redacted_from_then_on():
    redactor = Redactor()
    assert redactor.redact("token-1234") == "token-1234"
    redactor.add("token-1234")
    assert redactor.redact("token-1234") == "***"


def test_a_secret_within_a_longer_one_leaves_nothing_of_it():
    assert Redactor(["abcd", "abcdefgh"]).redact("abcdefgh abcd") == "*** ***"


def test_a_password_that_is_the_sites_name_is_redacted_everywhere_but_in_that_name(site, tmp_path):
    (tmp_path / "c.ini").write_text("[credentials]\npassword = site\n")
    (tmp_path / "c.ini").chmod(0o600)
    site.set("endpoint", faults="auth-rejected", credentials="c.ini")

    for name in ("lifecycle", "state", "gateway"):
        assert site.probe(name)[1].startswith(
            f"VM_{name.upper()} CRITICAL - site: auth: user *** is not accepted (cause=auth) | "
        )
    assert site.leftovers()[1].startswith(
        "VM_LEFTOVERS CRITICAL - site: auth: user *** is not accepted (cause=auth) | "
    )
    site.lifecycle("--json", str(tmp_path / "run.json"))
    document = json.loads((tmp_path / "run.json").read_text())
    assert (document["site"], document["text"]) == (
        "site",
        "site: auth: user *** is not accepted (cause=auth)",
    )
    assert document["stages"][0]["error"] == "user *** is not accepted"
