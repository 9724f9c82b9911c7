"""Parse a plug-in's output by the rules of its readers; AssertionError where it breaks one.

Three readers: the strict grammar of the monitoring plugins interface (draft-kaestle-monitoring-plugins-interface, and
the developer guidelines, section "Performance data"), Nagios Core's ``parse_check_output`` and Icinga 2's
``ParseCheckOutput`` and ``SplitPerfdata``. All three have to agree.
"""

import re
from typing import Dict, List, NamedTuple, Tuple

WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
_FIRST = re.compile(
    r"(?P<name>[A-Z][A-Z_]+) (?P<word>OK|WARNING|CRITICAL|UNKNOWN) - (?P<text>\S(?:.*\S)?)"
)
_NUMBER = r"-?(?:0|[1-9]\d*)(?:\.\d+)?"
_RANGE = rf"@?(?:(?:~|{_NUMBER})?:(?:{_NUMBER})?|{_NUMBER})"
_ITEM = re.compile(
    rf"(?P<label>[a-z0-9_]{{1,19}})=(?P<value>{_NUMBER}|U)(?P<unit>s|%|B|c)?"
    rf"(?:;(?P<warn>{_RANGE})?(?:;(?P<crit>{_RANGE})?(?:;(?P<min>{_NUMBER})?(?:;(?P<max>{_NUMBER})?)?)?)?)?"
)
_UNITS = {"leftovers": None, "vcpus": None, "memory": "B", "volume_bytes": "B"}


class Output(NamedTuple):
    """What all readers agree on; ``figures`` by label, in base units."""

    name: str
    state: int
    text: str
    figures: Dict[str, float]
    details: Tuple[str, ...]


def read(output: str) -> Output:
    """Read a whole output, strictly."""
    assert output.isascii() and output.isprintable() is ("\n" not in output), (
        f"not clean: {output!r}"
    )
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", output), f"control characters: {output!r}"
    first, *details = output.split("\n")
    text, bar, data = first.partition(" | ")
    match = _FIRST.fullmatch(text)
    assert match, f"not 'NAME STATE - text': {text!r}"
    assert len(text) < 200, f"{len(text)} characters before the perfdata"
    assert "|" not in text + data + "".join(details), f"a stray | in {output!r}"
    assert len(output) < 9000, f"{len(output)} characters"
    assert not re.search(r'(?m)^ *File ".+", line \d+', output), (
        "a traceback of our own; a server may say the word"
    )

    figures = {}
    for item in data.split(" ") if bar else ():
        one = _ITEM.fullmatch(item)
        assert one, f"not an item of perfdata: {item!r}"
        assert one["label"] not in figures, f"twice: {one['label']}"
        assert one["unit"] == "%" or one["min"] == "0", f"no minimum: {item!r}"
        assert _UNITS.get(one["label"], one["unit"]) == one["unit"], f"another unit: {item!r}"
        figures[one["label"]] = float(one["value"])
    assert list(figures) == sorted(figures), "not in the order of the labels"

    assert nagios(output) == (text, data, "\n".join(details))
    assert icinga(output) == ("\n".join([text, *details]), data.split(" ") if bar else [])
    return Output(match["name"], WORDS.index(match["word"]), match["text"], figures, tuple(details))


def nagios(output: str) -> Tuple[str, str, str]:
    """(plugin output, perfdata, long output): line 1 up to its first bar; after a bar in the long text all is perfdata."""
    first, *rest = output.split("\n")
    short, _, data = first.partition("|")
    long: List[str] = []
    for number, line in enumerate(rest):
        before, bar, after = line.partition("|")
        long.append(before)
        if bar:
            data = " ".join(
                [data.strip(), after.strip(), *(more.strip() for more in rest[number + 1 :])]
            )
            break
    return short.rstrip(), data.strip(), "\n".join(long)


def icinga(output: str) -> Tuple[str, List[str]]:
    """(text, items): of each line what follows its first bar is perfdata, if there is a = in it."""
    texts, found = [], []
    for line in re.split(r"[\r\n]", output):
        before, bar, after = line.partition("|")
        if bar and "=" in after:
            texts.append(before.rstrip())
            found.append(after)
        else:
            texts.append(line)
    data, items, begin = " ".join(found).strip(), [], 0
    while (equals := data.find("=", begin)) >= 0:
        end = data.find(" ", equals)
        end = len(data) if end < 0 else end
        items.append(data[begin:end].lstrip())
        begin = end + 1
    return "\n".join(texts), items
