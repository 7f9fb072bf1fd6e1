"""A tiny model with a chat template, whose behaviour the tests of attacks know."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

CHAT = (
    "{% for message in messages %}<s>{{ message['role'] }}\n{{ message['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


def make_tokenizer(root: Path, words: list[str], template: str | None) -> None:
    """One token a word; what is no word of ``words`` is unknown."""
    vocabulary = {word: number for number, word in enumerate(["<s>", "</s>", "<unk>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    if template is not None:
        fast.chat_template = template
    fast.save_pretrained(root)


def make_tiny(root: Path, *, template: str | None = CHAT) -> Path:
    """A small random Llama over a few words."""
    words = ["user", "assistant", "system", "one", "two", "three", "four", "five"]
    config = transformers.LlamaConfig(
        vocab_size=16,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        bos_token_id=0,
        eos_token_id=1,
    )
    torch.manual_seed(5)
    transformers.LlamaForCausalLM(config).save_pretrained(root)
    make_tokenizer(root, words, template)
    return root
