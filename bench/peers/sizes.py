"""Numbers as people write and read them: "32Ki" and "32 KiB", 0.1234 µs and 12300 µs."""

from __future__ import annotations

_UNITS = {"": 0, "Ki": 10, "Mi": 20, "Gi": 30}


def parse_size(text: str) -> int:
    """8, 32Ki, 16MiB. Raises ValueError."""
    word = text.strip().removesuffix("B")
    digits = word.rstrip("KMGi")
    unit = word[len(digits):]
    if unit not in _UNITS or not digits.isdigit():
        raise ValueError(f"not a size: {text!r}")
    return int(digits) << _UNITS[unit]


def size_name(size: int) -> str:
    for unit in ("Gi", "Mi", "Ki"):
        if size and size % (1 << _UNITS[unit]) == 0:
            return f"{size >> _UNITS[unit]} {unit}B"
    return f"{size} B"


def three_digits(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value >= 100:
        return f"{float(f'{value:.3g}'):.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"
