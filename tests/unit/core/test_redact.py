"""A secret is replaced in every form in which it may be echoed, before anything is cut or cleaned, in every output."""

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from searches import examples
from secrets_check import ENCODERS
from vmprobe.core import redact
from vmprobe.core.redact import Redactor
from vmprobe.core.text import cut, one_line
from vmprobe.site import targets
from vmprobe.transport import error_text

TEXT = "Pa'ss/\"w\u00f6rd&1;x<y>%2 \\+|="


@pytest.mark.parametrize("name", ENCODERS)
def test_a_secret_is_replaced_in_every_form(name):
    form = ENCODERS[name](TEXT)

    found = Redactor([TEXT]).redact(f"you sent [{form}] and that is wrong")

    assert re.fullmatch(
        r"you sent \['?[A-Za-z0-9]{0,8}\*\*\*[A-Za-z0-9]{0,8}'?\] and that is wrong", found
    ), found


@pytest.mark.parametrize("outer", ["JSON", "URL", "XML", "HTML by Python"])
@pytest.mark.parametrize(
    "inner", ["JSON", "URL", "URL, a form", "XML", "HTML by Flask", "Python", "base64"]
)
def test_a_secret_is_replaced_where_forms_are_nested(inner, outer):
    form = ENCODERS[outer](ENCODERS[inner](TEXT))

    assert Redactor([TEXT]).redact(f"<{form}>") in ("<***>", "<***=>", "<***%3D>")


letters = st.characters(min_codepoint=32, max_codepoint=0x2FF, blacklist_characters="\x7f")
secrets = (
    st.text(letters, min_size=5, max_size=40)
    .map(str.strip)
    .filter(lambda text: len(set(text)) > 3 and len(text) > 4)
)


@examples(250)
@given(
    secret=secrets,
    name=st.sampled_from(sorted(set(ENCODERS) - {"capital letters", "SQL", "base64 of Latin-1"})),
    before=st.sampled_from(["", "x", "\\", "%", "&", "a:b ", "\n"]),
    after=st.sampled_from(["", "x", "\\", "%", ";", " z", "\n"]),
)
@example(secret="a'b\"c'd\"e", name="shell in quotes", before="", after="")
@example(secret="\\\\\\\\x", name="JSON", before="", after="")
@example(secret="100%%25", name="URL", before="", after="")
def test_any_secret_is_replaced_in_every_form_whatever_stands_beside_it(
    secret, name, before, after
):
    form = ENCODERS[name](secret)

    found = Redactor([secret]).redact(before + form + after)

    assert redact.REDACTED in found
    assert form not in found and secret not in found


@examples(100)
@given(
    secret=st.text("QXZJ!#~", min_size=6, max_size=30),
    position=st.integers(0, 700),
    limit=st.integers(8, 600),
)
@example(secret="QXZJ!#~Q", position=154, limit=160)
@example(secret="QXZJQX", position=3195, limit=160)
def test_no_part_of_a_secret_is_left_where_a_text_is_cut(secret, position, limit):
    text = "." * position + secret + "." * 20_000
    redact.begin([secret])

    for found in (
        one_line(text, limit),
        cut(text, limit),
        cut("=" * 20 * limit + secret, limit),
        one_line(secret * 5000, limit),
    ):
        assert len(found) <= limit and not set(found) & set("QXZJ!#~")


def test_a_secret_is_replaced_before_a_text_is_cleaned():
    for secret in (
        "correct|horse|battery",
        "a<horse>b<carrot>c",
        "mot-de-pass\u00e9-s\u00fbr",
        "two  blanks  in",
        "tab\tin it",
        "k9!",
    ):
        redact.begin([secret])

        assert one_line(f"no user with '{secret}' here") == "no user with '***' here"


def test_a_plus_sign_that_a_server_read_as_a_blank_is_replaced():
    assert Redactor(["p%s&++=x"]).redact("you sent [p%s&amp;  =x]") == "you sent [***]"


@pytest.mark.parametrize(
    "secret, text, redacted",
    [
        ("k9!", "the key 'k9!' is wrong", "the key '***' is wrong"),
        ("k9!", "ak9!b k9!", "ak9!b ***"),
        ("abc", "abc abcd xabc abc: (abc)", "*** abcd xabc ***: (***)"),
        ("abc", "password%3Dabc%26x", "password%3D***%26x"),
        ("abc", "a line\\nabc\\n", "a line\\n***\\n"),
        ("abc", "it was YWJj.", "it was ***."),
        ("abc", "616263 1616263", "*** 1616263"),
        ("a", "a user with a password 'a'; key=a", "a user with a password '***'; key=***"),
        ("u:abc", "Basic dTphYmM= is wrong", "Basic *** is wrong"),
    ],
)
def test_a_short_secret_is_replaced_where_it_is_a_word_of_its_own(secret, text, redacted):
    assert Redactor([secret]).redact(text) == redacted


@pytest.mark.parametrize(
    "text, redacted",
    [
        ("http://robot:pa/ss@proxy:1 failed", "http://robot:***@proxy:1 failed"),
        ("bad port 'pr0xy-s3cret' in http://h", "bad port '***' in http://h"),
        ("robot%3Apr0xy-s3cret%2F7%40h", "***%40h"),
        ("ROBOT PR0XY-S3CRET", "ROBOT ***"),
        ("ftp://u:other@h/", "ftp://u:***@h/"),
        ('"https:\\/\\/u:other@h"', '"https:\\/\\/u:***@h"'),
        ("https://h:5000/v3?mail=a@b.c", "https://h:5000/v3?mail=a@b.c"),
        ("http://[::1]:80/a and b@c.d", "http://[::1]:80/a and b@c.d"),
        ("qemu+ssh://root@host/system", "qemu+ssh://root@host/system"),
    ],
)
def test_a_password_in_a_url_is_replaced_also_in_parts(text, redacted):
    redactor = Redactor()
    redactor.add_url("http://robot:pr0xy-s3cret/7@127.0.0.1:1")

    assert redactor.redact(text) == redacted


def test_secrets_that_a_process_is_started_with_are_known(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://robot:pr0xy-s3cret@proxy:3128")
    monkeypatch.setenv("ALL_PROXY", "robot:other-s3cret@proxy:3128")
    monkeypatch.setenv("HTTPS_PROXY", "http://a-token-of-a-proxy@proxy:3128")
    monkeypatch.setenv("OS_AUTH_URL", "https://robot:5000/s3cret@keystone/v3")
    monkeypatch.setattr(
        "sys.argv", ["check_vm_state", "--submit", "icinga2:https://root:t0p-s3cret@mon:5665"]
    )
    redact.begin(["of the site"])

    assert (
        one_line("pr0xy-s3cret other-s3cret a-token-of-a-proxy t0p-s3cret 5000/s3cret of the site")
        == "*** *** *** *** *** ***"
    )


@pytest.mark.parametrize(
    "text, redacted",
    [
        ('{"password": "a\\"b", "x": 1}', '{"password": ***, "x": 1}'),
        ('"{\\"password\\": \\"two words\\"}"', '"{\\"password\\": ***\\"}"'),
        ('{"api_key": "cut in the mid', '{"api_key": ***'),
        ('{"api_key": "cut\\', '{"api_key": ***'),
        ("<n:password kind='x'>two words</n:password>", "<n:password kind='x'>***</n:password>"),
        (
            '{"server": {"adminPass": "zX9qPlm3Wq", "id": 1}}',
            '{"server": {"adminPass": ***, "id": 1}}',
        ),
        (
            "<GRAPHICS><PASSWD><![CDATA[of a screen]]></PASSWD></GRAPHICS>",
            "<GRAPHICS><PASSWD><![CDATA[***]]></PASSWD></GRAPHICS>",
        ),
        (
            "<SecretAccessKey>a</SecretAccessKey><SessionToken>b</SessionToken>",
            "<SecretAccessKey>***</SecretAccessKey><SessionToken>***</SessionToken>",
        ),
        (
            '{"authToken": "a", "accessToken": "b", "secretKey": "c"}',
            '{"authToken": ***, "accessToken": ***, "secretKey": ***}',
        ),
        ("nrdp:https://h/?token=a&x=1,token=b", "nrdp:https://h/?token=***&x=1,token=***"),
        (
            "https://h/?X-Amz-Security-Token=a&X-Amz-Signature=b",
            "https://h/?X-Amz-Security-Token=***&X-Amz-Signature=***",
        ),
        ("Authorization: Negotiate YIIabc for us", "Authorization: *** for us"),
        ("{u'password': u'a b'}", "{u'password': ***}"),
    ],
)
def test_what_stands_where_secrets_stand_is_replaced_whole(text, redacted):
    assert Redactor().redact(text) == redacted


def test_words_that_only_sound_like_it_are_kept():
    text = "no secret here; the password is wrong; a token: expired; https://h/a?mail=x; 4f1c-%20-&amp;"

    assert Redactor(["a-Secret-1"]).redact(text) == text


def test_hostile_texts_are_looked_through_in_no_time():
    redactor = Redactor(["Pa'ss/\"w\u00f6rd&1;x<y", "x" * 300, "a b"])

    for piece in (
        "\\",
        "%25",
        "'\"",
        "://a:",
        "a:b@",
        " ",
        "-----BEGIN A-----",
        "password",
        "A",
        "&amp;",
        "x" * 299,
    ):
        found = redactor.cut(piece * (400_000 // len(piece)), 500)
        assert len(found) <= 500


@pytest.mark.parametrize(
    "secret, echoed",
    [
        ("\u043f\u0430\u0440\u043e\u043b\u044c" * 4 + "1", "as it is"),
        ("\u043f\u0430\u0440\u043e\u043b\u044c" * 4 + "1", "in marks"),
        ("!@#$^&*()!@#$^&*()1", "in JSON"),
        ("a + b + c + d + e + f + g + h", "in plus signs"),
        ("a - - - - - - - - - - b", "in JSON"),
    ],
)
def test_most_of_a_secret_again_and_again_is_looked_through_in_no_time(secret, echoed):
    most = {
        "as it is": secret[:-1],
        "in marks": "?" * 100,
        "in plus signs": "a" + "+" * 100,
        "in JSON": "".join(f"\\\\\\\\u{ord(char):04x}" for char in secret[:-1]),
    }[echoed]

    assert Redactor([secret]).redact(f"{most} \\ " * 20) == f"{most} \\ " * 20


@pytest.mark.parametrize("form", ["?" * 8, "?" * 4, "\ufffd" * 8, "c??", "c\ufffd", "\u0446??"])
def test_a_secret_of_letters_that_a_charset_lacks_is_replaced(form):
    secrets = {"c": "c\U0001f600", "\u0446": "\u0446\U0001f600"}

    assert (
        Redactor([secrets.get(form[0], "\u043f\u0430\u0440\u043e")]).redact(f"you sent [{form}]")
        == "you sent [***]"
    )


def test_the_words_of_a_server_are_without_secrets_before_they_are_cut():
    redact.begin(["Zq7-wT4kX9pLm2vB8nRc"])
    said = "x" * (error_text.LONGEST - 10) + " Zq7-wT4kX9pLm2vB8nRc is wrong"

    for body in (
        said,
        json.dumps({"error": {"message": said}}),
        f"<html><title>{said}</title>",
        f"<fault><faultstring>{said}</faultstring>",
    ):
        assert "Zq7" not in error_text.message(body.encode())


def test_a_secret_with_marks_in_it_is_not_halved_by_the_reader_of_a_page():
    redact.begin(["Zq7<b>wT4</title>kX9"])

    for page in (
        "<html><title>no user with Zq7<b>wT4</title>kX9 here</title>",
        "<fault><faultstring>no user with Zq7<b>wT4</title>kX9 here</faultstring>",
    ):
        assert error_text.message(page.encode()) == "no user with *** here"


def test_a_long_token_is_replaced_as_urls_json_and_pages_write_it():
    token = "gAAAAAB+/=_x-y.z&\u00e9" * 30
    for name in (
        "as it is",
        "JSON",
        "JSON with letters",
        "JSON by PHP",
        "URL",
        "URL in small letters",
        "XML",
        "HTML by Python",
        "base64",
        "hexadecimal",
    ):
        assert Redactor([token]).redact(f"<{ENCODERS[name](token)}>") in ("<***>", "<***=>"), name


def test_only_the_suites_own_words_of_a_document_are_as_they_are():
    document = {
        "text": "site: all is well",
        "site": "site",
        "inner": {"text": "site", "state": "my site", "site": 1},
    }

    assert json.loads(Redactor(["site"]).json(document)) == {
        "text": "site: all is well",
        "site": "site",
        "inner": {"text": "***", "state": "my ***", "***": 1},
    }


@pytest.mark.parametrize(
    "where",
    [
        "icinga2:https://root:s3cret@mon:5665,credentials=/c",
        "nrdp:https://s3cret/9@mon/nrdp/,credentials=/c",
    ],
)
def test_a_target_with_a_password_in_its_url_is_refused(where):
    with pytest.raises(
        ValueError,
        match="^is not a target: the URL contains a user or password; these belong in the credentials file$",
    ):
        targets.parse(where)


@pytest.mark.parametrize(
    "url, shown",
    [
        ("https://robot:s3cret/9@h:5000/v3", "https://***@h:5000/v3"),
        ("https://robot:1234/9@h/v3", "https://***@h/v3"),
        ("https://h:1/v3 robot:s3cret@h", "https://***@h"),
    ],
)
def test_a_site_with_a_password_in_its_url_is_refused_without_repeating_it(
    tmp_path, probe, url, shown
):
    path = tmp_path / "x.ini"
    path.write_text(
        f"[site]\nname = x\n[endpoint]\nmanager = openstack\nurl = {url}\n[test vm]\nimage = x\n"
    )

    code, output, _ = probe("check_vm_gateway", "--site", str(path))

    assert code == 3
    assert (
        output.startswith(f"VM_GATEWAY UNKNOWN - x.ini [endpoint] url: '{shown}' ")
        and "s3cret" not in output
    )


@pytest.mark.parametrize(
    "url",
    [
        "qemu+ssh://robot:s3cret@h/system",
        "qemu+ssh://robot:s3/cret@h/system",
        "qemu+tcp://robot:1/s3cret@h:1/system",
    ],
)
def test_a_connection_uri_with_a_password_in_it_is_refused_without_repeating_it(
    tmp_path, probe, url
):
    path = tmp_path / "x.ini"
    path.write_text(
        f"[site]\nname = x\n[endpoint]\nmanager = libvirt\nurl = {url}\n[test vm]\nimage = x\n"
    )

    code, output, _ = probe("check_vm_gateway", "--site", str(path))

    assert (code, output) == (
        3,
        f"VM_GATEWAY UNKNOWN - x.ini [endpoint] url: 'qemu+{url[5:8]}://***@{url.rpartition('@')[2]}' carries a "
        "password; it belongs into the credentials file\n",
    )
