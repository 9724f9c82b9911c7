"""The clean-up goes on whatever happens in it, and ends when it can."""

from disasters import HOUR, Disaster
from vmprobe.checks.lifecycle import command
from vmprobe.checks.options import load_site
from vmprobe.core.errors import NotFound, NotPermitted
from vmprobe.core.model import Kind


def requests(world, word):
    return [request for request in world.cloud.log if request.startswith(word)]


def test_a_cloud_that_says_404_to_everything_does_not_count_as_empty(tmp_path, monkeypatch):
    """A gateway that has lost what is behind it says 404 to everything."""
    world = Disaster(tmp_path / "world")
    serve = world.cloud.serve

    def lost(description, act, limit):
        if any(request.startswith("attach") for request in world.cloud.log):
            raise NotFound(f"{description}: 404 no route matches")
        return serve(description, act, limit)

    monkeypatch.setattr(world.cloud, "serve", lost)

    code, output = world.run("-v")

    assert (code, output.text) == (
        2,
        "site: storage: server ser-2 was RUNNING and is no longer there (cause=scheduler); "
        "unknown whether anything is left behind",
    )
    assert [line for line in output.details if "is left under the handle: list " in line] != []
    monkeypatch.undo()
    world.clock.sleep(HOUR)
    assert (world.run()[0], world.ours(), world.ledgers()) == (0, [], [])


def test_what_was_never_sent_is_not_looked_for(tmp_path):
    world = Disaster(tmp_path / "world")
    world.cloud.faults.add(
        "gone-for-good"
    )  # every connection is refused while anything runs, as it does from the start
    world.cloud.things["x-0"].word = "RUNNING"
    world.cloud.faults.clear()
    serve = world.cloud.serve

    def refused(request, act, limit):
        if request.startswith(("create", "list")):
            from vmprobe.core.errors import Unreachable

            world.cloud.log.append(request)
            raise Unreachable("connection refused", sent=False)
        return serve(request, act, limit)

    world.cloud.serve = refused

    code, output = world.run()

    assert (code, output.text) == (2, "site: submit: connection refused (cause=gateway)")
    assert requests(world, "list") == []
    assert output.figures["total"] == 0


def test_a_session_that_is_rejected_for_good_ends_the_clean_up_at_once(tmp_path):
    world = Disaster(tmp_path / "world")
    world.clock.at(
        5, lambda: (world.cloud.faults.add("auth-rejected"), world.cloud.sessions.clear())
    )
    serve = world.cloud.serve

    def rejected(request, act, limit):
        if "auth-rejected" in world.cloud.faults and request != "connect":
            from vmprobe.core.errors import AuthRejected

            raise AuthRejected("401 the project is disabled")
        return serve(request, act, limit)

    world.cloud.serve = rejected

    code, output = world.run()

    assert code == 2
    assert output.text.endswith("left behind: server ser-2, volume vol-1")
    assert output.figures["total"] < 15


def test_a_kind_that_was_not_asked_for_need_not_be_listable(tmp_path, monkeypatch):
    world = Disaster(tmp_path / "world")
    world.site.set("test vm", snapshot="no")
    listed = world.cloud.listed

    def forbidden(kind, name):
        if kind is Kind.SNAPSHOT:
            raise NotPermitted("snapshots are for administrators")
        return listed(kind, name)

    monkeypatch.setattr(world.cloud, "listed", forbidden)

    assert world.run()[0] == 0
    assert requests(world, "list snapshot") == []


def test_a_kind_of_which_nothing_is_owed_holds_up_no_debt(killed, monkeypatch):
    listed = killed.cloud.listed

    def forbidden(kind, name):
        if kind is Kind.SNAPSHOT:
            raise NotPermitted("snapshots are for administrators")
        return listed(kind, name)

    monkeypatch.setattr(killed.cloud, "listed", forbidden)
    killed.site.set("test vm", snapshot="no")

    code, output = killed.run("-v")

    assert (code, killed.ours(), killed.ledgers()) == (0, [], [])
    assert (
        "note: snapshots could not be listed, and none were asked for: snapshots are for administrators"
        in output.details
    )


def test_a_clean_up_ends_though_each_fifth_request_fails(tmp_path):
    world = Disaster(tmp_path / "world", faults={number: "500" for number in range(25, 400, 5)})

    code, output = world.run()

    assert (world.ours(), world.ledgers()) == ([], [])
    assert output.figures["total"] < 60


def test_a_failure_of_the_drivers_own_in_the_clean_up_does_not_end_it(tmp_path, monkeypatch):
    world = Disaster(tmp_path / "world")
    remove, times = world.cloud.remove, []

    def broken(identity):
        times.append(identity)
        if len(times) < 4:
            raise RuntimeError("a fault in the driver")
        remove(identity)

    monkeypatch.setattr(world.cloud, "remove", broken)

    assert world.run()[0] == 0
    assert world.ours() == world.ledgers() == []


def test_a_fleet_that_is_gone_at_once_is_listed_once_and_leaves_no_ledger(tmp_path):
    world = Disaster(tmp_path / "world", count=3)

    assert world.run()[0] == 0
    removal = next(
        number for number, request in enumerate(world.cloud.log) if request.startswith("delete")
    )
    assert [
        request.split()[:2] for request in world.cloud.log[removal:] if request.startswith("list")
    ] == [["list", "snapshot"], ["list", "volume"], ["list", "server"]]
    assert world.ledgers() == []


def test_an_endless_list_does_not_take_the_time_of_the_others(tmp_path, monkeypatch):
    world = Disaster(tmp_path / "world")
    monkeypatch.setenv("VMPROBE_STATE", str(world.state))
    options = command.parser().parse_args(["--site", str(world.site.write())])
    run = command.Run(load_site(options), options, world.clock)
    listed = world.cloud.listed

    def endless(kind, name):
        while kind is Kind.VOLUME:  # page after page, each in time
            world.clock.sleep(1)
            run.deadline.check()
        return listed(kind, name)

    monkeypatch.setattr(world.cloud, "listed", endless)

    outcome = run.verdict()

    assert (outcome.state, world.ours()) == (1, [])
    assert len(requests(world, "list server")) == 1
    assert len(requests(world, "list volume")) > 3


def test_the_next_run_does_not_look_for_what_was_gone_before_time_ran_out(tmp_path, monkeypatch):
    world = Disaster(tmp_path / "world", count=3)
    find, denied = world.cloud.find, []

    def slow(identity):
        if identity.startswith("vol") and identity not in world.cloud.things:
            denied.append(identity)
            world.clock.sleep(40)
        return find(identity)

    monkeypatch.setattr(world.cloud, "find", slow)
    world.site.set("budget", deadline="100 s", reserve="60 s")
    world.run()
    first = list(denied)

    world.clock.sleep(HOUR)
    monkeypatch.setattr(world.cloud, "find", find)
    world.cloud.log.clear()
    world.run()

    assert [
        request for request in requests(world, "show volume") if request.split()[-1] in first[:-1]
    ] == []
