"""vmprobectl sites import: site files follow the catalogue, and people's edits stay."""

from importing import CSV, GOCDB, NAME, sites_import
from vmprobe.site import site


def test_new_sites_are_whole_site_files(table, output):
    assert sites_import("csv", table, output) == (
        0,
        "one: added\ntwo: added\n2 sites found, 0 services skipped\n",
        "",
    )

    one = site.load(str(output / "one.ini"))
    assert (one.name, one.endpoint["url"], one.labels) == (
        "one",
        "memory://one",
        {"vo": "ops", "country": "es"},
    )


def test_defaults_complete_a_new_site_and_the_catalogue_takes_precedence(table, output, tmp_path):
    (tmp_path / "defaults.ini").write_text(
        "[endpoint]\nurl = memory://never\n[budget]\ndeadline = 120 s ; short\n"
    )

    sites_import("csv", table, output, "--defaults", str(tmp_path / "defaults.ini"))

    one = site.load(str(output / "one.ini"))
    assert (one.endpoint["url"], one.deadline) == ("memory://one", 120.0)


def test_the_second_time_there_is_nothing_to_do(table, output):
    sites_import("csv", table, output)
    before = {path.name: path.stat().st_ino for path in output.iterdir()}

    assert sites_import("csv", table, output) == (0, "2 sites found, 0 services skipped\n", "")
    assert {path.name: path.stat().st_ino for path in output.iterdir()} == before


def test_only_values_that_changed_in_the_catalogue_change(table, output):
    sites_import("csv", table, output)
    path = output / "one.ini"
    path.write_text(
        path.read_text().replace("url = memory://one", "url   =  memory://one   ; theirs")
        + "\n[schedule]\ninterval = 2 h\n"
    )
    before = path.read_text()
    table.write_text(CSV.replace("memory://one", "memory://new"))

    assert (
        sites_import("csv", table, output)[1].splitlines()[0]
        == "one: [endpoint] url is now memory://new"
    )
    assert path.read_text() == before.replace("memory://one", "memory://new")


def test_a_value_that_a_person_changed_stays_and_is_reported(table, output):
    sites_import("csv", table, output)
    path = output / "one.ini"
    path.write_text(path.read_text().replace("memory://one", "memory://mine"))
    table.write_text(CSV.replace("memory://one", "memory://new"))

    assert sites_import("csv", table, output)[1].splitlines()[0] == (
        "one: [endpoint] url was edited by hand; not changed to memory://new"
    )
    assert "url = memory://mine" in path.read_text()


def test_a_new_field_of_the_catalogue_is_added_and_a_person_s_key_stays(table, output):
    sites_import("csv", table, output)
    path = output / "two.ini"
    path.write_text(
        path.read_text().replace("image = vmprobe-test", "image = vmprobe-test\nflavor = mine")
    )
    before = {name: (output / name).read_text() for name in ("one.ini", "two.ini")}
    table.write_text(
        CSV.replace("country", "flavor").replace(",es", ",tiny").replace(",fusion,", ",fusion,tiny")
    )

    assert sites_import("csv", table, output)[1].splitlines()[:2] == [
        "one: [test vm] flavor is now tiny",
        "two: [test vm] flavor was edited by hand; not changed to tiny",
    ]
    assert (output / "one.ini").read_text() == before["one.ini"].replace(
        "image = vmprobe-test", "image = vmprobe-test\nflavor = tiny"
    )
    assert (output / "two.ini").read_text() == before["two.ini"]


def test_a_change_that_breaks_the_site_file_is_refused_each_time_until_a_good_one_comes(
    table, output
):
    sites_import("csv", table, output)
    table.write_text(CSV.replace("memory,memory://one", "pigeon,memory://one"))
    for _ in range(2):
        assert (
            sites_import("csv", table, output)[1]
            .splitlines()[0]
            .startswith("one: refused: one.ini [endpoint] manager: 'pigeon' is ")
        )

    table.write_text(CSV.replace("memory://one", "memory://new"))
    assert (
        sites_import("csv", table, output)[1].splitlines()[0]
        == "one: [endpoint] url is now memory://new"
    )


def test_of_two_entries_of_one_name_the_first_is_used_and_both_are_reported(table, output):
    table.write_text(
        "name,manager,url\nA B,memory,memory://one\nA/B,memory,memory://two\n../../A B,memory,memory://one\n"
    )

    assert sites_import("csv", table, output)[1].splitlines() == [
        "A-B: appears twice; [endpoint] url is memory://one in the first entry, which is used, and memory://two in another",
        "A-B: added",
        "1 site found, 0 services skipped",
    ]
    assert "memory://one" in (output / "A-B.ini").read_text()


def test_files_of_an_interrupted_import_still_follow_the_catalogue(table, output):
    sites_import("csv", table, output)
    (output / ".vmprobe-import.json").unlink()  # as it is written last
    assert sites_import("csv", table, output) == (0, "2 sites found, 0 services skipped\n", "")
    memory = (output / ".vmprobe-import.json").read_bytes()
    table.write_text(CSV.replace("memory://one", "memory://new"))
    sites_import("csv", table, output)
    (output / ".vmprobe-import.json").write_bytes(memory)

    assert sites_import("csv", table, output) == (0, "2 sites found, 0 services skipped\n", "")
    table.write_text(CSV)
    assert (
        sites_import("csv", table, output)[1].splitlines()[0]
        == "one: [endpoint] url is now memory://one"
    )


def test_a_site_file_can_be_read_by_the_monitoring_user_and_its_mode_stays(table, output):
    sites_import("csv", table, output)
    assert {path.stat().st_mode & 0o777 for path in output.glob("*.ini")} == {0o644}
    (output / "one.ini").chmod(0o640)
    table.write_text(CSV.replace("memory://", "memory://new-"))

    sites_import("csv", table, output)
    assert [(output / name).stat().st_mode & 0o777 for name in ("one.ini", "two.ini")] == [
        0o640,
        0o644,
    ]


def test_a_missing_directory_is_named(table, tmp_path):
    assert sites_import("csv", table, tmp_path / "nowhere") == (
        1,
        "",
        f"vmprobectl: {tmp_path}/nowhere: No such directory\n",
    )


def test_a_site_that_is_no_longer_found_is_reported_and_stays(table, output):
    sites_import("csv", table, output)
    table.write_text("\n".join(CSV.splitlines()[:2]) + "\n")

    assert sites_import("csv", table, output)[1].splitlines()[0] == (
        "two: no longer found; its file stays, remove it if that is right"
    )
    assert (output / "two.ini").exists()


def test_a_file_that_somebody_wrote_or_removed_stays_so(table, output):
    (output / "one.ini").write_text("; mine\n")
    sites_import("csv", table, output)
    (output / "two.ini").unlink()

    assert sites_import("csv", table, output)[1].splitlines()[:2] == [
        "one: a file that somebody else wrote exists; it stays as it is",
        "two: its file was removed by somebody; not written again",
    ]
    assert (output / "one.ini").read_text() == "; mine\n"


def test_an_entry_that_gives_no_valid_site_file_is_refused_and_the_others_are_written(
    table, output
):
    table.write_text(CSV.replace("memory,memory://one", "pigeon,memory://one"))

    code, said, _ = sites_import("csv", table, output)

    assert code == 0
    assert said.splitlines()[0].startswith(
        "one: refused: one.ini [endpoint] manager: 'pigeon' is neither one of memory, "
    )
    assert sorted(path.name for path in output.glob("*.ini")) == ["two.ini"]


def test_check_writes_nothing_and_exits_1(table, output):
    assert sites_import("csv", table, output, "--check")[0] == 1
    assert list(output.iterdir()) == []
    sites_import("csv", table, output)

    assert sites_import("csv", table, output, "--check") == (
        0,
        "2 sites found, 0 services skipped\n",
        "",
    )
    table.write_text(CSV.splitlines()[0] + "\n")
    assert sites_import("csv", table, output, "--check")[0] == 0, (
        "there is something to tell, and nothing to write"
    )


EMPTIED = "name,manager,url,flavor,country,image\none,memory,memory://one,{},{},{}\n"


def test_an_emptied_cell_takes_effect_and_is_reported(table, output):
    table.write_text(EMPTIED.format("m1.tiny", "es", "mine"))
    sites_import("csv", table, output)
    table.write_text(EMPTIED.format("", "", ""))

    assert sites_import("csv", table, output) == (
        0,
        "one: [labels] country is removed; it was es\none: [test vm] flavor is removed; it was m1.tiny\n"
        "one: [test vm] image is now vmprobe-test\n1 site found, 0 services skipped\n",
        "",
    )
    assert (output / "one.ini").read_text() == (
        "; From csv. What a person changes here stays as it is.\n[site]\nname = one\n\n[endpoint]\nmanager = memory\nurl = memory://one\n\n"
        "[test vm]\nimage = vmprobe-test\n\n[labels]\n"
    )
    assert sites_import("csv", table, output) == (0, "1 site found, 0 services skipped\n", "")

    table.write_text(EMPTIED.format("m1.small", "pt", "other"))
    assert sites_import("csv", table, output)[1].splitlines()[:3] == [
        "one: [labels] country is now pt",
        "one: [test vm] flavor is now m1.small",
        "one: [test vm] image is now other",
    ]
    found = site.load(str(output / "one.ini"))
    assert (found.labels, found.test_vm["flavor"], found.test_vm["image"]) == (
        {"country": "pt"},
        "m1.small",
        "other",
    )


def test_an_emptied_cell_leaves_what_a_person_changed(table, output):
    table.write_text(EMPTIED.format("m1.tiny", "es", ""))
    sites_import("csv", table, output)
    path = output / "one.ini"
    path.write_text(path.read_text().replace("m1.tiny", "mine"))
    table.write_text(EMPTIED.format("", "es", ""))

    assert (
        sites_import("csv", table, output)[1].splitlines()[0]
        == "one: [test vm] flavor was edited by hand; not removed"
    )
    assert "flavor = mine\n" in path.read_text()


def test_an_emptied_cell_that_a_site_file_needs_is_refused(table, output):
    sites_import("csv", table, output)
    table.write_text(CSV.replace("one,memory,", "one,,"))

    assert (
        sites_import("csv", table, output)[1].splitlines()[0]
        == "one: refused: one.ini [endpoint] manager: this key is missing"
    )
    assert site.load(str(output / "one.ini")).endpoint["manager"] == "memory"


def test_a_label_that_gocdb_no_longer_has_is_removed(tmp_path, output):
    place = tmp_path / "gocdb.xml"
    place.write_text(GOCDB)
    sites_import("gocdb", place, output)
    place.write_text(GOCDB.replace("    <COUNTRY_CODE>ES</COUNTRY_CODE>\n", ""))

    assert (
        sites_import("gocdb", place, output)[1].splitlines()[0]
        == f"{NAME}: [labels] country is removed; it was es"
    )
    assert site.load(str(output / f"{NAME}.ini")).labels == {"site": "CESGA", "ngi": "NGI_IBERGRID"}


def test_a_removed_column_leaves_its_values_and_is_reported(table, output):
    sites_import("csv", table, output)
    table.write_text(
        "name,manager,url,country\none,memory,memory://one,es\ntwo,memory,memory://two,\n"
    )

    assert sites_import("csv", table, output)[1].splitlines()[0] == (
        "[labels] vo: the catalogue no longer has this field; it stays in 2 site files, remove it there if that is right"
    )
    assert site.load(str(output / "one.ini")).labels == {"vo": "ops", "country": "es"}
