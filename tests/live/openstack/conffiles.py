"""Every configuration file of the stack: one worker for each service, all on one loopback address.

``write(place)`` writes all of them. They depend on ``place`` alone, so they are never kept.

Above 400 lines: it has the text of each of these files.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path

from .place import PORTS, Place

# of every service account; whoever can reach this address can read this file as well
PASSWORD = "loopback"
DATABASES = [
    "keystone",
    "placement",
    "glance",
    "neutron",
    "nova_api",
    "nova",
    "nova_cell0",
    "cinder",
]

FAKE_HOST = "fake-1"
QEMU_HOST = "qemu-1"
FLEET_HOSTS = [
    "fake-2",
    "fake-3",
    "fake-4",
]  # more fake hosts for fleets, because each server makes its host slower
ISSUER = "https://aai.example.org/"


def write(place: Place) -> None:
    for service in (mariadb, rabbitmq, keystone, placement, glance, nova, neutron, cinder):
        service(place)


# The two that are not OpenStack's.


def mariadb(place: Place) -> None:
    """One table space in one file: creating and copying hundreds of tables is then quick. It need not survive a power cut."""
    ini(
        place.etc / "mariadb.cnf",
        {
            "mysqld": {
                "user": "root",
                "datadir": place.keep / "mysql",
                "socket": place.run / "mysql.sock",
                "pid_file": place.run / "mysql.pid",
                "bind_address": place.address,
                "port": PORTS["mariadb"],
                "init_file": place.etc / "mariadb.sql",
                "skip_name_resolve": "on",
                "skip_log_bin": "on",
                "max_connections": 500,
                "character_set_server": "utf8",
                "collation_server": "utf8_general_ci",
                "performance_schema": "off",
                "innodb_file_per_table": "off",
                "innodb_buffer_pool_size": "96M",
                "innodb_log_file_size": "16M",
                "innodb_flush_log_at_trx_commit": 0,
                "innodb_doublewrite": 0,
                "innodb_flush_method": "nosync",
                "innodb_fast_shutdown": 1,
                "key_buffer_size": "1M",
                "aria_pagecache_buffer_size": "8M",
            }
        },
    )
    statements = [f"CREATE DATABASE IF NOT EXISTS {name};" for name in DATABASES]
    statements.append(f"GRANT ALL ON *.* TO openstack@'%' IDENTIFIED BY '{PASSWORD}';")
    (place.etc / "mariadb.sql").write_text("\n".join(statements) + "\n")


def rabbitmq(place: Place) -> None:
    (place.etc / "rabbitmq.conf").write_text(
        f"listeners.tcp.default = {place.address}:{PORTS['rabbitmq']}\n"
        f"default_user = openstack\n"
        f"default_pass = {PASSWORD}\n"
        f"log.console = true\n"
        f"log.console.level = warning\n"
        f"log.file = false\n"
    )
    (place.etc / "rabbitmq.plugins").write_text("[].\n")


def rabbitmq_environment(place: Place) -> dict[str, str]:
    """What RabbitMQ reads from its environment; one scheduler that does not spin, and an epmd of our own."""
    loopback = "{" + place.address.replace(".", ",") + "}"
    return {
        "HOME": str(place.run / "rabbitmq"),
        "ERL_EPMD_PORT": str(place.epmd),
        "ERL_EPMD_ADDRESS": place.address,
        "RABBITMQ_DIST_PORT": str(place.erlang),
        "RABBITMQ_NODENAME": "vmprobe@localhost",
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_CONFIG_FILE": str(place.etc / "rabbitmq"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(place.etc / "rabbitmq.plugins"),
        "RABBITMQ_MNESIA_BASE": str(place.run / "rabbitmq" / "mnesia"),
        "RABBITMQ_LOG_BASE": str(place.log),
        "RABBITMQ_PID_FILE": str(place.run / "rabbitmq" / "pid"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"+S 1:1 +sbwt none -kernel inet_dist_use_interface {loopback}",
    }


# OpenStack's, in the order in which they need each other.


def keystone(place: Place) -> None:
    ini(
        place.etc / "keystone.conf",
        {
            "DEFAULT": {
                "public_endpoint": place.url("keystone"),
                "log_file": place.log / "keystone.log",
            },
            "database": database(place, "keystone"),
            "identity": {"password_hash_rounds": 4},  # a password then costs milliseconds
            "auth": {"methods": "password,token,application_credential,mapped,openid"},
            "openid": {"remote_id_attribute": "HTTP_OIDC_ISS"},
            "token": {"provider": "fernet", "expiration": 86400},
            "fernet_tokens": {"key_repository": place.keep / "fernet"},
            "fernet_receipts": {"key_repository": place.keep / "fernet"},
            "credential": {"key_repository": place.keep / "credential"},
            # not "memory": it hands out the very object it holds, and Keystone alters it
            "cache": {"enabled": True, "backend": "dogpile.cache.memory_pickle"},
        },
    )
    for repository in ("fernet", "credential"):
        for number in (0, 1):
            key = place.keep / repository / str(number)
            if not key.exists():
                key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                key.write_bytes(base64.urlsafe_b64encode(os.urandom(32)))


def placement(place: Place) -> None:
    ini(
        place.etc / "placement.conf",
        {
            "DEFAULT": {"log_file": place.log / "placement.log"},
            "api": {"auth_strategy": "keystone"},
            "placement_database": database(place, "placement"),
            "keystone_authtoken": authtoken(place, "placement", "placement"),
        },
    )


def glance(place: Place) -> None:
    images = place.keep / "glance"
    ini(
        place.etc / "glance.conf",
        {
            "DEFAULT": {
                "bind_host": place.address,
                "bind_port": PORTS["glance"],
                "workers": 0,
                "enabled_backends": "files:file",
            },
            "glance_store": {"default_backend": "files"},
            "files": {"filesystem_store_datadir": images / "images"},
            "os_glance_tasks_store": {"filesystem_store_datadir": images / "tasks"},
            "os_glance_staging_store": {"filesystem_store_datadir": images / "staging"},
            "database": database(place, "glance"),
            "keystone_authtoken": authtoken(place, "glance", "image"),
            "paste_deploy": {
                "flavor": "keystone",
                "config_file": "/etc/glance/glance-api-paste.ini",
            },
            "oslo_concurrency": {"lock_path": place.run / "lock"},
        },
    )
    for directory in ("images", "tasks", "staging"):
        (images / directory).mkdir(parents=True, exist_ok=True)


def nova(place: Place) -> None:
    ini(
        place.etc / "nova.conf",
        {
            "DEFAULT": {
                "my_ip": place.address,
                "state_path": place.run / "nova",
                "transport_url": transport(place),
                "enabled_apis": "osapi_compute",
                "osapi_compute_listen": place.address,
                "osapi_compute_listen_port": PORTS["nova"],
                "osapi_compute_workers": 1,
                "metadata_listen": place.address,
                "metadata_listen_port": PORTS["metadata"],
                "metadata_workers": 1,
                "report_interval": 10,
                "service_down_time": 60,
                "max_concurrent_builds": 0,
            },
            "api": {"auth_strategy": "keystone"},
            "wsgi": {"api_paste_config": "/etc/nova/api-paste.ini"},
            "keystone_authtoken": authtoken(place, "nova", "compute"),
            # without it Cinder refuses to detach a volume from a server (CVE-2023-2088)
            "service_user": {"send_service_user_token": True, **account(place, "nova")},
            "glance": {"api_servers": place.url("glance")},
            "placement": {"region_name": "RegionOne", **account(place, "placement")},
            "neutron": {
                "region_name": "RegionOne",
                "service_metadata_proxy": True,
                "metadata_proxy_shared_secret": PASSWORD,
                **account(place, "neutron"),
            },
            "cinder": {
                "os_region_name": "RegionOne",
                "catalog_info": "volumev3::publicURL",
                **account(place, "cinder"),
            },
            "quota": {"instances": 1000, "cores": 1000, "ram": 1000000},
            "scheduler": {"workers": 1, "max_attempts": 2},
            "filter_scheduler": {
                "track_instance_changes": False,
                "enabled_filters": "ComputeFilter,ComputeCapabilitiesFilter,ImagePropertiesFilter",
            },
            "conductor": {"workers": 1},
            "vnc": {"enabled": False},
            "workarounds": {"disable_rootwrap": True},
            "oslo_policy": {"policy_file": place.etc / "nova-policy.yaml"},
            **common(place),
        },
    )
    # apart, because nova-compute refuses to start when it is told of a database
    ini(
        place.etc / "nova-database.conf",
        {
            "api_database": database(place, "nova_api"),
            "database": database(place, "nova"),
        },
    )
    for name, host in {
        "nova-fake": FAKE_HOST,
        **{f"nova-{host}": host for host in FLEET_HOSTS},
    }.items():
        ini(
            place.etc / f"{name}.conf",
            {
                "DEFAULT": {
                    "host": host,
                    "compute_driver": "fake.FakeDriver",
                    "vif_plugging_is_fatal": False,
                    "vif_plugging_timeout": 0,
                }
            },
        )
    ini(
        place.etc / "nova-qemu.conf",
        {
            "DEFAULT": {
                "host": QEMU_HOST,
                "compute_driver": "libvirt.LibvirtDriver",
                "vif_plugging_is_fatal": True,
                "vif_plugging_timeout": 120,
                "reserved_host_memory_mb": 0,
                "initial_cpu_allocation_ratio": 16,
                "flat_injected": False,
            },
            "libvirt": {
                "virt_type": "qemu",  # emulation, also where there is a /dev/kvm
                "cpu_mode": "none",
                "inject_partition": -2,
                "nfs_mount_point_base": place.run / "nova-mounts",
            },
        },
    )
    diagnostics_policy(place, owners=True)


def diagnostics_policy(place: Place, owners: bool) -> None:
    """Who may read a server's diagnostics: its owners, or only administrators, which is Nova's default. Nova reads this at once."""
    rule = (
        '"os_compute_api:os-server-diagnostics": "rule:project_reader_or_admin"\n'
        if owners
        else "{}\n"
    )
    fresh = place.etc / "nova-policy.yaml.new"
    fresh.write_text(rule)
    fresh.replace(place.etc / "nova-policy.yaml")


def neutron(place: Place) -> None:
    ini(
        place.etc / "neutron.conf",
        {
            "DEFAULT": {
                "bind_host": place.address,
                "bind_port": PORTS["neutron"],
                "host": "network-1",
                "core_plugin": "ml2",
                "service_plugins": "router",  # without it there are no VPCs for ec2-api
                "auth_strategy": "keystone",
                "transport_url": transport(place),
                "state_path": place.run / "neutron",
                "api_paste_config": "/etc/neutron/api-paste.ini",
                "api_workers": 0,
                "rpc_workers": 1,
                "rpc_state_report_workers": 0,
                "notify_nova_on_port_status_changes": True,
                "notify_nova_on_port_data_changes": True,
                "agent_down_time": 150,
            },
            "nova": {"region_name": "RegionOne", **account(place, "nova")},
            "placement": account(place, "placement"),
            "database": database(place, "neutron"),
            "keystone_authtoken": authtoken(place, "neutron", "network"),
            "experimental": {
                "linuxbridge": True
            },  # neutron-server refuses to start without this value
            "agent": {"root_helper": "sudo", "report_interval": 30},
            **common(place),
        },
    )
    ini(
        place.etc / "neutron-ml2.conf",
        {
            "ml2": {
                "type_drivers": "local",
                "tenant_network_types": "local",
                "mechanism_drivers": "active_ports,linuxbridge",
                "extension_drivers": "port_security",
            },
            "securitygroup": {
                "enable_security_group": True,
                "enable_ipset": False,
                "firewall_driver": "noop",
            },
        },
    )
    ini(
        place.etc / "neutron-linuxbridge.conf",
        {
            "DEFAULT": {"host": QEMU_HOST},
            "vxlan": {"enable_vxlan": False},
            "securitygroup": {
                "enable_security_group": False,
                "enable_ipset": False,
                "firewall_driver": "noop",
            },
            "agent": {"polling_interval": 1},
        },
    )
    ini(
        place.etc / "neutron-dhcp.conf",
        {
            "DEFAULT": {
                "host": QEMU_HOST,
                "interface_driver": "linuxbridge",
                "enable_isolated_metadata": True,
                "force_metadata": True,
                "resync_interval": 5,
                "dnsmasq_config_file": place.etc / "dnsmasq.conf",
            }
        },
    )
    # not as nobody, who cannot read the state directory and would find no guest
    (place.etc / "dnsmasq.conf").write_text("user=root\n")
    ini(
        place.etc / "neutron-metadata.conf",
        {
            "DEFAULT": {
                "host": QEMU_HOST,
                "nova_metadata_host": place.address,
                "nova_metadata_port": PORTS["metadata"],
                "metadata_proxy_shared_secret": PASSWORD,
                "metadata_workers": 0,
            }
        },
    )
    # the driver in standins/ is found as an installed one would be
    entry = place.etc / "active_ports-1.dist-info"
    entry.mkdir(exist_ok=True)
    (entry / "METADATA").write_text("Metadata-Version: 2.1\nName: active-ports\nVersion: 1\n")
    ini(
        entry / "entry_points.txt",
        {"neutron.ml2.mechanism_drivers": {"active_ports": "active_ports:ActivePorts"}},
    )


def cinder(place: Place) -> None:
    ini(
        place.etc / "cinder.conf",
        {
            "DEFAULT": {
                "my_ip": place.address,
                "host": "volume-1",
                "auth_strategy": "keystone",
                "transport_url": transport(place),
                "state_path": place.run / "cinder",
                "api_paste_config": "/etc/cinder/api-paste.ini",
                "rootwrap_config": "/etc/cinder/rootwrap.conf",
                "osapi_volume_listen": place.address,
                "osapi_volume_listen_port": PORTS["cinder"],
                "osapi_volume_workers": 1,
                "enabled_backends": "nfs",
                "default_volume_type": "nfs",
                "backend_stats_polling_interval": 5,
                "glance_api_servers": place.url("glance"),
                "quota_volumes": 1000,
                "quota_gigabytes": 10000,
            },
            "nfs": {
                "volume_driver": "cinder.volume.drivers.nfs.NfsDriver",
                "volume_backend_name": "nfs",
                "nfs_shares_config": place.etc / "cinder-shares",
                "nfs_mount_point_base": place.run / "cinder-mounts",
                "nfs_sparsed_volumes": True,
                "nas_secure_file_operations": True,
                "nas_secure_file_permissions": True,
                "max_over_subscription_ratio": 1000,
            },
            "database": database(place, "cinder"),
            "keystone_authtoken": authtoken(place, "cinder", "volumev3"),
            **common(place),
        },
    )
    (place.etc / "cinder-shares").write_text(f"{place.address}:{place.run / 'share'}\n")


# What they have in common.


def database(place: Place, name: str) -> dict:
    return {
        "connection": f"mysql+pymysql://openstack:{PASSWORD}@{place.address}:{PORTS['mariadb']}/{name}?charset=utf8",
        "max_pool_size": 10,
        "max_overflow": 60,  # a fleet's servers are all deleted at the same time
        "max_retries": -1,
        "retry_interval": 1,
    }


def transport(place: Place) -> str:
    return f"rabbit://openstack:{PASSWORD}@{place.address}:{PORTS['rabbitmq']}/"


def account(place: Place, user: str) -> dict:
    return {
        "auth_type": "password",
        "auth_url": f"{place.url('keystone')}/v3",
        "user_domain_name": "Default",
        "project_domain_name": "Default",
        "project_name": "service",
        "username": user,
        "password": PASSWORD,
    }


def authtoken(place: Place, user: str, service_type: str) -> dict:
    return {
        "service_type": service_type,  # without it every request of a token with access rules is refused
        "www_authenticate_uri": f"{place.url('keystone')}/v3",
        "service_token_roles": "service",
        "service_token_roles_required": True,
        "token_cache_time": 5,  # a token that is revoked, or a Keystone that is gone, shows within seconds
        **account(place, user),
    }


def common(place: Place) -> dict:
    return {
        "oslo_concurrency": {"lock_path": place.run / "lock"},
        "oslo_messaging_notifications": {"driver": "noop"},
        "oslo_messaging_rabbit": {
            "rabbit_retry_interval": 1,
            "rabbit_retry_backoff": 0,
            "heartbeat_in_pthread": False,
        },
    }


def ini(path: Path, sections: dict[str, dict]) -> None:
    path.write_text(
        "".join(
            f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in options.items()) + "\n"
            for name, options in sections.items()
        )
    )
