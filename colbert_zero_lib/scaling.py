"""What a step of training asks of a device: memory, traffic, and how both change with the number of devices.

Worked out from shapes alone; what was measured beside it is in ``data/benchmarks`` and in passports.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd

from .errors import ParameterError

# ModernBERT-base with the projection, as the released checkpoints count it (their model cards).
ENCODER_WEIGHTS = 149_015_808
# Of them, those that every token is multiplied with: the rest, the table of embeddings, costs no product.
ENCODER_PARAMETERS = 110_000_000
FLOAT32 = 4
# A weight, its gradient and AdamW's two moments, all float32.
BYTES_PER_WEIGHT = 4 * FLOAT32


@dataclass(frozen=True)
class StepShape:
    """One contrastive step: ``batch`` queries on all ``devices`` together, each with ``documents`` documents.

    Lengths are in padded tokens, ``dimension`` is that of a token vector, ``bytes_each`` of one of its numbers.
    ``products`` of all ``weights`` are multiplied with every token.
    """

    batch: int
    query_length: int
    document_length: int
    documents: int = 1
    devices: int = 1
    dimension: int = 128
    weights: int = ENCODER_WEIGHTS
    bytes_each: int = FLOAT32
    products: int = ENCODER_PARAMETERS

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ParameterError(f"{name} of a step is {value!r}: give a whole number from 1.")
        if self.batch % self.devices:
            raise ParameterError(
                f"a batch of {self.batch} cannot be shared evenly by {self.devices} devices: change one of them."
            )

    def on(self, devices: int) -> StepShape:
        """The same step, shared by another number of devices."""
        return replace(self, devices=devices)

    @property
    def query_bytes(self) -> int:
        """Token vectors of all queries of the batch."""
        return self.batch * self.query_length * self.dimension * self.bytes_each

    @property
    def document_bytes(self) -> int:
        """Token vectors of all documents of the batch."""
        return self.batch * self.documents * self.document_length * self.dimension * self.bytes_each


def cached_memory(shape: StepShape, activations_per_token: float, chunk_tokens: int) -> dict[str, float]:
    """Bytes that a device holds at the peak of a step with gradient caching, by what they are for.

    Vectors count twice, since their gradients wait beside them (GradCache, Gao et al. 2021, arXiv 2101.06983). Every
    device holds the documents of all of them, and its own queries. A floor: copies that come and go are left out.
    """
    own = (shape.query_bytes + shape.document_bytes) / shape.devices
    return {
        "weights, gradients, optimiser": float(shape.weights * BYTES_PER_WEIGHT),
        "own token vectors": 2.0 * own,
        "gathered documents": 2.0 * shape.document_bytes if shape.devices > 1 else 0.0,
        "activations of one chunk": activations_per_token * chunk_tokens,
    }


def direct_memory(shape: StepShape, activations_per_token: float) -> float:
    """Bytes of a device's step without gradient caching: the activations of every token of its share stay."""
    tokens = shape.batch * (shape.query_length + shape.documents * shape.document_length) / shape.devices
    return shape.weights * BYTES_PER_WEIGHT + activations_per_token * tokens


def traffic(shape: StepShape) -> dict[str, float]:
    """Bytes that one device sends in a step, and receives, by what they are for.

    Documents: an all-gather forwards, and back each gradient to the device that encoded the document (reduce-scatter).
    Weights: the ring all-reduce of their gradients, twice their share of the other devices.
    """
    others = (shape.devices - 1) / shape.devices
    return {
        "documents' vectors": others * shape.document_bytes,
        "documents' gradients": others * shape.document_bytes,
        "weights' gradients": 2 * others * shape.weights * FLOAT32,
    }


def efficiency(shape: StepShape, device_seconds: float, bandwidth: float) -> float:
    """How much of ``devices`` times one device's speed is reached, from 0 to 1.

    ``device_seconds`` is the work of a step, as one device would do it; ``bandwidth`` is in bytes a second out of each
    device. Traffic is taken to wait for the work to end; overlap would do better, a slow device worse.
    """
    if not (device_seconds > 0 and bandwidth > 0):
        raise ParameterError(
            f"device_seconds is {device_seconds!r} and bandwidth {bandwidth!r}: give numbers above 0."
        )
    working = device_seconds / shape.devices
    return working / (working + sum(traffic(shape).values()) / bandwidth)


def scaling_table(
    shape: StepShape, device_seconds: float, bandwidth: float, devices: tuple[int, ...] = (1, 4, 32, 256)
) -> pd.DataFrame:
    """A row a number of devices: rows of the batch on each, traffic (GB), seconds of a step, efficiency."""
    rows = []
    for count in devices:
        shared = shape.on(count)
        reached = efficiency(shared, device_seconds, bandwidth)
        rows.append(
            {
                "devices": count,
                "queries on each": shared.batch // count,
                "traffic of each, GB": sum(traffic(shared).values()) / 1e9,
                "seconds a step": device_seconds / count / reached,
                "efficiency": reached,
            }
        )
    return pd.DataFrame(rows)
