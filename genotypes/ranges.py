"""Options that must lie in a range, and the words for those that do not."""

from __future__ import annotations


def check_ranges(options: object, **ranges: str) -> None:
    """Raise unless attributes of an object lie in ranges, as in ``check_ranges(self, trials="[1, inf)")``; or are None.

    Raises:
        ValueError: with the first name that does not, its range in words, and its value.
    """
    for name, interval in ranges.items():
        if (value := getattr(options, name)) is not None:
            check_range(name, value, interval)


def check_range(name: str, value: float, interval: str) -> None:
    """Raise unless a number lies in an interval in the notation of mathematics, such as ``[0, 1)`` or ``(0, inf)``.

    Raises:
        ValueError: with the name, the interval in words, and the value.
    """
    least, most = interval[1:-1].split(", ")
    above = value >= float(least) if interval[0] == "[" else value > float(least)
    below = value <= float(most) if interval[-1] == "]" else value < float(most)
    if above and below:
        return
    words = f"at least {least}" if interval[0] == "[" else f"above {least}"
    if most == "inf":
        words = f"finite and {words}" if isinstance(value, float) else words
    elif interval[0] + interval[-1] == "[]":
        words = f"from {least} to {most}"
    else:
        words += f" and at most {most}" if interval[-1] == "]" else f" and below {most}"
    raise ValueError(f"{name} must be {words}, not {value}")
