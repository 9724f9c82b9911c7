"""Every kind of credential, against the simulated login and metadata service."""

import pytest
from cryptography import x509

from certificates import Authority, of_rsa
from simulators.azure_server import CLIENT, FEDERATED, SECRET, TENANT
from vmprobe.core.errors import AuthRejected, ClientError

WHO = f"tenant_id = {TENANT}\nclient_id = {CLIENT}\n"


def _connected(world, credentials, endpoint=""):
    driver, _ = world.driver(credentials=credentials, endpoint=endpoint)
    driver.connect()
    assert driver.describe()["state"] == "Enabled"
    return driver


def test_a_client_secret_and_its_token_are_shown_nowhere(world):
    driver = _connected(world, f"{WHO}client_secret = {SECRET}\n")

    text = "\n".join(driver.evidence.lines())
    assert SECRET not in text
    assert [token for token in world.services.tokens if token in text] == []


def test_a_certificate_signs_an_assertion(world, tmp_path):
    certificate = Authority(tmp_path, new_key=of_rsa).issue("probe")
    with open(certificate, "rb") as file:
        world.services.certificate = x509.load_pem_x509_certificate(file.read())

    driver = _connected(
        world,
        f"{WHO}certificate = {certificate}\n",
        f"login url = {world.url}\n",
    )

    assert driver.credential_expiry(lambda path: 42.0) == 42.0


def test_another_certificate_is_rejected(world, tmp_path):
    certificate = Authority(tmp_path, new_key=of_rsa).issue("probe")

    with pytest.raises(AuthRejected) as rejected:
        _connected(world, f"{WHO}certificate = {certificate}\n")
    assert str(rejected.value) == (
        "login: 401 invalid_client: AADSTS700027: The certificate was not accepted."
    )


def test_a_federated_token_is_read_anew_at_each_login(world, tmp_path):
    file = tmp_path / "token"
    file.write_text("not.yet.there\n")
    driver, _ = world.driver(credentials=f"{WHO}federated_token_file = {file}\n")
    with pytest.raises(AuthRejected):
        driver.connect()
    file.write_text(f"{FEDERATED}\n")

    driver.connect()

    assert FEDERATED not in "\n".join(driver.evidence.lines())


def test_a_file_without_a_token_is_our_own_matter(world, tmp_path):
    (tmp_path / "token").write_text("nothing\n")

    with pytest.raises(ClientError) as wrong:
        _connected(world, f"{WHO}federated_token_file = {tmp_path / 'token'}\n")
    assert str(wrong.value) == f"federated_token_file {tmp_path / 'token'}: there is no token in it"


@pytest.mark.parametrize("which", ["system", f"user\nclient_id = {CLIENT}"])
def test_a_managed_identity_has_its_token_from_the_machine(world, which):
    endpoint = f"identity url = {world.url}\n"

    driver = _connected(world, f"managed_identity = {which}\n", endpoint)

    assert world.azure.calls[:2] == ["GET metadata", "GET login"]
    assert [token for token in world.services.tokens if token in str(driver.evidence.lines())] == []


@pytest.mark.parametrize(
    "credentials, said",
    [
        (
            f"client_id = {CLIENT}\n",
            "no tenant_id among the credentials, and no managed_identity",
        ),
        (
            f"tenant_id = {TENANT}\n",
            "no client_id among the credentials, and no managed_identity",
        ),
        (WHO, "no client_secret, certificate or federated_token_file among the credentials"),
        (
            "managed_identity = yes\n",
            "managed_identity among the credentials is neither 'system' nor 'user'",
        ),
        (
            "managed_identity = user\n",
            "no client_id among the credentials for the managed identity",
        ),
    ],
)
def test_what_is_missing_is_named(world, credentials, said):
    driver, _ = world.driver(credentials=credentials)

    with pytest.raises(ClientError) as wrong:
        driver.connect()
    assert str(wrong.value) == said


def test_the_clouds_have_their_addresses_built_in(world):
    from vmprobe.drivers.azure import endpoints

    found = endpoints.of({"cloud": "china"}, None)

    assert found == (
        "https://management.chinacloudapi.cn",
        "https://login.chinacloudapi.cn",
        "https://management.chinacloudapi.cn",
    )
