"""A list without an end is not read for ever, and does not fill the memory."""

import re
from xml.etree.ElementTree import fromstring
from xml.sax.saxutils import escape

import pytest

from rawserver import Server, reply
from virtual import VirtualClock
from vmprobe.core.clock import Deadline
from vmprobe.core.errors import Incomplete
from vmprobe.core.exchanges import Evidence
from vmprobe.core.model import Kind
from vmprobe.drivers.opennebula.driver import Opennebula
from vmprobe.drivers.opennebula.pages import Pages


def read(pages, xml, more=1000):
    """Call ``pages`` with the same document again and again. Returns how many pages it read before it stopped."""
    for number in range(more):
        document = fromstring(xml)
        pages.add(document, document.findall("a"), number)
    return len(pages)


@pytest.mark.parametrize(
    "xml, pages_read",
    [
        ("<list>" + "<a/>" * 100_000 + "</list>", 10),
        ("<list><a>" + "x" * 4_000_000 + "</a></list>", 67),
        ("<list><a>" + "x" * 1_000_000 + "\u20ac</a></list>", 67),
        ("<list>" + "<a b='c'/>" * 10_000 + "</list>", 48),
        ("<list/>", 1000),
    ],
    ids=["many-things", "large-things", "wide-things", "attributes", "empty-pages"],
)
def test_all_pages_together_hold_no_more_than_256_mib_and_are_no_more_than_a_thousand(
    xml, pages_read
):
    pages = Pages("list servers")

    with pytest.raises(Incomplete) as endless:
        read(pages, xml, 1001)

    assert str(endless.value) == f"list servers: it does not end after {pages_read} pages"
    assert pages.resources == []


def test_the_entries_of_all_pages_are_kept_in_their_order():
    pages = Pages("list servers")

    for number, xml in enumerate(
        ("<list><a>1</a><a>2</a></list>", "<list/>", "<list><b/><a>3</a></list>")
    ):
        document = fromstring(xml)
        pages.add(document, document.findall("a"), number)

    assert [thing.text for thing in pages.resources] == ["1", "2", "3"]
    assert len(pages) == 3


def test_opennebulas_pages_that_are_all_the_same_are_an_incomplete_list():
    offsets = []

    def answer(request):
        procedure = re.search(rb"<methodName>(.*?)</methodName>", request.body)[1].decode()
        result = "6.10.5"
        if procedure == "one.vmpool.info":
            offsets.append(int(re.findall(rb"<int>(-?\d+)</int>", request.body)[1]))
            result = (
                "<VM_POOL>"
                + "".join(f"<VM><ID>{number}</ID><NAME>n</NAME></VM>" for number in range(200))
                + "</VM_POOL>"
            )
        values = f"<value><boolean>1</boolean></value><value><string>{escape(result)}</string></value><value><int>0</int></value>"
        return reply(
            200,
            f"<methodResponse><params><param><value><array><data>{values}</data></array></value></param></params></methodResponse>",
        )

    with Server(answer) as server:
        endpoint = {
            **{name: key.default for name, key in Opennebula.endpoint_keys.items()},
            "timeout": 5.0,
            "ca": None,
            "manager": "opennebula",
            "url": server.url,
        }
        credentials = {"username": "probe", "password": "s3cret"}
        driver = Opennebula(endpoint, credentials, Deadline(600, 60, VirtualClock()), Evidence())
        driver.connect()

        with pytest.raises(Incomplete, match=r"^one.vmpool.info: its pages repeat themselves$"):
            driver.list(Kind.SERVER, "")
    assert offsets == [0, 200]
