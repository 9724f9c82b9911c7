"""What the manager made for a server by itself is removed with it."""

from disasters import HOUR, Disaster
from running import MemorySite
from virtual import VirtualClock
from vmprobe.core import handle as handles
from vmprobe.core.errors import GatewayFailed, NotPermitted
from vmprobe.core.model import Ref, Resource, State

HANDLE = handles.Handle("mon", 1_800_000_000, 6, "abcdefgh")
NAME = str(HANDLE)


def shown(ref, name=NAME, server=""):
    return Resource(Ref(ref.kind, ref.id, name), State.READY, "ACTIVE", server=server)


def requests(world, word):
    return [request for request in world.cloud.log if request.startswith(word)]


def _number_of(tmp_path, word):
    """The number of the first request of an undisturbed run that begins so."""
    world = Disaster(tmp_path / "world")
    world.run()
    return next(
        number for number, request in enumerate(world.cloud.log, 1) if request.startswith(word)
    )


def test_a_port_that_outlives_its_server_is_removed(tmp_path):
    world = Disaster(
        tmp_path / "world", faults={_number_of(tmp_path, "delete server"): "port-left"}
    )

    assert world.run()[0] == 0
    assert (world.ours(), requests(world, "delete port")) == ([], ["delete port por-ser-2"])


def test_a_port_that_outlives_its_server_and_its_run_is_removed_by_the_next_run(tmp_path):
    removal = _number_of(tmp_path, "delete server")
    for number in range(removal + 1, removal + 8):
        world = Disaster(tmp_path / "world", faults={removal: "port-left", number: "killed-before"})
        world.run_and_be_killed()
        world.repaired()

        assert world.run()[0] == 0
        assert world.ours() == []
        world.clock.sleep(HOUR)  # a snapshot that no run was ever shown may appear until then
        assert world.run()[0] == 0
        assert world.ledgers() == []
        world.check_strangers()


def test_what_belongs_to_a_server_that_somebody_else_removes_is_removed(tmp_path):
    number = _number_of(tmp_path, "belongings")
    world = Disaster(tmp_path / "world")

    def removed_by_somebody():
        world.cloud._next = "port-left"
        world.cloud.remove("ser-2")

    world.cloud.killer = removed_by_somebody
    world.cloud.plot[number] = "killed-after"

    code, output = world.run()

    assert (code, output.text.split(":")[1]) == (2, " storage")
    assert (world.ours(), requests(world, "delete port")) == ([], ["delete port por-ser-2"])


def _world_without_belongings(tmp_path, monkeypatch, *silent):
    """A world in which requests that begin with one of these words fail, and the port of a removed server stays."""
    world = Disaster(tmp_path / "world")
    serve, remove = world.cloud.serve, world.cloud.remove

    def leaves_its_port(identity):
        if identity == "ser-2" and identity in world.cloud.things:
            world.cloud.things["por-ser-2"] = world.cloud.port_of(world.cloud.things[identity])
        remove(identity)

    world.cloud.remove = leaves_its_port

    def fails(request, act, limit):
        if request.startswith(silent):
            world.cloud.log.append(request)
            raise GatewayFailed(f"{request}: 503 busy")
        return serve(request, act, limit)

    monkeypatch.setattr(world.cloud, "serve", fails)
    return world


def test_a_port_is_found_and_removed_though_its_server_never_told_of_it(tmp_path, monkeypatch):
    world = _world_without_belongings(tmp_path, monkeypatch, "belongings")

    code, output = world.run("-v")

    assert (code, world.ours(), world.ledgers()) == (0, [], []), world.cloud.log
    assert (
        "note: what the manager made for server ser-2 is not known before its removal: belongings server ser-2: 503 busy"
        in output.details
    )
    assert requests(world, "delete port") == ["delete port por-ser-2"]


def test_a_server_does_not_count_as_gone_while_the_manager_does_not_say_what_it_left(
    tmp_path, monkeypatch
):
    world = _world_without_belongings(tmp_path, monkeypatch, "belongings", "left by")

    code, output = world.run()

    assert (code, output.text) == (
        1,
        "site: gone: server ser-2: deletion not confirmed: left by server ser-2: 503 busy (cause=teardown)",
    )
    monkeypatch.undo()
    assert (world.run()[0], world.ours()) == (0, [])


def test_the_belongings_of_a_server_that_never_ran_are_asked_for_again_when_it_is_gone(tmp_path):
    site = MemorySite(tmp_path, VirtualClock())
    site.cloud.faults.add("never-active")

    code, _ = site.lifecycle()

    assert code == 2
    assert [request for request in site.cloud.log if request.startswith("left by")] == [
        "left by server ser-2"
    ]


def test_a_port_that_cannot_be_removed_is_a_leftover(tmp_path, monkeypatch):
    world = Disaster(
        tmp_path / "world", faults={_number_of(tmp_path, "delete server"): "port-left"}
    )
    remove = world.cloud.remove

    def refused(identity):
        if identity.startswith("por-"):
            raise NotPermitted("ports are removed by administrators")
        remove(identity)

    monkeypatch.setattr(world.cloud, "remove", refused)

    code, output = world.run()

    assert (code, output.text) == (
        1,
        "site: gone: port por-ser-2: deletion not confirmed: ports are removed by administrators "
        "(cause=teardown)",
    )
    assert output.figures["leftovers"] == 1


def test_a_port_that_somebody_else_has_taken_is_left_alone(tmp_path):
    world = Disaster(
        tmp_path / "world", faults={_number_of(tmp_path, "delete server"): "port-left"}
    )
    remove = world.cloud.remove

    def taken(identity):
        remove(identity)
        if identity == "ser-2":
            world.cloud.things["por-ser-2"].server = "x-14"

    world.cloud.remove = taken

    code, output = world.run("-v")

    assert (code, world.ours()) == (0, ["port por-ser-2 "])
    assert (
        "note: port por-ser-2 belongs to server x-14 and is not ours: it is not touched"
        in output.details
    )
