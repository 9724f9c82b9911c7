"""The record of requests and replies."""

from vmprobe.core.exchanges import Evidence
from vmprobe.core.redact import Redactor


def test_evidence_is_cut_behind_what_was_replaced():
    evidence = Evidence(Redactor(["Zq7-wT4kX9pLm2vB8nRc"]), keep=True)
    evidence.record("GET /", received="x" * 3990 + "Zq7-wT4kX9pLm2vB8nRc" + "y" * 100)

    assert evidence.exchanges[0]["received"].endswith("x***" + "y" * 7 + "... (4110 characters)")


def test_a_secret_that_is_learned_later_is_gone_from_evidence_that_was_taken_before():
    evidence = Evidence(Redactor(), keep=True)
    evidence.record("GET /", received="x" * 3990 + "Zq7-wT4kX9pLm2vB8nRc" + "y" * 100)
    evidence.redactor.add("Zq7-wT4kX9pLm2vB8nRc")

    assert "Zq7" not in "\n".join(evidence.lines())
    assert evidence.exchanges[0]["received"].endswith("x***" + "y" * 7 + "... (4110 characters)")
