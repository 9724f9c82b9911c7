"""Give this interpreter libvirt's own Python binding, which is no wheel and fits one libvirt and one Python only.

The distribution's (python3-libvirt) is linked into this environment where it fits: that takes no time and no compiler.
Else it is built from PyPI for the libvirt that is installed. Where neither can be done, one line says why; the tests
that need it are then left out, with that reason. Run again, it does nothing.
"""

import os
import subprocess
import sys
import sysconfig

PLACES = (
    "/usr/lib/python3/dist-packages",
    f"/usr/lib64/python3.{sys.version_info[1]}/site-packages",
)


def main():
    if imports() or any(linked(place) for place in PLACES) or built():
        return
    print(
        f"No libvirt binding for {sys.executable}: no python3-libvirt that fits it, and no compiler with libvirt-dev",
        file=sys.stderr,
    )


def imports():
    return (
        subprocess.run(
            [sys.executable, "-c", "import libvirt"], capture_output=True, check=False
        ).returncode
        == 0
    )


def linked(place):
    """The binding's two files, linked; taken away again where they do not fit after all."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    files = [os.path.join(place, "libvirt.py"), os.path.join(place, f"libvirtmod{suffix}")]
    if sys.prefix == sys.base_prefix or not all(map(os.path.exists, files)):
        return False
    links = [os.path.join(sysconfig.get_path("platlib"), os.path.basename(file)) for file in files]
    for file, link in zip(files, links):
        if os.path.lexists(link):
            os.unlink(link)
        os.symlink(file, link)
    if imports():
        return True
    for link in links:
        os.unlink(link)
    return False


def built():
    """The binding of the very version of the library: a newer one does not build against it."""
    try:
        asked = subprocess.run(
            ["pkg-config", "--modversion", "libvirt"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    wanted = f"libvirt-python=={asked.stdout.strip()}"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        wanted,
    ]
    return subprocess.run(command, check=False).returncode == 0 and imports()


if __name__ == "__main__":
    main()
