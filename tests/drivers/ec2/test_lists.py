"""Lists of EC2 are complete, or the error Incomplete."""

from urllib.parse import parse_qsl

import pytest

from rawserver import reply
from simulators.scripted_ec2 import (
    SERVER,
    form_of,
    refusal,
    volumes,
)
from vmprobe.core.errors import (
    GatewayFailed,
    Incomplete,
)
from vmprobe.core.model import Kind, Ref


def test_long_lists_are_paged_and_a_question_by_id_is_not(connected):
    asked = []

    def instances(request):
        form = dict(parse_qsl(request.body.decode()))
        asked.append(
            {
                word: form[word]
                for word in ("MaxResults", "NextToken", "InstanceId.1")
                if word in form
            }
        )
        token = (
            b"" if "NextToken" in form or "InstanceId.1" in form else b"<nextToken>more</nextToken>"
        )
        number = b"2" if "NextToken" in form else b"1"
        return reply(
            200,
            b"<AResponse><reservationSet><item><instancesSet><item><instanceId>i-"
            + number
            + b"</instanceId><instanceState><name>running</name>"
            b"</instanceState></item></instancesSet></item></reservationSet>"
            + token
            + b"</AResponse>",
        )

    ec2 = connected({"DescribeInstances": instances})

    assert len(ec2.list(Kind.SERVER, "")) == 2
    ec2.show(SERVER)
    assert asked == [
        {"MaxResults": "200"},
        {"MaxResults": "200", "NextToken": "more"},
        {"InstanceId.1": "i-1"},
    ]


def pages(*numbers):
    """Volumes of which each page has so many; the token is the number of the page."""

    def answer(request):
        page = int(form_of(request).get("NextToken", 0))
        following = str(page + 1) if page + 1 < len(numbers) else ""
        return volumes(range(1000 * page, 1000 * page + numbers[page]), following)

    return answer


def test_a_list_of_many_pages_is_complete(connected):
    volumes_shown = connected({"DescribeVolumes": pages(3, 0, 2)}).list(Kind.VOLUME, "")

    assert [one.ref.id for one in volumes_shown] == [
        "vol-0",
        "vol-1",
        "vol-2",
        "vol-2000",
        "vol-2001",
    ]


@pytest.mark.parametrize(
    "answer, trouble, shown",
    [
        (lambda request: volumes([1], "again"), "its pages repeat themselves", 1),
        (
            lambda request: volumes([1], form_of(request).get("NextToken", "") + "x"),
            "its pages repeat themselves",
            1,
        ),
        (
            lambda request: volumes(
                [], form_of(request).get("NextToken", "").replace("x", "") or "x"
            ),
            "its pages repeat themselves",
            0,
        ),
        (
            lambda request: volumes(range(*_next_thousand(request)), _next_thousand(request)[1]),
            "there is no end of it",
            101_000,
        ),
    ],
    ids=["same-token", "same-things", "tokens-in-turn", "no-end"],
)
def test_a_list_without_an_end_is_soon_incomplete(connected, answer, trouble, shown):
    ec2 = connected({"DescribeVolumes": answer})

    with pytest.raises(Incomplete, match=f"list volumes: {trouble}") as cut:
        ec2.list(Kind.VOLUME, "")
    assert len(cut.value.partial) == shown


def _next_thousand(request):
    begin = int(form_of(request).get("NextToken", 0))
    return begin, begin + 1000


@pytest.mark.parametrize(
    "first, error",
    [([1], None), ([2], GatewayFailed), ([], Incomplete)],
    ids=["this", "another", "nothing"],
)
def test_the_answer_about_one_thing_is_one_page(connected, first, error):
    asked = []

    def answer(request):
        asked.append(request)
        return volumes(first or [], "more")

    ec2 = connected({"DescribeVolumes": answer})
    if error is None:
        assert ec2.show(Ref(Kind.VOLUME, "vol-1")).ref.id == "vol-1"
    else:
        with pytest.raises(error):
            ec2.show(Ref(Kind.VOLUME, "vol-1"))
    assert len(asked) == 1


def test_an_empty_list_whose_tokens_repeat_is_incomplete_after_three_pages(connected):
    tokens = []

    def answer(request):
        tokens.append(form_of(request).get("NextToken", ""))
        following = "bc"[len(tokens) % 2]
        return reply(
            200,
            f"<AResponse><reservationSet/><nextToken>{following}</nextToken></AResponse>".encode(),
        )

    with pytest.raises(Incomplete, match=r": its pages repeat themselves$"):
        connected({"DescribeInstances": answer}).list(Kind.SERVER, "")
    assert tokens == ["", "c", "b"]


def test_a_list_whose_next_page_is_forgotten_is_read_again(connected):
    lost = [refusal("InvalidNextToken")]

    def answer(request):
        return lost.pop() if lost and "NextToken" in form_of(request) else pages(2, 1)(request)

    assert len(connected({"DescribeVolumes": answer}).list(Kind.VOLUME, "")) == 3


def test_a_list_whose_next_page_is_always_forgotten_is_incomplete(connected):
    def answer(request):
        return (
            refusal("InvalidNextToken") if "NextToken" in form_of(request) else pages(2, 1)(request)
        )

    with pytest.raises(
        Incomplete,
        match="list volumes: its next page cannot be had: list volumes: 400 InvalidNextToken: words",
    ):
        connected({"DescribeVolumes": answer}).list(Kind.VOLUME, "")


def test_a_page_that_is_too_large_is_asked_for_again_with_fewer_items(connected):
    asked = []

    def answer(request):
        size = int(form_of(request)["MaxResults"])
        asked.append(size)
        return (
            volumes([1, 2])
            if size <= 50
            else reply(200, b"<AResponse>" + b"<a/>" * 100_001 + b"</AResponse>")
        )

    assert len(connected({"DescribeVolumes": answer}).list(Kind.VOLUME, "")) == 2
    assert asked == [200, 50]


def test_a_reservation_on_two_pages_is_read_from_both(connected):
    def answer(request):
        first = "NextToken" not in form_of(request)
        ids, token = (range(1, 3), "<nextToken>2</nextToken>") if first else (range(3, 5), "")
        items = "".join(
            f"<item><instanceId>i-{one}</instanceId><instanceState><name>running</name></instanceState></item>"
            for one in ids
        )
        return reply(
            200,
            f"<AResponse><reservationSet><item><reservationId>r-1</reservationId><instancesSet>{items}</instancesSet>"
            f"</item></reservationSet>{token}</AResponse>".encode(),
        )

    assert [
        one.ref.id for one in connected({"DescribeInstances": answer}).list(Kind.SERVER, "")
    ] == [
        "i-1",
        "i-2",
        "i-3",
        "i-4",
    ]
