"""The cloud of ``webcloud`` and ``minimal``. It does everything at once, unless ``twist`` spoils it."""

import itertools
import json
from urllib.parse import parse_qs, unquote, urlsplit

from rawserver import Server, reply

PASSWORD, TOKEN = "s3cret-pass&word", "s3cret-token-of-a-session"
SITE = """\
[site]
name = site
owner = mon
[endpoint]
manager = outside.webcloud
url = {url}
credentials = {credentials}
timeout = {timeout} s
[test vm]
image = vmprobe-test
depth = console
[budget]
deadline = {deadline} s
reserve = {reserve} s
[polling]
first = {poll} s
shortest = {poll} s
[sample]
interval = {poll} s
"""


class WebServer(Server):
    """``twist(number, request, status, document)`` may return another answer, as for rawserver.Server."""

    def __init__(self, twist=lambda *words: None):
        self.twist, self.things, self._ids, self._numbers = (
            twist,
            {},
            itertools.count(1),
            itertools.count(0),
        )
        super().__init__(self._answer)

    def site(self, directory, deadline=300, reserve=60, timeout=30, poll=2):
        """The path of a site file for this cloud."""
        credentials = directory / "credentials.ini"
        credentials.write_text(f"[credentials]\nusername = probe\npassword = {PASSWORD}\n")
        credentials.chmod(0o600)
        path = directory / "web.ini"
        path.write_text(
            SITE.format(
                url=self.url + "/v1",
                credentials=credentials,
                deadline=deadline,
                reserve=reserve,
                timeout=timeout,
                poll=poll,
            )
        )
        return path

    def _answer(self, request):
        status, document = self._right(request)
        twisted = self.twist(next(self._numbers), request, status, document)
        return reply(status, json.dumps(document)) if twisted is None else twisted

    def _right(self, request):
        url = urlsplit(request.target)
        if url.path in ("/v1", "/v1/"):
            return 200, {"version": "1"}
        _, _, kind, *rest = [unquote(part) for part in url.path.split("/")] + [""]
        rest = [part for part in rest if part]
        said = json.loads(request.body or b"{}")
        if (request.method, kind) == ("POST", "sessions"):
            good = said == {"username": "probe", "password": PASSWORD}
            return (201, {"token": TOKEN}) if good else (401, {"error": {"message": "wrong"}})
        if request.headers.get("x-auth-token") != TOKEN:
            return 401, {"error": {"message": "no session"}}
        if kind == "images":
            image = {"id": "img-1", "name": "vmprobe-test", "state": "SAVED"}
            return 200, {"images": [{**image, "checksums": {"sha512": "ab" * 64}}]}
        if kind == "limits":
            used = len([thing for thing in self.things.values() if thing["kind"] == "servers"])
            return 200, {"limits": [{"name": "servers", "used": used, "total": 100}]}
        if (request.method, kind) == ("DELETE", "sessions"):
            return 204, None
        if request.method == "POST":
            names = said.get("names") or [said["name"]]
            made = [self._make(kind, {**said, "name": name}) for name in names]
            return 201, {"item": made[0]}
        if not rest:
            name = parse_qs(url.query).get("name", [""])[0]
            return 200, {
                "items": [
                    thing
                    for thing in self.things.values()
                    if thing["kind"] == kind and thing["name"].startswith(name)
                ]
            }
        if rest[0] not in self.things:
            return 404, {"itemNotFound": {"message": f"no such thing: {rest[0]}"}}
        return self._about(request.method, self.things[rest[0]], rest[1:], said)

    def _make(self, kind, said):
        identity = f"{kind[:3]}-{next(self._ids)}"
        thing = {
            "id": identity,
            "kind": kind,
            "name": said["name"],
            "state": "RUNNING" if kind == "servers" else "FREE",
            "nonce": said.get("nonce"),
            "size": said.get("size"),
            "server": None,
            "fault": None,
            "created": "2027-01-15T08:00:00Z",
            "launched": "2027-01-15T08:00:01.5Z",
            "addresses": [{"ip": "10.0.0.2"}] if kind == "servers" else [],
        }
        self.things[identity] = thing
        return thing

    def _about(self, method, thing, rest, said):
        if rest == ["server"]:
            thing["server"] = said.get("server") if method == "PUT" else None
            thing["state"] = "ATTACHED" if thing["server"] else "FREE"
        elif rest == ["console"]:
            return 200, {
                "output": "".join(
                    f"vmprobe {thing['nonce']} {number}.00 {fact}\n"
                    for number, fact in enumerate(
                        (
                            "network interface=eth0 address=10.0.0.2 gateway=10.0.0.1 answers=yes",
                            "disk device=vdb size=1073741824 verified=262144",
                        )
                    )
                )
            }
        elif rest == ["metrics"]:
            at = next(self._numbers) * 2.0
            return 200, {
                "samples": [
                    {"metric": metric, "value": rate * at, "at": at}
                    for metric, rate in (
                        ("cpu", 0.25),
                        ("disk_read", 1000),
                        ("disk_write", 2000),
                        ("net_in", 300),
                        ("net_out", 400),
                    )
                ]
            }
        elif method == "DELETE" and thing["server"]:
            return 409, {"conflict": {"message": f"{thing['id']} is attached"}}
        elif method == "DELETE":
            del self.things[thing["id"]]
            for other in self.things.values():
                if other["server"] == thing["id"]:
                    other.update(server=None, state="FREE")
            return 204, None
        return 200, {"item": thing}
