"""Tiny random checkpoints of many architectures, made in a moment, as Hugging Face directories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

torch.set_num_threads(1)  # threads only get in each other's way on models this small

_CORPUS = [
    "The river runs past the old mill, and the miller's daughter counts the boats.",
    "Question: Which of these is a metal? Answer: iron, copper, tin and lead are metals.",
    "Seven grey geese flew over seven grey roofs while seven children watched them go.",
    "If the kettle boils before the bread is done, set it aside and wait for the bread.",
    "A: yes. B: no. C: perhaps. D: none of the above, as far as anyone can tell today.",
]
CHAT = (
    "{% for message in messages %}<s>{{ message['role'] }}\n{{ message['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
VOCABULARY = 320

_SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.25,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,
}
_ROTARY = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 4.0, "low_freq_factor": 1.0}
_ROTARY |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 32}

# name -> (config class, what it changes of _SMALL)
TREE: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "llama, tied, biased": (
        "LlamaConfig",
        {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True, "num_key_value_heads": 4},
    ),
    "llama, scaled positions": ("LlamaConfig", {"rope_parameters": _ROTARY}),
    "mistral": ("MistralConfig", {"sliding_window": None, "head_dim": 16}),
    "mistral, short window": ("MistralConfig", {"sliding_window": 12}),
    "qwen2": ("Qwen2Config", {}),
    "qwen3": ("Qwen3Config", {"head_dim": 16}),
    "mixtral": ("MixtralConfig", {"num_local_experts": 4, "num_experts_per_tok": 2}),
}
FALLBACK: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}),
    "gpt-neox": ("GPTNeoXConfig", {}),
    "qwen2, windows in some layers": (
        "Qwen2Config",
        {"use_sliding_window": True, "sliding_window": 10, "max_window_layers": 1, "hidden_act": "gelu"},
    ),
    "llama, positions by length": (
        "LlamaConfig",
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}},
    ),
    "gemma2": ("Gemma2Config", {"sliding_window": 10, "head_dim": 8, "query_pre_attn_scalar": 8}),
    "mamba": ("MambaConfig", {"state_size": 8, "conv_kernel": 4}),
    "rwkv": ("RwkvConfig", {"attention_hidden_size": 32, "context_length": 128}),
    "recurrentgemma": (
        "RecurrentGemmaConfig",
        {"lru_width": 32, "attention_window_size": 16, "block_types": ["recurrent", "recurrent", "attention"]},
    ),
}


def make_tokenizer(root: Path, *, bos: bool = False, chat: bool = True) -> None:
    """A byte-level BPE tokenizer with fewer than ``VOCABULARY`` tokens. ``bos`` puts a BOS in front of every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 20,  # transformers may add tokens of its own
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    if chat:
        fast.chat_template = CHAT
    fast.save_pretrained(root)


def make_checkpoint(
    root: Path, name: str, *, seed: int = 7, bos: bool = False, chat: bool = True, **changes: Any
) -> Path:
    """A random checkpoint of the architecture ``name`` (a key of ``TREE`` or ``FALLBACK``)."""
    kind, own = (TREE | FALLBACK)[name]
    config = getattr(transformers, kind)(**(_SMALL | own | changes))
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():  # biases and norms start at 0 and 1, where a mistake with them would not show
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(root)
    make_tokenizer(root, bos=bos, chat=chat)
    return root
