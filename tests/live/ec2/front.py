"""Run ec2-api in front of an OpenStack, in its own process:  front.py SITE SETTINGS.json

``SITE`` is where ec2-api is installed. Since its last release, Keystone verifies a signature only for
a caller with a token. So a service's token is added to those requests. The answers to ec2-api's own
clients are not changed.
"""

import json
import os
import sys

import eventlet

eventlet.monkey_patch()  # before anything else is loaded, as ec2-api does
sys.path.append(sys.argv[1])
with open(sys.argv[2]) as file:
    settings = json.load(file)

import pymysql  # noqa: E402
import requests  # noqa: E402
from ec2api import clients  # noqa: E402
from ec2api.cmd import api, manage  # noqa: E402

_prepared = clients.update_request_params_with_ssl


def prepared(request):
    """Add a token to the request that asks Keystone about a signature."""
    if "headers" in request:
        answer = requests.post(
            f"{settings['keystone']}/v3/auth/tokens", json={"auth": settings["service"]}, timeout=60
        )
        request["headers"]["X-Auth-Token"] = answer.headers["X-Subject-Token"]
    return _prepared(request)


clients.update_request_params_with_ssl = prepared
with pymysql.connect(**settings["database"]) as database:
    database.cursor().execute("CREATE DATABASE IF NOT EXISTS ec2api")
child = os.fork()
if child == 0:
    sys.argv[1:] = ["--config-file", settings["configuration"], "db_sync"]
    manage.main()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0, "the tables cannot be made"
sys.argv[1:] = ["--config-file", settings["configuration"]]
api.main()
