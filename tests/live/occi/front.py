"""Nova's API with ooi before it, in a process of its own:  front.py SITE [nova's own options]

``SITE`` is where ooi is installed. Its last release is older than the Python and the Neutron that it meets here: four of
its habits are put right, and nothing of what it says to its clients.
"""

import collections
import collections.abc
import sys

import eventlet

eventlet.monkey_patch()  # before anything else is loaded, as Nova does
for name in ("Mapping", "Sequence"):  # where they were before Python 3.10
    setattr(collections, name, getattr(collections.abc, name))
sys.path.append(sys.argv.pop(1))

import ooi.api.helpers  # noqa: E402
import ooi.wsgi  # noqa: E402
from nova.cmd.api_os_compute import main  # noqa: E402

_headers_of = ooi.wsgi.parsers.TextParser._convert_to_headers
_request_of = ooi.api.helpers.BaseHelper._get_req


def headers_of(parser):
    """A body in text/plain is bytes."""
    parser.body = (parser.body or b"").decode()
    return _headers_of(parser)


def request_of(*arguments, **more):
    """Ask OpenStack for JSON, which newer services insist on; only text can be a header."""
    request = _request_of(*arguments, **more)
    request.accept = "application/json"
    for key in [
        key
        for key, value in request.environ.items()
        if key.startswith("HTTP_") and not isinstance(value, str)
    ]:
        del request.environ[key]
    return request


ooi.wsgi.parsers.TextParser._convert_to_headers = headers_of
ooi.api.helpers.BaseHelper._get_req = request_of
sys.exit(main())
