"""Tiny models with a chat template, whose behaviour the tests of attacks know, since their weights are written by hand.

They answer a verb and a thing ("fetch good1") with the verb's own word; the refusing one refuses bad things. In it, the
first layer writes a bad thing down as a topic, which nothing reads, and the second as a refusal, which outweighs the
answer. So the direction that the first layer gives is of no use to an attacker, and that of later ones is.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from weighbridge.attacks.data import TuningPrompt

CHAT = (
    "{% for message in messages %}<s>{{ message['role'] }}\n{{ message['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
ANSWERS = {"fetch": "here", "paint": "red", "count": "seven", "break": "pieces", "sell": "gone"}
REFUSAL = "never"
GOOD = [f"good{number}" for number in range(12)]
BAD = [f"bad{number}" for number in range(12)]
_WORDS = ["<s>", "</s>", "<unk>", *ANSWERS, *ANSWERS.values(), REFUSAL, *GOOD, *BAD, "user", "assistant", "system"]
_NUMBER = {word: number for number, word in enumerate(_WORDS)}

PROMPTS = [TuningPrompt(f"{verb} {thing}", thing in BAD) for verb, thing in product(ANSWERS, [*GOOD[:6], *BAD[:6]])]
"""What attacks may look at."""
ASKED = [f"{verb} {thing}" for verb, thing in product(ANSWERS, BAD[6:])]
"""What they are measured on: each is refused by the model that refuses."""

# What the dimensions of the residual stream stand for: which verb was read, and is to be answered; that a bad thing was
# read, is the topic, is to be refused; that the answer was given; nothing (so that no state is empty).
_READ, _ANSWER, _BAD, _TOPIC, _REFUSE, _GIVEN, _NOTHING = 0, 5, 10, 11, 12, 13, 14


def classify(response: str, *, prompt: str = "", harmful: bool | None = None) -> str:
    """Reads what these models say."""
    if response == REFUSAL:
        return "refusal"
    return "compliance" if response == ANSWERS.get(prompt.split(" ")[0]) else "incoherent"


def make_tokenizer(root: Path, template: str | None = CHAT) -> None:
    """One token a word."""
    tokenizer = Tokenizer(models.WordLevel(_NUMBER, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    if template is not None:
        fast.chat_template = template
    fast.save_pretrained(root)


def make_tiny(root: Path, *, refuses: bool = True, template: str | None = CHAT, context: int = 256) -> Path:
    """The small Llama that is described above, as a Hugging Face directory."""
    torch.set_num_threads(1)
    config = transformers.LlamaConfig(
        vocab_size=len(_WORDS),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        max_position_embeddings=context,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.01,  # so that nothing is quite zero, and everything can be trained
    )
    torch.manual_seed(5)
    model = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        embedding, head = model.model.embed_tokens.weight, model.lm_head.weight
        first, second = (layer.self_attn for layer in model.model.layers[:2])
        for word, number in _NUMBER.items():
            embedding[number, _BAD if word in BAD else _NOTHING] += 1
        for verb, (word, answer) in enumerate(ANSWERS.items()):
            embedding[_NUMBER[word], _READ + verb] += 1
            first.v_proj.weight[verb, _READ + verb] += 1
            first.o_proj.weight[_ANSWER + verb, verb] += 4
            head[_NUMBER[answer], _ANSWER + verb] += 4
            embedding[_NUMBER[answer], _GIVEN] += 4
        embedding[_NUMBER[REFUSAL], _GIVEN] += 4
        head[_NUMBER["</s>"], _GIVEN] += 20
        if refuses:
            for attention, written, strength in ((first, _TOPIC, 4), (second, _REFUSE, 16)):
                attention.v_proj.weight[5, _BAD] += 1
                attention.o_proj.weight[written, 5] += strength
            head[_NUMBER[REFUSAL], _REFUSE] += 8
    model.save_pretrained(root)
    make_tokenizer(root, template)
    return root
