"""EC2 in small, as it answers: an instance has a root volume and an interface of its own, and ``faults`` decide what goes wrong.

cloud = Ec2()
with Server(cloud.answer) as server: ...
"""

from urllib.parse import parse_qsl

from rawserver import reply

ZONE = "<item><zoneName>z-1a</zoneName><zoneState>available</zoneState></item>"
IMAGE = "<item><imageId>ami-1</imageId><name>probe-image</name><imageState>available</imageState></item>"
TYPE = (
    "<item><instanceType>t3.nano</instanceType><vCpuInfo><defaultVCpus>2</defaultVCpus></vCpuInfo><memoryInfo><sizeInMiB>512</sizeInMiB>"
    "</memoryInfo></item>"
)
OFFER = "<item><instanceType>t3.nano</instanceType><location>z-1a</location></item>"
V4 = "<privateIpAddress>10.0.0.5</privateIpAddress>"


class Ec2:
    """``servers``, ``volumes`` and ``interfaces`` by id; ``asked`` has (action, form) of every request."""

    def __init__(self):
        self.servers, self.volumes, self.interfaces, self.asked = {}, {}, {}, []
        self.faults = []  # functions (action, form) that answer first, or return None
        self.address, self.leaves, self.reason = V4, (), ""  # leaves: what stays when a server goes

    def answer(self, request):
        form = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
        action = form["Action"]
        self.asked.append((action, form))
        for fault in self.faults:
            said = fault(action, form)
            if said is not None:
                return said
        return getattr(self, action)(form)

    def count(self, action):
        return sum(1 for asked, _ in self.asked if asked == action)

    # --- answers ------------------------------------------------------------------------------------------------------

    def _said(self, form, inner):
        return reply(200, f"<{form['Action']}Response>{inner}</{form['Action']}Response>".encode())

    def _some(self, form, word, where, things, code, item):
        wanted = [value for key, value in form.items() if key.startswith(f"{word}.")]
        if any(one not in things for one in wanted):
            return refused(f"{code}.NotFound", "it does not exist")
        return self._said(
            form,
            f"<{where}>"
            + "".join(item(one, things[one]) for one in things if not wanted or one in wanted)
            + f"</{where}>",
        )

    def DescribeAvailabilityZones(self, form):
        return self._said(form, f"<availabilityZoneInfo>{ZONE}</availabilityZoneInfo>")

    def DescribeImages(self, form):
        wanted = form.get("Filter.1.Value.1", "")
        return self._said(
            form, f"<imagesSet>{IMAGE if wanted == 'probe-image' else ''}</imagesSet>"
        )

    def DescribeInstanceTypes(self, form):
        return self._said(form, f"<instanceTypeSet>{TYPE}</instanceTypeSet>")

    def DescribeInstanceTypeOfferings(self, form):
        return self._said(form, f"<instanceTypeOfferingSet>{OFFER}</instanceTypeOfferingSet>")

    def CreateImage(self, form):
        return refused("IncorrectInstanceState", "the instance is not running")

    def DescribeSnapshots(self, form):
        return self._said(form, "<snapshotSet/>")

    def RunInstances(self, form):
        identity = f"i-{len(self.servers) + 1}"
        self.servers[identity] = {
            "state": "running",
            "name": form["TagSpecification.1.Tag.1.Value"],
            "token": form["ClientToken"],
        }
        self.volumes[f"vol-of-{identity}"] = {"name": "", "server": identity}
        self.interfaces[f"eni-of-{identity}"] = {"server": identity}
        return self._said(
            form, f"<instancesSet><item><instanceId>{identity}</instanceId></item></instancesSet>"
        )

    def DescribeInstances(self, form):
        return self._some(
            form, "InstanceId", "reservationSet", self.servers, "InvalidInstanceID", self._server
        )

    def _server(self, identity, server):
        own = (
            ""
            if server["state"] == "terminated"
            else (
                f"<rootDeviceName>/dev/a</rootDeviceName><blockDeviceMapping><item><deviceName>/dev/a</deviceName><ebs><volumeId>vol-of-{identity}"
                "</volumeId><deleteOnTermination>false</deleteOnTermination></ebs></item></blockDeviceMapping><networkInterfaceSet><item>"
                f"<networkInterfaceId>eni-of-{identity}</networkInterfaceId><attachment><deviceIndex>0</deviceIndex><status>attached</status>"
                f"</attachment>{self.address}</item></networkInterfaceSet>"
            )
        )
        return (
            f"<item><instancesSet><item><instanceId>{identity}</instanceId><instanceState><name>{server['state']}</name></instanceState>"
            f"<clientToken>{server['token']}</clientToken>{self.reason}{own}<tagSet><item><key>Name</key><value>{server['name']}</value></item>"
            "</tagSet></item></instancesSet></item>"
        )

    def TerminateInstances(self, form):
        identity = form["InstanceId.1"]
        self.servers[identity]["state"] = "terminated"
        for things in (self.volumes, self.interfaces):
            for one in [one for one, thing in things.items() if thing["server"] == identity]:
                things[one]["server"] = ""
                if one.endswith(f"-of-{identity}") and one.partition("-")[0] not in self.leaves:
                    del things[one]
        return self._said(form, "<instancesSet/>")

    def CreateVolume(self, form):
        identity = f"vol-{len(self.volumes) + 1}"
        self.volumes[identity] = {
            "name": form["TagSpecification.1.Tag.1.Value"],
            "server": "",
            "tag": form["TagSpecification.1.Tag.2.Value"],
        }
        return self._said(form, f"<volumeId>{identity}</volumeId>")

    def DescribeVolumes(self, form):
        return self._some(
            form,
            "VolumeId",
            "volumeSet",
            self.volumes,
            "InvalidVolume",
            lambda one, volume: (
                f"<item><volumeId>{one}</volumeId><size>1</size><status>{'in-use' if volume['server'] else 'available'}</status><attachmentSet>"
                + (
                    f"<item><instanceId>{volume['server']}</instanceId><status>attached</status></item>"
                    if volume["server"]
                    else ""
                )
                + f"</attachmentSet><tagSet><item><key>Name</key><value>{volume['name']}</value></item>"
                f"<item><key>vmprobe</key><value>{volume.get('tag', '')}</value></item></tagSet></item>"
            ),
        )

    def DescribeNetworkInterfaces(self, form):
        return self._some(
            form,
            "NetworkInterfaceId",
            "networkInterfaceSet",
            self.interfaces,
            "InvalidNetworkInterfaceID",
            lambda one, found: (
                f"<item><networkInterfaceId>{one}</networkInterfaceId><status>{'in-use' if found['server'] else 'available'}</status>"
                + (
                    f"<attachment><instanceId>{found['server']}</instanceId></attachment>"
                    if found["server"]
                    else ""
                )
                + "</item>"
            ),
        )

    def AttachVolume(self, form):
        self.volumes[form["VolumeId"]]["server"] = form["InstanceId"]
        return self._said(form, "<status>attaching</status>")

    def DetachVolume(self, form):
        self.volumes[form["VolumeId"]]["server"] = ""
        return self._said(form, "<status>detaching</status>")

    def DeleteVolume(self, form):
        return self._removed(form, self.volumes, form["VolumeId"], "InvalidVolume", "VolumeInUse")

    def DeleteNetworkInterface(self, form):
        return self._removed(
            form,
            self.interfaces,
            form["NetworkInterfaceId"],
            "InvalidNetworkInterfaceID",
            "InvalidNetworkInterface.InUse",
        )

    def _removed(self, form, things, identity, unknown, code):
        if identity not in things:
            return refused(f"{unknown}.NotFound", "it does not exist")
        if things[identity]["server"]:
            return refused(code, "it is in use")
        del things[identity]
        return self._said(form, "<return>true</return>")


def refused(code, message, status=400):
    return reply(
        status,
        (
            f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
            "<RequestID>r-1</RequestID></Response>"
        ).encode(),
    )


def behind(action, which, code):
    """A fault: the call of this action with this number is answered by somebody who does not know the thing yet."""
    calls = []

    def fault(asked, form):
        if asked == action:
            calls.append(form)
            if len(calls) == which:
                return refused(f"{code}.NotFound", "it does not exist")
        return None

    return fault
