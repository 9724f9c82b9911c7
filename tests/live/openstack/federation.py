"""The live Keystone behind a real Apache, as sites of the grid run it for users with a certificate.

mod_ssl asks for the certificate. GridSite allows proxies and reads their VOMS attributes. mod_wsgi runs Keystone, which
maps both: EGI's instructions for sites, "VOMS with FEDERATION-OS". The other services are behind the same Apache, and
their catalog entries have an interface that nobody else uses, so that a client of https stays on https.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import ending
from certificates import Authority, of_rsa

from . import shared
from .bootstrap import CATALOG, MEMBER, Api
from .packages import Unavailable
from .place import Place
from .processes import Processes

INTERFACE = "admin"
PROVIDER = "grid.example.org"
VO = "vo.example.org"
ROBOT = "vmprobe robot"  # its certificate is known by its name
PERSON = "somebody"  # known only by the attributes of the VO
AT_ONCE, ON_THE_PATH = (
    5443,
    5444,
)  # ports: the certificate is asked for in the handshake, or for the protocol's path only
_RUNS_AS = "www-data"

_APACHE = """\
ServerRoot {directory}
ServerName {address}
PidFile {directory}/pid
DefaultRuntimeDir {directory}
ErrorLog {directory}/error.log
LogLevel warn
User {user}
Group {user}
{modules}
Listen {address}:{at_once}
Listen {address}:{on_the_path}
SSLSessionCache none
GridSiteSessionsDir {directory}/sessions
SSLCertificateFile {server}
SSLCACertificatePath {directory}/grid/certificates
SSLVerifyDepth 10
WSGISocketPrefix {directory}/wsgi
WSGIDaemonProcess keystone processes=1 threads=4
WSGIProcessGroup keystone
WSGIApplicationGroup %{{GLOBAL}}
WSGIImportScript {directory}/keystone.wsgi process-group=keystone application-group=%{{GLOBAL}}
<Location />
  Require all granted
</Location>
<VirtualHost {address}:{at_once}>
  ServerName {address}
  SSLEngine on
  SSLVerifyClient optional
  SSLOptions +StdEnvVars +ExportCertData
  {services}
  WSGIScriptAlias / {directory}/keystone.wsgi
  <LocationMatch "^{protocols}">
    GridSiteEnvs on
    GridSiteIndexes off
    GridSiteGSIProxyLimit 4
    GridSiteMethods ""
  </LocationMatch>
</VirtualHost>
<VirtualHost {address}:{on_the_path}>
  ServerName {address}
  SSLEngine on
  {services}
  WSGIScriptAlias / {directory}/keystone.wsgi
  <LocationMatch "^{protocols}">
    SSLVerifyClient require
    SSLOptions +StdEnvVars +ExportCertData
  </LocationMatch>
</VirtualHost>
"""
_PROTOCOLS = "/v3/OS-FEDERATION/identity_providers/[^/]+/protocols/[^/]+/auth"
_MODULES = ("mpm_event", "authz_core", "ssl", "proxy", "proxy_http", "wsgi", "gridsite")
_WSGI = "from keystone.server.wsgi import initialize_public_application\napplication = initialize_public_application()\n"


_running: list[Federation] = []


@dataclass(frozen=True)
class Federation:
    """What a test needs to know of the federation."""

    auth_url: str  # where the handshake asks for a certificate, and accepts none
    strict_url: str  # where the protocol's path requires one
    authority: Authority
    directory: Path
    interface: str = INTERFACE
    provider: str = PROVIDER

    def voms_proxy(self, of: Path, vo: str = VO, hours: int = 12, since: int = 0) -> Path:
        """A proxy for 12 hours of the certificate in the file ``of``, with a VOMS server's attributes of ``vo``.

        The attributes are valid for ``hours``, and were issued ``since`` hours ago. VOMS's own tools make them with the
        server's signature; no server is asked.
        """
        of.chmod(0o600)
        server, made = (
            self.directory / "voms.pem",
            self.directory / f"proxy of {of.stem} for {vo}.pem",
        )
        subprocess.run(
            [
                "voms-proxy-fake",
                "-quiet",
                "-rfc",
                "-newformat",
                "-bits",
                "2048",
                "-hours",
                "12",
                "-vomslife",
                str(hours),
                "-pastac",
                f"{since}:00",
                "-cert",
                of,
                "-key",
                of,
                "-hostcert",
                server,
                "-hostkey",
                server,
                "-certdir",
                self.directory / "grid" / "certificates",
                "-voms",
                vo,
                "-uri",
                f"voms.{VO}:15000",
                "-fqan",
                f"/{vo}/Role=NULL/Capability=NULL",
                "-out",
                made,
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(self.directory)},
        )
        return made


def running() -> Federation:
    """A federation in front of the running cloud, for a whole run of the tests; skips, with the reason, where it cannot run."""
    if not _running:
        stack = shared.running()
        try:
            stack.install("packages-federation.txt")
        except Unavailable as reason:
            pytest.skip(f"no Apache with GridSite here: {reason}")
        _running.append(ending.run.enter_context(_before(stack)))
    return _running[0]


@contextmanager
def _before(stack):
    directory = Path(
        tempfile.mkdtemp(prefix="vmprobe-apache-")
    )  # where Apache, which is not root, can read
    try:
        directory.chmod(0o755)
        federation = _files(stack.place, directory)
        _start(stack.processes, directory)
        try:
            with _known_to_keystone(stack.api(), federation):
                yield federation
        finally:
            _end(stack.processes)
    finally:
        shutil.rmtree(directory)


# --- Apache -------------------------------------------------------------------------------------------------------


def _files(place: Place, directory: Path) -> Federation:
    """An authority with a server, a VOMS server and its vomsdir; Apache's configuration and a copy of Keystone's."""
    authority = Authority(directory, days=30, new_key=of_rsa)
    server = authority.issue("server", days=20, names=(place.address,))
    authority.issue("voms", names=()).chmod(0o600)
    vomsdir, certificates = directory / "grid" / "vomsdir" / VO, directory / "grid" / "certificates"
    vomsdir.mkdir(parents=True)
    (vomsdir / f"voms.{VO}.lsc").write_text(f"/CN=voms\n/CN={authority.name}\n")
    certificates.mkdir()
    shutil.copy(authority.ca, certificates)
    subprocess.run(["openssl", "rehash", certificates], check=True)

    modules = "\n".join(
        f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in _MODULES
    )
    services = "\n  ".join(f"ProxyPass /{name} {place.url(name)}" for name in CATALOG)
    services += f"\n  ProxyPass /occi1.2 {place.url('ooi-grid')}/occi1.2"
    (directory / "apache.conf").write_text(
        _APACHE.format(
            directory=directory,
            address=place.address,
            user=_RUNS_AS,
            modules=modules,
            at_once=AT_ONCE,
            on_the_path=ON_THE_PATH,
            server=server,
            services=services,
            protocols=_PROTOCOLS,
        )
    )

    (directory / "keystone.wsgi").write_text(_WSGI)
    for keys in ("fernet", "credential"):
        shutil.copytree(place.keep / keys, directory / "keep" / keys)
    (directory / "keystone.conf").write_text(
        (place.etc / "keystone.conf")
        .read_text()
        .replace(str(place.keep), str(directory / "keep"))
        .replace(str(place.log / "keystone.log"), str(directory / "keep" / "keystone.log"))
    )
    for path in (directory / "keep", *(directory / "keep").rglob("*")):
        os.chown(path, pwd.getpwnam(_RUNS_AS).pw_uid, -1)
    return Federation(
        *(f"https://{place.address}:{port}/v3" for port in (AT_ONCE, ON_THE_PATH)),
        authority,
        directory,
    )


def _start(processes: Processes, directory: Path) -> None:
    """GridSite reads its CAs from one directory only: mount ours there, for Apache alone."""
    command = 'mount --bind "$1/grid" /etc/grid-security && exec /usr/sbin/apache2 -DFOREGROUND -f "$1/apache.conf"'
    processes.start(
        "apache",
        [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            command,
            "sh",
            str(directory),
        ],
        {
            "OS_KEYSTONE_CONFIG_FILES": str(directory / "keystone.conf"),
            "OPENSSL_ALLOW_PROXY_CERTS": "1",
            "PYTHONPATH": "",
            "HOME": str(directory),
        },
    )  # Apache may not be able to read the stack's own
    for port in (AT_ONCE, ON_THE_PATH):
        processes.wait_port("apache", port)


def _end(processes: Processes) -> None:
    pid = processes.pid("apache")
    if pid:
        os.kill(pid, signal.SIGTERM)
        processes.wait_until(
            lambda: not processes.alive(pid), 20, f"apache (pid {pid}) does not end"
        )


# --- Keystone -----------------------------------------------------------------------------------------------------


@contextmanager
def _known_to_keystone(admin: Api, federation: Federation):
    """In a ``with`` block: Keystone has these endpoints, the provider, its protocol, and its users as members of the project probe."""

    def put(where: str, **what) -> None:
        admin("PUT", "identity", where, json=what)
        made.callback(admin, "DELETE", "identity", where)

    def post(kind: str, **what) -> str:
        identity = admin.post("identity", f"/{kind}s", {kind: what})[kind]["id"]
        made.callback(admin, "DELETE", "identity", f"/{kind}s/{identity}")
        return identity

    def one(kind: str, name: str) -> str:
        return next(known["id"] for known in admin.get("identity", f"/{kind}?name={name}")[kind])

    with ExitStack() as made:
        base = federation.auth_url[: -len("/v3")]
        for service, (kind, path) in CATALOG.items():
            entry = next(
                known["id"] for known in admin.get("identity", f"/services?type={kind}")["services"]
            )
            post(
                "endpoint",
                service_id=entry,
                interface=federation.interface,
                region_id="RegionOne",
                url=f"{base}/{service}{path}",
            )

        domain = post("domain", name="grid")  # of those who logged in: Keystone remembers them
        made.callback(
            admin, "PATCH", "identity", f"/domains/{domain}", json={"domain": {"enabled": False}}
        )
        group = post("group", name="grid")
        put(
            f"/projects/{one('projects', MEMBER.project)}/groups/{group}/roles/{one('roles', 'member')}"
        )
        member = [{"user": {"name": "{0}"}, "group": {"id": group}}]
        put(
            "/OS-FEDERATION/mappings/grid",
            mapping={
                "rules": [
                    {
                        "local": member,
                        "remote": [
                            {"type": "GRST_CONN_AURI_0"},
                            {
                                "type": "GRST_VOMS_FQANS",
                                "any_one_of": [f"^/{VO}/.*"],
                                "regex": True,
                            },
                        ],
                    },
                    {
                        "local": member,
                        "remote": [
                            {"type": "GRST_CONN_AURI_0"},
                            {
                                "type": "GRST_CONN_AURI_0",
                                "any_one_of": [f"dn:/CN={ROBOT.replace(' ', '+')}"],
                            },
                        ],
                    },
                    {
                        "local": member,
                        "remote": [
                            {"type": "SSL_CLIENT_S_DN"},
                            {"type": "SSL_CLIENT_S_DN", "any_one_of": [f"CN={ROBOT}"]},
                        ],
                    },
                ]
            },
        )
        provider = f"/OS-FEDERATION/identity_providers/{federation.provider}"
        put(provider, identity_provider={"enabled": True, "domain_id": domain})
        put(f"{provider}/protocols/mapped", protocol={"mapping_id": "grid"})
        yield
