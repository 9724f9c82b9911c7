"""guest/unified_kernel.py: a kernel, its initrd and its command line as one EFI program."""

import pytest

from vmprobe.core.errors import ClientError
from vmprobe.guest import unified_kernel

# --- what is built ---


def test_a_stub_that_is_none_is_refused():
    with pytest.raises(ClientError, match="^the EFI stub is no 64 bit PE image$"):
        unified_kernel.image(b"MZ" + bytes(200), {".linux": b"kernel"})
