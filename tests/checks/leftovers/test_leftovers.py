"""check_vm_leftovers as whole lines: it reports what earlier runs left, and removes it with --remove."""

import contextlib
import os
import resource

import pytest

import plugin_output
from disasters import STRANGERS
from running import run_probe
from vmprobe.core import handle as handles
from vmprobe.core.handle import owner_word
from vmprobe.core.model import Kind, Ref
from vmprobe.drivers.memory.cloud import Thing
from vmprobe.lease import ledger as ledgers
from vmprobe.lease.ledger import Ledger

NOTHING = (
    "leftovers=0;0;;0 memory=0B;;;0 oldest_age=0s;;;0 total=0s;;;0 vcpus=0;;;0 volume_bytes=0B;;;0"
)
EXPIRED = "vmprobe-mon-20270115t040000z-48-{}"  # its lease ended 3.2 h before 08:00, the time of the clock
TWO = (  # perfdata of the server and the volume that are left over in most of these tests
    "leftovers=2;0;;0 memory=134217728B;;;0 oldest_age=11520s;;;0 total=0s;;;0 vcpus=1;;;0 volume_bytes=1073741824B;;;0"
)


def plant(site, kind, identity, name):
    """Put a resource into the cloud without a run."""
    site.cloud.things[identity] = Thing(
        kind, identity, name, "RUNNING", 0.0, 2**30 if kind is Kind.VOLUME else None
    )


@pytest.fixture
def littered(site):
    """A site with a server and a volume that are left over."""
    plant(site, Kind.SERVER, "4f1c", EXPIRED.format("aaaaaaaa"))
    plant(site, Kind.VOLUME, "77aa", EXPIRED.format("aaaaaaaa"))
    return site


def test_ok_when_nothing_is_there(site):
    assert site.leftovers() == (0, "VM_LEFTOVERS OK - site: nothing is left behind | " + NOTHING)


def test_warning_when_something_is_past_its_lease_each_thing_with_id_age_and_owner(littered):
    assert littered.leftovers() == (
        1,
        (
            "VM_LEFTOVERS WARNING - site: 2 leftovers, the oldest 3.2 h past its lease: server 4f1c (mon), volume 77aa (mon) | "
            f"{TWO}\n"
            "server 4f1c of mon, 3.2 h past its lease: vmprobe-mon-20270115t040000z-48-aaaaaaaa\n"
            "volume 77aa of mon, 3.2 h past its lease: vmprobe-mon-20270115t040000z-48-aaaaaaaa"
        ),
    )
    assert set(littered.cloud.things) == {"4f1c", "77aa"}


def test_the_oldest_comes_first_and_only_the_first_ones_are_on_line_1(site):
    for number in range(5):
        plant(site, Kind.SERVER, f"s{number}", f"vmprobe-mon-2027011{number}t040000z-60-aaaaaaaa")

    state, output = site.leftovers()

    assert output.splitlines()[0].split(" | ")[0] == (
        "VM_LEFTOVERS WARNING - site: 5 leftovers, the oldest 5.1 d past its lease: server s0 (mon), server s1 (mon), "
        "server s2 (mon), ..."
    )
    assert [line.split(",")[0] for line in output.splitlines()[1:]] == [
        f"server s{number} of mon" for number in range(5)
    ]


def test_ranges_judge_number_and_age(littered):
    def line(*options):
        state, output = littered.leftovers(*options)
        return state, output.splitlines()[0].split(" | ")[0].partition(" - ")[2]

    story = "2 leftovers, the oldest 3.2 h past its lease: server 4f1c (mon), volume 77aa (mon)"
    assert line("-w", "leftovers=2") == (0, f"site: {story}")
    assert line("-w", "5", "-c", "oldest_age=7200") == (
        2,
        f"site: oldest_age 11520 s is outside 7200 (critical); {story}",
    )
    assert line("-c", "leftovers=1") == (2, f"site: leftovers 2 is outside 1 (critical); {story}")
    assert line("-w", "volume_bytes=1000") == (
        1,
        f"site: volume_bytes 1073741824 B is outside 1000 (warning); {story}",
    )


def test_a_site_maps_leftovers_to_another_state(littered):
    littered.set("verdict", leftovers="CRITICAL")

    assert littered.leftovers()[0] == 2


def test_what_is_within_its_lease_is_counted_separately_and_named_with_v(site):
    plant(site, Kind.SERVER, "4f1c", "vmprobe-mon-20270115t075900z-6-aaaaaaaa")

    assert site.leftovers() == (
        0,
        (
            "VM_LEFTOVERS OK - site: nothing is left behind (1 resource within its lease) | "
            + NOTHING
        ),
    )
    assert site.leftovers("-v")[1].splitlines()[1:] == [
        "server 4f1c of mon, its lease ends in 5 min: vmprobe-mon-20270115t075900z-6-aaaaaaaa",
        "requests 4",
    ]
    assert site.leftovers("--remove")[0] == 0
    assert set(site.cloud.things) == {"4f1c"}


def test_remove_removes_and_sees_that_it_is_gone(littered):
    assert littered.leftovers("--remove") == (
        0,
        (
            "VM_LEFTOVERS OK - site: 2 leftovers removed: server 4f1c (mon), volume 77aa (mon) | "
            + NOTHING.replace("total=0s", "total=1.5s")
        ),
    )
    assert littered.cloud.things == {}
    assert littered.leftovers() == (
        0,
        "VM_LEFTOVERS OK - site: nothing is left behind | " + NOTHING,
    )


def test_what_hundreds_of_runs_have_left_is_removed_by_one_run(site):
    for number in range(
        400
    ):  # with a wait for each of them, there would be no time to confirm most deletions
        plant(site, Kind.SERVER, f"s{number}", EXPIRED.format(f"{number:08}"))

    state, output = site.leftovers("--remove")

    assert (state, site.cloud.things) == (0, {})
    assert output.startswith(
        "VM_LEFTOVERS OK - site: 400 leftovers removed: server s0 (mon), server s1 (mon), server s2 (mon), ... | "
    )


def test_the_output_of_any_number_of_leftovers_stays_below_nagios_limit(site):
    for number in range(3000):
        plant(site, Kind.SERVER, f"s{number}", EXPIRED.format(f"{number:08}"))

    state, output = site.leftovers("-v")

    assert (state, output.splitlines()[-1]) == (1, "(cut: too long)")
    assert 7000 < len(output) < 8100
    assert plugin_output.read(output).figures["leftovers"] == 3000


def test_remove_says_what_could_not_be_removed_and_why(littered):
    littered.set("endpoint", faults="delete-refused")

    state, output = littered.leftovers("--remove")

    assert (state, output.splitlines()[0].split(" | ")[0]) == (
        1,
        (
            "VM_LEFTOVERS WARNING - site: 2 leftovers, the oldest 3.2 h past its lease: server 4f1c (mon), volume 77aa (mon); "
            "not removed: removal of 77aa is not allowed (cause=teardown)"
        ),
    )
    assert "leftovers=2;0;;0" in output


def test_a_leftover_that_cannot_be_removed_does_not_stop_the_others(littered):
    plant(littered, Kind.SERVER, "9e9e", EXPIRED.format("bbbbbbbb"))
    littered.cloud.things["4f1c"].undying = True

    state, output = littered.leftovers("--remove")

    assert state == 1
    assert "; 2 leftovers removed: " in output
    assert set(littered.cloud.things) == {"4f1c"}


def test_a_volume_goes_after_the_server_that_holds_it(littered):
    littered.cloud.things["77aa"].server, littered.cloud.things["77aa"].word = "4f1c", "ATTACHED"

    assert littered.leftovers("--remove")[0] == 0
    assert littered.cloud.things == {}


def test_strangers_are_never_removed(littered):
    for number, name in enumerate(STRANGERS):
        for kind in (Kind.SERVER, Kind.VOLUME, Kind.SNAPSHOT):
            plant(littered, kind, f"{kind.value}-{number}", name)
    before = set(littered.cloud.things) - {"4f1c", "77aa"}

    state, output = littered.leftovers("--remove")

    assert (state, set(littered.cloud.things)) == (0, before)
    assert " 2 leftovers removed: " in output.splitlines()[0]


@pytest.fixture
def many(site, state_directory):
    """A site with 300 leftovers, each in a ledger of this host."""
    for number in range(300):
        handle = handles.parse(EXPIRED.format(f"{number:08}"))
        plant(site, Kind.SERVER, f"s{number}", str(handle))
        ledger = Ledger.begin(ledgers.directory(str(state_directory), "site"), handle)
        ledger.created([Ref(Kind.SERVER, f"s{number}", str(handle))], 0.0)
        ledger.close(settled=False)
    return site


def test_more_leftovers_than_this_process_may_open_files_are_removed(many, state_directory):
    with files_open_at_most(len(os.listdir("/proc/self/fd")) + 130):
        state, output = many.leftovers("--remove")

    assert (state, output.partition(": server")[0]) == (
        0,
        "VM_LEFTOVERS OK - site: 300 leftovers removed",
    )
    assert many.cloud.things == {} and list(state_directory.rglob("*.ledger")) == []


def test_what_there_was_no_time_to_remove_is_reported_and_removed_the_next_time(many, monkeypatch):
    serve = many.cloud.serve

    def slowly(*arguments):
        many.clock.sleep(0.5)
        return serve(*arguments)

    monkeypatch.setattr(many.cloud, "serve", slowly)
    left, codes = [300], []

    while left[-1]:
        state, output = many.leftovers("--remove")
        codes.append(state)
        left.append(len(many.cloud.things))
        assert left[-1] < left[-2] and plugin_output.read(output).figures["leftovers"] >= left[-1]
        assert plugin_output.read(output).figures["total"] <= 300.5

    assert set(codes[:-1]) == {1}


@contextlib.contextmanager
def files_open_at_most(number):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_run_whose_ledger_cannot_be_opened_may_live_and_is_spared(littered, state_directory):
    handle = handles.parse(EXPIRED.format("aaaaaaaa"))
    run = Ledger.begin(ledgers.directory(str(state_directory), "site"), handle)
    with files_open_at_most(
        len(os.listdir("/proc/self/fd")) - 1
    ):  # one more, because the directory is listed
        taken = Ledger.lock(str(state_directory), handle)
    state, _ = littered.leftovers("--remove")
    run.close(settled=True)

    assert (taken, state, set(littered.cloud.things)) == (None, 0, {"4f1c", "77aa"})


def test_two_owners_without_a_letter_of_ours_are_two(site):
    site.set("site", owner="\u00fc")
    plant(
        site, Kind.SERVER, "4f1c", f"vmprobe-{owner_word(chr(0xFC))}-20270115t040000z-48-aaaaaaaa"
    )
    plant(site, Kind.SERVER, "77aa", "vmprobe-host-20270115t040000z-48-aaaaaaaa")

    assert site.leftovers("--remove", "--owner", "\u00df")[0] == 0
    assert set(site.cloud.things) == {"4f1c", "77aa"}
    site.leftovers("--remove")
    assert set(site.cloud.things) == {"77aa"}


def test_other_owners_leftovers_are_shown_with_v_counted_only_with_all_owners_and_never_removed(
    site,
):
    name = "vmprobe-mon2-20270115t040000z-48-aaaaaaaa"
    plant(site, Kind.SERVER, "4f1c", name)
    leftover = f"server 4f1c of mon2, 3.2 h past its lease: {name}"

    assert site.leftovers() == (0, "VM_LEFTOVERS OK - site: nothing is left behind | " + NOTHING)
    assert leftover in site.leftovers("-v")[1].splitlines()
    state, output = site.leftovers("--all-owners", "--remove")
    assert (state, output.splitlines()[0].split(" | ")[0]) == (
        1,
        (
            "VM_LEFTOVERS WARNING - site: 1 leftover, the oldest 3.2 h past its lease: server 4f1c (mon2)"
        ),
    )
    assert output.splitlines()[1:] == [leftover]
    assert set(site.cloud.things) == {"4f1c"}


def test_the_owner_can_be_a_host_that_is_no_more(site):
    plant(
        site,
        Kind.SERVER,
        "4f1c",
        f"vmprobe-{owner_word('old-mon.example')}-20270115t040000z-48-aaaaaaaa",
    )

    assert (
        "1 leftover removed: server 4f1c (old-mon-exam-d4e84)"
        in site.leftovers("--remove", "--owner", "Old-Mon.example")[1]
    )
    assert site.cloud.things == {}


def test_names_that_only_resemble_a_handle_are_named_at_v(site):
    plant(site, Kind.SERVER, "4f1c", "vmprobe-mon-2026")

    assert site.leftovers("-v")[1].splitlines()[1:] == [
        "server 4f1c is called vmprobe-mon-2026, which is no handle",
        "requests 4",
    ]


@pytest.mark.parametrize(
    "fault, code, line",
    [
        ("reset", 2, "CRITICAL - site: list: connection reset by peer (cause=gateway)"),
        ("500", 2, "CRITICAL - site: list: 500 internal server error (cause=gateway)"),
        ("malformed", 2, "CRITICAL - site: list: the reply is not understood (cause=gateway)"),
        ("403", 2, "CRITICAL - site: list: 403 not allowed (cause=auth)"),
        ("hang", 2, "CRITICAL - site: list: no answer within 30 s (cause=gateway)"),
    ],
)
@pytest.mark.parametrize("kind", [0, 1, 2])
def test_a_cloud_that_does_not_answer_for_one_kind_is_never_nothing_there(
    site, fault, code, line, kind
):
    site.cloud.plot.update({2 + kind + number: fault for number in range(3)})

    state, output = site.leftovers("--remove")

    assert (state, output.split(" | ")[0]) == (code, "VM_LEFTOVERS " + line)
    assert "leftovers=" not in output


def test_one_failure_that_passes_is_asked_again(site):
    site.cloud.plot.update({1: "503", 3: "reset", 6: "429", 8: "401"})

    assert site.leftovers()[0] == 0


def test_an_expired_deadline_is_unknown(site):
    site.cloud.plot.update({2: "hang", 3: "hang"})

    state, output = site.leftovers("-t", "20")

    assert (state, output) == (
        3,
        "VM_LEFTOVERS UNKNOWN - site: list: no answer within 20 s; the deadline of 20 s passed (cause=gateway) | total=20s;;;0",
    )


def test_as_a_process_it_is_one_clean_line():
    code, output, errors = run_probe("check_vm_leftovers", "--site", "memory")

    assert (code, errors) == (0, "")
    assert output.startswith(
        "VM_LEFTOVERS OK - memory: nothing is left behind | leftovers=0;0;;0 memory=0B;;;0 "
    )
    assert run_probe("check_vm_leftovers", "--remvoe") == (
        3,
        "VM_LEFTOVERS UNKNOWN - unrecognized arguments: --remvoe (see check_vm_leftovers --help)\n",
        "",
    )
