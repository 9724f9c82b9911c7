"""Lists of endorsed images as their endorsers write them, and the output of check_vm_image."""

import json
import re
import time

SUM = "ab" * 64
OTHER = "cd" * 64
COUNTS = (
    "expired",
    "images",
    "inactive",
    "mismatched",
    "missing",
    "revoked",
    "unendorsed",
    "unverified",
)


def day(clock, days):
    """The moment so many days from now, as lists write it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(clock.utc() + 86400 * days))


def hepix(clock, days=30.5, endorser="/C=XX/O=Tests/CN=Jane", **images):
    """The JSON of an image list: title of an image, and its checksum."""
    images = images or {"vmprobe-test": SUM}
    return json.dumps(
        {
            "hv:imagelist": {
                "dc:identifier": "list-1",
                "dc:title": "tests",
                "dc:date:created": day(clock, -1),
                "dc:date:expires": day(clock, days),
                "hv:endorser": {
                    "hv:x509": {
                        "hv:dn": endorser,
                        "hv:ca": "/C=XX/O=Tests/CN=Test CA",
                        "hv:email": "jane@example.org",
                    }
                },
                "hv:images": [
                    {
                        "hv:image": {
                            "dc:identifier": f"uuid-{number}",
                            "dc:title": title,
                            "hv:version": "1",
                            "sl:checksum:sha512": digits,
                        }
                    }
                    for number, (title, digits) in enumerate(images.items(), 1)
                ],
            }
        }
    )


def marketplace(clock, days=30.5, more="", subject="CN=Jane,O=Tests,C=XX", sha512=SUM):
    """Metadata as the Marketplace serves it, without its signature."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dcterms="http://purl.org/dc/terms/"
 xmlns:slreq="http://mp.stratuslab.eu/slreq#" xmlns:slterms="http://mp.stratuslab.eu/slterms#" xml:base="http://mp.stratuslab.eu/">
 <rdf:Description rdf:about="#MMZu9WvwKIro-rtBQfDk4PsKO7_">
  <dcterms:identifier>MMZu9WvwKIro-rtBQfDk4PsKO7_</dcterms:identifier>
  <slreq:bytes>100</slreq:bytes>
  <slreq:checksum rdf:parseType="Resource"><slreq:algorithm>SHA-512</slreq:algorithm><slreq:value>{sha512}</slreq:value></slreq:checksum>
  <slreq:endorsement rdf:parseType="Resource">
   <dcterms:created>{day(clock, -1)}</dcterms:created>
   <slreq:endorser rdf:parseType="Resource"><slreq:email>jane@example.org</slreq:email><slreq:subject>{subject}</slreq:subject>
    <slreq:issuer>CN=Test CA,O=Tests,C=XX</slreq:issuer></slreq:endorser>
  </slreq:endorsement>
  <dcterms:valid>{day(clock, days)}</dcterms:valid>
  <dcterms:title>vmprobe-test</dcterms:title>{more}
 </rdf:Description>
</rdf:RDF>"""


def first(output):
    """The first line, without perfdata."""
    return output.split(" | ")[0].split("\n")[0]


def counts(output):
    """The numbers of the perfdata that are not 0."""
    found = dict(re.findall(r"(\w+)=([\d.]+)", output.split(" | ")[1]))
    return {name: int(found[name]) for name in COUNTS if found.get(name, "0") != "0"}
