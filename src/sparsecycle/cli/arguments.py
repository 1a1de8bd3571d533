"""What arguments of more than one command are read as."""

import argparse


def whole(text: str) -> int:
    """Return a whole number, and nothing that only Python takes for one, such as 1_000."""
    if not text.strip().lstrip("+-").isdecimal() or len(text) > 20:
        raise argparse.ArgumentTypeError(f"invalid int value: {text[:40]!r}")
    return int(text)
