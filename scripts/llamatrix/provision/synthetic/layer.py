"""Where a tensor's full name and type come from: its role, its layer and the mix."""

from dataclasses import dataclass

from llamatrix.provision.synthetic.mix import Mix
from llamatrix.provision.synthetic.tensor import Fill, GgmlType, Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    mix: Mix
    index: int
    of: int
    """How many layers the model has."""

    def matrix(self, role: str, *shape: int) -> Tensor:
        kind = self.mix.at(role, layer=self.index, layers=self.of)
        return Tensor(name=f"blk.{self.index}.{role}.weight", shape=shape, type=kind)

    def plain(self, name: str, *shape: int, fill: Fill = Fill.ONES) -> Tensor:
        """Make one that real files keep in F32; `name` lacks the layer only."""
        return Tensor(
            name=f"blk.{self.index}.{name}", shape=shape, type=GgmlType.F32, fill=fill
        )
