"""clouds.yaml and the files beside it: what they say, and which of them are refused."""

import os
import sys

import pytest

from simulators.keystone import (
    FEDERATION,
    SENT,
    clouds,
    keystone,
    message_of,
)
from vmprobe.core.errors import (
    ClientError,
)
from vmprobe.drivers.openstack.credentials import find_credentials

pytestmark = pytest.mark.usefixtures("no_environment")


def test_a_cloud_in_clouds_yaml_may_have_its_secret_in_secure_yaml(identity):
    cloud = identity()
    clouds(f"""\
        clouds:
          mine:
            auth:
              auth_url: {cloud.url}
              username: robot
              project_name: ops
              user_domain_name: Default
            region_name: south
            interface: public
          other: {{auth: {{auth_url: http://127.0.0.1:1}}}}
        """)
    clouds(
        "clouds: {mine: {auth: {password: s3cret}}, other: {auth: {password: wrong}}}",
        "secure.yaml",
    )
    session = keystone(None, cloud="mine")

    session.authenticate()

    assert cloud.bodies() == [SENT["password"][2]]
    assert session.service("compute").url == f"{cloud.url}/south"


def test_clouds_yaml_may_have_the_other_forms_and_os_cloud_chooses(identity, monkeypatch, tmp_path):
    cloud = identity()
    (tmp_path / "home" / "openstack").mkdir(parents=True)
    clouds(
        f"""\
        clouds:
          app:
            auth_type: v3applicationcredential
            auth: {{auth_url: {cloud.url}, application_credential_id: ac1, application_credential_secret: s3cret}}
          egi:
            auth_type: v3oidcaccesstoken
            auth: {{auth_url: {cloud.url}, access_token: bearer, identity_provider: egi.eu, protocol: openid, project_id: {"a" * 32}}}
        """,
        tmp_path / "home" / "openstack" / "clouds.yaml",
    )

    for name, asked in (("app", "POST /v3/auth/tokens"), ("egi", f"POST {FEDERATION}openid/auth")):
        monkeypatch.setenv("OS_CLOUD", name)
        before = len(cloud.paths())
        keystone(None).authenticate()
        assert cloud.paths()[before] == asked


def test_the_sites_settings_take_precedence_over_clouds_yaml(identity):
    cloud = identity()
    clouds(
        "clouds: {mine: {auth: {auth_url: http://127.0.0.1:1, token: others-token, project_name: biomed, user_domain_name: people}}}"
    )

    keystone(
        cloud,
        dict(username="robot", password="s3cret", user_domain_name="Default"),
        cloud="mine",
        project="ops",
    ).authenticate()

    assert cloud.bodies() == [SENT["password"][2]]


FORMS_OF_A_CLOUD = {  # one cloud, as clouds.yaml may say it
    "one-domain-for-both": "{auth: {AUTH, username: robot, password: s3cret, project_name: ops}, domain_name: grid}",
    "one-domain-within-auth": "{auth: {AUTH, username: robot, password: s3cret, project_name: ops, domain_name: grid}}",
    "a-default-domain": "{auth: {AUTH, username: robot, password: s3cret, project_name: ops, default_domain_name: grid}}",
    "hyphens": "{auth: {AUTH-URL, username: robot, password: s3cret, project-name: ops, user-domain-name: grid, project-domain-name: grid}, "
    "region-name: south}",
    "a-list-of-regions": "{auth: {AUTH, username: robot, password: s3cret, project_name: ops}, domain_name: grid, regions: [south, north]}",
    "what-a-region-says": "{auth: {AUTH, username: robot, password: s3cret, project_name: biomed}, domain_name: grid, "
    "regions: [{name: south, values: {auth: {project_name: ops}}}, north]}",
    "a-profile": "{profile: grid-cloud, auth: {username: robot, password: s3cret, project_name: ops}}",
    "another-form-beside-the-one-that-is-meant": "{auth_type: v3password, domain_name: grid, auth: {AUTH, username: robot, "
    "password: s3cret, project_name: ops, token: of-yesterday}}",
}


@pytest.mark.parametrize("form", FORMS_OF_A_CLOUD)
def test_a_cloud_may_be_written_in_each_form_that_the_client_reads(form, identity):
    cloud = identity()
    clouds(
        "{public-clouds: {grid-cloud: {regions: [south], auth: {AUTH, user_domain_name: grid, project_domain_name: grid}}}}".replace(
            "AUTH", f"auth_url: {cloud.url}"
        ),
        "clouds-public.yaml",
    )
    settings = (
        FORMS_OF_A_CLOUD[form]
        .replace("AUTH-URL", f"auth-url: {cloud.url}")
        .replace("AUTH", f"auth_url: {cloud.url}")
    )
    clouds(f"clouds: {{mine: {settings}}}", "clouds.yml")
    session = keystone(None, cloud="mine")

    session.authenticate()

    assert cloud.bodies() == [
        {
            "identity": {
                "methods": ["password"],
                "password": {
                    "user": {"name": "robot", "domain": {"name": "grid"}, "password": "s3cret"}
                },
            },
            "scope": {"project": {"name": "ops", "domain": {"name": "grid"}}},
        }
    ]
    assert session.settings["region"] in ("south", "")


def test_the_sites_region_chooses_among_those_of_a_cloud(identity):
    cloud = identity()
    clouds(
        f"clouds: {{mine: {{auth: {{auth_url: {cloud.url}, application_credential_id: ac1, application_credential_secret: s}}, regions: [south, north]}}}}"
    )
    for wanted, found in ((None, "south"), ("north", "north"), ("west", "west")):
        assert keystone(None, cloud="mine", region=wanted).settings["region"] == found


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "there is no clouds.yaml to read the cloud 'mine' from"),
        ("clouds: {other: {}}", "clouds.yaml: no cloud 'mine' in it"),
        ("clouds: [1]", "clouds.yaml: no cloud 'mine' in it"),
        ("clouds: {mine", "clouds.yaml: cannot be read: while parsing a flow mapping"),
        (
            "clouds: {mine: {profile: vexxhost, auth: {username: me}}}",
            "clouds.yaml: the cloud 'mine' has no auth_url, and its profile 'vexxhost' is in no clouds-public.yaml",
        ),
        (
            "clouds: {mine: {auth: {username: me}}}",
            "no URL of Keystone: neither url in [endpoint], nor auth_url in clouds.yaml, nor OS_AUTH_URL is set",
        ),
        (
            "clouds: {mine: {auth: {auth_url: 'https://me:s3cret@host'}}}",
            "the auth_url of clouds.yaml or OS_AUTH_URL is not a URL like 'https://host:5000/v3'",
        ),
    ],
)
def test_a_bad_clouds_yaml_is_reported_in_one_line(text, message):
    if text:
        clouds(text)

    assert message_of(ClientError, keystone, None, cloud="mine") == message


def test_clouds_yaml_without_pyyaml_is_an_error(monkeypatch):
    clouds("clouds: {}")
    monkeypatch.setitem(sys.modules, "yaml", None)

    assert (
        message_of(ClientError, keystone, None, cloud="mine")
        == "clouds.yaml needs PyYAML (python3-yaml)"
    )


# --- files that are refused -----------------------------------------------------------------------


def test_a_clouds_yaml_of_the_current_directory_is_not_completed_from_the_home(identity, tmp_path):
    cloud, home = identity(), tmp_path / "home" / "openstack"
    home.mkdir(parents=True)
    settings = f"{{auth: {{auth_url: {cloud.url}, username: robot, project_name: ops}}}}"
    clouds("clouds: {mine: {auth: {password: of-the-home}}}", home / "secure.yaml")
    clouds(
        f"public-clouds: {{known: {{auth: {{auth_url: {cloud.url}}}}}}}",
        home / "clouds-public.yaml",
    )
    clouds(
        f"clouds: {{mine: {settings}, by-a-profile: {{profile: known, auth: {{username: robot}}}}}}"
    )

    assert message_of(ClientError, keystone(None, cloud="mine").authenticate) == (
        "no password, application credential, token or certificate among the credentials"
    )
    assert message_of(ClientError, keystone, None, cloud="by-a-profile") == (
        "clouds.yaml: the cloud 'by-a-profile' has no auth_url, and its profile 'known' is in no clouds-public.yaml"
    )
    assert cloud.paths() == []


@pytest.mark.parametrize("named", [False, True])
def test_a_secure_yaml_that_the_environment_names_is_not_used_for_a_clouds_yaml_in_the_current_directory(
    tmp_path, monkeypatch, named
):
    home = tmp_path / "home" / ".config" / "openstack"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OS_CLIENT_SECURE_FILE", str(home / "secure.yaml"))
    clouds(
        "clouds: {mine: {auth: {auth_url: 'https://thief/v3', username: probe, project_name: ops}}}"
    )
    clouds("clouds: {mine: {auth: {password: of-the-home}}}", home / "secure.yaml")
    if named:
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", "clouds.yaml")

    assert find_credentials({"cloud": "mine"}, {})[1].get("password") == (
        "of-the-home" if named else None
    )


def test_a_readable_clouds_yaml_may_have_its_secret_in_a_private_secure_yaml(
    identity,
):
    cloud = identity()
    clouds(
        f"clouds: {{mine: {{auth_type: password, auth: {{auth_url: {cloud.url}, username: robot, project_name: ops, user_domain_name: Default}}}}}}",
        mode=0o644,
    )
    clouds("clouds: {mine: {auth: {password: s3cret}}}", "secure.yaml")

    keystone(None, cloud="mine").authenticate()

    assert cloud.bodies() == [SENT["password"][2]]


@pytest.mark.parametrize("file", ["clouds.yaml", "secure.yaml"])
@pytest.mark.parametrize(
    "mode, message",
    [
        (0o644, "has mode 0644: others than its owner have access; chmod 0600 it"),
        (0o640, "has mode 0640: others than its owner have access; chmod 0600 it"),
        (0o620, "has mode 0620: others than its owner have access; chmod 0600 it"),
    ],
)
def test_a_secret_of_clouds_yaml_that_others_can_read_is_refused(file, mode, message):
    clouds("clouds: {mine: {auth: {auth_url: http://127.0.0.1:1, username: robot}}}")
    clouds(
        "clouds: {mine: {auth: {auth_url: http://127.0.0.1:1, username: robot, password: s3cret}}}",
        file,
        mode,
    )

    assert message_of(ClientError, keystone, None, cloud="mine") == f"{file}: {message}"


def test_a_clouds_yaml_that_others_can_write_is_refused_also_without_a_secret():
    clouds("clouds: {mine: {auth: {auth_url: http://127.0.0.1:1, username: robot}}}", mode=0o664)

    assert message_of(ClientError, keystone, None, cloud="mine") == (
        "clouds.yaml: has mode 0664: others than its owner can write into it; chmod go-w it"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("file", ["clouds.yaml", "secure.yaml", "clouds-public.yaml"])
@pytest.mark.parametrize("directory_mode", [0o1777, 0o755])
def test_a_clouds_yaml_that_another_user_put_into_the_current_directory_is_refused(
    file, directory_mode, tmp_path
):
    tmp_path.chmod(directory_mode)
    clouds(
        "clouds: {mine: {profile: known, auth: {auth_url: http://127.0.0.1:1, username: robot}}}"
    )
    clouds("{clouds: {mine: {}}, public-clouds: {known: {}}}", file)
    os.chown(file, 65534, 65534)

    assert (
        message_of(ClientError, keystone, None, cloud="mine") == f"{file}: belongs to another user"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link away")
def test_a_link_of_another_user_does_not_lead_to_a_secret_of_ours(tmp_path):
    tmp_path.chmod(0o1777)
    clouds("clouds: {mine: {auth: {auth_url: http://127.0.0.1:1, username: robot}}}")
    (tmp_path / "home").mkdir()
    clouds(
        "clouds: {mine: {auth: {password: of-another-cloud}}}", tmp_path / "home" / "secure.yaml"
    )
    os.symlink("home/secure.yaml", "secure.yaml")
    os.chown("secure.yaml", 65534, 65534, follow_symlinks=False)

    assert (
        message_of(ClientError, keystone, None, cloud="mine")
        == "secure.yaml: belongs to another user"
    )


@pytest.mark.parametrize("variable", ["OS_CLIENT_CONFIG_FILE", "OS_CLIENT_SECURE_FILE"])
def test_a_pipe_instead_of_a_file_is_not_waited_for(tmp_path, variable, monkeypatch):
    clouds("clouds: {mine: {auth: {auth_url: http://127.0.0.1:1, username: robot}}}")
    os.mkfifo(tmp_path / "pipe", 0o600)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", "clouds.yaml")
    monkeypatch.setenv(variable, str(tmp_path / "pipe"))

    assert (
        message_of(ClientError, keystone, None, cloud="mine")
        == f"{tmp_path}/pipe: is not a regular file"
    )
    assert message_of(
        ClientError,
        keystone("http://127.0.0.1:1", {"token_file": str(tmp_path / "pipe")}).authenticate,
    ) == (f"{tmp_path}/pipe: is not a regular file")
