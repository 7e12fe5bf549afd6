"""Numbers that are functions of their place, so that goldens need not hold them: the tests write the
same formula in C."""
import math

import numpy as np


def rng_bits(seed, n):
    """SplitMix64 as in src/base/rng.h, of an array n."""
    with np.errstate(over="ignore"):
        n = np.asarray(n, dtype=np.uint64)
        z = np.uint64(seed) * np.uint64(0xD1342543DE82EF95)
        z = z + (n + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        return z ^ z >> np.uint64(31)


def unit_numbers(number, shape):
    """Array `number` of a model: multiples of 2^-23 in [-1, 1), which float32 has exactly."""
    draws = rng_bits(number + 1, np.arange(math.prod(shape))) >> np.uint64(40)
    return (draws.astype(np.float64) * 2.0**-23 - 1).astype(np.float32).reshape(shape)
