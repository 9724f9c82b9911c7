"""vmprobectl sites import: what catalogues know becomes site files, and what a person wrote stays."""

import subprocess
import sys

import pytest

from conftest import PROBES
from vmprobe import catalogue, site

GOCDB = """\
<?xml version="1.0" encoding="UTF-8"?>
<results>
  <SERVICE_ENDPOINT PRIMARY_KEY="6513G0">
    <PRIMARY_KEY>6513G0</PRIMARY_KEY>
    <HOSTNAME>keystone.cesga.example.org</HOSTNAME>
    <BETA>N</BETA>
    <SERVICE_TYPE>org.openstack.nova</SERVICE_TYPE>
    <IN_PRODUCTION>Y</IN_PRODUCTION>
    <NODE_MONITORED>Y</NODE_MONITORED>
    <SITENAME>CESGA</SITENAME>
    <COUNTRY_NAME>Spain</COUNTRY_NAME>
    <COUNTRY_CODE>ES</COUNTRY_CODE>
    <ROC_NAME>NGI_IBERGRID</ROC_NAME>
    <URL>https://keystone.cesga.example.org:5000/v3</URL>
  </SERVICE_ENDPOINT>
  <SERVICE_ENDPOINT PRIMARY_KEY="1G0">
    <SERVICE_TYPE>org.openstack.nova</SERVICE_TYPE>
    <IN_PRODUCTION>Y</IN_PRODUCTION>
    <NODE_MONITORED>N</NODE_MONITORED>
    <SITENAME>OFF</SITENAME>
    <URL>https://off.example.org:5000/v3</URL>
  </SERVICE_ENDPOINT>
  <SERVICE_ENDPOINT PRIMARY_KEY="2G0">
    <SERVICE_TYPE>CREAM-CE</SERVICE_TYPE>
    <SITENAME>CESGA</SITENAME>
    <URL>https://ce.example.org</URL>
  </SERVICE_ENDPOINT>
</results>
"""
GLUE = """\
version: 1

dn: GLUE2EndpointID=https://keystone.cesga.example.org:5000/v3_openstack,GLUE2
 ServiceID=cloud.compute,GLUE2GroupID=cloud,GLUE2DomainID=CESGA,GLUE2GroupID=
 grid,o=glue
objectClass: GLUE2Endpoint
objectClass: GLUE2ComputingEndpoint
GLUE2EndpointInterfaceName: org.openstack.nova
GLUE2EndpointURL:: aHR0cHM6Ly9rZXlzdG9uZS5jZXNnYS5leGFtcGxlLm9yZzo1MDAwL3Yz

dn: GLUE2EndpointID=other,GLUE2DomainID=CESGA,GLUE2GroupID=grid,o=glue
objectClass: GLUE2Endpoint
GLUE2EndpointInterfaceName: SRM
GLUE2EndpointURL: httpg://srm.example.org

dn: GLUE2DomainID=CESGA,GLUE2GroupID=grid,o=glue
objectClass: GLUE2Domain
"""
CSV = "name,manager,url,vo,country\none,memory,memory://one,ops,es\ntwo,memory,memory://two,fusion,\n"
NAME = "CESGA-keystone.cesga.example.org"


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "sites.csv"
    path.write_text(CSV)
    return path


@pytest.fixture
def output(tmp_path):
    path = tmp_path / "sites"
    path.mkdir()
    return path


def adopt(form, place, output, *options):
    """(exit code, stdout, stderr) of vmprobectl sites import."""
    done = subprocess.run([sys.executable, str(PROBES / "vmprobectl"), "sites", "import", "--from", form, str(place), "--output",
                           str(output), *options], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout, done.stderr


# --- catalogues ---------------------------------------------------------------------------------------------------

def test_gocdb_names_what_is_monitored_and_has_a_driver(tmp_path):
    (tmp_path / "gocdb.xml").write_text(GOCDB)

    found = catalogue.read("gocdb", str(tmp_path / "gocdb.xml"))

    assert found == ([(NAME, {
        ("site", "name"): NAME, ("endpoint", "manager"): "openstack", ("endpoint", "url"): "https://keystone.cesga.example.org:5000/v3",
        ("labels", "site"): "CESGA", ("labels", "country"): "es", ("labels", "ngi"): "NGI_IBERGRID"})], 2)


def test_a_glue_dump_names_the_same_site(tmp_path):
    (tmp_path / "glue.ldif").write_text(GLUE)

    found = catalogue.read("glue", str(tmp_path / "glue.ldif"))

    assert found == ([(NAME, {
        ("site", "name"): NAME, ("endpoint", "manager"): "openstack", ("endpoint", "url"): "https://keystone.cesga.example.org:5000/v3",
        ("labels", "site"): "CESGA"})], 1)


@pytest.mark.parametrize("form, text, words", [
    ("gocdb", "<results>", "is no XML: "),
    ("gocdb", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "has a document type, which could expand entities"),
    ("glue", "dn: a\nnonsense\n", "'nonsense' is no line of LDIF"),
    ("glue", "dn: a\nb:: %%%\n", "'b:: %%%' is no base64"),
    ("csv", "name,url\na,b\n", "has no column manager; name, manager and url are needed"),
    ("csv", "name,manager,url\na,b\n", "line 2: has another number of columns than the first line"),
])
def test_what_is_no_catalogue_is_named(tmp_path, output, form, text, words):
    (tmp_path / "it").write_text(text)

    code, said, errors = adopt(form, tmp_path / "it", output)

    assert (code, said, errors.count("\n")) == (1, "", 1)
    assert errors.startswith(f"vmprobectl: {tmp_path}/it") and words in errors


# --- files --------------------------------------------------------------------------------------------------------

def test_new_sites_are_whole_site_files(table, output):
    assert adopt("csv", table, output) == (0, "one: added\ntwo: added\n2 sites found, 0 services passed over\n", "")

    one = site.load(str(output / "one.ini"))
    assert (one.name, one.endpoint["url"], one.labels) == ("one", "memory://one", {"vo": "ops", "country": "es"})


def test_the_defaults_complete_a_new_site_and_the_catalogue_goes_first(table, output, tmp_path):
    (tmp_path / "defaults.ini").write_text("[endpoint]\nurl = memory://never\n[budget]\ndeadline = 120 s ; short\n")

    adopt("csv", table, output, "--defaults", str(tmp_path / "defaults.ini"))

    one = site.load(str(output / "one.ini"))
    assert (one.endpoint["url"], one.deadline) == ("memory://one", 120.0)


def test_the_second_time_there_is_nothing_to_do(table, output):
    adopt("csv", table, output)
    before = {path.name: path.stat().st_ino for path in output.iterdir()}

    assert adopt("csv", table, output) == (0, "2 sites found, 0 services passed over\n", "")
    assert {path.name: path.stat().st_ino for path in output.iterdir()} == before


def test_what_changed_there_changes_here_and_nothing_else_does(table, output):
    adopt("csv", table, output)
    path = output / "one.ini"
    path.write_text(path.read_text().replace("url = memory://one", "url   =  memory://one   ; theirs") + "\n[schedule]\ninterval = 2 h\n")
    before = path.read_text()
    table.write_text(CSV.replace("memory://one", "memory://new"))

    assert adopt("csv", table, output)[1].splitlines()[0] == "one: [endpoint] url is now memory://new"
    assert path.read_text() == before.replace("memory://one", "memory://new")


def test_what_a_person_changed_stays_and_is_told(table, output):
    adopt("csv", table, output)
    path = output / "one.ini"
    path.write_text(path.read_text().replace("memory://one", "memory://mine"))
    table.write_text(CSV.replace("memory://one", "memory://new"))

    assert adopt("csv", table, output)[1].splitlines()[0] == (
        "one: [endpoint] url is a person's now; not changed to memory://new")
    assert "url = memory://mine" in path.read_text()


def test_a_site_that_is_no_longer_found_is_told_and_stays(table, output):
    adopt("csv", table, output)
    table.write_text("\n".join(CSV.splitlines()[:2]) + "\n")

    assert adopt("csv", table, output)[1].splitlines()[0] == (
        "two: no longer found; its file stays, remove it when that is right")
    assert (output / "two.ini").exists()


def test_a_file_that_somebody_else_wrote_or_removed_stays_so(table, output):
    (output / "one.ini").write_text("; mine\n")
    adopt("csv", table, output)
    (output / "two.ini").unlink()

    assert adopt("csv", table, output)[1].splitlines()[:2] == [
        "one: is there already, written by somebody else; it stays as it is", "two: its file was removed by somebody, and stays so"]
    assert (output / "one.ini").read_text() == "; mine\n"


def test_what_would_be_no_site_file_is_refused_and_the_others_are_written(table, output):
    table.write_text(CSV.replace("memory,memory://one", "pigeon,memory://one"))

    code, said, _ = adopt("csv", table, output)

    assert code == 0
    assert said.splitlines()[0].startswith("one: refused: one.ini [endpoint] manager: 'pigeon' is neither one of memory, ")
    assert sorted(path.name for path in output.glob("*.ini")) == ["two.ini"]


def test_check_writes_nothing_and_exits_1(table, output):
    assert adopt("csv", table, output, "--check")[0] == 1
    assert list(output.iterdir()) == []
    adopt("csv", table, output)

    assert adopt("csv", table, output, "--check") == (0, "2 sites found, 0 services passed over\n", "")
