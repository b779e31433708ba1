"""The checks that public functions share."""

from __future__ import annotations

import pytest
import torch

from headwater.checks import check_finite


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_large_numbers_are_finite_though_their_sum_is_not(dtype: torch.dtype) -> None:
    check_finite("the value", torch.full((4, 3), torch.finfo(dtype).max, dtype=dtype))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_the_first_sample_that_is_not_finite_is_named(value: float) -> None:
    x = torch.ones(5, 2)
    x[3, 1] = value
    x[4, 0] = -value
    with pytest.raises(
        ValueError, match="the value must be finite, got NaN or infinity at sample 13"
    ):
        check_finite("the value", x, first_row=10)


def test_nothing_and_whole_numbers_are_finite() -> None:
    check_finite("the value", torch.zeros(0, 3))
    check_finite("the value", torch.arange(3))
