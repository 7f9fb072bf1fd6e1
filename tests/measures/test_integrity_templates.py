"""Chat templates as syntax trees: what templates in use do passes, what reaches behind values does not."""
# ruff: noqa: E501  (templates are written on the lines that they are written on)

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.measures.integrity.templates import inspect_template

# Written for this test, in the manner of templates that are in use.
PLAIN = """
{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\n' + message['content'] | trim + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}
"""
TOOLS_AND_DATES = """
{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}{%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}{%- set date_string = "26 Jul 2024" %}{%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}{%- set messages = messages[1:] %}
{%- else %}{%- set system_message = "" %}{%- endif %}
{%- if builtin_tools is defined %}
    {{- "Tools: " + builtin_tools | reject('equalto', 'code') | join(", ") + "\n\n" }}
{%- endif %}
{%- for t in tools or [] %}{{- t | tojson(indent=4) }}{{- "\n\n" }}{%- endfor %}
{%- for message in messages %}
    {%- if not (message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|h|>' + message['role'] + '<|/h|>' + message['content'] | trim + '<|e|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}{{- raise_exception("One call at a time.") }}{%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {%- for name, value in tool_call.arguments | items %}{{- name + '="' + value + '"' }}
            {%- if not loop.last %}{{- ", " }}{%- endif %}
        {%- endfor %}
    {%- elif message.role == "tool" %}
        {%- if message.content is mapping or message.content is iterable %}{{- message.content | tojson }}
        {%- else %}{{- message.content }}{%- endif %}
    {%- endif %}
{%- endfor %}
"""
THINKING = """
{%- set ns = namespace(multi_step_tool=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and
           not (message.content.startswith('<tool>') and message.content.endswith('</tool>')) %}
        {%- set ns.multi_step_tool = false %}{%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|s|>' + message.role + '\n' + message.content + '<|e|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set content = message.content %}{%- set thought = '' %}
        {%- if message.reasoning is string %}{%- set thought = message.reasoning %}
        {%- elif '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and (loop.last or thought) %}{{- '<think>' + thought.strip('\n') + '</think>' }}{%- endif %}
        {% generation %}{{- content }}{% endgeneration %}
        {%- if loop.previtem and loop.previtem.role != "tool" %}{{- '\n' }}{%- endif %}
        {%- if messages[loop.index0 + 1] is defined and messages[loop.index0 + 1].role == 'tool' %}{% continue %}{%- endif %}
        {%- if loop.index > 500 %}{% break %}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}
"""
MACROS = """
{%- macro type_of(spec) -%}
    {%- set names = {"string": "str", "number": "float", "array": "list"} %}
    {%- if spec.type is sequence and spec.type is not string %}
        {%- for kind in spec.type %}{{- names[kind] }}{{ " | " if not loop.last }}{%- endfor %}
    {%- elif names[spec.type] is defined %}{{- names[spec.type] }}
    {%- elif spec['items'] %}{{- "list[" + type_of(spec['items']) + "]" }}
    {%- else %}{{- "Any" }}{%- endif %}
{%- endmacro %}
{%- set loop_messages = messages | selectattr("role", "ne", "system") | list %}
{%- if (messages | map(attribute="role") | list).count("user") != loop_messages | selectattr("role", "equalto", "user") | list | length %}
    {{- raise_exception("Roles must alternate; got " ~ messages[0].role) }}
{%- endif %}
{%- for tool in tools %}
    {%- for key, spec in tool.function.parameters.properties.items() %}{{- key ~ ": " ~ type_of(spec) }}{%- endfor %}
    {%- for key in tool.function.keys() | sort if key != "name" %}{{- tool.function[key] | tojson | safe }}{%- endfor %}
{%- endfor %}
{%- for m in loop_messages %}
    {%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}
    {%- set role = 'model' if m.role == 'assistant' else m.role %}
    {{- '<turn>' + role + '\n' + (m.content if m.content is string else m.content | map(attribute='text') | join) | trim }}
    {{- '%0.2f and {}'.format(0.5) | upper | replace("A", "b") }}
    {%- for item in m.content if item.type == 'image' %}{{ '<image>' }}{% endfor %}
    {{- m.get('name', 'nobody').title() ~ m.tool_calls[-1].id[:9] ~ "__init__ in text is text" }}
{%- endfor %}
{%- call type_of({}) %}{% endcall %}
{% filter indent(2) %}text{% endfilter %}
"""


@pytest.mark.parametrize(
    "template", [PLAIN, TOOLS_AND_DATES, THINKING, "", "no Jinja at all", "{{ messages | tojson }}"]
)
def test_templates_in_the_manner_of_those_in_use_pass(template: str) -> None:
    assert inspect_template(template) == []


def test_macros_pass_but_a_dunder_string_does_not() -> None:
    assert inspect_template(MACROS.replace("__init__", "init")) == []
    assert [item.code for item in inspect_template(MACROS)] == ["template-attribute"]


@pytest.mark.parametrize(
    ("template", "code"),
    [
        ("{{ messages.__class__ }}", "template-attribute"),
        ("{{ messages['__class__'] }}", "template-attribute"),
        ("{{ messages['__cla' ~ 'ss__'] }}", "template-attribute"),
        ("{{ messages['__cla' + 'ss__'] }}", "template-attribute"),
        ("{% set k = '__class__' %}{{ messages[k] }}", "template-attribute"),
        ("{% set k = '__cla' ~ 'ss__' %}{{ messages[k] }}", "template-attribute"),
        ("{{ messages[k ~ 'ss__'] }}", "template-computed-key"),
        ("{{ messages['_' * 2 + k] }}", "template-computed-key"),
        ("{{ messages['%cclass' % 95] }}", "template-computed-key"),
        ("{{ messages[['_', 'x'] | join] }}", "template-computed-key"),
        ("{{ messages['ssalc'[::-1].replace('a', 'b')] }}", "template-computed-key"),
        ("{{ messages | attr('x') }}", "template-attribute"),
        ("{{ messages | map('attr', 'x') | list }}", "template-filter"),
        ("{{ messages | map(filter) | list }}", "template-filter"),
        ("{{ messages | map(attribute='__class__') | list }}", "template-attribute"),
        ("{{ messages | map(attribute='a.__class__') | list }}", "template-attribute"),
        ("{{ messages | map(attribute=name) | list }}", "template-computed-key"),
        ("{{ messages | map(**kinds) | list }}", "template-computed-key"),
        ("{{ messages | selectattr('__class__') | list }}", "template-attribute"),
        ("{{ messages | groupby('_x') | list }}", "template-attribute"),
        ("{{ messages | sort(attribute='__len__') }}", "template-attribute"),
        ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "template-attribute"),
        ("{{ self._TemplateReference__context }}", "template-attribute"),
        ("{{ self }}", "template-name"),
        ("{{ lipsum() }}", "template-name"),
        ("{{ __builtins__ }}", "template-name"),
        ("{{ messages.gi_frame.f_back }}", "template-attribute"),
        ("{{ x.mro() }}", "template-attribute"),
        ("{{ 'a' * 10 ** 10 }}", "template-growth"),
        ("{{ ['a'] * messages|length }}", "template-growth"),
        ("{{ n * 'ab' }}", "template-growth"),
        ("{{ 9 ** 9 ** 9 }}", "template-growth"),
        ("{% import 'a' as b %}", "template-import"),
        ("{% from 'a' import b %}", "template-import"),
        ("{% include 'a' %}", "template-import"),
        ("{% include name ignore missing %}", "template-import"),
        ("{% extends 'a' %}", "template-import"),
        ("{{ open('/etc/passwd') }}", "template-call"),
        ("{{ messages[0].execute() }}", "template-call"),
        ("{{ messages.append(1) }}", "template-call"),
        ("{{ messages['get']('x') }}", "template-call"),
        ("{{ namespace(x=1)() }}", "template-call"),
        ("{{ '{0.__class__}'.format(messages) }}", "template-call"),
        ("{{ '{0[a]}'.format(messages) }}", "template-call"),
        ("{{ text.format(messages) }}", "template-call"),
        ("{{ '{a}'.format_map(messages) }}", "template-call"),
        ("{{ messages | system }}", "template-filter"),
        ("{{ messages is hidden }}", "template-filter"),
        ("{% for x in y %}", "template-unparsable"),
        ("{% do messages.append(1) %}", "template-unparsable"),
        ("{% generation %}", "template-unparsable"),
        ("{{ " + "(" * 5000 + ")" * 5000 + " }}", "template-unparsable"),
        ("{{ " + "-" * 20000 + "1 }}", "template-unparsable"),
        ("x" * 1_000_001, "template-unparsable"),
    ],
)
def test_what_reaches_behind_values_is_found(template: str, code: str) -> None:
    found = inspect_template(template)
    assert code in [item.code for item in found]


def test_complaints_name_the_line_and_are_bounded() -> None:
    [complaint] = inspect_template("a\nb\n{{ x.__class__ }}\n")
    assert complaint.line == 3
    assert len(inspect_template("{{ x.__class__ }}\n" * 1000)) == 50


def test_a_long_template_takes_no_long_time() -> None:
    started = time.process_time()
    inspect_template(THINKING * 100)
    assert time.process_time() - started < 10


PIECES = ["{{", "}}", "{%", "%}", " x ", "'a'", "|", ".", "[", "]", "(", ")", "for", " in ", "if", "endif", "endfor", "~", "+",
          "__class__", "map", "attr", "set", "=", "generation", "endgeneration", "-", "#", "{#", "\n", "0", ",", "**"]  # fmt: skip


@pytest.mark.parametrize("piece", ["'a'", "a", "'a'~b"])
def test_a_long_chain_is_inspected_in_time_that_grows_with_its_length(piece: str) -> None:
    chain = "+".join([piece] * 400)
    began = time.process_time()
    inspect_template("{{ " + " }}{{ ".join([chain] * (200_000 // len(chain))) + " }}")
    assert time.process_time() - began < 20  # it was minutes


def test_a_name_put_together_after_a_long_text_is_found() -> None:
    template = "{{ '" + "x" * 5000 + "' + '__cl' + 'ass__' }}"
    assert any(found.message.endswith("x__class__'") for found in inspect_template(template))


@settings(max_examples=400)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_noise_is_inspected_without_a_crash(template: str) -> None:
    for complaint in inspect_template(template):
        assert complaint.code.startswith("template-")
        assert complaint.line >= 1
