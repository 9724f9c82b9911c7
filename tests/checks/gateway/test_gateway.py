"""check_vm_gateway over the cloud in memory: each verdict as the whole line."""

import json

STEPS = "auth=0s;;;0 image=0s;;;0 list=0s;;;0 total=0s;;;0 version=0s;;;0"


def test_ok_when_every_step_is_good_and_nothing_was_created(site):
    assert site.probe("gateway") == (
        0,
        (
            "VM_GATEWAY OK - site: in-memory 1 answers in 0 s (auth 0 s, list 0 s, image 0 s) | "
            + STEPS
        ),
    )
    assert site.cloud.things == {}
    assert [request.split()[0] for request in site.cloud.log] == [
        "connect",
        "describe",
        "list",
        "list",
        "list",
        "resolve",
    ]


def test_critical_when_the_credential_is_rejected(site):
    site.set("endpoint", faults="auth-rejected")

    assert site.probe("gateway") == (
        2,
        (
            "VM_GATEWAY CRITICAL - site: auth: user probe is not accepted (cause=auth) | total=0s;;;0"
        ),
    )


def test_critical_when_the_image_is_missing(site):
    site.set("test vm", image="vmprobe-tset")

    assert site.probe("gateway") == (
        2,
        (
            "VM_GATEWAY CRITICAL - site: image: no image named 'vmprobe-tset' (cause=image) | "
            "auth=0s;;;0 list=0s;;;0 total=0s;;;0 version=0s;;;0"
        ),
    )


def test_critical_when_the_manager_fails_again_and_again(site):
    site.set("endpoint", faults="503@3,503@4,503@5")

    assert site.probe("gateway") == (
        2,
        (
            "VM_GATEWAY CRITICAL - site: list: 503 service unavailable (cause=gateway) | "
            "auth=0s;;;0 total=3s;;;0 version=0s;;;0"
        ),
    )


def test_one_failure_that_passes_is_waited_out_and_shows_as_time(site):
    site.set("endpoint", faults="503@3")

    assert site.probe("gateway", "-w", "list=1") == (
        1,
        (
            "VM_GATEWAY WARNING - site: list 1.5 s is outside 1 (warning); in-memory 1 answers in 1.5 s "
            "(auth 0 s, list 1.5 s, image 0 s) | auth=0s;;;0 image=0s;;;0 list=1.5s;1;;0 total=1.5s;;;0 version=0s;;;0"
        ),
    )


def test_unknown_when_the_time_is_over(site):
    site.set("endpoint", faults="hang@1,hang@2,hang@3", timeout="30 s")

    assert site.probe("gateway", "-t", "20") == (
        3,
        (
            "VM_GATEWAY UNKNOWN - site: auth: no answer within 20 s; the deadline of 20 s passed (cause=gateway) | total=20s;;;0"
        ),
    )


def test_critical_when_the_time_is_over_in_a_step_above_its_critical_range(site):
    site.set("endpoint", faults="hang@1,hang@2,hang@3", timeout="30 s")

    assert site.probe("gateway", "-t", "20", "-c", "auth=10") == (
        2,
        (
            "VM_GATEWAY CRITICAL - site: auth: no answer within 20 s; the deadline of 20 s passed (cause=gateway) | total=20s;;;0"
        ),
    )


def test_a_site_can_map_a_cause_to_another_state(site):
    site.set("endpoint", faults="auth-rejected").set("verdict", auth="UNKNOWN")

    assert site.probe("gateway")[0] == 3


def test_capabilities_are_a_table_and_json(site, tmp_path):
    path = tmp_path / "gateway.json"
    state, output = site.probe("gateway", "--capabilities", "--json", str(path))

    assert (state, output.splitlines()[1:]) == (
        0,
        [
            "manager          in-memory",
            "volumes          yes",
            "console          yes",
            "metrics          yes",
            "snapshots        yes",
            "capacity         yes",
            "bulk             yes",
            "images           yes",
            "ports            no",
            "firewall rules   no",
            "metrics by name  cpu (when asked), disk_read (when asked), disk_write (when asked), net_in (when asked), "
            "net_out (when asked)",
            "version          1",
            "hypervisors      none",
            f"the JSON is in {path}",
        ],
    )
    document = json.loads(path.read_text())
    assert (document["state"], document["site"], document["certificates"]) == ("OK", "site", [])
    assert document["capabilities"]["hypervisors"] == ["none"]
    assert document["capabilities"]["ports"] is False
    assert [stage["stage"] for stage in document["stages"]] == ["auth", "version", "list", "image"]


def test_offers_are_requested_last_and_only_when_they_are_shown(site, tmp_path):
    for options, offers in (
        ((), 0),
        (("-v",), 0),
        (("--capabilities",), 1),
        (("--json", str(tmp_path / "g.json")), 1),
    ):
        before = len(site.cloud.log)
        assert site.probe("gateway", *options)[0] == 0
        asked = [request.split()[0] for request in site.cloud.log[before:]]
        assert (asked.count("offers"), asked[-1]) == (offers, "offers" if offers else "resolve")


def test_offers_that_cannot_be_read_are_a_note_and_do_not_change_the_state(site):
    site.set("endpoint", faults="403@7")

    state, output = site.probe("gateway", "--capabilities", "-v")

    assert state == 0
    assert "\nnote: what else it offers is not known: 403 not allowed\n" in output


def test_v_shows_the_steps_and_the_parts(site):
    assert site.probe("gateway", "-v")[1].splitlines()[1:] == [
        "a test VM would have image vmprobe-test, flavor tiny, network inside",
        "auth      0 s",
        "version   0 s",
        "list      0 s",
        "image     0 s",
        "requests 6",
    ]
