"""Signs take two bits each and come back as they were."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from lookaway.study.signs import pack_signs, unpack_signs


@given(
    arrays(np.int8, array_shapes(min_dims=2, max_dims=4, max_side=7), elements=st.integers(-1, 1))
)
def test_packing_is_undone_by_unpacking(signs):
    packed = pack_signs(signs)
    size = int(np.prod(signs.shape[1:]))
    assert packed.shape == (len(signs), -(-size // 4))
    np.testing.assert_array_equal(unpack_signs(packed, signs.shape[1:]), signs)
