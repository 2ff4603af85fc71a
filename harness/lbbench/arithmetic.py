"""Medians, spreads and paired ratios. Pure: figures in, figures out.

A *round* measures each proxy once, one right after the other. Ratios are taken within a round and only then
summarised: what slows the machine for some seconds slows both sides of a ratio.
"""

import statistics


def median(values):
    """None when there are none."""
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None


def quartiles(values):
    """(first, third), by linear interpolation; None when there are no values."""
    values = sorted(v for v in values if v is not None)
    if not values:
        return None

    def at(quantile):
        place = quantile * (len(values) - 1)
        low = int(place)
        high = min(low + 1, len(values) - 1)
        return values[low] + (values[high] - values[low]) * (place - low)

    return at(0.25), at(0.75)


def spread(values):
    """Distance of the quartiles as a share of the median: 0.05: half of the rounds lie within 5 %."""
    middle = median(values)
    ends = quartiles(values)
    return (ends[1] - ends[0]) / middle if middle else None


def paired_ratios(ours, theirs):
    """One ratio for each round in which both sides have a figure."""
    return [a / b for a, b in zip(ours, theirs) if a is not None and b]


def ratio(ours, theirs):
    """{"median", "low", "high", "rounds"}: low and high are the quartiles. None without a common round."""
    ratios = paired_ratios(ours, theirs)
    if not ratios:
        return None
    low, high = quartiles(ratios)
    return {"median": median(ratios), "low": low, "high": high, "rounds": len(ratios)}


def figures(rounds, key):
    """The values of one figure, in the order of the rounds; None where a round has none."""
    return [r.get(key) for r in rounds]


def better_peer(results, peers, key, larger_is_better=False):
    """The name of the peer with the better median, or None when no peer was measured."""
    medians = {name: median(figures(results[name], key)) for name in peers if name in results}
    medians = {name: value for name, value in medians.items() if value is not None}
    if not medians:
        return None
    return (max if larger_is_better else min)(medians, key=medians.get)


def summary(results, keys):
    """name -> {key: {"median", "spread"}} for the figures that the rounds of the proxy have."""
    rows = {}
    for name, rounds in results.items():
        row = {}
        for key in keys:
            values = figures(rounds, key)
            if median(values) is not None:
                row[key] = {"median": median(values), "spread": spread(values)}
        rows[name] = row
    return rows
