"""Measures that need the OpenStack of the live tests; without it each row says why it has no figure."""

import json
import os
import re
import statistics
import sys
from datetime import datetime
from pathlib import Path

from costs import cost, pairs, timed

PROBES = Path(__file__).resolve().parents[2] / "probes"
LIFECYCLE = [sys.executable, str(PROBES / "check_vm_lifecycle")]
BARE = """import os, sys, nagiosplugin, requests
class Cloud(nagiosplugin.Resource):
    def probe(self):
        http, env = requests.Session(), os.environ
        domain = {"name": "Default"}
        reply = http.post(env["OS_AUTH_URL"] + "/auth/tokens", json={"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": env["OS_USERNAME"], "domain": domain, "password": env["OS_PASSWORD"]}}},
            "scope": {"project": {"name": env["OS_PROJECT_NAME"], "domain": domain}}}})
        http.headers["X-Auth-Token"] = reply.headers["X-Subject-Token"]
        nova = next(endpoint["url"] for entry in reply.json()["token"]["catalog"] if entry["type"] == "compute"
                    for endpoint in entry["endpoints"] if endpoint["interface"] == "public")
        answers = [http.get(url).json() for url in sys.argv[1:] or [nova + "/servers/detail"]]
        return nagiosplugin.Metric("answers", len(answers))
nagiosplugin.guarded(lambda: nagiosplugin.Check(Cloud(), nagiosplugin.ScalarContext("answers")).main())()
"""
SDK = """import openstack
print(len(list(openstack.connect(load_yaml_config=False).compute.servers())))
"""


def gateway_of_openstack(directory, environment):
    """`check_vm_gateway`, an OpenStack on loopback"""
    goals = [
        ("CPU against nagiosplugin and requests asking the same of it", "<= 1.15"),
        (
            "CPU against nagiosplugin and requests asking for a token and the servers alone",
            "<= 1.15",
        ),
        ("CPU against an openstacksdk script asking for these", "<= 0.38"),
        ("CPU against `openstack server list`", "<= 0.15"),
    ]
    stack = running_openstack()
    if isinstance(stack, str):
        return [(what, stack, target) for what, target in goals]
    # Imported here, because each process that starts later counts this one's memory as its own.
    from unittest import mock

    from live.openstack.shared import site_file
    from vmprobe.checks.gateway import command as gateway_check
    from vmprobe.core.exchanges import Evidence

    gateway = [
        sys.executable,
        str(PROBES / "check_vm_gateway"),
        "--site",
        str(site_file(directory, stack.cloud())),
    ]
    with mock.patch.object(Evidence, "record") as record:
        verdict = gateway_check.main(gateway[2:]).verdict
    assert verdict.state == 0, verdict.text
    urls = [
        url
        for method, _, url in (call.args[0].partition(" ") for call in record.call_args_list)
        if method == "GET"
    ]

    variables = {**environment, **stack.variables(stack.cloud().member)}
    bare = [sys.executable, "-c", BARE]
    others = [
        (bare + urls, 9),
        (bare, 9),
        (["/usr/bin/python3", "-c", SDK], 5),
        (["/usr/bin/openstack", "server", "list"], 5),
    ]
    ratios = [pairs(gateway, other, rounds, variables)[0] for other, rounds in others]
    return [(what, f"{ratio:.2f}", target) for (what, target), ratio in zip(goals, ratios)]


def lifecycle_on_openstack(directory, environment):
    """`check_vm_lifecycle`, one VM with a volume on an OpenStack on loopback"""
    what, target = "requests besides looking again", "counted"
    stack = running_openstack()
    if isinstance(stack, str):
        return [(what, stack, target)]
    from live.openstack.shared import site_file

    cost(
        LIFECYCLE
        + [
            "--site",
            str(site_file(directory, stack.cloud())),
            "--evidence",
            str(directory / "evidence"),
        ],
        environment,
    )
    (file,) = (directory / "evidence").iterdir()
    requests = [exchange["request"] for exchange in json.loads(file.read_text())["exchanges"]]
    return [
        (what, str(len(set(requests))), target),
        ("requests in all", str(len(requests)), target),
    ]


NOVAPROBE = """import os, sys
sys.path.insert(0, os.environ["VMPROBE_NOVAPROBE"])
from argo_probe_fedcloud import helpers, novaprobe
from keystoneauth1 import session
from keystoneauth1.identity import v3
class Password(helpers.BaseV3Auth):
    name = "password"  # instead of an access token, at a Keystone without TLS
    def __init__(self, host, *arguments, **options):
        self.auth_url = host
    def get_unscoped_token(self):
        self.session = session.Session(auth=v3.Password(auth_url=self.auth_url, username=os.environ["OS_USERNAME"],
                                                        password=os.environ["OS_PASSWORD"], user_domain_name="Default"))
        return self.session.get_token()
helpers.OIDCAuth = Password
novaprobe.main()
"""


def lifecycle_against_novaprobe(directory, environment):
    """`check_vm_lifecycle` without a volume and figures, against EGI's novaprobe, on an OpenStack on loopback"""  # noqa: E501
    goals = [
        ("wall time", "<= 0.35"),
        ("CPU", "<= 0.40"),
        ("peak memory", "<= 0.60"),
        ("its durations, furthest from Nova's", "<= 0.5 s"),
        ("novaprobe's durations, furthest from Nova's", ""),
    ]
    stack = running_openstack()
    if isinstance(stack, str) or not os.environ.get("VMPROBE_NOVAPROBE"):
        reason = (
            stack
            if isinstance(stack, str)
            else "not measured: VMPROBE_NOVAPROBE does not say where novaprobe is"
        )
        return [(what, reason, target) for what, target in goals]
    from live.openstack.shared import site_file

    cloud, admin = stack.cloud(), stack.api()
    image = next(
        candidate["id"]
        for candidate in stack.api(cloud.member).get("image", "/v2/images")["images"]
        if candidate["name"] == cloud.image
    )
    document, token = directory / "lifecycle.json", directory / "token"
    token.write_text("none")  # novaprobe requires one, and does not use it
    ours = LIFECYCLE + [
        "--site",
        str(site_file(directory, cloud, sample={"readings": "1"}, volume="none")),
        "--json",
        str(document),
    ]
    theirs = [
        "/usr/bin/python3",
        "-c",
        NOVAPROBE,
        "--endpoint",
        cloud.auth_url,
        "--access-token",
        str(token),
        "--image",
        image,
        "--flavor",
        cloud.flavor,
        "--argo-host-name",
        "bench",
    ]
    variables = {**environment, **stack.variables(cloud.member)}

    ratios, errors = [], {"ours": [], "theirs": []}
    for _ in range(5):
        mine, result = timed(ours, variables), json.loads(document.read_text())
        took = {stage["stage"]: stage["seconds"] for stage in result["stages"]}
        (server,) = admin.get(
            "compute", f"/servers?all_tenants=1&deleted=true&name={result['handle']}"
        )["servers"]
        errors["ours"].append(
            furthest((took["active"], took["gone"]), nova_took(admin, server["id"]))
        )

        yours = timed(theirs, variables)
        server, made, removed = re.search(
            r"instance=(\S+) created\(([\d.]+)s\) and destroyed\(([\d.]+)s\)", yours[4]
        ).groups()
        errors["theirs"].append(furthest((float(made), float(removed)), nova_took(admin, server)))
        ratios.append([a / b for a, b in zip(mine[:3], yours[:3])])
    figures = [f"{statistics.median(column):.2f}" for column in zip(*ratios)]
    figures += [f"{statistics.median(errors[whose]):.1f} s" for whose in ("ours", "theirs")]
    return [(what, figure, target) for (what, target), figure in zip(goals, figures)]


def furthest(durations, real):
    """The largest error of these durations, in seconds."""
    return max(abs(measured - true) for measured, true in zip(durations, real))


def nova_took(admin, server):
    """(seconds to create, to delete) by Nova's own instance actions.

    Each lasts from the request to the end of its last event.
    """
    where = f"/servers/{server}/os-instance-actions"
    durations = {}
    for action in admin.get("compute", where)["instanceActions"]:
        details = admin.get("compute", f"{where}/{action['request_id']}")["instanceAction"]
        began, *ends = [
            datetime.fromisoformat(stamp)
            for stamp in (
                details["start_time"],
                *(event["finish_time"] for event in details["events"]),
            )
        ]
        durations[action["action"]] = (max(ends) - began).total_seconds()
    return durations["create"], durations["delete"]


def running_openstack():
    """The OpenStack of the live tests if it runs (tests/live/openstack/stack.py up), else why not."""
    from live.openstack.stack import Stack, Unavailable

    stack = Stack()
    try:
        return stack if stack.is_well() else "not measured: no OpenStack runs"
    except Unavailable as reason:
        return f"not measured: {reason}"
