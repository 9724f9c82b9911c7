"""One Python that has loaded what all of OpenStack's programs share, and that forks each of them.

Loading takes these programs longer than the rest of their start, and what is loaded once is in memory once.
Each line on standard input is a request. The answer is the id of the new process, which leads a group of its own:

    {"name": ..., "program": "module:function", "lines": [[argument, ...], ...], "log": path, "exit": path}

A program with several command lines runs them one after the other, until one fails. Its exit status ends up in ``exit``.
"""

import eventlet
import eventlet.hubs

eventlet.monkey_patch()  # before anything else is loaded, as all of these programs do

import gc  # noqa: E402
import importlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402

SHARED = [
    "alembic",
    "cryptography.fernet",
    "jsonschema",
    "keystoneauth1.identity.v3",
    "keystoneauth1.session",
    "keystonemiddleware.auth_token",
    "netaddr",
    "neutron_lib.plugins.directory",
    "openstack",
    "os_brick.initiator.connector",
    "oslo_cache",
    "oslo_concurrency.processutils",
    "oslo_db.sqlalchemy.enginefacade",
    "oslo_db.sqlalchemy.models",
    "oslo_log.log",
    "oslo_messaging._drivers.impl_rabbit",
    "oslo_middleware.cors",
    "oslo_policy.policy",
    "oslo_privsep.priv_context",
    "oslo_reports.guru_meditation_report",
    "oslo_service.wsgi",
    "oslo_versionedobjects.base",
    "osprofiler.sqlalchemy",
    "paste.deploy",
    "pymysql",
    "routes",
    "stevedore",
    "taskflow.engines",
    "webob.dec",
]


def serve():
    for module in SHARED:
        importlib.import_module(module)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nothing here waits for them
    for line in sys.stdin:
        child = fork()
        if child == 0:
            become(json.loads(line))
        print(child, flush=True)


def fork():
    child = os.fork()
    if child == 0:
        eventlet.hubs.use_hub()  # a new one: in a hub that is shared, each is woken by the events of all
    return child


def become(request):
    """Turn this process into the program; does not return."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for source, target in ((os.open(os.devnull, os.O_RDONLY), 0), (log, 1), (log, 2)):
        os.dup2(source, target)

    first, *others = request["lines"]
    if not others:
        run(request, first)
    for line in request["lines"]:
        child = fork()
        if child == 0:
            run(request, line)
        if os.waitpid(child, 0)[1] != 0:
            break
    os._exit(0)


def run(request, line):
    sys.argv = [request["name"], *line]
    module, _, function = request["program"].partition(":")
    status = 1
    try:
        status = getattr(importlib.import_module(module), function)() or 0
    except SystemExit as end:
        status = end.code or 0
        raise
    finally:
        with open(request["exit"], "w") as file:
            file.write(f"{status}\n")
    sys.exit(status)


serve()
