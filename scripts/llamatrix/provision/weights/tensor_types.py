"""ggml's tensor types: their numbers in GGUF files, and the bytes each takes."""

import re
from functools import cache

TENSOR_TYPES = {
    0: ("f32", 1, 4),
    1: ("f16", 1, 2),
    2: ("q4_0", 32, 18),
    3: ("q4_1", 32, 20),
    6: ("q5_0", 32, 22),
    7: ("q5_1", 32, 24),
    8: ("q8_0", 32, 34),
    9: ("q8_1", 32, 36),
    10: ("q2_K", 256, 84),
    11: ("q3_K", 256, 110),
    12: ("q4_K", 256, 144),
    13: ("q5_K", 256, 176),
    14: ("q6_K", 256, 210),
    15: ("q8_K", 256, 292),
    16: ("iq2_xxs", 256, 66),
    17: ("iq2_xs", 256, 74),
    18: ("iq3_xxs", 256, 98),
    19: ("iq1_s", 256, 50),
    20: ("iq4_nl", 32, 18),
    21: ("iq3_s", 256, 110),
    22: ("iq2_s", 256, 82),
    23: ("iq4_xs", 256, 136),
    24: ("i8", 1, 1),
    25: ("i16", 1, 2),
    26: ("i32", 1, 4),
    27: ("i64", 1, 8),
    28: ("f64", 1, 8),
    29: ("iq1_m", 256, 56),
    30: ("bf16", 1, 2),
    34: ("tq1_0", 256, 54),
    35: ("tq2_0", 256, 66),
    39: ("mxfp4", 32, 17),
    40: ("nvfp4", 64, 36),
    41: ("q1_0", 128, 18),
    42: ("q2_0", 64, 18),
}
"""By ggml's number: name, elements per block, bytes per block; all that 0c1e570 has."""
REMOVED_TYPES = {4, 5, *range(31, 34), *range(36, 39)}


_NEVER_IN_FILES = {"Q8_1", "Q8_K"}
"""Types of intermediate results; a file called `Q8_K_XL` has Q8_0 and wider."""
_OTHER_NAMES = {"FP32": 32.0, "FP16": 16.0, "FP8": 8.0, "FP4": 4.0}
_BITS_NAMED = re.compile(
    r"(?<![A-Z0-9.])(?:(\d+(?:\.\d+)?)[ -]?(?:BPW|BIT)|(?:INT|W)(\d+))(?![0-9])"
)
"""`4.0bpw`, `4-bit`, `Int4`, `W4A16`: types of other engines."""
_FAMILY = re.compile(r"(?<![A-Z0-9])(I?Q\d|TQ\d)(?![0-9])")


@cache
def ggml_type_bits() -> dict[str, float]:
    """Return the bits of one weight by type, scales included: 4.5 for `Q4_K`."""
    return {
        name.upper(): 8 * block_bytes / elements
        for name, elements, block_bytes in TENSOR_TYPES.values()
        if name.upper() not in _NEVER_IN_FILES
    }


def least_bits_per_weight(quant: str | None) -> float | None:
    """Return the fewest bits of a weight in a file of this quantisation; None if unknown.

    `UD-Q4_K_XL` is mostly of type Q4_K, with heavier types beside it: 4.5 bits. A name
    of a family (`IQ3_M`, `Q4`) counts as the family's smallest type.
    """
    text = (quant or "").upper()
    types = {**ggml_type_bits(), **_OTHER_NAMES}
    named = [
        bits
        for name, bits in types.items()
        if re.search(rf"(?<![A-Z0-9]){name}(?![A-Z0-9])", text)
    ]
    named += [float(bits or other) for bits, other in _BITS_NAMED.findall(text)]
    if not named and (family := _FAMILY.search(text)):
        named = [
            bits for name, bits in types.items() if name.startswith(f"{family[1]}_")
        ]
    return min(named, default=None)
