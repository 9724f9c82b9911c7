"""Templates: values are quoted for each system, or refused with file and key."""

import os
import shutil
import subprocess

import pytest

from configuring import HOSTILE, ctl, tree, write


@pytest.mark.parametrize(
    "target, wanted",
    [
        ("nagios", "a\\;b!c\"d'e\\f é <g> %h {{ i }} #j"),
        ("icinga2", '"a;b!c\\"d\'e\\\\f é <g> %h {{ i }} #j"'),
        ("director", '"a;b!c\\"d\'e\\\\f \\u00e9 <g> %h {{ i }} #j"'),
        ("sensu", '"a;b!c\\"d\'e\\\\f \\u00e9 <g> %h {{ i }} #j"'),
    ],
)
def test_a_text_arrives_as_it_was_written(tmp_path, target, wanted):
    write(tmp_path / "sites", site=f"name = one\ncontact = {HOSTILE}")

    assert any(f" {wanted}" in text for text in tree(target, tmp_path / "sites").values())


def test_yaml_keeps_texts_and_keys_as_written(tmp_path):
    yaml = pytest.importorskip("yaml")
    text = HOSTILE + " \U0001f600 \x85\u2028\ufeff"
    write(
        tmp_path / "sites", site=f"name = one\ncontact = {text}", labels=f"on = {text}\nnull = yes"
    )

    entity = next(yaml.safe_load_all(tree("sensu", tmp_path / "sites")["one.yaml"]))

    assert entity["metadata"]["annotations"]["contact"] == text
    assert {key: entity["metadata"]["labels"][key] for key in ("on", "null")} == {
        "on": text,
        "null": "yes",
    }


def test_a_unit_keeps_a_target_as_written_and_systemd_accepts_it(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    write(tmp_path / "sites", schedule="submit = file:/var/a%h$HOME\"b'c\\d")

    assert ctl("systemd", tmp_path / "out", tmp_path / "sites")[::2] == (0, "")
    units = sorted((tmp_path / "out").iterdir())
    assert (
        " --submit file:/var/a%%h$$HOME\\x22b\\x27c\\\\d\n"
        in (tmp_path / "out" / "vmprobe-lifecycle-one.service").read_text()
    )
    done = subprocess.run(
        [
            "systemd-analyze",
            "verify",
            "--man=no",
            *(str(path) for path in units if path.suffix in (".service", ".timer")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert [line for line in (done.stdout + done.stderr).splitlines() if "vmprobe" in line] == []


@pytest.mark.parametrize(
    "text, words",
    [
        ("a\n  b", "has several lines, which a directive of Nagios cannot carry"),
        ("$USER1$", "contains '$', which begins a macro in Nagios; write it without"),
        ("a\\", "ends with '\\', which joins the next line in Nagios"),
    ],
)
def test_a_text_that_nagios_cannot_carry_is_refused_with_file_and_key(tmp_path, text, words):
    write(tmp_path / "sites", site=f"name = one\ncontact = {text}")

    assert ctl("nagios", tmp_path / "out", tmp_path / "sites") == (
        1,
        "",
        f"vmprobectl: one.ini [site] contact: {words}\n",
    )
    assert os.listdir(tmp_path / "out") == []


def test_a_refused_label_is_named_by_its_key(tmp_path):
    write(tmp_path / "sites", labels="country = $es")

    assert ctl("nagios", tmp_path / "out", tmp_path / "sites")[2] == (
        "vmprobectl: one.ini [labels] country: contains '$', which begins a macro in Nagios; write it without\n"
    )


def test_a_refused_address_is_named_by_its_key(tmp_path):
    write(tmp_path / "sites", endpoint="manager = memory\nurl = https://a$b.example.org")

    assert ctl("nagios", tmp_path / "out", tmp_path / "sites")[2] == (
        "vmprobectl: one.ini [endpoint] url: contains '$', which begins a macro in Nagios; write it without\n"
    )


def test_a_plugin_path_that_needs_quoting_is_refused(tmp_path):
    write(tmp_path / "sites")

    assert ctl("nagios", tmp_path / "out", tmp_path / "sites", "--plugins", "/opt/my plugins")[
        2
    ] == (
        "vmprobectl: /opt/my plugins: some schedulers cannot run a command with this path; use only letters, digits and /.@_+=:,-\n"
    )


def test_a_site_file_path_that_needs_quoting_is_refused(tmp_path):
    write(tmp_path / "my sites")

    assert ctl("icinga2", tmp_path / "out", tmp_path / "my sites")[2] == (
        f"vmprobectl: {tmp_path}/my sites/one.ini: some schedulers cannot run a command with this path; "
        "use only letters, digits and /.@_+=:,-\n"
    )


def test_own_templates_replace_the_shipped_ones_of_the_same_path(sites, tmp_path):
    own = tmp_path / "own" / "nagios" / "sites"
    own.mkdir(parents=True)
    (own / "SITE.cfg").write_text("# {{ row.name | quote }} is ours\n")

    assert ctl("nagios", tmp_path / "out", sites, "--templates", str(tmp_path / "own"))[0] == 0
    assert (tmp_path / "out" / "sites" / "local.cfg").read_text() == "# local is ours\n"
    assert (tmp_path / "out" / "vmprobe.cfg").exists()
