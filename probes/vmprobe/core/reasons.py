"""Read a manager's sentence about a failure: the innermost reason in it, and whose matter that reason is.

Managers wrap the reason: "Build of instance ID aborted: REASON", "Exceeded maximum number of retries. ... Last exception: REASON",
a page of HTML, a Python traceback. The reason is what a person needs on line 1, and it alone decides the cause.
"""

from __future__ import annotations

import re

_LONGEST = (
    8000  # characters of a text that are read: what a server can make of a pattern stays short
)
# Patterns are compiled when they are first used: most runs meet no failure.
_TAG = (
    r"(?is)<!--.*?-->|<(script|style|head)\b[^<>]*>.*?</\1\s*>|<!doctype\b[^<>]*>|</?(?:html|head|title|body|h[1-6]|p|br|hr|center|div"
    r"|span|font|b|i|u|em|strong|small|big|tt|code|pre|blockquote|address|ul|ol|li|dl|dt|dd|table|thead|tbody|tr|td|th"
    r"|a|img|link|meta|form|input|section|article|header|footer|main|nav)\b[^<>]*>"
)
_TITLE = r"(?i)<title\b[^<>]*>([^<]*)"
_ENTITY = r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|quot|apos|amp|lt|gt|nbsp);"
_CLASS = r"<class '([\w.]{1,100})'>"
_PATH = r"\S+://\S*|\S*/\S*/\S*"  # where a file is, or a service, is not what went wrong
_TRACE = "Traceback (most recent call last)"
_ID = r"(?:\[?\S{1,64}\]?)"
_BEGINS = r"(?is)(?:^|(?<=: )|(?<=: \d\d\d ))"  # where a manager's words begin in a sentence of ours: "create server: 400 WORDS"
_PREAMBLES = tuple(
    _BEGINS + pattern + r"\s*(?=\S)"
    for pattern in (
        r"[^:]*\blast exception:(?:.*\blast exception:)?",
        rf"build of instance {_ID} (?:aborted|was re-?scheduled):",
        rf"failed to (?:build|spawn|create|launch|provision)(?: and run)? (?:instance|server)(?: {_ID})?:",
        r"unexpected api error\. please report this at \S+ and attach the \w+ api log if possible\.",
        r"(?:[\w.]{0,60}\.)?(?:Rescheduled|BuildAbort|MaxRetriesExceeded|Remote)\w{0,20}:",
        r"(?:invalid input received|remote error|bad request):",
        r"(?:mon|tue|wed|thu|fri|sat|sun) \w{3} +\d{1,2} \d\d:\d\d:\d\d \d{4} *:",
    )
)
_CAUSES = (  # the first of these that is in the reason decides
    (
        r"(?<!disk )quota|(?<!rate )(?<!request)(?<!request )(?<!time )limit ?exceeded|exceed\w* (?:the )?limit|over (?:a |the )?limit|"
        r"max(?:imum)? number of (?!retries|scheduling|attempts)[\w ]+ (?:[\w()]+ )?(?:exceed|reached|allowed)|"
        r"number of (?:ports|floating ips|security groups)\b.* exceeded|reached (?:the|its|your) (?:max|limit)|limit (?:has been |was |is )?reached|"
        r"(?<!rate )(?<!request )(?<!time )limit (?:for [\w ]{1,30} )?has been exceeded|larger than (?:the )?maximum allowed limit",
        "quota",
    ),
    (
        r"no valid host|valid host|not enough hosts|no suitable host|insufficient (?:\w+ )?(?:capacity|resources)|insufficient\w*capacity|"
        r"not enough (?:free )?(?:memory|ram|cpus?)|\bschedul(?:er|ing)|closed the monitor|connecting to monitor",
        "scheduler",
    ),
    (
        r"availability zone\b.*(?:not available|not found|invalid|does not exist)|multiple \w+ matches found",
        "client",
    ),
)
_THINGS = (  # of these the one that comes first
    r"(?i)(?P<network>network|neutron|interface mtu|\bbridge\b|binding failed|port ?binding|virtual ?interface|\bvif(?:\b|_type)|subnet|(?:fixed|floating) ips?\b|ip address|ip/mac"
    r"|security[ _]?group|\bdhcp\b|\bnics?\b|\bbind port|\bport \S{1,64} (?:is )?(?:not usable|still in use))"
    r"|(?P<storage>volume|block[ _]?device|cinder|datastore|iscsi|\bceph\b|\brbd\b|\blun\b|storage|no space left|disk quota|disk is full)"
    r"|(?P<image>images?\b|glance|flavor)"
)
_HOST = r"(?i)hypervisor|libvirt|compute (?:host|service|node)|mapped to any cell|cannot allocate memory|maximum number of retries"  # where nothing says more


def plain(text: str) -> str:
    """``text`` without the marks of HTML; of a page what stands in it, or its title where that is all.

    >>> plain("<html><head><title>Error</title></head><body><h1>503</h1>No server is available.</body></html>")
    '503 No server is available.'
    """
    text = re.sub(_CLASS, r"\1", text[:_LONGEST])
    if re.search(_ENTITY, text):
        import html  # its table of names is large

        text = html.unescape(text)
    if not re.search(_TAG, text):
        return text
    said = _without_tags(text)
    title = re.search(_TITLE, text)
    if title and said in ("", _without_tags(text[: title.start()])):  # there is nothing but a head
        said = f"{said} {title[1]}"
    return said.strip()


def _without_tags(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(_TAG, " ", text)).strip()


def innermost(text: str) -> str:
    """A plain sentence with a manager's words in it, without what wraps the reason; whole where nothing does.

    >>> innermost("server 4f1c is ERROR: Build of instance 4f1c aborted: Failed to allocate the network(s), not rescheduling.")
    'server 4f1c is ERROR: Failed to allocate the network(s), not rescheduling.'
    """
    text = _without_trace(text[:_LONGEST]).strip()
    before = ""
    while before != text:
        before = text
        for preamble in _PREAMBLES:
            text = re.sub(preamble, "", text, count=1)
    return text


def cause(text: str) -> str:
    """Whose matter the reason in ``text`` is: one of ``errors.CAUSES``; '' where its words do not tell.

    >>> cause("Exceeded maximum number of retries. Last exception: Binding failed for port 4f1c"), cause("it broke")
    ('network', '')
    """
    reason = re.sub(_PATH, " ", innermost(plain(text)))
    for pattern, word in _CAUSES:
        if re.search(pattern, reason, re.I):
            return word
    match = re.search(_THINGS, reason)
    if match:
        return str(match.lastgroup)
    return "scheduler" if re.search(_HOST, reason) else ""


def _without_trace(text: str) -> str:
    """A Python traceback, also one written as a list, becomes its last line, which is the exception."""
    before, found, trace = text.partition(_TRACE)
    if not found:
        return text
    lines = [
        re.sub(r"^[\s,\[\]'\"]*(?:u?['\"])?|[\s,\[\]'\"]+$", "", line)
        for line in re.split(r"\\n|\n", trace)
    ]
    said = [
        line for line in lines if line and not re.match(r"(?:File|raise|return)\b|[(){}:.]", line)
    ]
    return f"{before.rstrip(' u[(' + chr(39) + chr(34))} {said[-1] if said else ''}"
