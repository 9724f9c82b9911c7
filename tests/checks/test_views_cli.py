"""The checks that create nothing, as schedulers and ARGO call them: as processes, with -H and -t, with one clean line."""

import re

import pytest

from running import run_probe

VIEWS = ("gateway", "state", "activity", "capacity", "image")
QUICK = "[site]\nname = quick\n[endpoint]\nmanager = memory\n[test vm]\nimage = vmprobe-test\n[sample]\nreadings = 1\n"


@pytest.fixture
def quick(tmp_path):
    path = tmp_path / "quick.ini"
    path.write_text(QUICK)
    return str(path)


@pytest.mark.parametrize("view", VIEWS)
def test_help_exits_3_and_fits_80_columns(view):
    code, output, errors = run_probe(f"check_vm_{view}", "--help")

    assert (code, errors) == (3, "")
    assert output.startswith(f"usage: check_vm_{view} ")
    assert max(map(len, output.splitlines())) <= 80
    assert len(output[: output.index("\n\n")].splitlines()) <= 23


@pytest.mark.parametrize("view", VIEWS)
def test_one_line_and_nothing_else_without_v_as_argo_calls_it(view, quick):
    code, output, errors = run_probe(
        f"check_vm_{view}", "-H", "cloud.example.org", "-t", "30", "--site", quick
    )

    assert (code, errors, output.count("\n")) == (0, "", 1)
    assert re.match(rf"VM_{view.upper()} OK - quick: [^|]+ \| \S+=", output)
    assert len(output.split(" | ")[0]) < 200 and len(output) < 900


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(
    "options, line",
    [
        ([], "no site given; use --site or -H"),
        (
            ["--site", "memory", "-w", "totl=1"],
            "--warning totl=1: no such metric; did you mean total?",
        ),
        (
            ["--site", "memory", "-w", "active=1"],
            "--warning active=1: check_vm_{view} never measures active; its --help lists its metrics",
        ),
        (
            ["--site", "memory", "-t", "soon"],
            "argument -t/--timeout: 'soon' is not a duration like '300 s', '5 min' or '1 h' "
            "(see check_vm_{view} --help)",
        ),
        (
            ["--site", "memory", "--no-such"],
            "unrecognized arguments: --no-such (see check_vm_{view} --help)",
        ),
    ],
)
def test_usage_errors_are_unknown_and_one_sentence(view, options, line):
    code, output, errors = run_probe(f"check_vm_{view}", *options)

    assert (code, output, errors) == (
        3,
        f"VM_{view.upper()} UNKNOWN - {line.format(view=view)}\n",
        "",
    )


@pytest.mark.parametrize("view", VIEWS)
def test_a_secret_is_in_no_line_at_any_verbosity(view, tmp_path, quick):
    path = tmp_path / "credentials.ini"
    path.write_text("[credentials]\nusername = probe\npassword = correct-horse-battery\n")
    path.chmod(0o600)
    site = tmp_path / "secret.ini"
    site.write_text(
        QUICK.replace("manager = memory\n", "manager = memory\ncredentials = credentials.ini\n")
    )

    code, output, errors = run_probe(f"check_vm_{view}", "--site", str(site), "-vv")

    assert (code, "correct-horse" in output + errors) == (0, False)
