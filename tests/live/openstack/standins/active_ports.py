"""An ML2 mechanism driver that stands in for a network on the hosts of Nova's fake hypervisor.

A port of such a host is bound and ACTIVE at once, without an agent; Neutron then tells Nova, as usual, that it is plugged.
The real drivers serve all other hosts.
"""

from neutron_lib import constants
from neutron_lib.api.definitions import portbindings
from neutron_lib.plugins.ml2 import api


class ActivePorts(api.MechanismDriver):
    connectivity = portbindings.CONNECTIVITY_L2

    def initialize(self):
        pass

    def bind_port(self, context):
        if context.host.startswith("fake") and context.segments_to_bind:
            segment = context.segments_to_bind[0]
            context.set_binding(
                segment[api.ID],
                portbindings.VIF_TYPE_BRIDGE,
                {},
                status=constants.PORT_STATUS_ACTIVE,
            )
