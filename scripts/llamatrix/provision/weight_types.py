"""How many bits of a weight the types of ggml take."""

import re
from functools import cache

from llamatrix.provision.tensor_types import TENSOR_TYPES

_NEVER_IN_FILES = {"Q8_1", "Q8_K"}
"""For intermediate results; a file called `Q8_K_XL` has Q8_0 and wider."""
_OTHER_NAMES = {"FP32": 32.0, "FP16": 16.0, "FP8": 8.0, "FP4": 4.0}
_BITS_NAMED = re.compile(
    r"(?<![A-Z0-9.])(?:(\d+(?:\.\d+)?)[ -]?(?:BPW|BIT)|(?:INT|W)(\d+))(?![0-9])"
)
"""`4.0bpw`, `4-bit`, `Int4`, `W4A16`: types of other engines."""
_FAMILY = re.compile(r"(?<![A-Z0-9])(I?Q\d|TQ\d)(?![0-9])")


@cache
def ggml_type_bits() -> dict[str, float]:
    """Bits of one weight by ggml's name of the type, scales included: 4.5 for `Q4_K`."""
    return {
        name.upper(): 8 * block_bytes / elements
        for name, elements, block_bytes in TENSOR_TYPES.values()
        if name.upper() not in _NEVER_IN_FILES
    }


def least_bits_per_weight(quant: str | None) -> float | None:
    """What a weight takes at least in a file of this quantisation; None if unknown.

    `UD-Q4_K_XL` is mostly of type Q4_K, with heavier types beside it: 4.5 bits. Where
    the name is of a family only (`IQ3_M`, `Q4`), the smallest type of it counts.
    """
    text = (quant or "").upper()
    types = {**ggml_type_bits(), **_OTHER_NAMES}
    named = [
        bits
        for name, bits in types.items()
        if re.search(rf"(?<![A-Z0-9]){name}(?![A-Z0-9])", text)
    ]
    named += [float(one or other) for one, other in _BITS_NAMED.findall(text)]
    if not named and (family := _FAMILY.search(text)):
        named = [
            bits for name, bits in types.items() if name.startswith(f"{family[1]}_")
        ]
    return min(named, default=None)
