"""Checksums of what is read block by block."""

from __future__ import annotations

import hashlib
from typing import Dict, Iterable, Sequence


def of_blocks(blocks: Iterable[bytes], algorithms: Sequence[str]) -> Dict[str, str]:
    """The checksums in hexadecimal, by algorithm; an algorithm that Python lacks is left out.

    Nothing is read when no algorithm is left.
    """
    hashes = {
        algorithm: hashlib.new(algorithm)
        for algorithm in algorithms
        if algorithm in hashlib.algorithms_guaranteed
    }
    for block in blocks if hashes else ():
        for each in hashes.values():
            each.update(block)
    return {algorithm: each.hexdigest() for algorithm, each in hashes.items()}
