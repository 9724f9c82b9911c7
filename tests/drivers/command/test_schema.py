"""The published schema is what the driver sends and accepts, and the page has the exit codes of the code."""

import json
import re
import shutil

import pytest

from outside.webserver import WebServer
from running import CHECKOUT, run_probe
from simulators.command_sites import EXAMPLE, example_site, write_site
from vmprobe.core.errors import CAUSES
from vmprobe.core.model import RESOURCES, Capability
from vmprobe.drivers.command.keys import ALL_METRICS, OFFERS
from vmprobe.drivers.command.program import ERRORS, NOTHING_SENT

SCHEMA = json.loads((CHECKOUT / "docs" / "drivers" / "command.schema.json").read_text())
PAGE = (CHECKOUT / "docs" / "drivers" / "command.md").read_text()
MINIMAL = EXAMPLE.with_name("minimal")
DEFS = SCHEMA["$defs"]
VERBS = sorted(name[len("answer-") :] for name in DEFS if name.startswith("answer-"))


def validator(name):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": DEFS})


def recorder(directory):
    """A command that keeps what the example is asked and what it answers."""
    path, number = directory / "recorder", directory / "number"
    path.write_text(
        f"""#!/bin/sh
echo >>'{number}'
file='{directory}'/$(wc -l <'{number}')-$1
cat >"$file.request"
'{EXAMPLE}' "$@" <"$file.request" >"$file.answer"
code=$?
cat "$file.answer"
exit $code
"""
    )
    path.chmod(0o755)
    return path


def test_every_request_and_answer_of_whole_checks_is_valid(tmp_path):
    with WebServer() as server:
        recorded = tmp_path / "recorded"
        recorded.mkdir()
        path = example_site(
            tmp_path,
            server.url + "/v1",
            command=recorder(recorded),
            test_vm={"snapshot": "yes", "options": "tier=gold"},
        )
        for check in ("lifecycle", "gateway", "capacity", "image"):
            more = ["--image", "vmprobe-test"] if check == "image" else []
            code, output, _ = run_probe(f"check_vm_{check}", "--site", str(path), *more)
            assert code == 0, output

    seen = set()
    for request in recorded.glob("*.request"):
        verb = request.stem.partition("-")[2]
        seen.add(verb)
        validator(f"request-{verb}").validate(json.loads(request.read_text()))
        answer = json.loads(request.with_suffix(".answer").read_text())
        validator("failure" if "error" in answer else f"answer-{verb}").validate(answer)
    assert sorted(seen) == VERBS


def test_the_schema_has_the_words_of_the_suite():
    samples = DEFS["answer-metrics"]["properties"]["samples"]["items"]["properties"]
    limits = DEFS["answer-capacity"]["properties"]["limits"]["items"]["properties"]

    assert samples["metric"]["enum"] == [*ALL_METRICS]
    assert limits["name"]["enum"] == [*RESOURCES]
    assert DEFS["failure"]["properties"]["cause"]["enum"] == [*CAUSES]
    assert {*OFFERS} == {each.value for each in Capability} - {"ports"}


def test_the_page_has_the_exit_codes():
    codes = dict(re.findall(r"^\| (2\d\d) \| (\w+)", PAGE, re.M))

    assert codes == {str(code): kind.__name__ for code, kind in ERRORS.items()}
    assert f"| {NOTHING_SENT} | Unreachable: surely nothing was sent" in PAGE


def test_the_page_has_every_verb():
    table = PAGE.partition("## What it returns")[2]

    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.M)) == VERBS


FARM = """#!/bin/sh
cd "$(dirname "$0")" || exit
case $1 in
start) echo "$2 UP 10.0.0.2" >"server-$2" ;;
stop) rm -f "server-$2" ;;
list) cat server-* 2>/dev/null || : ;;
esac
"""


def test_the_page_shows_the_shortest_example():
    assert f"```sh\n{MINIMAL.read_text()}```\n" in PAGE


def test_the_first_command_of_the_page_runs_a_test_vm(tmp_path):
    if not shutil.which("jq"):
        pytest.skip("jq is not installed")
    text = MINIMAL.read_text()
    for name, content in (("farm", FARM), ("first", text)):
        path = tmp_path / name
        path.write_text(content.replace("#!/bin/sh\n", f"#!/bin/sh\nPATH=$PATH:{tmp_path}\n", 1))
        path.chmod(0o755)
    site = write_site(tmp_path, tmp_path / "first")

    code, output, _ = run_probe("check_vm_lifecycle", "--site", str(site), "--count", "5")

    assert (code, list(tmp_path.glob("server-*"))) == (0, []), output
