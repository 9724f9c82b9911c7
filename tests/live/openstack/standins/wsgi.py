"""Serve Keystone and Placement, which come as WSGI applications only: ``wsgi ADDRESS PORT``."""
import sys

import eventlet
import eventlet.wsgi


def keystone():
    listener = listen()
    from keystone.server.wsgi import initialize_public_application
    serve(listener, initialize_public_application())


def placement():
    listener = listen()
    from placement.wsgi import init_application
    serve(listener, init_application())


def listen():
    """Take the arguments: the applications would read them as their own. Who connects now, waits."""
    address, port = sys.argv[1:]
    del sys.argv[1:]
    return eventlet.listen((address, int(port)), backlog=128)


def serve(listener, application):
    eventlet.wsgi.server(listener, application, log_output=False)
