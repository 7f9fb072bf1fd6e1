"""What an attack costs: counted on this machine, priced on a GPU that is stated. Pure.

Work is counted as multiplications and additions by the number of parameters N: 2 N for a token that is passed through
the model, 6 N for one that it is trained on (Kaplan et al. 2020, arXiv 2001.08361, section 2.1). Adapters of low rank
need about 4 N a token; they are counted as 6 N like everything that is trained. The price is that of computing
alone, on a GPU at the rate below: people, data, trials that failed and minimum rental times are not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from weighbridge.canonical import Json

GPU = "NVIDIA H100 SXM"
GPU_RATE = 989e12
"""FLOP/s, dense bfloat16: NVIDIA's H100 data sheet."""
GPU_UTILISATION = 0.4
"""Share of the rate that training reaches: 38 to 43 % in Llama 3 (arXiv 2407.21783, table 4)."""
GPU_HOUR = 2.50
"""US dollars for an hour: H100 SXM on demand was offered at 1.99 to 5.00 in May 2026
(mercatus-ai.com/blog/cloud-gpu-pricing)."""


@dataclass(frozen=True, slots=True)
class Cost:
    """``examples`` seen at least once, ``steps`` of the optimiser, ``tokens`` through the model in all, ``flop`` of
    computing, ``seconds`` on this machine, ``dollars`` on the stated GPU."""

    examples: int
    steps: int
    tokens: int
    flop: float
    seconds: float
    dollars: float

    def to_json(self) -> dict[str, Json]:
        """As the facts of a record hold it."""
        return asdict(self)


def cost(facts: Mapping[str, Json], parameters: int) -> Cost:
    """The cost of making what ``facts`` of a tampering describe (see ``workshop.Tampered``), for a model of so many
    parameters. Asking the model afterwards is not in it: whoever uses a model pays for that with or without attack."""
    trained, passed = _count(facts, "trained_tokens"), _count(facts, "passed_tokens")
    flop = parameters * (6.0 * trained + 2.0 * passed)
    seconds = facts.get("seconds", 0.0)
    return Cost(
        examples=_count(facts, "examples"),
        steps=_count(facts, "steps"),
        tokens=trained + passed,
        flop=flop,
        seconds=float(seconds) if isinstance(seconds, int | float) else 0.0,
        dollars=flop / (GPU_RATE * GPU_UTILISATION) / 3600 * GPU_HOUR,
    )


def _count(facts: Mapping[str, Json], name: str) -> int:
    value = facts.get(name, 0)
    return value if isinstance(value, int) else 0
