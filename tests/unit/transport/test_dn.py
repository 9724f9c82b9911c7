"""Names of certificates: read in either form, written so that they can be read again, compared part by part."""

import pytest
from cryptography.x509 import Name, NameAttribute, ObjectIdentifier, RelativeDistinguishedName
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as some

from vmprobe.transport import dn

C, O, OU, CN, DC = (  # noqa: E741  as in names
    NameOID.COUNTRY_NAME,
    NameOID.ORGANIZATION_NAME,
    NameOID.ORGANIZATIONAL_UNIT_NAME,
    NameOID.COMMON_NAME,
    NameOID.DOMAIN_COMPONENT,
)


def named(*pairs):
    return dn.from_subject(Name([NameAttribute(oid, value) for oid, value in pairs]))


JANE = named((C, "DE"), (O, "Grid"), (OU, "Staff"), (CN, "Jane"))


@pytest.mark.parametrize(
    "text",
    [
        "/C=DE/O=Grid/OU=Staff/CN=Jane",
        "CN=Jane,OU=Staff,O=Grid,C=DE",
        "CN=Jane, OU=Staff, O=Grid, C=DE",
        "C = DE, O = Grid, OU = Staff, CN = Jane",
        "/c=DE/o=Grid/ou=Staff/cn=Jane",
        "/2.5.4.6=DE/O=Grid/OU=Staff/CN=J\\x61ne",
        "OID.2.5.4.3=Jane,OU=Staff,O=Grid,C=DE",
        "CN=J\\61ne;OU=Staff;O=Grid;C=DE",
        "  /C=DE/O=Grid/OU=Staff/CN=Jane\n",
    ],
)
def test_one_name_can_be_written_in_many_ways(text):
    assert dn.matches(text, JANE)


@pytest.mark.parametrize(
    "text",
    [
        "/C=DE/O=Grid/CN=Jane/OU=Staff",
        "/CN=Jane/OU=Staff/O=Grid/C=DE",
        "/C=DE/O=Grid/OU=Staff/CN=Jane/CN=proxy",
        "/C=DE/O=Grid/OU=Staff",
        "/C=DE/O=Grid/OU=Staff/CN=jane",
        "/C=DE/O=Grid/CN=Jane",
        "OU=Staff,CN=Jane,O=Grid,C=DE",
        "/C=DE/O=Grid+OU=Staff/CN=Jane",
        "",
        "/",
        "Jane",
        "CN=Jane\\",
        "/C=DE/town=Bonn",
        "CN=Jane,,C=DE",
    ],
)
def test_another_name_or_none_is_not_this_one(text):
    assert not dn.matches(text, JANE)


@pytest.mark.parametrize(
    "name, text",
    [
        (named((C, "DE"), (CN, "Jane/OU=Staff")), "/C=DE/CN=Jane\\/OU=Staff"),
        (named((C, "DE"), (CN, "host/a.example.org")), "/C=DE/CN=host/a.example.org"),
        (named((C, "DE"), (CN, "Jane+OU=Staff")), "/C=DE/CN=Jane\\+OU=Staff"),
        (named((C, "DE"), (CN, "Jane\\/OU=Staff")), "/C=DE/CN=Jane\\\\\\/OU=Staff"),
        (named((C, "DE"), (CN, "J\u00f6rg\n")), "/C=DE/CN=J\\xC3\\xB6rg\\x0A"),
        (named((C, "DE"), (CN, " Jane ")), "/C=DE/CN=\\x20Jane\\x20"),
        (
            named((DC, "org"), (DC, "x"), (NameOID.EMAIL_ADDRESS, "j@x"), (NameOID.USER_ID, "7")),
            "/DC=org/DC=x/emailAddress=j@x/UID=7",
        ),
        (named((ObjectIdentifier("1.2.3.4"), "x")), "/1.2.3.4=x"),
        (
            dn.from_subject(
                Name(
                    [
                        RelativeDistinguishedName(
                            [NameAttribute(CN, "Jane"), NameAttribute(NameOID.USER_ID, "7")]
                        )
                    ]
                )
            ),
            "/UID=7+CN=Jane",
        ),
    ],
)
def test_a_name_is_written_so_that_it_can_be_read_again(name, text):
    assert dn.to_text(name) == text
    assert dn.parse(text) == name


def test_a_value_that_looks_like_two_parts_is_one():
    two, one = (
        named((C, "XX"), (CN, "Jane"), (OU, "Staff")),
        named((C, "XX"), (CN, "Jane/OU=Staff")),
    )
    comma = named((C, "XX"), (CN, "Jane,OU=Staff"))

    assert not dn.matches(dn.to_text(two), one)
    assert not dn.matches(dn.to_text(one), two)
    assert not dn.matches("OU=Staff,CN=Jane,C=XX", comma)
    assert dn.matches("CN=Jane\\,OU=Staff,C=XX", comma)


VALUE = some.text(some.sampled_from('aJ=/\\+,;"# \n\u00e9xOU1.'), min_size=1, max_size=8)


@given(some.lists(some.tuples(some.sampled_from([O, OU, CN, DC]), VALUE), min_size=1, max_size=4))
def test_whatever_a_name_has_in_it_it_is_read_as_it_was_written(pairs):
    name = named(*pairs)

    assert dn.parse(dn.to_text(name)) == name
    assert dn.matches(dn.to_text(name), name)
