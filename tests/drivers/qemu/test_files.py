"""Directories of servers and volumes: what else may lie there, and which user they belong to."""

import os

import pytest

from vmprobe.core.errors import ClientError
from vmprobe.core.model import Kind, Ref, VolumeSpec

pytest.importorskip("qemu.qmp", reason="Python's qemu.qmp is not installed")
FOREIGN = {
    "a pipe": os.mkfifo,
    "a file": lambda path: path.write_text(""),
    "a link": lambda path: path.symlink_to(path.parent.parent.parent / "theirs"),
    "a dangling link": lambda path: path.symlink_to("/nowhere"),
    "a directory": os.mkdir,
}


@pytest.mark.parametrize("kind", [Kind.SERVER, Kind.VOLUME], ids=lambda kind: kind.value)
@pytest.mark.parametrize("what", FOREIGN)
def test_what_lies_in_the_place_of_a_server_or_volume_is_shown_and_removed(place, what, kind):
    (place.directory / "theirs").mkdir()
    (place.directory / "theirs" / "file").write_text("kept")
    driver = place.driver()
    place.path(kind.value).parent.mkdir(parents=True, mode=0o700)
    place.base.chmod(0o700)
    FOREIGN[what](place.path(kind.value))

    (resource,) = driver.list(kind, place.handle)
    driver.delete(resource.ref)

    assert driver.list(kind, place.handle) == []
    assert (place.directory / "theirs" / "file").read_text() == "kept"


@pytest.mark.parametrize("name", ["console", "stderr"])
def test_a_pipe_in_the_place_of_what_a_server_said_is_not_waited_for(place, name):
    driver = place.driver()
    place.path().mkdir(parents=True, mode=0o700)
    place.base.chmod(0o700)
    os.mkfifo(place.path() / name)

    (server,) = driver.list(Kind.SERVER, place.handle)

    assert (server.provider_state, server.fault) == ("dead", "it ended without any message")
    assert driver.console(server.ref) == ""


@pytest.mark.parametrize(
    "make",
    [os.mkfifo, lambda path: path.write_text(""), lambda path: path.symlink_to("/tmp")],
    ids=["pipe", "file", "link"],
)
def test_what_is_no_directory_of_servers_is_named_before_anything_is_started(place, make):
    place.base.mkdir(mode=0o700)
    make(place.base / "server")

    with pytest.raises(ClientError) as raised:
        place.driver()
    assert (
        str(raised.value)
        == f"{place.base}/server is not a directory; servers and volumes have to lie in {place.base}"
    )


def test_names_with_line_ends_and_names_that_lead_elsewhere_are_nobody_s(place):
    driver = place.driver()
    (place.base / "server").mkdir(parents=True, mode=0o700)
    place.base.chmod(0o700)
    (place.base / "server" / f"{place.handle}\n").mkdir()

    driver.delete(Ref(Kind.SERVER, "../../theirs", "../../theirs"))

    assert driver.list(Kind.SERVER, f"{place.handle}-") == []
    assert (place.base / "server" / f"{place.handle}\n").is_dir()


@pytest.mark.parametrize(
    "mode, name", [(0o700, "qemu"), (0o755, "qemu"), (0o2770, f"qemu-{os.geteuid()}")]
)
def test_in_a_state_directory_that_others_share_each_user_has_a_place_of_its_own(
    place, state_directory, mode, name
):
    """A QEMU of another user can neither be seen nor ended."""
    state_directory.mkdir()
    state_directory.chmod(mode)
    driver = place.driver(base=False)

    driver.create(VolumeSpec(place.handle, 512))

    assert driver.identity == f"qemu {state_directory}/{name}"
    assert (state_directory / name / "volume" / place.handle).stat().st_size == 512


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_what_root_does_by_hand_in_another_user_s_state_directory_shuts_nobody_out(
    place, state_directory
):
    state_directory.mkdir()
    os.chown(state_directory, 65534, 65534)

    assert place.driver(base=False).identity == f"qemu {state_directory}/qemu-0"
