"""Scoring speed and agreement: this engine against lm-eval's Hugging Face backend, on identical requests.

    python benchmarks/engine/speed.py CHECKPOINT [--suite truthfulqa] [--limit 40] [--threads 2] [--batch-size 1]

Prints, per suite: seconds of both, their ratio, the largest difference of a log-likelihood in nats, tokens, and the
floor: tokens in the tree x 2 x weights touched, plus scored rows x 2 x vocabulary weights, plus attention, over the
rate of matrix products of the shape that the model has at the size of a pack, measured before and after each run.
Of several runs (``--repeats``) the median counts; ``lowest`` and ``highest`` say how far they lie apart.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import torch

from suites import SUITES, Pairs
from weighbridge.engines.prefix_tree import PrefixTree
from weighbridge.engines.tokenize import Request
from weighbridge.engines.torch_engine import TorchEngine

clock = time.perf_counter


def matrix_rate(rows: int, hidden: int, width: int, layers: int, dtype: torch.dtype) -> float:
    """FLOP/s of [rows, hidden] x [hidden, width] and back, kept up for a second or more over as many different matrices
    as the model has layers (a product with one matrix that never leaves the cache is no model's)."""
    left, back = torch.randn(rows, hidden).to(dtype), torch.randn(rows, width).to(dtype)
    ups = [torch.randn(hidden, width).to(dtype) for _ in range(layers)]
    downs = [torch.randn(width, hidden).to(dtype) for _ in range(layers)]
    start, done = clock(), 0
    while clock() - start < 1.0 or done == 0:
        for up, down in zip(ups, downs, strict=True):
            torch.mm(left, up)
            torch.mm(back, down)
        done += layers
    return 4 * rows * hidden * width * done / (clock() - start)


def work(engine: TorchEngine, requests: list[Request]) -> dict[str, float]:
    """Tokens and floating-point operations: of the tree, and of what lm-eval runs."""
    lean = engine._tree._model  # type: ignore[union-attr]
    tree = PrefixTree([request.inputs for request in requests])
    scored = {row for rows in tree.places([len(request.targets) for request in requests]) for row in rows}
    depths = sum(
        sum(range(tree.shared[place] + 1, len(tree.sequences[index]) + 1)) for place, index in enumerate(tree.order)
    )
    operations = 2.0 * tree.rows * lean.weights_touched() + 2.0 * len(scored) * lean.head.numel()
    operations += 4.0 * depths * lean.heads * lean.size * lean.layers
    distinct = {tuple(request.inputs) for request in requests}
    return {
        "tree_tokens": tree.rows,
        "scored_rows": len(scored),
        "lm_eval_tokens": sum(map(len, distinct)),
        "operations": operations,
    }


def lm_eval_backend(root: Path, dtype: str, batch_size: int) -> Any:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(root), device="cpu", dtype=dtype, batch_size=batch_size)


def run_lm_eval(model: Any, pairs: Pairs) -> tuple[float, list[tuple[float, bool]]]:
    from lm_eval.api.instance import Instance

    requests = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]
    start = clock()
    found = model.loglikelihood(requests, disable_tqdm=True)
    return clock() - start, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--suite", choices=SUITES, action="append", help="default: all of them")
    parser.add_argument("--limit", type=int, help="questions a suite")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch-size", type=int, default=1, help="lm-eval's (1 is its default)")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--repeats", type=int, default=3, help="runs of ours; the median counts")
    parser.add_argument("--their-repeats", type=int, default=1, help="runs of lm-eval, after as many of ours")
    parser.add_argument("--calls", type=int, default=0, help="pairs in one call of ours (0: all)")
    parser.add_argument("--ours-only", action="store_true", help="leave lm-eval out")
    parser.add_argument("--json", action="store_true", help="one JSON object a suite")
    parser.add_argument(
        "--clock", choices=["wall", "cpu"], default="wall", help="cpu: process time, for a busy machine (one thread)"
    )
    options = parser.parse_args()
    if options.clock == "cpu":
        global clock
        clock, options.threads = time.process_time, 1
    torch.set_num_threads(options.threads)
    engine = TorchEngine(options.checkpoint, device="cpu", dtype=options.dtype)
    other = None if options.ours_only else lm_eval_backend(options.checkpoint, options.dtype, options.batch_size)
    lean = engine._tree._model  # type: ignore[union-attr]
    width = int(engine._loaded.model.config.intermediate_size)  # type: ignore[union-attr]
    shape = (1024, lean.embedding.shape[1], width, lean.layers, lean.dtype)
    engine.score([("Warm", " up"), ("Warm", " water")])
    for name in options.suite or SUITES:
        make, usual = SUITES[name]
        pairs = make(options.limit or usual)
        requests = [request for request in engine._splitter.requests(pairs) if request]
        result: dict[str, Any] = {
            "suite": name,
            "pairs": len(pairs),
            "threads": options.threads,
            "clock": options.clock,
        }
        result |= work(engine, requests)
        ours, over, rates, theirs = [], [], [], []
        for number in range(max(options.repeats, options.their_repeats)):
            rate = matrix_rate(*shape)
            engine._tree.forget()  # type: ignore[union-attr]
            start = clock()
            step = options.calls or len(pairs)
            calls = [pairs[first : first + step] for first in range(0, len(pairs), step)]
            scores = [score for call in calls for score in engine.score(call)]
            ours.append(clock() - start)
            rates.append((rate + matrix_rate(*shape)) / 2)
            over.append(ours[-1] * rates[-1] / result["operations"])
            if other is not None and number < options.their_repeats:
                seconds, expected = run_lm_eval(other, pairs)
                theirs.append(seconds)
        usual_time = statistics.median(ours)
        result |= {
            "runs": len(ours),
            "ours_seconds": round(usual_time, 2),
            "ours_lowest_highest": [round(min(ours), 2), round(max(ours), 2)],
            "ours_tokens_per_second": round(result["tree_tokens"] / usual_time),
            "matrix_gflops": round(statistics.median(rates) / 1e9, 1),
            "floor_seconds": round(result["operations"] / statistics.median(rates), 2),
            "ours_over_floor": round(statistics.median(over), 2),
            "over_floor_lowest_highest": [round(min(over), 2), round(max(over), 2)],
        }
        if other is not None:
            differences = [abs(a.loglikelihood - b[0]) for a, b in zip(scores, expected, strict=True)]
            result |= {
                "lm_eval_seconds": round(statistics.median(theirs), 2),
                "ratio": round(statistics.median(theirs) / usual_time, 2),
                "token_ratio": round(result["lm_eval_tokens"] / result["tree_tokens"], 2),
                "max_difference_nats": max(differences),
                "greedy_flags_differ": sum(a.greedy != b[1] for a, b in zip(scores, expected, strict=True)),
            }
        if options.json:
            print(json.dumps(result), flush=True)
        else:
            print(*(f"{key:24} {value}" for key, value in result.items()), sep="\n", end="\n\n", flush=True)


if __name__ == "__main__":
    main()
