"""Serve Gnocchi's API, which comes as a WSGI application only, on fresh tables:  metric.py CONFIGURATION ADDRESS PORT"""

import sys
from socketserver import TCPServer, ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server

from gnocchi.cli import api, manage

configuration, address, port = sys.argv[1:]
sys.argv[1:] = ["--config-file", configuration, "--sacks-number", "1"]
manage.upgrade()
sys.argv[1:] = ["--config-file", configuration]


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self):
        """Do not ask a name server for our own name."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address
        self.setup_environ()


make_server(address, int(port), api.wsgi(), Server).serve_forever()
