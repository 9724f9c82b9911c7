"""Submit targets: what is not one is refused, with the reason."""

import pytest

from vmprobe.site import targets


@pytest.mark.parametrize(
    "word, wrong",
    [
        (
            "pigeon:x",
            "is not a target: unknown kind pigeon; use one of nagios, results, icinga2, nsca, nrdp, file",
        ),
        ("file:relative", "is not a target: file needs an absolute path"),
        ("nagios:/pipe,ca=x", "is not a target: nagios has no option ca; its options: none"),
        (
            "icinga2:http://mon,credentials=x",
            "is not a target: icinga2 needs a URL that begins with https://",
        ),
        ("nrdp:https://mon", "is not a target: nrdp needs credentials=FILE"),
        ("nsca:", "is not a target: nsca needs a host"),
    ],
)
def test_an_invalid_target_is_refused_with_the_reason(word, wrong):
    with pytest.raises(ValueError) as said:
        targets.parse(word)

    assert str(said.value) == wrong


@pytest.mark.parametrize(
    "where",
    [
        "mon:",
        "mon:0",
        "mon:65536",
        "mon:http",
        "[2001:db8::1",
        "[mon]",
        "2001:db8::1:xyz",
        "-H",
        "-x:5667",
        "a b",
    ],
)
def test_an_invalid_host_for_nsca_is_refused(where):
    with pytest.raises(ValueError) as said:
        targets.parse(f"nsca:{where}")

    assert str(said.value) == (
        "is not a target: nsca needs a host and a port like mon.example.org:5667, 192.0.2.1 or "
        "[2001:db8::1]:5667"
    )
