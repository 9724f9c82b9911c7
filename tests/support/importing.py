"""Run vmprobectl sites import in a test, over small catalogues."""

import subprocess
import sys

from running import PROBES

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


CSV = (
    "name,manager,url,vo,country\none,memory,memory://one,ops,es\ntwo,memory,memory://two,fusion,\n"
)


NAME = "CESGA-keystone.cesga.example.org"


def sites_import(form, place, output, *options):
    """(exit code, stdout, stderr) of vmprobectl sites import."""
    done = subprocess.run(
        [
            sys.executable,
            str(PROBES / "vmprobectl"),
            "sites",
            "import",
            "--from",
            form,
            str(place),
            "--output",
            str(output),
            *options,
        ],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout, done.stderr
