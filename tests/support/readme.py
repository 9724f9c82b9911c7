"""The generated parts of README.md and docs/, made from the code; ``pytest --regen`` writes them."""

import re

from conformance import got
from conformance.mutants import MUTANTS, SURVIVORS
from running import CHECKOUT, run_probe
from vmprobe import drivers
from vmprobe.core.model import EXTRA_METRICS, METRICS, Capability
from vmprobe.ctl import main
from vmprobe.ctl.conform import report
from vmprobe.ctl.conform.run import REQUIREMENTS
from vmprobe.site import metrics

README = CHECKOUT / "README.md"
PAGES = [README, *sorted((CHECKOUT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"(<!-- generated: (?P<what>[^>]+) -->\n)(?P<text>.*?)(<!-- end -->)", re.S)


def generated(text: str) -> str:
    """The text with its generated parts renewed."""
    return _BLOCK.sub(lambda match: match[1] + _make(match["what"]) + match[4], text)


def _make(what: str) -> str:
    word, _, rest = what.partition(" ")
    return {
        "help": _help,
        "drivers": _drivers,
        "metrics": _metrics,
        "costs": _costs,
        "perfdata": metrics.page_table,
        "options": _options,
        "requirements": _requirements,
        "mutants": _mutants,
    }[word](rest)


def _help(probe: str) -> str:
    return f"```text\n{run_probe(probe, '--help')[1]}```\n"


def _options(command: str) -> str:
    """The options of a sub-command. Not its help, which differs between versions of Python."""
    parser = main.parser()
    for word in command.split():
        parser = next(
            action for action in parser._actions if action.choices and word in action.choices
        ).choices[word]
    lines = ["| option | |", "|---|---|"]
    for action in parser._actions:
        if action.dest != "help":
            value = action.metavar or ", ".join(action.choices or ())
            words = " ".join([*action.option_strings[:1], *([value] if action.nargs != 0 else [])])
            lines.append(
                f"| `{words}` | {action.help}{'; needed' if action.required and action.option_strings else ''} |"
            )
    return "\n".join(lines) + "\n"


def _drivers(_: str) -> str:
    words = [capability.value for capability in Capability]
    lines = [
        "| manager | system | proved against | " + " | ".join(words) + " |",
        "|---" * (3 + len(words)) + "|",
    ]
    for name in drivers.DRIVERS:
        driver = drivers.load(name)
        given = got.of_driver(name, "capabilities")
        cells = [
            _cell(capability in driver.capabilities, capability.value in given)
            for capability in Capability
        ]
        lines.append(
            f"| `{name}` | {driver.system} | {driver.proved_against} | " + " | ".join(cells) + " |"
        )
    return "\n".join(lines) + "\n"


def _metrics(_: str) -> str:
    """The table of the metrics that each manager has."""
    words = METRICS + EXTRA_METRICS
    lines = [
        "| manager | " + " | ".join(word.replace("_", " ") for word in words) + " | read |",
        "|---" * (2 + len(words)) + "|",
    ]
    for name in drivers.DRIVERS:
        driver = drivers.load(name)
        given = got.of_driver(name, "metrics")
        cells = [_cell(metric in driver.metrics_offered, metric in given) for metric in words]
        period = f"every {driver.metrics_period:g} s" if driver.metrics_period else "when asked"
        lines.append(
            f"| `{name}` | "
            + " | ".join(cells)
            + f" | {period if driver.metrics_offered else 'never'} |"
        )
    return "\n".join(lines) + "\n"


def _costs(_: str) -> str:
    """What a check costs, and what one core can run, by the last benchmark."""
    rows = (CHECKOUT / "tests" / "bench" / "RESULTS.md").read_text().splitlines()
    wanted = [
        row.rsplit("|", 2)[0] + "|"
        for row in rows
        if row.startswith(("| `check_vm_lifecycle`", "| A fleet", "| All services"))
    ]
    return "\n".join(["| measure | figure |", "|---|--:|", *wanted]) + "\n"


def _requirements(_: str) -> str:
    """The requirements of ``vmprobectl conform``."""
    return report.page(REQUIREMENTS)


def _mutants(_: str) -> str:
    """How many mutants the conformance suite catches; tests/conformance/test_mutants.py counts them."""
    number = len(MUTANTS) - len(SURVIVORS)
    return f"{number} of {len(MUTANTS)} deliberately broken clouds are noticed ({100 * number / len(MUTANTS):.1f} %).\n"


def _cell(declared: bool, given: bool) -> str:
    """``yes`` if the driver declares it; in brackets if no server of the conformance suite gave it."""
    return "yes" if declared and given else "(yes)" if declared else ""
