"""ec2-api before an OpenStack, in a process of its own:  front.py SITE SETTINGS.json

``SITE`` is where ec2-api is installed. Its last release is older than Keystone's demand that who asks whether a signature is
right has to be somebody: it is given the token of a service. Nothing of what it says to its clients is changed.
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
    """What asks Keystone about a signature carries a token."""
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
