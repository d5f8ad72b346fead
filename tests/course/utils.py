"""Helpers of the assignment."""


def get_extended_attention_mask(attention_mask, dtype):
    """[B, T] of 1 and 0 -> [B, 1, 1, T]: 0 for a token, a large negative number for padding."""
    return (1.0 - attention_mask[:, None, None, :].to(dtype)) * -10000.0
