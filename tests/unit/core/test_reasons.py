"""The reason in a manager's sentence, and whose matter it is: sentences as managers are known to write them."""

import time

import pytest

from vmprobe.core import reasons

UUID = "77dfe2d0-82b8-40d9-9b1c-3b1f5d5a1c11"
RETRIES = f"Exceeded maximum number of retries. Exceeded max scheduling attempts 3 for instance {UUID}. Last exception: "
TRACE = (
    "No valid host was found. Exceeded max scheduling attempts 3 for instance 00e1. Last exception: [u'Traceback (most recent call "
    "last):\\n', u'  File \"/usr/lib/nova/compute/manager.py\", line 1926, in _do_build\\n    filter_properties)\\n', "
    "u'RescheduledException: Build of instance 00e1 was re-scheduled: Binding failed for port 4f1c\\n']"
)

SENTENCES = {  # what a manager says: (the reason in it, its cause)
    f"Build of instance {UUID} aborted: Failed to allocate the network(s), not rescheduling.": (
        "Failed to allocate the network(s), not rescheduling.",
        "network",
    ),
    f"Build of instance {UUID} aborted: VolumeSizeExceedsAvailableQuota: Requested volume exceeds allowed gigabytes quota.": (
        "VolumeSizeExceedsAvailableQuota: Requested volume exceeds allowed gigabytes quota.",
        "quota",
    ),
    f"Build of instance {UUID} aborted: Invalid input received: Size of specified image 10GB is larger than volume size 1GB.": (
        "Size of specified image 10GB is larger than volume size 1GB.",
        "image",
    ),
    f"{RETRIES}Binding failed for port 4f1c, please check neutron logs for more information.": (
        "Binding failed for port 4f1c, please check neutron logs for more information.",
        "network",
    ),
    f"{RETRIES}Connection to cinder host failed: Unable to establish connection to volume V": (
        "Connection to cinder host failed: Unable to establish connection to volume V",
        "storage",
    ),
    f"{RETRIES}Connection to glance host https://image.example.org failed: timed out": (
        "Connection to glance host https://image.example.org failed: timed out",
        "image",
    ),
    f"{RETRIES}Build of instance {UUID} was re-scheduled: internal error: qemu unexpectedly closed the monitor": (
        "internal error: qemu unexpectedly closed the monitor",
        "scheduler",
    ),
    TRACE: ("Binding failed for port 4f1c", "network"),
    "No valid host was found. There are not enough hosts available.": (
        "No valid host was found. There are not enough hosts available.",
        "scheduler",
    ),
    "Exceeded maximum number of retries. Exhausted all hosts available for retrying build failures for instance X.": (
        "Exceeded maximum number of retries. Exhausted all hosts available for retrying build failures for instance X.",
        "scheduler",
    ),
    "Unexpected API Error. Please report this at http://bugs.launchpad.net/nova/ and attach the Nova API log if possible. "
    "<class 'oslo_messaging.exceptions.MessagingTimeout'>": (
        "oslo_messaging.exceptions.MessagingTimeout",
        "",
    ),
    "Thu Nov 28 11:00:00 2026 : Error executing image transfer script: Error copying one:/1 to host:/1": (
        "Error executing image transfer script: Error copying one:/1 to host:/1",
        "image",
    ),
    "<html><head><title>503 Service Unavailable</title></head><body><h1>503 Service Unavailable</h1>No server</body></html>": (
        "503 Service Unavailable No server",
        "",
    ),
    "it says: <html><head><title>503 Service Unavailable</title></head><body></body></html>": (
        "it says: 503 Service Unavailable",
        "",
    ),
    "<html><h1>400 Bad Request</h1><p>the <i>subnet</i> is full</p></html>": (
        "400 Bad Request the subnet is full",
        "network",
    ),
    "Last exception: <p>The <b>volume</b> &quot;V&quot; is lost</p>": (
        'The volume "V" is lost',
        "storage",
    ),
    "Couldn&#39;t attach &lt;b&gt;volume&lt;/b&gt; V": ("Couldn't attach volume V", "storage"),
    "[Errno 122] Disk quota exceeded": ("[Errno 122] Disk quota exceeded", "storage"),
    "Failed to snapshot: No space left on device": (
        "Failed to snapshot: No space left on device",
        "storage",
    ),
    "Maximum number of fixed IPs exceeded": ("Maximum number of fixed IPs exceeded", "quota"),
    "The requested availability zone is not available": (
        "The requested availability zone is not available",
        "client",
    ),
    "it broke": ("it broke", ""),
    "Last exception: ": ("Last exception:", ""),
    "": ("", ""),
}


@pytest.mark.parametrize(
    "sentence", SENTENCES, ids=[f"sentence-{number}" for number in range(len(SENTENCES))]
)
def test_the_innermost_reason_is_kept_and_decides_the_cause(sentence):
    assert (reasons.innermost(reasons.plain(sentence)), reasons.cause(sentence)) == SENTENCES[
        sentence
    ]


CAUSES = {  # a reason: whose matter it is
    "Unexpected vif_type=binding_failed": "network",
    "Failed to bind port 4f1c on host cmp1": "network",
    "Port 4f1c not usable for instance 5.": "network",
    "Port 4f1c is still in use.": "network",
    "No available floating IPs in pool": "network",
    "VolumeSizeExceedsLimit: Requested volume size 10 is larger than maximum allowed limit 5.": "quota",
    "The limit has been exceeded on the number of allowed image properties. Attempted: 129, Maximum: 128": "quota",
    "Host 'cmp1' is not mapped to any cell": "scheduler",
    "[Errno 12] Cannot allocate memory": "scheduler",
    "The rate limit has been exceeded": "",
    "Virtual Interface creation failed": "network",
    "PortBindingFailed: it was refused": "network",
    "No more IP addresses available on network 4f1c": "network",
    "Connection to neutron failed: timed out": "network",
    "iscsiadm: No portals found": "storage",
    "libvirt.libvirtError: Cannot access storage file": "storage",
    "cinderclient.exceptions.ClientException: Gateway Time-out": "storage",
    "Block Device Mapping is Invalid.": "storage",
    "Image 4f1c is unacceptable: Converted to raw, but format is now qcow2": "image",
    "GlanceConnectionFailed: no answer": "image",
    "Insufficient compute resources: Free memory 512.00 MB < requested 2048 MB.": "scheduler",
    "internal error: process exited while connecting to monitor": "scheduler",
    "libvirt.libvirtError: Domain not found": "scheduler",
    "InsufficientInstanceCapacity": "scheduler",
    "Unable to find valid host for 4f1c": "scheduler",
    "VolumeLimitExceeded: Maximum number of volumes allowed (10) exceeded": "quota",
    "Maximum number of ports exceeded": "quota",
    "user [2] limit of 0 reached for VMS quota in VM.": "quota",
    "You have reached the maximum of servers": "quota",
    "Request limit exceeded.": "",
    "RequestLimitExceeded": "",
    "Rate limit exceeded": "",
    "time limit exceeded": "",
    "cannot read https://glance.example.org/volume/1": "",
    "GET /v2/images/volume: it broke": "",
}


@pytest.mark.parametrize(
    "reason", CAUSES, ids=[f"reason-{number}" for number in range(len(CAUSES))]
)
def test_the_words_of_a_reason_say_whose_matter_it_is(reason):
    assert reasons.cause(reason) == CAUSES[reason]


@pytest.mark.parametrize(
    "head", ["server 4f1c is ERROR: ", "server 4f1c is ERROR (one of 3): ", "create server: 500 "]
)
def test_what_stands_before_the_managers_words_stays(head):
    assert (
        reasons.innermost(f"{head}Build of instance {UUID} aborted: Last exception: no room")
        == f"{head}no room"
    )


@pytest.mark.parametrize(
    "text",
    [
        "<script" * 3000,
        "<" * 20000,
        ": " * 10000,
        "Last exception: " * 2000,
        "Traceback (most recent call last)" * 500,
        "Build of instance " * 1000,
        "maximum number of a " * 400,
        "&lt;script" * 2000,
        "a/" * 8000,
        "<head " * 3000,
        "number of ports " * 1000,
    ],
    ids=[
        "scripts",
        "brackets",
        "colons",
        "exceptions",
        "tracebacks",
        "builds",
        "numbers",
        "entities",
        "paths",
        "heads",
        "ports",
    ],
)
def test_a_text_made_to_be_slow_is_read_within_two_seconds(text):

    began = time.process_time()
    reasons.innermost(reasons.plain(text))
    reasons.cause(text)

    assert time.process_time() - began < 2.0
