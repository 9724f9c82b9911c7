"""The steps of check_vm_gateway. They create nothing.

Each step depends on those before it, so the first one that fails says what is wrong.

    tcp  tls  http   the address accepts connections, its certificate is valid, it answers
    auth  version    the credential is accepted, the manager says what it is
    services         the other services that the manager names accept connections, too
    list  image      the manager lists what a test VM needs, and has the parts of the site's one
"""

from __future__ import annotations

import contextlib
import socket
from typing import (
    TYPE_CHECKING,
    Callable,
    ContextManager,
    Dict,
    Iterator,
    List,
    Mapping,
    Optional,
    Set,
    Tuple,
)

from vmprobe.core import handle, urls
from vmprobe.core.clock import clock_skew
from vmprobe.core.cloud import Cloud
from vmprobe.core.driver import Driver
from vmprobe.core.errors import ClientError, CloudError, DeadlinePassed, GatewayFailed, Unreachable
from vmprobe.core.model import Capability, Kind, Plan
from vmprobe.core.text import cut
from vmprobe.core.timeline import Timeline
from vmprobe.site.site import Site

if TYPE_CHECKING:
    from vmprobe.transport.chain import Certificate

# Statuses below 500 with which a service says that it is not well.
_NOT_WELL = (408, 413, 429)


class Report:
    """What the steps showed, as far as they came."""

    def __init__(self) -> None:
        self.described: Mapping[str, object] = {}
        self.plan: Optional[Plan] = None
        self.certificates: List[Tuple[str, Certificate]] = []  # with the host that showed it
        self.first_to_expire = ""  # the subject of a certificate


def run(site: Site, cloud: Cloud, timeline: Timeline, report: Report, offers: bool = False) -> None:
    """Take every step; raises the first failure. A manager without a network address has only the
    last steps.

    ``offers``: also ask the manager what else it offers. That is no step, and its failure is only
    noted.
    """
    driver, now = cloud.driver, cloud.deadline.clock.utc()
    network = _NetworkSteps(site, cloud, timeline, report)
    for url in driver.endpoints()[:1]:
        network.reach(url, timeline.stage)
        with timeline.stage("http"):
            network.request(url)

    timeline.metrics.update(_credential_expiry(driver, now))
    with timeline.stage("auth"):
        cloud.connect()
    timeline.metrics.update(_credential_expiry(driver, now))

    with timeline.stage("version"):
        report.described = cloud.describe()

    others = [url for url in driver.endpoints() if not network.was_reached(url)]
    if others:
        with timeline.stage("services"):
            for url in others:
                network.reach(url, lambda name: contextlib.nullcontext())

    with timeline.stage("list"):
        cloud.survey(handle.PREFIX)

    with timeline.stage("image"):
        report.plan = cloud.resolve(site.test_vm)

    if offers:
        try:
            report.described = {**report.described, **cloud.offers()}
        except (CloudError, DeadlinePassed) as error:
            timeline.notes.append(f"what else it offers is not known: {error}")


def capabilities(driver: Driver, described: Mapping[str, object]) -> Dict[str, object]:
    """What an endpoint offers: what the suite can use, by the driver; then what the manager says in
    its own words.
    """
    period = f"every {driver.metrics_period:g} s" if driver.metrics_period else "when asked"
    return {
        "manager": driver.system,
        **{capability.value: capability in driver.capabilities for capability in Capability},
        "firewall rules": Kind.SECURITY_GROUP in driver.kinds,
        "metrics by name": {metric: period for metric in driver.metrics_offered},
        **described,
    }


def _credential_expiry(driver: Driver, now: float) -> Dict[str, float]:
    """The metric ``cred_expires``, where the credential says when it ends."""
    expiry = driver.credential_expiry(_certificate_expiry)
    return {} if expiry is None else {"cred_expires": max(0.0, expiry - now)}


def _certificate_expiry(path: str) -> float:
    from vmprobe.transport import x509  # lazily: most credentials are no certificates

    return x509.expiry(path)


class _NetworkSteps:
    """The steps that need a network connection, to one server after the other."""

    def __init__(self, site: Site, cloud: Cloud, timeline: Timeline, report: Report):
        self.site, self.deadline, self.evidence = site, cloud.deadline, cloud.driver.evidence
        self.credentials, self.timeline, self.report = cloud.driver.credentials, timeline, report
        self._reached: Set[urls.Origin] = set()

    def was_reached(self, url: str) -> bool:
        """Whether this server was connected to."""
        return _origin(url) in self._reached

    def reach(self, url: str, stage: Callable[[str], ContextManager[object]]) -> None:
        """Connect, and check the certificate. Behind a proxy of the environment neither is
        possible.
        """
        from vmprobe.transport import connections, sockets

        if self.was_reached(url) or connections.proxies(url):
            return
        origin = _origin(url)
        self._reached.add(origin)
        scheme, host, port = origin
        with stage("tcp"), self._recorded(f"connect {host} port {port}"):
            plain = sockets.connect("connect", host, port, self._seconds())
        with contextlib.closing(plain):
            if scheme == "https":
                with stage("tls"), self._recorded(f"TLS {host} port {port}"):
                    self._check_certificate(plain, host, port)

    def request(self, url: str) -> None:
        """Send a request without credentials; GatewayFailed for an answer that says that the
        service is not well.
        """
        from vmprobe.transport.http import Http

        http = Http(
            url,
            self.deadline,
            self.evidence,
            timeout=self.site.endpoint["timeout"],
            ca=self.site.endpoint["ca"],
            certificate=self.credentials.get("certificate", ""),
            key=self.credentials.get("key", ""),
        )
        try:
            reply = http.get(accept=range(300, 500))
        finally:
            http.close()
        if reply.status in _NOT_WELL:
            raise reply.error(GatewayFailed)
        skew = clock_skew(reply.headers.get("Date", ""), self.deadline.clock.utc())
        if skew is None:
            self.timeline.notes.append("the server says no date: its clock is not known")
        else:
            self.timeline.metrics["skew"] = abs(skew)

    def _check_certificate(self, plain: socket.socket, host: str, port: int) -> None:
        """TLS as the drivers do it, and then revocation lists, which TLS does not look at."""
        from vmprobe.transport import tls

        ca = self.site.endpoint["ca"] or ""
        context = tls.client_context(ca)
        try:
            tls.handshake("TLS", plain, host, self._seconds(), context)
        finally:
            certificates = self._read_chain(host, port, ca)
        for certificate in certificates:
            if certificate.revoked:
                raise GatewayFailed(
                    f"the certificate {certificate.subject} is revoked by {certificate.issuer}"
                )

    def _read_chain(self, host: str, port: int, ca: str) -> List[Certificate]:
        """Report the certificates, also those that TLS did not accept. If they cannot be read, that
        is noted.
        """
        from vmprobe.transport import chain, sockets

        try:
            plain = sockets.connect("connect", host, port, self._seconds())
            certificates = chain.read(plain, host, self._seconds(), ca)
        except (ClientError, Unreachable) as error:
            self.timeline.notes.append(str(error))
            return []
        self.report.certificates += [(host, certificate) for certificate in certificates]
        now, metrics = self.deadline.clock.utc(), self.timeline.metrics
        for certificate in certificates:
            left = max(0.0, certificate.expires - now)
            if left < metrics.get("tls_expires", float("inf")):
                metrics["tls_expires"] = left
                self.report.first_to_expire = certificate.subject
        return certificates

    def _seconds(self) -> float:
        """The time for one connection."""
        self.deadline.check()
        timeout: float = self.site.endpoint["timeout"]
        return min(timeout, self.deadline.left())

    @contextlib.contextmanager
    def _recorded(self, request: str) -> Iterator[None]:
        """Record what is done inside as an exchange."""
        began, status = self.deadline.clock.now(), "ok"
        try:
            yield
        except Exception as error:
            status = str(error)
            raise
        finally:
            self.evidence.record(request, status=status, seconds=self.deadline.clock.now() - began)


def _origin(url: str) -> urls.Origin:
    """(scheme, host, port) of a URL that the manager names; GatewayFailed where it is none."""
    try:
        return urls.origin(url)
    except ValueError:
        raise GatewayFailed(
            f"the manager names {cut(url, 100)!r}, which is not a URL that can be asked"
        ) from None
