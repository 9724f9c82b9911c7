"""Parse a manager's message about a failure: the innermost reason, and its cause (errors.CAUSES).

Managers wrap the reason: "Build of instance ID aborted: REASON", "Exceeded maximum number of
retries. ... Last exception: REASON", a page of HTML, a Python traceback. A person needs the reason
on line 1, and the reason alone decides the cause.
"""

from __future__ import annotations

import re

_LONGEST = 8000  # characters that are read: bounds the time that a hostile text can cost
# Patterns are compiled when they are first used: most runs meet no failure.
_TAG = (
    r"(?is)<!--.*?-->|<(script|style|head)\b[^<>]*>.*?</\1\s*>|<!doctype\b[^<>]*>|</?(?:html|"
    r"head|title|body|h[1-6]|p|br|hr|center|div"
    r"|span|font|b|i|u|em|strong|small|big|tt|code|pre|blockquote|address|ul|ol|li|dl|dt|dd|"
    r"table|thead|tbody|tr|td|th"
    r"|a|img|link|meta|form|input|section|article|header|footer|main|nav)\b[^<>]*>"
)
_TITLE = r"(?i)<title\b[^<>]*>([^<]*)"
_ENTITY = r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|quot|apos|amp|lt|gt|nbsp);"
_CLASS = r"<class '([\w.]{1,100})'>"
_PATH = r"\S+://\S*|\S*/\S*/\S*"  # the place of a file or a service is not the reason
_TRACE = "Traceback (most recent call last)"
_ID = r"(?:\[?\S{1,64}\]?)"
# Where a manager's words begin in a sentence of ours: "create server: 400 WORDS".
_BEGINS = r"(?is)(?:^|(?<=: )|(?<=: \d\d\d ))"
_PREAMBLES = tuple(
    _BEGINS + pattern + r"\s*(?=\S)"
    for pattern in (
        r"[^:]*\blast exception:(?:.*\blast exception:)?",
        rf"build of instance {_ID} (?:aborted|was re-?scheduled):",
        rf"failed to (?:build|spawn|create|launch|provision)(?: and run)? (?:instance|"
        rf"server)(?: {_ID})?:",
        r"unexpected api error\. please report this at \S+ "
        r"and attach the \w+ api log if possible\.",
        r"(?:[\w.]{0,60}\.)?(?:Rescheduled|BuildAbort|MaxRetriesExceeded|Remote)\w{0,20}:",
        r"(?:invalid input received|remote error|bad request):",
        r"(?:mon|tue|wed|thu|fri|sat|sun) \w{3} +\d{1,2} \d\d:\d\d:\d\d \d{4} *:",
    )
)
_CAUSES = (  # the first pattern that matches the reason decides
    (
        r"(?<!disk )quota|(?<!rate )(?<!request)(?<!request )(?<!time )limit ?exceeded|"
        r"exceed\w* (?:the )?limit|over (?:a |the )?limit|"
        r"max(?:imum)? number of (?!retries|scheduling|attempts)[\w ]+ (?:[\w()]+ )?(?:exceed|"
        r"reached|allowed)|"
        r"number of (?:ports|floating ips|security groups)\b.* exceeded|reached (?:the|its|"
        r"your) (?:max|limit)|limit (?:has been |was |is )?reached|"
        r"(?<!rate )(?<!request )(?<!time )limit (?:for [\w ]{1,30} )?has been exceeded|"
        r"larger than (?:the )?maximum allowed limit",
        "quota",
    ),
    (
        r"no valid host|valid host|not enough hosts|no suitable host|"
        r"insufficient (?:\w+ )?(?:capacity|resources)|insufficient\w*capacity|"
        r"not enough (?:free )?(?:memory|ram|cpus?)|\bschedul(?:er|ing)|closed the monitor|"
        r"connecting to monitor",
        "scheduler",
    ),
    (
        r"availability zone\b.*(?:not available|not found|invalid|does not exist)|"
        r"multiple \w+ matches found",
        "client",
    ),
)
_RESOURCES = (  # the match that comes first in the reason decides
    r"(?i)(?P<network>network|neutron|interface mtu|\bbridge\b|binding failed|port ?binding|"
    r"virtual ?interface|\bvif(?:\b|_type)|subnet|(?:fixed|floating) ips?\b|ip address|ip/mac"
    r"|security[ _]?group|\bdhcp\b|\bnics?\b|\bbind port|\bport \S{1,64} (?:is )?(?:not usable|"
    r"still in use))"
    r"|(?P<storage>volume|block[ _]?device|cinder|datastore|iscsi|\bceph\b|\brbd\b|\blun\b|"
    r"storage|no space left|disk quota|disk is full)"
    r"|(?P<image>images?\b|glance|flavor)"
)
_HOST = (  # used if nothing else matches
    r"(?i)hypervisor|libvirt|compute (?:host|service|node)|mapped to any cell|"
    r"cannot allocate memory|maximum number of retries"
)


def plain(text: str) -> str:
    """``text`` without HTML tags: a page's body, or its title if it has no body.

    >>> plain("<html><head><title>Error</title></head><body><h1>503</h1>No server.</body>")
    '503 No server.'
    """
    text = re.sub(_CLASS, r"\1", text[:_LONGEST])
    if re.search(_ENTITY, text):
        import html  # lazily: its table of names is large

        text = html.unescape(text)
    if not re.search(_TAG, text):
        return text
    body = _without_tags(text)
    title = re.search(_TITLE, text)
    if title and body in ("", _without_tags(text[: title.start()])):
        body = f"{body} {title[1]}"
    return body.strip()


def _without_tags(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(_TAG, " ", text)).strip()


def innermost(text: str) -> str:
    """A sentence without what a manager wraps around the reason.

    >>> innermost("server 4f1c is ERROR: Build of instance 4f1c aborted: No network, giving up.")
    'server 4f1c is ERROR: No network, giving up.'
    """
    text = _without_trace(text[:_LONGEST]).strip()
    before = ""
    while before != text:
        before = text
        for preamble in _PREAMBLES:
            text = re.sub(preamble, "", text, count=1)
    return text


def cause(text: str) -> str:
    """The cause of the reason in ``text``: one of ``errors.CAUSES``; '' if it does not tell.

    >>> cause("Exceeded maximum number of retries. Last exception: Binding failed for port 4f1c")
    'network'
    >>> cause("it broke")
    ''
    """
    reason = re.sub(_PATH, " ", innermost(plain(text)))
    for pattern, word in _CAUSES:
        if re.search(pattern, reason, re.I):
            return word
    match = re.search(_RESOURCES, reason)
    if match:
        return str(match.lastgroup)
    return "scheduler" if re.search(_HOST, reason) else ""


def _without_trace(text: str) -> str:
    """Replace a Python traceback, also one written as a list, by its last line, the exception."""
    before, separator, trace = text.partition(_TRACE)
    if not separator:
        return text
    lines = [
        re.sub(r"^[\s,\[\]'\"]*(?:u?['\"])?|[\s,\[\]'\"]+$", "", line)
        for line in re.split(r"\\n|\n", trace)
    ]
    messages = [
        line for line in lines if line and not re.match(r"(?:File|raise|return)\b|[(){}:.]", line)
    ]
    return f"{before.rstrip(' u[(' + chr(39) + chr(34))} {messages[-1] if messages else ''}"
