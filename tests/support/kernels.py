"""Which kernels a test may expect to be exact on this processor."""

import pytest

from protclip_core.encoders.kernels import _medium_precision_is_exact

#: "chunked" attention runs its products at medium precision: chosen only where that is exact.
exact_products = pytest.mark.skipif(
    not _medium_precision_is_exact(), reason="medium precision rounds to bfloat16 here (AMX)"
)
