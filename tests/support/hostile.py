"""What hostile servers may send, as strategies of hypothesis."""

import gzip
import json
import zlib

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from outside.webserver import PASSWORD, TOKEN
from secrets_check import ENCODERS, Secrets

REQUESTS = 26  # of a lifecycle in which all is well, about

quick = settings(
    max_examples=80,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
long = settings(quick, max_examples=3000)


def examples(number):
    return settings(quick, max_examples=number)


NASTY = [
    "",
    "|",
    "a | b=c;1;2",
    "a\nb\r\nc",
    "\x1b[31m\x00\x07",
    "<script>",
    "\u2028\u202e\ud800",
    "x" * 100_000,
    "%s%n{0}",
    "../..",
    "Traceback (most recent call last):",
    TOKEN,
    f"password={PASSWORD}",
    "-1",
    "NaN",
    "unforeseen",
]
ODD = [
    None,
    True,
    -1,
    -1.5,
    0,
    10**12,
    2**64,
    10**29,
    [],
    {},
    [None],
    {"": None},
    [[]],
    [{}],
    "RUNNING",
    "BROKEN",
]
RAW = [
    "NaN",
    "-Infinity",
    "1e400",
    "-1e400",
    "9" * 5000,
    "[" * 3000 + "]" * 3000,
    '{"a":' * 3000,
    '"\\ud83d"',
    "'a'",
    "\ufeff{}",
]

LEAKS = Secrets(password=PASSWORD, token=TOKEN)
echoes = st.builds(
    lambda room, secret, encode: "." * room + encode(secret),
    st.integers(0, 600),
    st.sampled_from([PASSWORD, TOKEN]),
    st.sampled_from(list(ENCODERS.values())),
)  # cut anywhere, in any form
texts = st.text(max_size=40) | st.sampled_from(NASTY) | echoes
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.sampled_from(ODD)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
statuses = st.sampled_from(
    [
        200,
        200,
        201,
        202,
        204,
        206,
        300,
        304,
        400,
        401,
        403,
        404,
        409,
        410,
        413,
        429,
        500,
        503,
        599,
        999,
    ]
)
xml_names = st.sampled_from(
    [
        "methodResponse",
        "params",
        "param",
        "value",
        "array",
        "data",
        "struct",
        "member",
        "name",
        "i4",
        "int",
        "i8",
        "double",
        "boolean",
        "string",
        "base64",
        "nil",
        "fault",
        "dateTime.iso8601",
        "x",
    ]
)
elements = st.recursive(
    st.sampled_from(
        [
            "",
            "1",
            "nan",
            "-1e999",
            "9" * 5000,
            "a",
            "&amp;",
            "&z;",
            "<![CDATA[|]]>",
            "<!-- -->",
            "\u0660",
        ]
    )
    | texts,
    lambda inner: st.builds(
        lambda name, parts: f"<{name}>{''.join(parts)}</{name}>",
        xml_names,
        st.lists(inner, max_size=4),
    ),
    max_leaves=12,
)
prologues = st.sampled_from(
    [
        "",
        "",
        '<?xml version="1.0"?>',
        '<?xml version="1.0" encoding="utf-16"?>',
        "<!DOCTYPE x>",
        '<!DOCTYPE x [<!ENTITY z "zz">]>',
        '<?xml version="1.0" encoding="cp037"?>',
    ]
)
fault = "<methodResponse><fault><value>%s</value></fault></methodResponse>"
result = "<methodResponse><params><param><value>%s</value></param></params></methodResponse>"
xmls = st.builds(
    lambda prologue, frame, body: (prologue + (frame % body if frame else body)).encode(
        "utf-8", "replace"
    ),
    prologues,
    st.sampled_from(["", fault, result]),
    elements,
)

headers = st.dictionaries(
    st.sampled_from(
        [
            "Retry-After",
            "Location",
            "Content-Type",
            "Content-Encoding",
            "Transfer-Encoding",
            "Set-Cookie",
            "X-Openstack-Request-Id",
            "WWW-Authenticate",
            "Connection",
            "Content-Length",
            "Link",
        ]
    ),
    st.sampled_from(
        [
            "",
            "-1",
            "1e9",
            "9" * 400,
            "chunked",
            "gzip",
            "close",
            "http://[",
            "//x",
            "\x7f",
            "a=b; expires=" + "1" * 4000,
            "text/html; charset=nope",
            "5, 6",
            "Mon, 99 Foo 0000 99:99:99 GMT",
            "|;a=b",
            TOKEN,
        ]
    )
    | st.text(st.characters(max_codepoint=255, blacklist_characters="\r\n"), max_size=20),
    max_size=3,
)
heads = st.binary(max_size=60) | st.sampled_from(
    [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200",
        b"HTTP/1.0 -1 x",
        b"HTTP/9.9 200 OK",
        b"HTTP/1.1 100 Continue",
        b"HTTP/1.1 101 x",
        b"HTTP/1.1 1000 x",
        b"HTTP/1.1 200 " + b"|" * 70_000,
        b"ICY 200 OK",
        b"\r\n\r\n",
    ]
)


def answer(status, more, body):
    """HTTP as right as its parts are."""
    lines = [f"HTTP/1.1 {status} Words".encode()] + [
        f"{name}: {value}".encode("latin-1") for name, value in more.items()
    ]
    if "Content-Length" not in more and "Transfer-Encoding" not in more:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def closing(content):
    """Send this and close: then even an answer without an end has one."""
    return lambda connection: connection.sendall(content)


PACK = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "x-gzip": lambda body: gzip.compress(body)[:-4],
    "br": bytes,
}

as_json = documents.map(lambda document: json.dumps(document).encode("utf-8", "surrogatepass"))
bodies = (
    as_json
    | xmls
    | st.binary(max_size=200)
    | st.sampled_from(RAW).map(lambda text: text.encode())
    | texts.map(lambda text: text.encode("utf-8", "replace"))
)
answers = (
    st.builds(answer, statuses, headers, bodies)
    | st.builds(answer, statuses, st.just({}), bodies)
    | st.builds(
        lambda status, body, form: answer(status, {"Content-Encoding": form}, PACK[form](body)),
        statuses,
        bodies,
        st.sampled_from(sorted(PACK)),
    )
    | st.builds(lambda head, rest: head + b"\r\n" + rest, heads, st.binary(max_size=200))
)
