"""A real Icinga 2 in the foreground, in a mount namespace of its own, with its REST API on loopback, or in a network namespace.

It has its paths compiled in, so each instance sees its own directories mounted over them.
"""

import json
import os
import subprocess
from pathlib import Path

from waiting import soon

from .place import AS_USER, Daemon, own

PATHS = {
    "etc": "/etc/icinga2",
    "lib": "/var/lib/icinga2",
    "log": "/var/log/icinga2",
    "cache": "/var/cache/icinga2",
    "run": "/run/icinga2",
    "spool": "/var/spool/icinga2",
}
_INSIDE = """
directory=$1; shift
{mounts}
exec {as_user} env HOME=/var/lib/icinga2 "$@"
""".format(
    as_user=" ".join(AS_USER),
    mounts="\n".join(f'mount --bind "$directory/{name}" {path}' for name, path in PATHS.items()),
)
PASSWORD = "loopback-only"


class Icinga(Daemon):
    """``conf`` has its configuration; ``icinga2.conf`` beside it has its name."""

    def __init__(
        self,
        directory: Path,
        address: str = "127.0.0.1",
        port: int = 15665,
        name: str = "master1",
        namespace: str = "",
        environment=None,
        authority=None,
        more: str = "",
    ):
        super().__init__(directory)
        self.address, self.port, self.name, self.namespace = address, port, name, namespace
        self.environment = environment or {}
        for word in PATHS:
            (directory / word).mkdir(parents=True, exist_ok=True)
        self.conf, certificates = directory / "etc" / "conf.d", directory / "lib" / "certs"
        for path in (self.conf, certificates):
            path.mkdir(exist_ok=True)
        self.authority = authority or Authority(directory / "authority")
        self.authority.certify(name, address, certificates)
        self.main = directory / "etc" / "icinga2.conf"
        self.main.write_text(
            ALONE.format(name=name, address=address, port=port, password=PASSWORD) + more
        )

    def start(self) -> None:
        """Start it, and wait until its API answers."""
        for path in PATHS.values():  # mount points
            Path(path).mkdir(parents=True, exist_ok=True)
        own(self.directory)
        self.run(self.command("icinga2", "daemon"), env={**os.environ, **self.environment})
        soon(lambda: self._answers() or not self.alive())
        assert self.alive(), self.log()[-3000:]

    def command(self, *arguments: str):
        """A command that sees this instance's files at the paths compiled in."""
        where = ["ip", "netns", "exec", self.namespace] if self.namespace else []
        return [
            *where,
            "unshare",
            "-m",
            "sh",
            "-ec",
            _INSIDE,
            "inside",
            str(self.directory),
            *arguments,
        ]

    def validate(self):
        """(exit code, text) of ``icinga2 daemon -C``."""
        own(self.directory)
        done = subprocess.run(
            self.command("icinga2", "daemon", "-C"), capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def _answers(self) -> bool:
        """its API answers"""
        return bool(self.ask("GET", "status/IcingaApplication"))

    def ask(self, method: str, path: str, document=None) -> list:
        """The results of a request to its API, from its own namespace; [] while there is no good answer."""
        where = ["ip", "netns", "exec", self.namespace] if self.namespace else []
        done = subprocess.run(
            [
                *where,
                "curl",
                "--silent",
                "--globoff",
                "--max-time",
                "10",
                "--request",
                method,
                "--user",
                f"root:{PASSWORD}",
                "--cacert",
                str(self.authority.certificate),
                "--header",
                "Accept: application/json",
                "--data",
                json.dumps(document or {}),
                f"https://{self.address}:{self.port}/v1/{path}",
            ],
            capture_output=True,
            check=False,
        )
        return json.loads(done.stdout).get("results", []) if done.stdout else []

    def service(self, host: str, name: str) -> dict:
        """The attributes of a service, {} if there is none."""
        services = self.ask("GET", f"objects/services/{host}!{name}")
        return services[0]["attrs"] if services else {}

    def result(self, host: str, name: str) -> dict:
        """Its last check result, {} before the first."""
        return self.service(host, name).get("last_check_result") or {}

    def check_now(self, host: str, name: str, forced: bool = True) -> None:
        self.ask(
            "POST",
            "actions/reschedule-check",
            {
                "type": "Service",
                "filter": f'host.name=="{host}" && service.name=="{name}"',
                "force": forced,
            },
        )


class Authority:
    """Certificates for API ends, by openssl: Icinga's own are RSA of 4096 bits, which takes half a minute."""

    def __init__(self, directory: Path):
        directory.mkdir(parents=True, exist_ok=True)
        self.certificate, self._key = directory / "ca.crt", directory / "ca.key"
        _openssl(
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=test authority",
            "-keyout",
            self._key,
            "-out",
            self.certificate,
            "-addext",
            "basicConstraints=critical,CA:TRUE",
        )

    def certify(self, name: str, address: str, directory: Path) -> None:
        """Write ``ca.crt``, ``NAME.crt`` and ``NAME.key`` into a directory."""
        key, request, extension = (
            directory / f"{name}.{suffix}" for suffix in ("key", "csr", "ext")
        )
        extension.write_text(f"subjectAltName=DNS:{name},IP:{address}\nbasicConstraints=CA:FALSE\n")
        _openssl(
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            f"/CN={name}",
            "-keyout",
            key,
            "-out",
            request,
        )
        _openssl(
            "x509",
            "-req",
            "-in",
            request,
            "-CA",
            self.certificate,
            "-CAkey",
            self._key,
            "-CAcreateserial",
            "-days",
            "30",
            "-extfile",
            extension,
            "-out",
            directory / f"{name}.crt",
        )
        (directory / "ca.crt").write_bytes(self.certificate.read_bytes())


def _openssl(*arguments) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


ALONE = """\
include <itl>
const NodeName = "{name}"
const ZoneName = "master"
object Endpoint "master1" {{ host = "{address}"; port = {port} }}
object Zone "master" {{ endpoints = [ "master1" ] }}
object CheckerComponent "checker" {{ }}
object ApiListener "api" {{ bind_host = "{address}"; bind_port = {port}; accept_config = true; accept_commands = true }}
object ApiUser "root" {{ password = "{password}"; permissions = [ "*" ] }}
include_recursive "conf.d"
"""
