"""Which tensors get which quantisation: stand-ins for the published mixes.

The true per-tensor types of the published UD-Q4_K_XL files were not found. These
use the types such files use where they use them, and promote so many layers that
the sum of tensor bytes prints as the published size: 16.40, 20.70, 15.95, 17.46 GiB.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from llamatrix.provision.synthetic.tensor import GgmlType

T = GgmlType


@dataclass(frozen=True, kw_only=True, slots=True)
class Mix:
    types: Mapping[str, GgmlType]
    """By role: the tensor's name without `blk.N.` and `.weight`."""
    rest: GgmlType
    """All other matrices."""
    promoted: Mapping[str, tuple[GgmlType, int]] = field(default_factory=dict)
    """By role: a heavier type, and in how many layers (evenly spread) it stands."""

    def at(self, role: str, *, layer: int = 0, layers: int = 1) -> GgmlType:
        """Type of a role in one of `layers` layers."""
        heavier, count = self.promoted.get(role, (self.rest, 0))
        if (layer + 1) * count // layers > layer * count // layers:
            return heavier
        return self.types.get(role, self.rest)


MIXES: dict[str, Mix] = {
    "qwen35-27b": Mix(
        types={
            "token_embd": T.Q4_K,
            "output": T.Q6_K,
            "ffn_gate": T.Q4_K,
            "ffn_up": T.Q4_K,
            "ffn_down": T.Q4_K,
            "ssm_out": T.Q8_0,
            "ssm_alpha": T.F16,
            "ssm_beta": T.F16,
        },
        rest=T.Q5_K,
        promoted={"ffn_down": (T.Q5_K, 58)},
    ),
    "qwen35-35b-a3b": Mix(
        types={
            "ffn_gate_exps": T.Q4_K,
            "ffn_up_exps": T.Q4_K,
            "ffn_down_exps": T.Q5_K,
        },
        rest=T.Q8_0,
        promoted={"ffn_up_exps": (T.Q5_K, 3)},
    ),
    # Gemma's expert rows of 704 are no multiple of 256: no K-quant fits them.
    "gemma4-26b-a4b": Mix(
        types={"ffn_gate_up_exps": T.Q4_K, "ffn_down_exps": T.Q5_1},
        rest=T.Q8_0,
        promoted={"ffn_gate_up_exps": (T.Q5_K, 3), "ffn_down_exps": (T.Q8_0, 1)},
    ),
    "gemma4-31b": Mix(
        types={
            "token_embd": T.Q6_K,
            "ffn_gate": T.Q4_K,
            "ffn_up": T.Q4_K,
            "ffn_down": T.Q4_K,
        },
        rest=T.Q5_K,
        promoted={"ffn_down": (T.Q5_K, 4)},
    ),
}
