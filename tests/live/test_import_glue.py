"""vmprobectl sites import from a real OpenLDAP with GLUE 2.0, which by default cuts an answer after 500 entries."""

import os
import shutil
import socket
import subprocess
import time

import pytest

from vmprobe.core.errors import ClientError
from vmprobe.ctl.sites import catalogue

pytestmark = pytest.mark.live

SCHEMA = """\
objectidentifier GLUE2 1.3.6.1.4.1.6757.100.1.1
attributetype ( GLUE2:1.1 NAME 'GLUE2DomainID' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( GLUE2:1.2 NAME 'GLUE2EndpointID' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( GLUE2:1.3 NAME 'GLUE2EndpointURL' EQUALITY caseExactMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( GLUE2:1.4 NAME 'GLUE2EndpointInterfaceName' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
objectclass ( GLUE2:2.1 NAME 'GLUE2Domain' STRUCTURAL MUST GLUE2DomainID )
objectclass ( GLUE2:2.2 NAME 'GLUE2Endpoint' STRUCTURAL MUST ( GLUE2EndpointID $ GLUE2EndpointURL ) MAY GLUE2EndpointInterfaceName )
"""
CONF = """\
include /etc/ldap/schema/core.schema
include {directory}/glue.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {directory}/pid
argsfile {directory}/args
database mdb
suffix "o=glue"
directory {directory}/db
maxsize 67108864
"""


@pytest.fixture
def bdii(tmp_path, request):
    """The URL of a server that has 600 sites with one endpoint each, and this line in its configuration."""
    missing = [
        program
        for program in ("slapd", "slapadd", "ldapsearch")
        if not shutil.which(program, path=PATH)
    ]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (Debian: see tests/packages.txt)")
    (tmp_path / "db").mkdir()
    (tmp_path / "glue.schema").write_text(SCHEMA)
    (tmp_path / "slapd.conf").write_text(CONF.format(directory=tmp_path) + request.param)
    records = ["dn: o=glue\nobjectClass: organization\no: glue\n"]
    for number in range(600):
        dn = f"GLUE2DomainID=SITE{number:03},o=glue"
        records += [
            f"dn: {dn}\nobjectClass: GLUE2Domain\nGLUE2DomainID: SITE{number:03}\n",
            f"dn: GLUE2EndpointID=e{number},{dn}\nobjectClass: GLUE2Endpoint\nGLUE2EndpointID: e{number}\n"
            f"GLUE2EndpointURL: https://cloud{number}.example.org:5000/v3\nGLUE2EndpointInterfaceName: org.openstack.nova\n",
        ]
    (tmp_path / "data.ldif").write_text("\n".join(records))
    environment = {**os.environ, "PATH": PATH}
    subprocess.run(
        ["slapadd", "-q", "-f", tmp_path / "slapd.conf", "-l", tmp_path / "data.ldif"],
        check=True,
        env=environment,
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        ["slapd", "-d", "0", "-f", tmp_path / "slapd.conf", "-h", f"ldap://127.0.0.1:{port}"],
        env=environment,
    )
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield f"ldap://127.0.0.1:{port}/o=glue"
    server.terminate()
    server.wait(20)


PATH = os.environ.get("PATH", "") + ":/usr/sbin"


@pytest.mark.parametrize(
    "bdii", ["sizelimit size.prtotal=unlimited\n"], indirect=True, ids=["pages-for-ever"]
)
def test_all_endpoints_of_a_server_are_found_also_beyond_its_size_limit(bdii):
    sites = catalogue.read("glue", bdii)

    assert (len(sites.entries), sites.skipped) == (600, 0)
    assert sites.entries[7] == (
        "SITE007-cloud7.example.org",
        {
            ("site", "name"): "SITE007-cloud7.example.org",
            ("endpoint", "manager"): "openstack",
            ("endpoint", "url"): "https://cloud7.example.org:5000/v3",
            ("labels", "site"): "SITE007",
        },
    )


@pytest.mark.parametrize("bdii", [""], indirect=True, ids=["as-it-comes"])
def test_half_an_answer_is_refused(bdii):
    with pytest.raises(ClientError) as wrong:
        catalogue.read("glue", bdii)

    assert (
        str(wrong.value)
        == f"{bdii}: the server limits the size of its answer; ask below a narrower base, or raise its limit (size.prtotal)"
    )


def test_a_server_that_is_not_there_is_one_line():
    if not shutil.which("ldapsearch"):
        pytest.skip("ldapsearch is not installed (Debian: ldap-utils)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"ldap://127.0.0.1:{free.getsockname()[1]}/o=glue"

    with pytest.raises(
        ClientError,
        match=r"^ldap://127\.0\.0\.1:\d+/o=glue: ldap_sasl_bind\(SIMPLE\): Can't contact LDAP server",
    ):
        catalogue.read("glue", place)


def dump(bdii, path, *arguments):
    """Write the output of ldapsearch with these options to a file. Its stderr is lost, as in a cron job."""
    with open(path, "wb") as file:
        subprocess.run(
            [
                "ldapsearch",
                "-x",
                *arguments,
                "-H",
                bdii.rpartition("/")[0],
                "-b",
                "o=glue",
                "(objectClass=GLUE2Endpoint)",
            ],
            stdout=file,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=60,
        )
    return str(path)


@pytest.mark.parametrize(
    "bdii", ["sizelimit size.prtotal=unlimited\n"], indirect=True, ids=["pages-for-ever"]
)
def test_a_dump_of_ldapsearch_s_is_read_when_it_is_whole_and_refused_when_it_says_that_it_is_not(
    bdii, tmp_path
):
    pages = ("-E", "pr=200/noprompt")
    for number, options in enumerate(
        (pages, ("-L", *pages), ("-LL", *pages), ("-LLL", *pages), ("-o", "ldif-wrap=no", *pages))
    ):
        sites = catalogue.read("glue", dump(bdii, tmp_path / f"whole{number}", *options))
        assert (len(sites.entries), sites.skipped) == (600, 0)

    for options in ((), ("-z", "7"), ("-o", "ldif-wrap=no"), ("-z", "201", *pages)):
        with pytest.raises(
            ClientError,
            match="is part of a catalogue: the server ended it with '4 Size limit exceeded'$",
        ):
            catalogue.read("glue", dump(bdii, tmp_path / "part", *options))


@pytest.mark.parametrize(
    "bdii", ["sizelimit size.prtotal=unlimited\n"], indirect=True, ids=["pages-for-ever"]
)
def test_a_dump_of_ldapsearch_s_that_was_cut_anywhere_is_refused(bdii, tmp_path):
    for options, last in (((), "result: "), (("-L",), "# search result")):
        text = open(
            dump(bdii, tmp_path / "whole", *options, "-E", "pr=200/noprompt"), encoding="utf-8"
        ).read()
        end = text.rindex(last)
        for number in range(1, 50):
            (tmp_path / "cut").write_text(text[: end * number // 50])

            with pytest.raises(ClientError, match="is cut off|is one page of several"):
                catalogue.read("glue", str(tmp_path / "cut"))
