"""A wheel has the same checks, templates and example sites as the checkout, and nothing else."""

import configparser
import re
import subprocess
import sys
import tarfile
import zipfile

import pytest

from packages.environments import environment
from running import CHECKOUT
from vmprobe import __version__, drivers

pytestmark = pytest.mark.packaging


def run(*command, **options):
    """The output of a command that has to succeed."""
    return subprocess.run(
        [str(part) for part in command], check=True, capture_output=True, text=True, **options
    ).stdout


def tracked(*folders):
    """The files of the checkout that git tracks."""
    listed = run("git", "-C", CHECKOUT, "ls-files", *folders).splitlines()
    return {path for path in listed if (CHECKOUT / path).is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The directory of a wheel and a source distribution of this tree."""
    if not (CHECKOUT / ".git").exists():
        pytest.skip("needs a git checkout, to know which files are tracked")
    folder = tmp_path_factory.mktemp("build")
    for path in tracked():
        (folder / "tree" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "tree" / path).write_bytes((CHECKOUT / path).read_bytes())
    python = environment("build", sys.executable, ["setuptools", "wheel"])
    run(
        python,
        "-c",
        "from setuptools.build_meta import *; build_sdist('../dist'); build_wheel('../dist')",
        cwd=folder / "tree",
    )
    return folder / "dist"


def test_a_wheel_has_the_package_the_checks_and_their_data_and_nothing_else(built):
    files = zipfile.ZipFile(built / f"vmprobe-{__version__}-py3-none-any.whl").namelist()
    scripts, data = (
        f"vmprobe-{__version__}.data/{kind}/" for kind in ("scripts", "data/share/vmprobe")
    )
    package = {
        path
        for path in tracked("probes/vmprobe")
        if path.endswith((".py", "/py.typed")) or "/guest/" in path
    }

    assert {file for file in files if ".dist-info/" not in file} == (
        {path[len("probes/") :] for path in package}
        | {scripts + path[len("probes/") :] for path in tracked("probes") if path.count("/") == 1}
        | {data + path for path in tracked("templates", "etc", "docs/drivers/command.schema.json")}
    )


def test_a_source_distribution_has_what_git_has(built):
    prefix = f"vmprobe-{__version__}/"
    files = {
        name[len(prefix) :]
        for name in tarfile.open(built / f"vmprobe-{__version__}.tar.gz").getnames()
    }

    assert tracked() - files == set()


def test_a_wheel_in_a_clean_environment_runs_from_anywhere(built, tmp_path):
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    run(
        tmp_path / "venv/bin/pip",
        "install",
        "--quiet",
        f"{built / f'vmprobe-{__version__}-py3-none-any.whl'}[config]",
    )

    output = run(tmp_path / "venv/bin/check_vm_lifecycle", "--site", "memory", cwd=tmp_path)
    assert output.startswith("VM_LIFECYCLE OK - memory: test VM ran and is gone in ")

    run(
        tmp_path / "venv/bin/vmprobectl",
        "config",
        "--target",
        "nagios",
        "--output",
        "out",
        "--sites",
        tmp_path / "venv/share/vmprobe/etc/sites",
        cwd=tmp_path,
    )
    assert f"{tmp_path}/venv/bin/check_vm_lifecycle" in "".join(
        path.read_text() for path in (tmp_path / "out").rglob("*.cfg")
    )


def test_every_driver_with_an_optional_library_has_its_extra_and_its_package():
    parser = configparser.ConfigParser()
    parser.read(CHECKOUT / "setup.cfg")
    extras = set(parser["options.extras_require"]) & set(drivers.DRIVERS)
    packages = set(
        re.findall(
            r"(?m)^%package (\S+)$", (CHECKOUT / "rpm" / "nagios-plugins-vmprobe.spec").read_text()
        )
    )

    assert extras == packages - {"config", "selinux"}


def test_setup_cfg_names_every_executable():
    parser = configparser.ConfigParser()
    parser.read(CHECKOUT / "setup.cfg")

    assert set(parser["options"]["scripts"].split()) == {
        path for path in tracked("probes") if path.count("/") == 1
    }


@pytest.mark.parametrize(
    "name", sorted(path.name for path in (CHECKOUT / "tests/sites/0.1.0").iterdir())
)
def test_a_site_file_of_an_earlier_release_still_loads(name, tmp_path):
    from vmprobe.site import site

    (tmp_path / "credentials").mkdir()
    (tmp_path / "sites").mkdir()
    secret = tmp_path / "credentials" / "openstack.ini"
    secret.write_bytes((CHECKOUT / "etc/credentials/openstack.ini").read_bytes())
    secret.chmod(0o600)
    path = tmp_path / "sites" / name
    path.write_bytes((CHECKOUT / "tests/sites/0.1.0" / name).read_bytes())

    assert site.load(str(path)).name == name[: -len(".ini")]
