"""A small EC2: it makes a root volume and an interface with each instance; ``faults`` make it fail.

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
    """``servers``, ``volumes`` and ``interfaces`` are by id; ``requests`` are (action, form)."""

    def __init__(self):
        self.servers, self.volumes, self.interfaces, self.requests = {}, {}, {}, []
        self.faults = []  # functions (action, form) that return an answer, or None for the usual one
        self.address, self.reason = V4, ""  # XML in the answers about servers
        self.survivors = ()  # "vol" and "eni": what EC2 leaves behind when a server is terminated

    def answer(self, request):
        form = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
        action = form["Action"]
        self.requests.append((action, form))
        for fault in self.faults:
            answer = fault(action, form)
            if answer is not None:
                return answer
        return getattr(self, action)(form)

    def count(self, action):
        return sum(1 for requested, _ in self.requests if requested == action)

    # --- answers ------------------------------------------------------------------------------------------------------

    def _reply(self, form, inner):
        return reply(200, f"<{form['Action']}Response>{inner}</{form['Action']}Response>".encode())

    def _list(self, form, parameter, tag, resources, code, item):
        ids = [value for key, value in form.items() if key.startswith(f"{parameter}.")]
        if any(one not in resources for one in ids):
            return refusal(f"{code}.NotFound", "it does not exist")
        return self._reply(
            form,
            f"<{tag}>"
            + "".join(item(one, resources[one]) for one in resources if not ids or one in ids)
            + f"</{tag}>",
        )

    def DescribeAvailabilityZones(self, form):
        return self._reply(form, f"<availabilityZoneInfo>{ZONE}</availabilityZoneInfo>")

    def DescribeImages(self, form):
        name = form.get("Filter.1.Value.1", "")
        return self._reply(form, f"<imagesSet>{IMAGE if name == 'probe-image' else ''}</imagesSet>")

    def DescribeInstanceTypes(self, form):
        return self._reply(form, f"<instanceTypeSet>{TYPE}</instanceTypeSet>")

    def DescribeInstanceTypeOfferings(self, form):
        return self._reply(form, f"<instanceTypeOfferingSet>{OFFER}</instanceTypeOfferingSet>")

    def CreateImage(self, form):
        return refusal("IncorrectInstanceState", "the instance is not running")

    def DescribeSnapshots(self, form):
        return self._reply(form, "<snapshotSet/>")

    def RunInstances(self, form):
        identity = f"i-{len(self.servers) + 1}"
        self.servers[identity] = {
            "state": "running",
            "name": form["TagSpecification.1.Tag.1.Value"],
            "token": form["ClientToken"],
        }
        self.volumes[f"vol-of-{identity}"] = {"name": "", "server": identity}
        self.interfaces[f"eni-of-{identity}"] = {"server": identity}
        return self._reply(
            form, f"<instancesSet><item><instanceId>{identity}</instanceId></item></instancesSet>"
        )

    def DescribeInstances(self, form):
        return self._list(
            form, "InstanceId", "reservationSet", self.servers, "InvalidInstanceID", self._server
        )

    def _server(self, identity, server):
        equipment = (
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
            f"<clientToken>{server['token']}</clientToken>{self.reason}{equipment}<tagSet><item><key>Name</key><value>{server['name']}</value></item>"
            "</tagSet></item></instancesSet></item>"
        )

    def TerminateInstances(self, form):
        identity = form["InstanceId.1"]
        self.servers[identity]["state"] = "terminated"
        for resources in (self.volumes, self.interfaces):
            attached = [
                one for one, resource in resources.items() if resource["server"] == identity
            ]
            for one in attached:
                resources[one]["server"] = ""
                survives = one.partition("-")[0] in self.survivors
                if one.endswith(f"-of-{identity}") and not survives:
                    del resources[one]
        return self._reply(form, "<instancesSet/>")

    def CreateVolume(self, form):
        identity = f"vol-{len(self.volumes) + 1}"
        self.volumes[identity] = {
            "name": form["TagSpecification.1.Tag.1.Value"],
            "server": "",
            "tag": form["TagSpecification.1.Tag.2.Value"],
        }
        return self._reply(form, f"<volumeId>{identity}</volumeId>")

    def DescribeVolumes(self, form):
        return self._list(
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
        return self._list(
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
        return self._reply(form, "<status>attaching</status>")

    def DetachVolume(self, form):
        self.volumes[form["VolumeId"]]["server"] = ""
        return self._reply(form, "<status>detaching</status>")

    def DeleteVolume(self, form):
        return self._delete(form, self.volumes, form["VolumeId"], "InvalidVolume", "VolumeInUse")

    def DeleteNetworkInterface(self, form):
        return self._delete(
            form,
            self.interfaces,
            form["NetworkInterfaceId"],
            "InvalidNetworkInterfaceID",
            "InvalidNetworkInterface.InUse",
        )

    def _delete(self, form, resources, identity, unknown, in_use):
        if identity not in resources:
            return refusal(f"{unknown}.NotFound", "it does not exist")
        if resources[identity]["server"]:
            return refusal(in_use, "it is in use")
        del resources[identity]
        return self._reply(form, "<return>true</return>")


def refusal(code, message, status=400):
    return reply(
        status,
        (
            f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
            "<RequestID>r-1</RequestID></Response>"
        ).encode(),
    )


def lagging(action, which, code):
    """A fault: the ``which``-th call of this action says that the resource does not exist yet."""
    calls = []

    def fault(requested, form):
        if requested == action:
            calls.append(form)
            if len(calls) == which:
                return refusal(f"{code}.NotFound", "it does not exist")
        return None

    return fault
