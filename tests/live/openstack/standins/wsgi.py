"""Serve Keystone and Placement, which come as WSGI applications only: ``wsgi ADDRESS PORT``."""

import sys

import eventlet
import eventlet.wsgi


def keystone():
    listener = listen()
    from keystone.server.wsgi import initialize_public_application

    serve(listener, openid_connect(initialize_public_application()))


def openid_connect(application):
    """Do what Apache's mod_auth_openidc does in front of Keystone: turn a bearer token into its claims.

    The token itself names the user: ``alice.bearer-of-egi`` is alice's.
    """

    def answer(environ, start_response):
        if environ["PATH_INFO"].endswith("/protocols/openid/auth"):
            scheme, _, token = environ.pop("HTTP_AUTHORIZATION", "").partition(" ")
            subject, _, issued = token.partition(".")
            if scheme != "Bearer" or issued != "bearer-of-egi":
                start_response(
                    "401 Unauthorized",
                    [("WWW-Authenticate", 'Bearer error="invalid_token"'), ("Content-Length", "0")],
                )
                return [b""]
            environ.update(HTTP_OIDC_ISS="https://aai.example.org/", HTTP_OIDC_SUB=subject)
        return application(environ, start_response)

    return answer


def placement():
    listener = listen()
    from placement.wsgi import init_application

    serve(listener, init_application())


def listen():
    """Take the arguments away, because the applications would read them. A client that connects now waits."""
    address, port = sys.argv[1:]
    del sys.argv[1:]
    return eventlet.listen((address, int(port)), backlog=128)


def serve(listener, application):
    eventlet.wsgi.server(listener, application, log_output=False)
