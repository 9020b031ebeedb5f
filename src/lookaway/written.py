"""Numbers as people read them: written in one way on page, in tables and on the terminal."""

NONE = "–"


def percent(share: float | None, places: int = 0) -> str:
    """A share in per cent; a dash where there is none.

    >>> percent(0.8875, 1), percent(-0.0001), percent(None)
    ('88.8 %', '0 %', '–')
    """
    return NONE if share is None else f"{decimal(100 * share, places)} %"


def decimal(value: float | None, places: int = 3) -> str:
    """A number with so many places, and a true minus where it is below 0 as written.

    >>> decimal(-0.2914), decimal(-0.0001)
    ('−0.291', '0.000')
    """
    return NONE if value is None else _plain(f"{value:.{places}f}")


def signed(value: float | None, places: int = 3) -> str:
    """A number with its sign, which one that is written as 0 has not.

    >>> signed(0.1102), signed(-0.048), signed(-0.0001)
    ('+0.110', '−0.048', '0.000')
    """
    return NONE if value is None else _plain(f"{value:+.{places}f}")


def _plain(text: str) -> str:
    is_zero = not text.strip("+-0.")
    return text.lstrip("+-") if is_zero else text.replace("-", "−")
