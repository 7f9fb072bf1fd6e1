"""Exporting to GGUF: speed against a plain copy, memory, and how far llama.cpp's numbers are from the source's.

python benchmarks/artifacts.py CHECKPOINT [--formats F32,F16,Q8_0,Q4_K_M] [--runs 3]

CHECKPOINT is a folder of safetensors. Each export runs in a process of its own, whose peak of resident memory is told.
A copy is of the file that the export made, flushed to the disk as the export's is. llama.cpp's attention keeps float32.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROMPTS = (
    "The capital of France is",
    "def fibonacci(n):\n    if n < 2:\n        return",
    "Question: What is the boiling point of water at sea level?\nAnswer:",
    "Once upon a time there was a miller who had three sons, a mill, a donkey and a cat; the sons had to",
)


def export(checkpoint: Path, form: str, to: Path) -> None:
    """One export in this process; prints seconds, CPU seconds, bytes and the peak of memory in MB."""
    from weighbridge.artifacts.export import export_gguf
    from weighbridge.checkpoint import open_checkpoint

    opened = open_checkpoint(checkpoint, cache=to.parent / "hashes.json")
    start, used = time.perf_counter(), time.process_time()
    record = export_gguf(opened, form, to)
    seconds, used = time.perf_counter() - start, time.process_time() - used
    status = Path("/proc/self/status").read_text()  # the peak since this program began, unlike getrusage's
    print(seconds, used, record.size, int(status.partition("VmHWM:")[2].split()[0]) / 1024)


def copied(source: Path, to: Path) -> float:
    """Seconds to copy ``source`` to ``to`` and flush it."""
    start = time.perf_counter()
    with source.open("rb") as one, to.open("wb") as other:
        while block := one.read(4 * 1024 * 1024):
            other.write(block)
        other.flush()
        os.fsync(other.fileno())
    return time.perf_counter() - start


def differences(checkpoint: Path, gguf: Path) -> tuple[float, float, float]:
    """(greatest, root mean square, mean weighted by the source's probability) of the differences of log-probabilities
    of the next token, over the vocabulary and the prompts."""
    import numpy as np
    import torch
    import transformers
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel, params.verbosity = str(gguf), 256, 1, 0
    params.warmup = params.use_jinja = False
    params.chat_template = "chatml"
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.hostnames = ["127.0.0.1"]
    server = xllamacpp.Server(params)
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    size = model.config.vocab_size
    greatest, squares, weighted = 0.0, [], []
    for text in PROMPTS:
        tokens = tokenizer(text).input_ids
        request = {"prompt": tokens, "max_tokens": 1, "temperature": 0.0, "logprobs": size, "cache_prompt": False}
        reply = server.handle_completions(request | {"logit_bias": [[tokens[-1], 1000.0]]})
        found = np.full(size, np.nan)
        for entry in reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
            found[entry["id"]] = entry["logprob"]
        with torch.no_grad():
            expected = torch.log_softmax(model(torch.tensor([tokens])).logits[0, -1].double(), -1).numpy()
        off = np.abs(found - expected)
        greatest = max(greatest, float(off.max()))
        squares.append(float(np.mean(off**2)))
        weighted.append(float((np.exp(expected) * off).sum()))
    return greatest, statistics.fmean(squares) ** 0.5, statistics.fmean(weighted)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--formats", default="F32,F16,Q8_0,Q4_K_M")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--to", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        export(arguments.checkpoint, arguments.one, arguments.to)
        return
    print("| format | MB | export, s | CPU, s | copy, s | ratio | peak, MB | greatest | rms | weighted |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory(dir=arguments.checkpoint.parent) as folder:
        for form in arguments.formats.split(","):
            path = Path(folder) / f"{form}.gguf"
            rows, copies = [], []
            for _ in range(arguments.runs):
                path.unlink(missing_ok=True)
                command = [sys.executable, __file__, str(arguments.checkpoint), "--one", form, "--to", str(path)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                rows.append([float(word) for word in done.stdout.split()])
                copies.append(copied(path, Path(folder) / "copy"))
            seconds, used, size, peak = min(rows)
            greatest, rms, weighted = differences(arguments.checkpoint, path)
            print(
                f"| {form} | {size / 1e6:.0f} | {seconds:.2f} | {used:.2f} "
                f"| {min(copies):.2f} | {seconds / min(copies):.1f} | {peak:.0f} "
                f"| {greatest:.4f} | {rms:.4f} | {weighted:.4f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
