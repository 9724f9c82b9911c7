"""vmprobectl does what was asked, whatever becomes of its streams, and whoever runs it."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from running import CHECKOUT, PROBES

GOLDEN = CHECKOUT / "tests" / "golden" / "config"
FULL = "vmprobectl: stdout: No space left on device; the command was carried out, but not all of its output was written\n"
TABLE = "name,manager,url,notes\none,memory,memory://one,Kraków Łódź\n"
SITE = "[site]\nname = {name}\nnotes = {notes}\n[endpoint]\nmanager = memory\n[test vm]\nimage = vmprobe-test\n"


@pytest.fixture
def sites(tmp_path):
    folder = tmp_path / "sites"
    folder.mkdir()
    (folder / "one.ini").write_text(SITE.format(name="one", notes="Łódź"), "utf-8")
    return folder


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "sites.csv"
    path.write_text(TABLE, "utf-8")
    (tmp_path / "imported").mkdir()
    return path


def ctl(*words, streams="", env=None, **how):
    """(exit code, stdout, stderr) of vmprobectl, started by a shell that leads its streams somewhere."""
    command = [
        "sh",
        "-c",
        f'exec "$0" "$@" {streams}',
        sys.executable,
        str(PROBES / "vmprobectl"),
        *map(str, words),
    ]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        env={**os.environ, **(env or {})},
        **how,
    )
    return (
        done.returncode,
        done.stdout.decode("utf-8", "replace"),
        done.stderr.decode("utf-8", "replace"),
    )


# --- streams -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "streams, code, errors",
    [
        (">&-", 0, ""),
        (">/dev/full", 1, FULL),
        ("2>&-", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
        (">/dev/full 2>&1", 1, ""),
    ],
    ids=["closed", "full", "errors-closed", "all-closed", "both-full"],
)
def test_what_was_asked_for_is_done_whatever_became_of_the_streams(
    sites, table, tmp_path, streams, code, errors
):
    reload = ("--reload", f"touch {tmp_path}/reloaded")

    found = ctl(
        "config",
        "--target",
        "nagios",
        "--sites",
        sites,
        "--output",
        tmp_path / "out",
        *reload,
        streams=streams,
    )
    assert (found[0], found[2]) == (code, errors)
    assert (tmp_path / "reloaded").exists() and (tmp_path / "out" / "vmprobe.cfg").exists()

    found = ctl(
        "sites",
        "import",
        "--from",
        "csv",
        table,
        "--output",
        tmp_path / "imported",
        streams=streams,
    )
    assert (found[0], found[2]) == (code, errors)
    assert (tmp_path / "imported" / "one.ini").exists()


@pytest.mark.parametrize(
    "words, code",
    [(["--help"], 0), (["config", "--help"], 0), (["nonsense"], 2)],
    ids=["help", "a-command", "wrong"],
)
@pytest.mark.parametrize(
    "streams", [">&- 2>&-", ">/dev/full 2>/dev/full", "<&-"], ids=["closed", "full", "no-input"]
)
def test_a_help_or_a_usage_error_that_nobody_can_read_is_no_traceback(words, code, streams):
    found = ctl(*words, streams=streams)

    assert found[0] == (1 if "full" in streams and not code else code)
    assert "Traceback" not in found[2] and "Exception" not in found[2]


def test_a_wrong_command_whose_words_nobody_can_read_is_still_told_by_its_exit_code(tmp_path):
    for streams in ("2>&-", "2>/dev/full"):
        assert ctl(
            "config",
            "--target",
            "nagios",
            "--sites",
            tmp_path / "nowhere",
            "--output",
            tmp_path / "out",
            streams=streams,
        ) == (1, "", "")


def test_a_reader_who_is_gone_does_not_end_the_work(sites, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [
            sys.executable,
            str(PROBES / "vmprobectl"),
            "config",
            "--target",
            "nagios",
            "--sites",
            str(sites),
            "--output",
            str(tmp_path / "out"),
            "--reload",
            f"touch {tmp_path}/reloaded",
        ],
        stdout=writer,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    os.close(writer)

    assert (done.returncode, done.stderr) == (1, b"")
    assert (tmp_path / "reloaded").exists()


# --- letters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "encoding, shown",
    [
        ("ascii", b"\\u0141\\xf3d\\u017a"),
        ("iso8859-1", b"\\u0141\xf3d\\u017a"),
        ("iso8859-2", b"\xa3\xf3d\xbc"),
        ("utf-8", "Łódź".encode()),
    ],
)
def test_letters_that_an_output_lacks_are_written_by_their_numbers(
    sites, table, tmp_path, encoding, shown
):
    words = [
        sys.executable,
        PROBES / "vmprobectl",
        "sites",
        "import",
        "--from",
        "csv",
        table,
        "--output",
        tmp_path / "imported",
    ]
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    subprocess.run(words, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    table.write_text(TABLE.replace("Kraków ", ""), "utf-8")

    done = subprocess.run(
        words, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        b"one: [site] notes is now " + shown + b"\n1 site found, 0 services skipped\n",
        b"",
    )
    assert ctl(
        "config",
        "--target",
        "icinga2",
        "--sites",
        sites,
        "--output",
        tmp_path / "none",
        "--check",
        env={"PYTHONIOENCODING": encoding},
    )[::2] == (1, "")


@pytest.mark.parametrize("encoding", ["utf-16", "idna", "punycode", "cp037", "utf-7"])
def test_an_encoding_that_is_not_like_ascii_is_not_written(sites, table, tmp_path, encoding):
    done = ctl(
        "sites",
        "import",
        "--from",
        "csv",
        table,
        "--output",
        tmp_path / "Łódź",
        env={"PYTHONIOENCODING": encoding},
    )

    assert done == (1, "", f"vmprobectl: {tmp_path}/\\u0141\\xf3d\\u017a: No such directory\n")


def test_names_that_are_no_text_are_one_line(sites, tmp_path):
    name = os.fsdecode(b"J\xfcrgen")
    (tmp_path / name).mkdir()
    shutil.copy(sites / "one.ini", tmp_path / name / "one.ini")

    code, said, errors = ctl(
        "config", "--target", "nagios", "--sites", tmp_path / name, "--output", tmp_path / "out"
    )
    assert (code, said, errors.count("\n")) == (1, "", 1)
    assert "J\\udcfcrgen/one.ini: some schedulers cannot run a command with this path" in errors
    assert ctl(
        "config", "--target", "nagios", "--sites", sites, "--output", tmp_path / name / "out"
    )[::2] == (0, "")


def test_a_template_that_is_not_utf8_is_named(sites, tmp_path):
    own = tmp_path / "own" / "nagios"
    own.mkdir(parents=True)
    (own / "templates.cfg").write_bytes("# \u00dcber uns\n".encode("latin-1"))

    assert ctl(
        "config",
        "--target",
        "nagios",
        "--sites",
        sites,
        "--output",
        tmp_path / "out",
        "--templates",
        own.parent,
    ) == (1, "", "vmprobectl: template templates.cfg: is not UTF-8 text\n")


def test_a_template_may_begin_with_the_mark_of_an_editor(sites, tmp_path):
    own = tmp_path / "own" / "nagios"
    own.mkdir(parents=True)
    (own / "templates.cfg").write_bytes(b"\xef\xbb\xbf# ours\r\n")

    assert ctl(
        "config",
        "--target",
        "nagios",
        "--sites",
        sites,
        "--output",
        tmp_path / "out",
        "--templates",
        own.parent,
    )[::2] == (0, "")
    assert (tmp_path / "out" / "templates.cfg").read_bytes() == b"# ours\n"


@pytest.mark.parametrize(
    "text, words",
    [
        (SITE.format(name="one", notes="J\u00fcrgen").encode("latin-1"), "is not UTF-8 text"),
        (SITE.format(name="one", notes="a").encode("utf-16"), "is not UTF-8 text"),
    ],
    ids=["latin-1", "utf-16"],
)
def test_a_site_file_that_is_not_utf8_is_named(sites, tmp_path, text, words):
    (sites / "one.ini").write_bytes(text)

    assert ctl("config", "--target", "nagios", "--sites", sites, "--output", tmp_path / "out") == (
        1,
        "",
        f"vmprobectl: {sites}/one.ini: {words}\n",
    )


@pytest.mark.parametrize(
    "change",
    [lambda text: b"\xef\xbb\xbf" + text, lambda text: text.replace(b"\n", b"\r\n")],
    ids=["mark", "crlf"],
)
def test_a_site_file_of_another_editor_makes_the_same_configuration(sites, tmp_path, change):
    words = ("config", "--target", "icinga2", "--sites", sites, "--output", tmp_path / "out")
    ctl(*words)
    (sites / "one.ini").write_bytes(change((sites / "one.ini").read_bytes()))

    assert ctl(*words) == (0, "1 site, 2 files: 0 new, 0 changed, 0 removed\n", "")


# --- modes ---------------------------------------------------------------------------------------------------------


def modes(folder):
    return {
        str(path.relative_to(folder)): path.stat().st_mode & 0o7777
        for path in folder.rglob("*")
        if not path.name.startswith(".")
    }


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o027, 0o077], ids=oct)
def test_what_is_generated_can_be_read_by_the_daemon_whatever_the_umask_is(tmp_path, mask):
    words = (
        "config",
        "--target",
        "icinga2",
        "--sites",
        GOLDEN / "sites",
        "--output",
        tmp_path / "a" / "out",
    )

    assert ctl(*words, umask=mask)[0] == 0
    files = (
        "global-templates/vmprobe.conf",
        "iberia/sites/cesga-fusion.conf",
        "iberia/sites/cesga-ops.conf",
        "master/sites/local.conf",
        "zones.conf",
    )
    folders = ("global-templates", "iberia", "iberia/sites", "master", "master/sites")
    assert modes(tmp_path / "a" / "out") == {
        **dict.fromkeys(folders, 0o755),
        **dict.fromkeys(files, 0o644),
    }
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "a", tmp_path / "a" / "out")] == [
        0o755,
        0o755,
    ]

    (tmp_path / "a" / "out" / "zones.conf").write_text("changed")
    (tmp_path / "a" / "out" / "zones.conf").chmod(0o600)
    assert ctl(*words, umask=mask)[0] == 0
    assert modes(tmp_path / "a" / "out")["zones.conf"] == 0o644


def test_a_group_that_a_directory_hands_down_is_kept_and_a_directory_that_is_there_stays_as_it_is(
    sites, tmp_path
):
    output = tmp_path / "out"
    output.mkdir()
    output.chmod(0o2750)

    assert (
        ctl("config", "--target", "nagios", "--sites", sites, "--output", output, umask=0o077)[0]
        == 0
    )
    assert (output.stat().st_mode & 0o7777, (output / "sites").stat().st_mode & 0o7777) == (
        0o2750,
        0o2755,
    )


@pytest.mark.parametrize(
    "target, daemon", [("nagios", "nagios4"), ("icinga2", "icinga2")], ids=["nagios", "icinga2"]
)
def test_a_daemon_is_asked_for_its_word_whatever_the_umask_and_the_path_are(
    sites, tmp_path, target, daemon
):
    if not shutil.which(daemon):
        pytest.skip(f"{daemon} is not installed (Debian: see tests/packages.txt)")
    private = tmp_path / "private"
    private.mkdir(mode=0o700)

    assert ctl(
        "config",
        "--target",
        target,
        "--sites",
        sites,
        "--output",
        tmp_path / "out",
        "--validate",
        umask=0o077,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(private)},
    )[::2] == (0, "")


# --- users ---------------------------------------------------------------------------------------------------------


def _without_account():
    """A user's number that has no account, and that no other run of these tests takes."""
    known = {each.pw_uid for each in pwd.getpwall()}
    return next(
        number for number in range(20000 + os.getpid() % 30000, 65000) if number not in known
    )


NOBODY = _without_account()


@pytest.fixture
def nobody(tmp_path):
    """``nobody(program, ...)``: run by a user who has neither an account nor a home."""
    if os.geteuid():
        pytest.skip("only root can become a user without an account")
    if (
        not os.access("/usr/bin/python3", os.X_OK)
        or subprocess.run(
            ["/usr/bin/python3", "-c", "import requests, nagiosplugin, jinja2"],
            capture_output=True,
            check=False,
        ).returncode
    ):
        pytest.skip("the system's Python has not what the probes need")
    place = Path(f"/tmp/vmprobe-test-{os.getpid()}")  # tmp_path is for its owner only
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(PROBES, place / "probes", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PROBES.parent / "templates", place / "share" / "vmprobe" / "templates")
    (place / "here").mkdir()
    os.chown(place / "here", NOBODY, NOBODY)
    yield lambda program, *words, **env: subprocess.run(
        ["/usr/bin/python3", str(place / "probes" / program), *map(str, words)],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd=place / "here",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", **env},
    )
    shutil.rmtree(place)
    shutil.rmtree(f"/var/tmp/vmprobe-{NOBODY}", ignore_errors=True)


@pytest.fixture
def quick(tmp_path):
    path = Path(f"/tmp/vmprobe-test-{os.getpid()}") / "sites" / "one.ini"
    path.parent.mkdir()
    path.write_text(
        SITE.format(name="one", notes="a").replace("memory\n", "memory\nboot = 0.1 s\n")
        + "[polling]\nfirst = 0.1 s\nshortest = 0.1 s\n"
        "[sample]\nreadings = 0\n[budget]\ndeadline = 30 s\nreserve = 5 s\n"
    )
    return path


def test_a_probe_of_a_user_without_an_account_keeps_its_ledgers_where_the_next_run_looks(
    nobody, quick
):
    done = nobody("check_vm_lifecycle", "--site", quick)

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert os.listdir(quick.parent.parent / "here") == []
    assert (
        Path(f"/var/tmp/vmprobe-{NOBODY}/ledger").is_dir()
        and os.stat(f"/var/tmp/vmprobe-{NOBODY}").st_mode & 0o777 == 0o700
    )


def test_a_state_directory_that_somebody_else_made_is_not_used(nobody, quick):
    place = Path(f"/var/tmp/vmprobe-{NOBODY}")
    place.mkdir()
    os.chown(place, 65001, 65001)

    done = nobody("check_vm_lifecycle", "--site", quick)

    assert (done.returncode, done.stdout, done.stderr) == (
        3,
        f"VM_LIFECYCLE UNKNOWN - {place} is another user's; this user has no home, so name a directory for the state in VMPROBE_STATE\n",
        "",
    )


def test_a_user_without_an_account_can_have_nagios_asked(nobody, quick):
    if not shutil.which("nagios4"):
        pytest.skip("nagios4 is not installed (Debian: see tests/packages.txt)")
    done = nobody(
        "vmprobectl",
        "config",
        "--target",
        "nagios",
        "--sites",
        quick.parent,
        "--output",
        "out",
        "--validate",
        PATH="/usr/sbin:/usr/bin:/bin",
    )

    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "1 site, 3 files: 3 new, 0 changed, 0 removed\n",
        "",
    )


def test_a_user_whose_umask_takes_everything_can_import_and_configure(nobody, quick, table):
    place = Path(f"/tmp/vmprobe-test-{os.getpid()}/here")
    shutil.copy(table, place)
    (place / "sites").mkdir(0o755)
    os.chown(place / "sites", NOBODY, NOBODY)
    before = os.umask(0o777)
    try:
        imported = nobody(
            "vmprobectl", "sites", "import", "--from", "csv", table.name, "--output", "sites"
        )
        configured = nobody(
            "vmprobectl", "config", "--target", "nagios", "--sites", "sites", "--output", "out"
        )
    finally:
        os.umask(before)

    assert (imported.returncode, imported.stdout, imported.stderr) == (
        0,
        "one: added\n1 site found, 0 services skipped\n",
        "",
    )
    assert (configured.returncode, configured.stdout, configured.stderr) == (
        0,
        "1 site, 3 files: 3 new, 0 changed, 0 removed\n",
        "",
    )


def test_an_image_has_no_place_where_a_user_has_no_home(nobody):
    done = nobody("vmprobectl", "image", "build", HOME="/")

    assert done.returncode == 1
    assert done.stderr in (
        "vmprobectl: there is no place for the test image, because this user has no home; name a directory in VMPROBE_IMAGES\n",
        "vmprobectl: /var/cache/vmprobe/image/.lock: Permission denied\n",
    )


def test_an_interrupt_while_python_loads_is_one_line(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "argparse.py").write_text(
        f"import sys\nopen({str(fifo)!r}).read()\nsys.path.remove({str(tmp_path)!r})\n"
        "del sys.modules['argparse']\nimport argparse\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(PROBES / "vmprobectl"), "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    with open(fifo, "w"):
        process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)

    assert (process.returncode, output, errors) == (1, "", "vmprobectl: interrupted\n")
