import pytest

pytest.importorskip("botocore", reason="botocore, which judges the signatures, is not installed")
