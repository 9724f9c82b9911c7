"""Both signatures of the Query API, judged by botocore, AWS's own client."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from vmprobe.core import urls
from vmprobe.drivers.ec2 import query
from vmprobe.drivers.ec2.signature import Keys, authorization, encoded, signature_2

pytest.importorskip("botocore", reason="botocore, which judges the signatures, is not installed")

from botocore.auth import SigV2Auth, SigV4Auth  # noqa: E402
from botocore.awsrequest import AWSRequest  # noqa: E402
from botocore.credentials import Credentials  # noqa: E402

_TOKEN = "AQoDYXdzEPT//////////wEXAMPLE+/=="
_words = some.dictionaries(
    some.text(
        some.characters(min_codepoint=32, blacklist_categories=("Cs",)), min_size=1, max_size=20
    ),
    some.text(some.characters(min_codepoint=9, blacklist_categories=("Cs",)), max_size=20),
    max_size=6,
)
_urls = some.sampled_from(
    [
        "http://127.0.0.1:8773/services/compute",
        "https://ec2.eu-west-1.amazonaws.com",
        "http://cloud.example.org:80/a%20b/c",
        "https://[::1]:8444",
    ]
)


@settings(max_examples=60, deadline=None)
@given(_words, _urls, some.sampled_from(["", _TOKEN]))
def test_version_4_agrees_with_botocore(parameters, url, token):
    form = {**parameters, "Action": "X"}
    headers = {"Content-Type": query.FORM, "X-Amz-Date": "20261123T010203Z"}
    body = encoded(form).encode()
    keys = Keys("AKID", "secret", token)
    judge = SigV4Auth(Credentials(keys.access, keys.secret, token or None), "ec2", "eu-west-1")
    request = AWSRequest(
        "POST",
        url,
        headers={**headers, **({"X-Amz-Security-Token": token} if token else {})},
        data=body,
    )
    request.context["timestamp"] = "20261123T010203Z"

    wanted = judge.signature(
        judge.string_to_sign(request, judge.canonical_request(request)), request
    )

    signed = {
        **headers,
        "Host": urls.authority(url),
        **({"X-Amz-Security-Token": token} if token else {}),
    }
    path = url.split("/", 3)[3] if url.count("/") > 2 else ""
    assert authorization(keys, "POST", f"/{path}", "", signed, body, "eu-west-1", "ec2").endswith(
        f"Signature={wanted}"
    )


@settings(max_examples=60, deadline=None)
@given(
    _words, _urls.filter(lambda url: ":80/" not in url)
)  # of which botocore signs the port, too, that no Host header has
def test_version_2_agrees_with_botocore(parameters, url):
    form = {**parameters, "Action": "X"}
    form.pop("Signature", None)
    request = AWSRequest("POST", url, data=dict(form))

    _, wanted = SigV2Auth(Credentials("AKID", "secret")).calc_signature(request, dict(form))

    assert signature_2("secret", "POST", url, form) == wanted
