"""One outcome for each run: the worst of ranges, budgets and problems, as a site maps them."""

import pytest

from vmprobe.checks import judge
from vmprobe.report.verdict import CRITICAL, OK, UNKNOWN, WARNING
from vmprobe.site.site import load


@pytest.mark.parametrize(
    "problems, mapping, total, state, text",
    [
        ([], {}, 1, OK, "all was well"),
        (["leftovers"], {}, 1, WARNING, "all was well"),
        (["leftovers"], {"leftovers": "OK"}, 1, OK, "all was well"),
        (["leftovers"], {"leftovers": "CRITICAL"}, 15, CRITICAL, "total 15 s is outside 10"),
        (["quota", "unmeasured"], {}, 1, UNKNOWN, "all was well"),
        (["unmeasured"], {}, 15, UNKNOWN, "total 15 s is outside 10 (warning); all was well"),
        (["unmeasured"], {}, 25, CRITICAL, "total 25 s is outside 20 (critical); all was well"),
    ],
)
def test_the_worst_counts_and_critical_is_worse_than_unknown(
    site, problems, mapping, total, state, text
):
    site.set("thresholds", total="10, 20")
    if mapping:
        site.set("verdict", **mapping)
    loaded = load(str(site.write()))

    verdict = judge.completed(loaded, "all was well", {"total": total}, problems)

    assert (verdict.state, verdict.text.startswith(text)) == (state, True)


def test_a_duration_over_its_budget_is_critical_and_named_first(site):
    loaded = load(str(site.set("budget", gone="5 s").write()))

    verdict = judge.completed(loaded, "all was well", {"gone": 7}, budgeted={"gone": 7})

    assert (verdict.state, verdict.text) == (
        CRITICAL,
        "gone 7 s is over its budget of 5 s (critical); all was well",
    )
