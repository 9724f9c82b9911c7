"""Answers that lie, or lead elsewhere: nothing is deleted that is not ours, no secret leaves."""

import contextlib

import pytest

from rawserver import Server
from simulators.azure import DISK, REGION, VM
from vmprobe.core import handle
from vmprobe.core.errors import CloudError, Conflict, GatewayFailed, Incomplete, NotFound
from vmprobe.core.model import Kind, Ref, ServerSpec, State, VolumeSpec
from waiting import soon

NAME = "vmprobe-mon-20261128t120000z-6-abcdefgh"
assert handle.parse(NAME)


@pytest.fixture
def driver(world):
    found, test_vm = world.driver()
    found.connect()
    found.test_vm = test_vm
    yield found
    world.azure.delay = 0
    world.azure.groups.pop(NAME, None)
    for key in [key for key in world.azure.things if key[1] == NAME]:
        del world.azure.things[key]
    found.close()


def _changes(world):
    return [call for call in world.azure.calls if call.startswith("DELETE")]


def test_a_group_that_does_not_say_that_it_is_ours_is_not_deleted(world, driver):
    world.azure.put_group(NAME, {"location": REGION, "tags": {}})

    assert driver.list(Kind.SERVER, NAME) == []
    driver.delete(Ref(Kind.VOLUME, NAME, NAME))

    assert _changes(world) == ["DELETE disks"]
    assert NAME in world.azure.groups


def test_a_group_with_something_in_it_that_is_not_the_runs_is_not_deleted(world, driver):
    volume = driver.create(VolumeSpec(NAME, 2**30, driver.resolve(driver.test_vm)))
    world.azure.put_disk(
        DISK,
        NAME,
        "somebodys",
        {"location": REGION, "properties": {"creationData": {"createOption": "Empty"}}},
    )
    world.azure.settle(forever=True)

    driver.delete(volume)
    soon(lambda: _is_gone(driver, volume))

    assert _changes(world) == ["DELETE disks"]
    assert (DISK, NAME, "somebodys") in world.azure.things


def _is_gone(driver, ref):
    try:
        driver.show(ref)
    except NotFound:
        return True
    return False


def test_an_empty_group_of_a_run_is_listed_and_removed(world, driver):
    world.azure.put_group(NAME, {"location": REGION, "tags": {"vmprobe": NAME}})

    (found,) = driver.list(Kind.SERVER, "vmprobe-mon")

    assert (found.ref, found.state, found.provider_state) == (
        Ref(Kind.SERVER, NAME, NAME),
        State.PENDING,
        "a resource group that is empty, and is Succeeded",
    )
    driver.delete(found.ref)
    assert _changes(world) == ["DELETE group"]
    soon(lambda: _is_gone(driver, found.ref))


def test_an_interface_without_a_machine_is_listed_as_a_server_and_removed(world, driver):
    world.azure.faults.add("sku")
    with pytest.raises(CloudError):
        driver.create(ServerSpec(NAME, driver.resolve(driver.test_vm)))

    (found,) = driver.list(Kind.SERVER, NAME)

    assert (found.ref.id, found.state, found.provider_state) == (
        NAME,
        State.PENDING,
        "an interface without a machine",
    )
    driver.delete(found.ref)
    soon(lambda: _is_gone(driver, found.ref))
    assert _changes(world) == ["DELETE group"]


def test_what_an_ids_place_shows_of_another_thing_is_not_believed(world, driver):
    driver.create(VolumeSpec(NAME, 2**30, driver.resolve(driver.test_vm)))
    disk = world.azure.get(DISK, NAME, NAME)
    disk["id"] = disk["id"].replace("abcdefgh", "hgfedcba")

    with pytest.raises(GatewayFailed) as wrong:
        driver.show(Ref(Kind.VOLUME, NAME, NAME))
    assert str(wrong.value) == f"show volume {NAME}: the answer is about another resource"


@pytest.mark.parametrize("identity", ["", "../x", 7, None, "/subscriptions/s/\n"])
def test_a_list_with_an_id_that_is_none_is_no_list(world, driver, identity):
    driver.create(VolumeSpec(NAME, 2**30, driver.resolve(driver.test_vm)))
    world.azure.get(DISK, NAME, NAME)["id"] = identity

    with pytest.raises(GatewayFailed):
        driver.list(Kind.VOLUME, NAME)


def test_ids_in_other_letters_are_the_same(world, driver):
    volume = driver.create(VolumeSpec(NAME, 2**30, driver.resolve(driver.test_vm)))
    disk = world.azure.get(DISK, NAME, NAME)
    disk["id"] = disk["id"].upper()

    assert driver.show(volume).ref.id == volume.id


def test_an_attached_disk_is_kept_by_azure_and_the_refusal_is_not_now(world, driver):
    plan = driver.resolve(driver.test_vm)
    volume, server = (
        driver.create(VolumeSpec(NAME, 2**30, plan)),
        driver.create(ServerSpec(NAME, plan)),
    )
    soon(lambda: driver.show(server).state is State.READY)
    driver.attach(server, volume)
    soon(lambda: driver.show(volume).server)

    with pytest.raises(Conflict):
        driver.delete(volume)
    driver.attach(server, volume)

    assert len(world.azure.get(VM, NAME, NAME)["properties"]["storageProfile"]["dataDisks"]) == 1


def _lying(change):
    """A server that answers a list by what ``change`` makes of the URL."""

    def answer(request):
        import json

        target = request.target
        if b"oauth2" in target if isinstance(target, bytes) else "oauth2" in target:
            body = {"access_token": "a.secret.token-of-ours", "expires_in": 3599}
        else:
            body = change(target)
        text = json.dumps(body).encode()
        return (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (len(text), text)
        )

    return answer


def _driver_of(world, url):
    found, _ = world.driver(endpoint=f"login url = {url}\n")
    found.session.endpoint["url"] = url
    found.connect()
    return found


def test_pages_that_do_not_end_are_no_list(world):
    with Server(lambda request: b"") as server:
        server.answer = _lying(lambda target: {"value": [], "nextLink": f"{server.url}/again"})
        driver = _driver_of(world, server.url)
        with pytest.raises(Incomplete) as wrong:
            driver.list(Kind.VOLUME, "")
    assert str(wrong.value) == "list volumes: the pages of the list do not end"


def test_a_page_on_another_host_is_not_asked_for(world):
    with Server(lambda request: b"") as other, Server(lambda request: b"") as server:
        server.answer = _lying(lambda target: {"value": [], "nextLink": f"{other.url}/next"})
        driver = _driver_of(world, server.url)
        with pytest.raises(GatewayFailed):
            driver.list(Kind.VOLUME, "")
    assert other.requests == []


def test_the_token_is_not_sent_to_the_store_of_the_console(world):
    with Server(lambda request: b"") as store, Server(lambda request: b"") as server:
        store.answer = lambda request: b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
        address = f"{store.url}/log?sv=1&sig=c2VjcmV0LXNpZ25hdHVyZQ"
        server.answer = _lying(lambda target: {"serialConsoleLogBlobUri": address})
        driver = _driver_of(world, server.url)

        assert driver.console(Ref(Kind.SERVER, NAME, NAME)) == "hello"

    assert "token-of-ours" not in str(store.requests)
    text = "\n".join(driver.evidence.lines())
    assert "token-of-ours" not in text and "c2VjcmV0LXNpZ25hdHVyZQ" not in text


@pytest.mark.parametrize("body", [None, [], {}, {"value": 1}, {"value": [1]}, {"value": [{}]}, "x"])
def test_whatever_is_answered_only_errors_of_the_suite_come_out(world, body):
    with Server(lambda request: b"") as server:
        server.answer = _lying(lambda target: body)
        driver = _driver_of(world, server.url)
        for ask in (
            lambda: driver.list(Kind.SERVER, ""),
            lambda: driver.list(Kind.VOLUME, NAME),
            lambda: driver.show(Ref(Kind.SERVER, NAME, NAME)),
            lambda: driver.show(Ref(Kind.VOLUME, NAME, NAME)),
            lambda: driver.resolve(world.driver()[1]),
            lambda: driver.metrics(Ref(Kind.SERVER, NAME, NAME)),
            lambda: driver.capacity(),
            lambda: driver.console(Ref(Kind.SERVER, NAME, NAME)),
            lambda: driver.attach(Ref(Kind.SERVER, NAME, NAME), Ref(Kind.VOLUME, NAME, NAME)),
            lambda: driver.describe(),
        ):
            from vmprobe.core.errors import VmprobeError

            try:
                ask()
            except VmprobeError:
                pass


def test_a_name_that_is_used_a_second_time_is_removed_a_second_time(world, driver):
    plan = driver.resolve(driver.test_vm)
    for fault in ("", "reply-lost", "sku"):
        volume = driver.create(VolumeSpec(NAME, 2**30, plan))
        if fault == "reply-lost":
            world.azure.plot["PUT virtualmachines"] = fault
        else:
            world.azure.faults.add(fault)
        with contextlib.suppress(CloudError):
            driver.create(ServerSpec(NAME, plan))
        server = Ref(Kind.SERVER, NAME, NAME)
        for ref in (server, volume):
            soon(lambda ref=ref: _is_removed(driver, ref))

        assert world.azure.left() == []


def _is_removed(driver, ref):
    try:
        driver.delete(ref)
    except Conflict:
        return False
    return _is_gone(driver, ref)
