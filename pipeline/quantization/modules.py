"""Modules that compute from packed weights, and their exchange for a model's linears and embeddings."""

from collections.abc import Mapping

from torch import Tensor, nn

from pipeline import ops


class PackedMatrix(nn.Module):
    """A matrix of R x K five-level weights: `codes` uint8 [R, P] (see `pipeline.ops.reference`) and `scale` [R]."""

    codes: Tensor
    scale: Tensor

    def __init__(self, codes_RP: Tensor, scale_R: Tensor, columns: int) -> None:
        super().__init__()
        self.columns = columns
        self.register_buffer("codes", codes_RP)
        self.register_buffer("scale", scale_R)

    @property
    def nbytes(self) -> int:
        """Bytes of codes and scales."""
        return self.codes.nbytes + self.scale.nbytes

    def dense(self) -> Tensor:
        """The float32 matrix [R, K] that it stands for."""
        return ops.unpack(self.codes, self.columns).float() * self.scale.float()[:, None]


class PackedLinear(nn.Module):
    """nn.Linear on packed weights."""

    def __init__(self, weight: PackedMatrix, bias: Tensor | None) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        return ops.linear(x, self.weight.codes, self.weight.scale, self.bias)


class PackedEmbedding(nn.Module):
    """nn.Embedding on packed weights, with `project` for models that use it as their output matrix too."""

    def __init__(self, weight: PackedMatrix) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, tokens: Tensor) -> Tensor:
        return ops.embedding(tokens, self.weight.codes, self.weight.scale, self.weight.columns)

    def project(self, x: Tensor) -> Tensor:
        """x [..., K] times the transposed matrix: [..., R]."""
        return ops.linear(x, self.weight.codes, self.weight.scale)


def exchange(module: nn.Module, packed: Mapping[Tensor, PackedMatrix]) -> None:
    """Put packed modules in place of every nn.Linear and nn.Embedding whose weight is in `packed`; tied ones share their matrix."""
    used = set()
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear | nn.Embedding) and child.weight in packed:
                used.add(child.weight)
                setattr(parent, name, _packed(child, packed[child.weight]))
    if len(used) != len(packed):
        raise ValueError("a quantizable matrix belongs to no nn.Linear and no nn.Embedding")


def _packed(child: nn.Linear | nn.Embedding, weight: PackedMatrix) -> nn.Module:
    return PackedLinear(weight, child.bias) if isinstance(child, nn.Linear) else PackedEmbedding(weight)
