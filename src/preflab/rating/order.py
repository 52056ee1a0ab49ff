"""Decides which answer a rater sees on the left. The order looks random, but depends only on the pair and the rater.
preflab can therefore compute the order again and undo it."""

from __future__ import annotations

import hashlib

from preflab.rating.pairs import RatedPair

_MASK = 0xFFFFFFFF


def is_swapped(pair: str, rater: str) -> bool:
    """Checks whether the page swaps the two answers of a pair for a rater. The script `templates/rate.js` contains the
    same function."""
    return mix(f"{rater}\n{pair}") & 1 == 1


def mix(text: str) -> int:
    """Returns a number of 32 bits that depends on every bit of the text: FNV-1a of its UTF-8 bytes, with the final steps of
    MurmurHash3."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = (value ^ byte) * 0x01000193 & _MASK
    value = (value ^ value >> 16) * 0x85EBCA6B & _MASK
    value = (value ^ value >> 13) * 0xC2B2AE35 & _MASK
    return value ^ value >> 16


def is_exported_swapped(pair: str, digest: str) -> bool:
    """Checks whether an exported page stores the second answer of a pair before the first answer. A hash determines the
    order, so that the source of the page does not reveal which answer is the first. `digest`: the digest of the
    exported pairs."""
    return hashlib.sha256(f"{digest}\n{pair}".encode()).digest()[0] & 1 == 1


def order_answers(pair: RatedPair, swapped: bool) -> tuple[str, str]:
    """Returns the two answers of a pair, the second answer first if `swapped` is True."""
    return (pair.second, pair.first) if swapped else (pair.first, pair.second)
