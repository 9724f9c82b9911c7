"""The VM gateway as a service: each step from the connection to the test VM's parts, in the order in which they depend
on each other, so that the first one that fails says what is wrong. Creates nothing.

    tcp  tls  http       the address takes connections, its certificate is accepted, it answers without a credential
    auth  version        the credential is accepted, the manager says what it is
    services             what else the manager names for its work takes connections, too
    list  image          it lists what a test VM needs, and has the parts that the site names for one
"""

from __future__ import annotations

import contextlib
from typing import Any, Dict, Iterator, List, Mapping, Optional

from vmprobe.core import handle, urls
from vmprobe.core.clock import clock_skew
from vmprobe.core.cloud import Cloud
from vmprobe.core.errors import ClientError, CloudError, DeadlinePassed, GatewayFailed, Unreachable
from vmprobe.core.model import Capability, Kind, Plan
from vmprobe.core.text import cut
from vmprobe.core.timeline import Timeline
from vmprobe.site.site import Site

_UNWELL = (408, 413, 429)


class Report:
    """What the steps showed, as far as they came."""

    def __init__(self) -> None:
        self.described: Mapping[str, Any] = {}
        self.plan: Optional[Plan] = None
        self.certificates: List[Any] = []  # (host, transport.chain.Certificate)
        self.first_to_expire = ""


def run(site: Site, cloud: Cloud, timeline: Timeline, report: Report, offers: bool = False) -> None:
    """Take every step; returns when all were good, raises what failed. What has no wire has no steps for it.

    With ``offers``, for who reads it, the manager is asked at last for what more it can say; that is no step, and cannot fail.
    """
    driver, now = cloud.driver, cloud.deadline.clock.utc()
    steps = _Steps(site, cloud, timeline, report)
    for url in driver.endpoints()[:1]:
        steps.reach(url, timeline.stage)
        with timeline.stage("http"):
            steps.ask(url)

    timeline.metrics.update(_left(driver, now))
    with timeline.stage("auth"):
        cloud.connect()
    timeline.metrics.update(_left(driver, now))

    with timeline.stage("version"):
        report.described = cloud.describe()

    others = [url for url in driver.endpoints() if not steps.knows(url)]
    if others:
        with timeline.stage("services"):
            for url in others:
                steps.reach(url, lambda name: contextlib.nullcontext())

    with timeline.stage("list"):
        cloud.survey(handle.PREFIX)

    with timeline.stage("image"):
        report.plan = cloud.resolve(site.test_vm)

    if offers:
        try:
            report.described = {**report.described, **cloud.offers()}
        except (CloudError, DeadlinePassed) as unsaid:
            timeline.notes.append(f"what more it offers is not known: {unsaid}")


def capabilities(driver: Any, described: Mapping[str, Any]) -> Dict[str, Any]:
    """What an endpoint offers: by the driver what the suite can use, and in the manager's own words what it says."""
    found: Dict[str, Any] = {
        "manager": driver.system,
        **{capability.value: capability in driver.capabilities for capability in Capability},
    }
    found["firewall rules"] = Kind.SECURITY_GROUP in driver.kinds
    period = f"every {driver.metrics_period:g} s" if driver.metrics_period else "when asked"
    found["metrics by name"] = {metric: period for metric in driver.metrics_offered}
    return {**found, **described}


class _Steps:
    """The steps that need a wire, to one server after the other."""

    def __init__(self, site: Site, cloud: Cloud, timeline: Timeline, report: Report):
        self.site, self.deadline, self.evidence = site, cloud.deadline, cloud.driver.evidence
        self.credentials, self.timeline, self.report = cloud.driver.credentials, timeline, report
        self._known: set = set()

    def knows(self, url: str) -> bool:
        """Whether this server has been reached."""
        return _place(url) in self._known

    def reach(self, url: str, stage: Any) -> None:
        """TCP and TLS; behind a proxy that the environment names, neither can be seen."""
        from vmprobe.transport import connections, sockets

        if self.knows(url) or connections.proxies(url):
            return
        scheme, host, port = _place(url)
        self._known.add((scheme, host, port))
        with stage("tcp"), self._noted(f"connect {host} port {port}"):
            plain = sockets.connect("connect", host, port, self._seconds())
        with contextlib.closing(plain):
            if scheme == "https":
                with stage("tls"), self._noted(f"TLS {host} port {port}"):
                    self._secure(plain, host, port)

    def ask(self, url: str) -> None:
        """One request without credentials: any answer will do but one that says that the service is not well."""
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
        if reply.status in _UNWELL:
            raise reply.error(GatewayFailed)
        skew = clock_skew(reply.headers.get("Date", ""), self.deadline.clock.utc())
        if skew is None:
            self.timeline.notes.append("the server says no date: its clock is not known")
        else:
            self.timeline.metrics["skew"] = abs(skew)

    def _secure(self, plain: Any, host: str, port: int) -> None:
        from vmprobe.transport import tls

        ca = self.site.endpoint["ca"] or ""
        context = tls.client_context(ca)
        try:
            tls.handshake("TLS", plain, host, self._seconds(), context)
        finally:
            found = self._read_chain(host, port, ca)
        for one in found:
            if one.revoked:
                raise GatewayFailed(f"the certificate {one.subject} is revoked by {one.issuer}")

    def _read_chain(self, host: str, port: int, ca: str) -> List[Any]:
        """The certificates are told also when they are not accepted; that they cannot be read is only noted."""
        from vmprobe.transport import chain, sockets

        try:
            found = chain.read(
                sockets.connect("connect", host, port, self._seconds()), host, self._seconds(), ca
            )
        except (ClientError, Unreachable) as unread:
            self.timeline.notes.append(str(unread))
            return []
        self.report.certificates += [(host, one) for one in found]
        now = self.deadline.clock.utc()
        for one in found:
            left = max(0.0, one.expires - now)
            if left < self.timeline.metrics.get("tls_expires", float("inf")):
                self.timeline.metrics["tls_expires"] = left
                self.report.first_to_expire = one.subject
        return found

    def _seconds(self) -> float:
        self.deadline.check()
        return min(self.site.endpoint["timeout"], self.deadline.left())

    @contextlib.contextmanager
    def _noted(self, words: str) -> Iterator[None]:
        began, status = self.deadline.clock.now(), "ok"
        try:
            yield
        except Exception as failed:
            status = str(failed)
            raise
        finally:
            self.evidence.record(words, status=status, seconds=self.deadline.clock.now() - began)


def _place(url: str) -> urls.Origin:
    """(scheme, host, port) of a URL; GatewayFailed for what a manager names and is none."""
    try:
        return urls.origin(url)
    except ValueError:
        raise GatewayFailed(
            f"the manager names {cut(url, 100)!r}, which is no URL that can be asked"
        ) from None


def _left(driver: Any, now: float) -> Dict[str, float]:
    expiry = driver.credential_expiry(_certificate_expiry)
    return {} if expiry is None else {"cred_expires": max(0.0, expiry - now)}


def _certificate_expiry(path: str) -> float:
    from vmprobe.transport import x509  # lazily: most credentials are no certificates

    return x509.expiry(path)
