"""What a test VM on EC2 is ec2 of."""

from vmprobe.drivers.ec2.plan import security_group


def test_a_test_vm_is_not_placed_in_a_local_zone(connected):
    zones = "".join(
        f"<item><zoneName>{name}</zoneName><zoneState>available</zoneState><zoneType>{kind}</zoneType></item>"
        for name, kind in (
            ("us-west-2-lax-1a", "local-zone"),
            ("us-west-2a", "availability-zone"),
            ("us-west-2-wl1", "wavelength-zone"),
        )
    )

    assert connected(
        {
            "DescribeAvailabilityZones": f"<AResponse><availabilityZoneInfo>{zones}</availabilityZoneInfo></AResponse>".encode()
        }
    ).describe()["zones"] == ["us-west-2a"]


def test_a_group_name_that_several_vpcs_have_is_that_of_the_default_vpc(connected):
    groups = ["<item><groupId>sg-1</groupId></item>", "<item><groupId>sg-2</groupId></item>"]
    for several, wanted in (
        (groups[:1], {"SecurityGroupId": ["sg-1"]}),
        (groups, {"SecurityGroup": ["default"]}),
    ):
        ec2 = connected(
            {
                "DescribeSecurityGroups": f"<AResponse><securityGroupInfo>{''.join(several)}</securityGroupInfo></AResponse>".encode()
            }
        )
        assert security_group(ec2.session, "default", None) == wanted
