"""An HTTP server whose status, clock and certificate a test chooses."""

import email.utils
import ssl
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def serving(certificate=None, ca=None, front=200, auth=201, behind=0.0, body=None):
    """The URL of a server.

    ``front``: the status of its answers to GET, ``auth``: to POST, ``body``: the text of the former,
    ``behind``: the seconds by which its clock is late. With a ``certificate`` (PEM with its key) it
    speaks TLS, and with a ``ca`` it demands a certificate from its client.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.answer(front, body)

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(auth)

        def answer(self, status, body=None):
            said = b"the service is out of order" if status >= 500 else b"who are you?"
            body = body or b'{"message": "%s"}' % said
            self.send_response_only(status)
            if behind is not None:
                self.send_header("Date", email.utils.formatdate(time.time() - behind, usegmt=True))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            """Log nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *words):
            """Ignore clients that close the connection: tests expect that of a bad certificate."""

    server = Server(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        if ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(ca)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    try:
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
