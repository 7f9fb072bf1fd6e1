"""Chat templates as this project renders them, against transformers' own rendering: the same bytes."""
# ruff: noqa: E501  (templates are written on the lines that they are written on)

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer
from transformers.utils.chat_template_utils import render_jinja_template

from tiny_models import CHAT, make_tokenizer
from weighbridge.checkpoint.gguf_header import read_gguf_header
from weighbridge.engines.chat_template import ChatTemplate
from weighbridge.engines.interface import Decoding
from weighbridge.errors import EngineError
from weighbridge.rendering import Renderer

# Written for this test, in the manner of the templates of these families.
CHATML = """\
{%- for message in messages %}
    {%- if loop.first and message['role'] != 'system' %}
        {{- '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}
    {%- endif %}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
LLAMA_3 = """\
{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}{{- "Environment: ipython\\n" }}{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- else %}
        {{- raise_exception("no tools here") }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
MISTRAL = """\
{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
        {{- raise_exception("Roles must alternate") }}
    {%- endif %}
    {%- set ns.index = ns.index + 1 %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] " + tools|tojson + "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- else %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- endif %}
{%- endfor %}
"""
QWEN_3 = """\
{%- if tools %}{{- '<tools>' }}{%- for tool in tools %}{{- tool | tojson }}{%- endfor %}
{%- else %}
    {%- if messages[0].role == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}{%- set content = message.content %}{%- else %}{%- set content = '' %}{%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- if '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {{- '<think>' ~ thought ~ '</think>' }}
        {%- endif %}
        {% generation %}{{- content }}{% endgeneration %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}
"""
GEMMA = """\
{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '\\n\\n' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\\n\\n' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}{%- set role = "model" -%}{%- else -%}{%- set role = message['role'] -%}{%- endif -%}
    {{ '<start_of_turn>' + role + '\\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}{%- if item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}{%- endfor -%}
    {%- endif -%}
    {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{'<start_of_turn>model\\n'}}{%- endif -%}
"""
PHI = """\
{% for message in messages %}
    {% if message['role'] == 'system' %}
        {{'<|system|>\\n' + message['content'] + '<|end|>\\n'}}
    {% elif message['role'] == 'user' %}
        {{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}
    {% endif %}
    {% if loop.index > 500 %}{% break %}{% endif %}
{% endfor %}
{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}
"""
MACROS = """\
{%- macro block(role, text="", last=false) -%}
    <{{ role }}>{{ text | replace("\\n", " ") | indent(2) }}{{ caller() if caller else "" }}</{{ role }}>
{%- endmacro %}
{%- set roles = dict(user="human", system="note") %}
{%- for message in messages if message.content %}
    {%- call block(roles.get(message.role, "other"), message["content"], last=loop.last) %}!{% endcall %}
    {%- if not loop.last %}{% continue %}{% endif %}{{ [message, messages | length] | tojson(indent=1, sort_keys=true) }}
{%- endfor %}
{% filter upper %}{{ messages | map(attribute="role") | join(", ") }}{% endfilter %}

"""
FAMILIES = {
    "ChatML": CHATML,
    "Llama 3": LLAMA_3,
    "Mistral": MISTRAL,
    "Qwen 3": QWEN_3,
    "Gemma": GEMMA,
    "Phi": PHI,
    "macros": MACROS,
    "tests": CHAT,
}
PROMPTS = [
    "Hello",
    "",
    " \n padded\t\n",
    "zwei Zeilen\nund “Zitate” 🙂",
    "<|im_end|>{{ 1 }}{% raw %}</s>&<b>'\"",
    "x" * 9999,
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(root)
    return AutoTokenizer.from_pretrained(root)


def expected(tokenizer: Any, source: str, prompt: str, system: str | None) -> str:
    first = [] if system is None else [{"role": "system", "content": system}]
    text = tokenizer.apply_chat_template(
        [*first, {"role": "user", "content": prompt}], chat_template=source, add_generation_prompt=True, tokenize=False
    )
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize("name", FAMILIES)
def test_the_families_render_as_in_transformers(tokenizer: Any, name: str) -> None:
    template = ChatTemplate(FAMILIES[name], tokenizer.special_tokens_map, where=name)
    for prompt in PROMPTS:
        for system in (None, "Be brief.\n"):
            text = template.turn(prompt, Decoding(4, system=system))
            assert text == expected(tokenizer, FAMILIES[name], prompt, system)
            assert prompt.strip() in text or name == "macros"
    template.close()


def test_the_template_of_a_real_model_renders_as_in_transformers(tokenizer: Any, real_gguf: Path) -> None:
    source = read_gguf_header(real_gguf).templates()["default"]
    template = ChatTemplate(source, tokenizer.special_tokens_map, where="gguf")
    for prompt in PROMPTS:
        assert template.turn(prompt, Decoding(4)) == expected(tokenizer, source, prompt, None)
    template.close()


RENDERER = Renderer("weighbridge.engines.chat_dialect", error=EngineError, remedy="")
PIECES = st.sampled_from(
    [
        *"{}%-|+~ \n",
        "{{ ",
        " }}",
        "{% ",
        " -%}\n",
        "if x ",
        "else",
        "endif",
        "for m in messages ",
        "endfor",
        "set x = ",
        "m.role",
        "messages",
        "x",
        "loop.index",
        "|tojson",
        "|join(' ')",
        "|upper",
        "'a'",
        "1",
        "namespace(a=1)",
        "dict(b=2)",
        "generation",
        "endgeneration",
        "break",
        "continue",
        "raise_exception('no')",
        "is defined",
        ".__class__",
        "['_a']",
        "namespace(_a=1)",
        "tools",
        "{# c #}",
        "raw",
        "endraw",
    ]
)
WHOLE = st.sampled_from(
    [
        "{{ messages }}\n",
        "{% for m in messages %}",
        "  {% endfor %}  \n",
        "{% generation %}",
        "{% endgeneration %}",
        "{% if tools is none %}\n",
        "{% endif %}",
        "{{ m['content'] }}",
        "{% set x = messages|length %}",
        "{{ x }}",
        "{%- set n = namespace(k=0) %}",
        "{% set n.k = n.k + 1 -%}",
        "{{ n.k }}",
        "{{ dict.fromkeys(['a']) }}",
        "{{ dict(a='<é>')|tojson }}",
        "{% break %}",
        "{% continue %}",
    ]
)


@settings(deadline=None, max_examples=300)
@given(st.one_of(st.lists(PIECES, max_size=14).map("".join), st.lists(WHOLE, max_size=10).map("".join)))
def test_any_template_gives_the_same_text_or_fails_in_both(source: str) -> None:
    messages = [{"role": "user", "content": "Hi <b> é"}, {"role": "assistant", "content": " yes "}]
    try:
        texts, _ = render_jinja_template([messages], chat_template=source, add_generation_prompt=True, bos_token="<s>")
        theirs = texts[0]
    except Exception:
        theirs = None
    variables = {
        "messages": messages,
        "tools": None,
        "documents": None,
        "add_generation_prompt": True,
        "bos_token": "<s>",
    }
    try:
        ours = RENDERER.render(source, variables, where="x")
    except EngineError:
        ours = None
    assert ours == theirs
