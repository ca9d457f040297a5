"""Confidence intervals of shares."""

import math

Z_95 = 1.959963984540054
"""97.5 % quantile of the standard normal distribution."""


def wilson(successes: int, trials: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval of a binomial share (Wilson 1927): lies in [0, 1] and keeps its coverage near 0 and 1.

    Raises `ValueError` without trials, about which nothing can be said.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"{successes} of {trials} is not a share")
    share, weight = successes / trials, z * z / trials
    middle = (share + weight / 2) / (1 + weight)
    reach = z * math.sqrt(share * (1 - share) / trials + weight / (4 * trials)) / (1 + weight)
    # at the ends the exact value is 0 or 1, which rounding would miss by a hair
    return (0.0 if successes == 0 else middle - reach), (1.0 if successes == trials else middle + reach)
