#!/usr/bin/env python3
"""Makes the golden data of the chat templates' tests, tests/golden/text/chat.json, with Transformers.

Templates in the style of the families' own are rendered for several conversations; snippets try one
construct each. Where Transformers raises an error, the text is null.

Usage: make_golden_text_chat.py OUT
"""

import json
import pathlib
import sys

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import _compile_jinja_template

BOS, EOS = "<s>", "</s>"

TEMPLATES = {
    "llama2": """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must take turns: user, assistant, user, ...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'system' %}{{ '<<SYS>>\\n' + content.strip() + '\\n<</SYS>>\\n\\n' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}""",
    "llama3": """{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}""",
    "llama31": """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user_message is defined %}
    {%- set tools_in_user_message = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- The system message, so that we can put it where it belongs. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}

{#- System message and tools #}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if builtin_tools is defined or tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{%- if tools is not none and not tools_in_user_message %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}

{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("One call at a time!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '{"name": "' + tool_call.name + '", ' }}
        {{- tool_call.arguments | tojson }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    "zephyr": """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}
""",
    "stablelm": """{% for message in messages %}
{% if (message['role'] in ['user', 'system', 'assistant']) %}
{{ '<|' + message['role'] + '|>' + '\\n' + message['content'] + '<|endoftext|>' }}
{% else %}
{{ raise_exception("No such role: " ~ message['role']) }}
{% endif %}
{%- if not loop.last -%}{{ '\\n' }}{%- endif -%}
{% endfor %}
{% if add_generation_prompt %}
{{ '\\n<|assistant|>\\n' }}
{%- endif %}
""",
    "chatml": """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\\n' + message['content']}}{% if (loop.last and add_generation_prompt) or not loop.last %}{{ '<|im_end|>' + '\\n'}}{% endif %}{% endfor %}{% if add_generation_prompt and messages[-1]['role'] != 'assistant' %}{{ '<|im_start|>assistant\\n' }}{% endif %}""",
    "qwen3": """{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls or [] %}{{- tool_call | tojson }}{%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
""",
    "gemma": """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('There is no system role') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must take turns') }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}""",
    "gemma3": """{{ bos_token }}
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
        {{ raise_exception("Roles must take turns") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '\\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Content of an unknown kind") }}
    {%- endif -%}
    {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model\\n'}}
{%- endif -%}
""",
    "phi3": """{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}""",
    "mistral": """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}

{#- The roles must take turns, tool calls aside. #}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or message.role == "tool_results" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("Roles must take turns") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}

{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- else %}
        {{- raise_exception("Only user and assistant roles, with an optional first system message") }}
    {%- endif %}
{%- endfor %}
""",
    "cohere": """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% elif false == true %}{% set loop_messages = messages %}{% set system_message = 'You are a model.' %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% if system_message != false %}{{ '<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>' + system_message + '<|END_OF_TURN_TOKEN|>' }}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must take turns') }}{% endif %}{% set content = message['content'] %}{% if message['role'] == 'user' %}{{ '<|START_OF_TURN_TOKEN|><|USER_TOKEN|>' + content.strip() + '<|END_OF_TURN_TOKEN|>' }}{% elif message['role'] == 'assistant' %}{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>'  + content.strip() + '<|END_OF_TURN_TOKEN|>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{% endif %}""",
    "vicuna": """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = 'A chat between a curious user and an artificial intelligence assistant.' %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must take turns') }}{% endif %}{% if loop.index0 == 0 %}{{ system_message }}{% endif %}{% if message['role'] == 'user' %}{{ ' USER: ' + message['content'].strip() }}{% elif message['role'] == 'assistant' %}{{ ' ASSISTANT: ' + message['content'].strip() + eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}""",
    "olmo": """{{ eos_token }}{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>
' + message['content'] }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>
'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}""",
    "macros": """{%- macro turn(role, content, end='<|im_end|>') -%}
<|im_start|>{{ role | upper }}
{{ content }}{{ end }}
{%- endmacro -%}
{%- for role, text in [('system', 'S')] %}{{ turn(role, text) }}
{% endfor -%}
{% for message in messages if message.role != 'system' %}
{{ turn(message.role, content=message.content | trim, end=eos_token) }}
{% else %}
nothing
{% endfor %}
{%- if add_generation_prompt %}{% generation %}{{ turn('assistant', '', '') }}{% endgeneration %}{% endif %}
""",
}

CONVERSATIONS = [
    [("user", "Hello!")],
    [("system", "Be brief. "), ("user", " What is 2+2?\n"), ("assistant", "4 "), ("user", "Why?")],
    [("user", "Grüße, 世界 \"quoted\" 'single' {braces} {{ not }}"), ("assistant", "\n<think>a</think>\n\nb\n")],
    [("user", "one"), ("user", "two")],
    [("assistant", "\u3000first\u00a0"), ("user", "")],
    [("system", "Only the system speaks.")],
    [("tool", "42"), ("user", "x")],
]

SNIPPETS = [
    # Operators, precedence, printing.
    "{{ 1 + 2 * 3 - 4 // 3 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ -7 // 2 }} {{ 7 / 2 }} {{ 2.5 * 2 }} {{ 1.0 }}",
    "{{ 1e3 is defined }}", "{{ 'a' ~ 1 ~ none ~ true ~ 1.5 }}", "{{ 1 + 2 ~ 3 }}", "{{ 'a' 'b' }}",
    "{{ not true or true and false }} {{ not (true and false) }} {{ 1 and 'x' }} {{ '' or 'y' }} {{ 0 or none }}",
    "{{ 1 < 2 < 3 }} {{ 1 < 2 > 5 }} {{ 'a' < 'b' }} {{ 2 >= 2.0 }} {{ 1 == true }} {{ '1' == 1 }}",
    "{{ 'x' if false }}|{{ 'x' if true else 'y' }}|{{ 'a' if false else 'b' if false else 'c' }}",
    "{{ 2 in [1, 2] }} {{ 'a' not in 'bcd' }} {{ 'k' in {'k': 1} }} {{ 3 not in (1, 2) }}",
    "{{ [1, 'a', none, true, 2.5, ['x']] }} {{ {'a': 1, 'b': [2]} }} {{ 'it\\'s' }} {{ ['it\\'s', \"q\\\"\", 'n\\n'] }}",
    "{{ -3 | string ~ 'x' }} {{ (-3) }} {{ - 3 + 5 }} {{ +4 }}",
    "{{ 1 if 0 else 2 + 3 }} {{ 'a' + 'b' | upper }} {{ ('a' + 'b') | upper }} {{ -1 | string }}",
    "{{ 1000000 * 1000000 }} {{ 0.1 + 0.2 }} {{ 1e22 }} {{ 1.5E-7 }} {{ 12345678901.5 }} {{ 3 * 1.0 }}",
    # Subscripts and slices.
    "{% set l = [1,2,3,4,5] %}{{ l[0] }} {{ l[-1] }} {{ l[1:3] }} {{ l[:-1] }} {{ l[::2] }} {{ l[::-1] }} {{ l[3:0:-1] }} {{ l[10:] }} {{ l[-10:2] }} {{ l[7] is defined }}",
    "{{ 'häßlich'[1:4] }} {{ 'abc'[::-1] }} {{ 'abc'[-1] }} {{ 'abc'[5] is defined }} {{ {'a': 1}['a'] }} {{ {'a': {'b': 2}}.a.b }}",
    "{{ [4,3,2,1][-2:-4:-1] }} {{ 'abcdef'[4:1:-2] }} {{ [1,2][5:0:-1] }} {{ [][::-1] }} {{ [1,2,3][None:2] }}",
    # Filters.
    "{{ '  x\\n' | trim }}|{{ 'xxaxx' | trim('x') }}|{{ 'aBc' | upper }}|{{ 'aBc' | lower }}|{{ 'ab' | length }}|{{ [1,2] | count }}|{{ {'a': 1} | length }}",
    "{{ {'a': [1, 'é\"', none, true], 'b': {}} | tojson }} {{ [] | tojson }} {{ {'a': [1, {'b': 2}], 'c': []} | tojson(indent=2) }} {{ 'x\\n\\t<&>\\u0001' | tojson }} {{ 1.5 | tojson }}",
    "{{ [1, 'a', none] | join(', ') }} {{ 'abc' | join('-') }} {{ [] | join }} {{ [{'n': 1}, {'n': 2}] | join('+', attribute='n') }}",
    "{{ 'aaa' | replace('a', 'b') }} {{ 'aaa' | replace('a', 'bb', 2) }} {{ missing | default('d') }} {{ '' | default('d') }} {{ '' | default('d', true) }} {{ none | d('x', boolean=true) }}|{{ missing | default }}|",
    "{{ 'abc' | list }} {{ [1,2] | first }} {{ [1,2] | last }} {{ [] | first is defined }} {{ 'ab' | last }} {{ [3,1] | reverse | list }} {{ 'abc' | reverse }}",
    "{{ 'hello wORLD foo-bar (baz' | title }} {{ 'hELLO world' | capitalize }} {{ 'éa' | capitalize }} {{ 12 | string | length }} {{ '12' | int + 1 }} {{ 'x' | int }} {{ 3.9 | int }}",
    "{% for k, v in {'a': 1, 'b': 2} | items %}{{ k }}{{ v }}{% endfor %} {{ [{'r': 'u'}, {'r': 'a'}] | map(attribute='r') | list }} {{ ['a', 'b'] | map('upper') | join }} {{ [1, 2, 3] | select('odd') | list }} {{ [1, 0, ''] | select | list }} {{ [1, 2] | reject('odd') | list }}",
    "{{ [{'r': 'u', 'x': 1}, {'r': 'a'}] | selectattr('x', 'defined') | list | length }} {{ [{'r': 'u'}] | rejectattr('r', 'equalto', 'u') | list }} {{ [{'r': 'u'}] | selectattr('r', '==', 'u') | map(attribute='r') | first }}",
    "{{ 'a\\nb\\n\\nc' | indent(2) }}|{{ 'a\\nb' | indent(2, first=true) }}|{{ 'a\\nb' | indent }}|{{ 'x' | safe }}",
    # Methods.
    "{{ ' a '.strip() }}|{{ 'xay'.lstrip('x') }}|{{ 'xay'.rstrip('yx') }}|{{ 'a,b,c'.split(',') }}|{{ 'a b  c'.split() }}|{{ 'a,b,c'.split(',', 1) }}|{{ ' a  b c '.split(None, 1) }}|{{ 'abc'.split('x') }}",
    "{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'abc'.upper() }} {{ 'ABC'.lower() }} {{ 'a b'.title() }} {{ \"they're x2y\".title() }} {{ 'aXa'.replace('a', 'b') }} {{ 'aXa'.replace('a', 'b', 1) }} {{ 'abc'.find('c') }} {{ 'aab'.count('a') }} {{ 'x'.join(['a', 'b']) }} {{ 'aBC'.capitalize() }}",
    "{{ {'a': 1}.get('a') }} {{ {'a': 1}.get('b') }} {{ {'a': 1}.get('b', 2) }} {% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }};{% endfor %}{{ {'a': 1}.keys() | list }} {{ {'a': 1}.values() | list }}",
    "{{ ' \\x1c\\u2003a\\u3000'.strip() }}|{{ '\\u200ba'.strip() | length }}|{{ 'straße İ'.upper() }}|{{ 'ÀÉ'.lower() }}",
    # Tests.
    "{{ x is defined }} {{ x is undefined }} {{ x is none }} {{ none is none }} {{ 'a' is string }} {{ 1 is number }} {{ true is number }} {{ 1 is integer }} {{ 1.0 is float }} {{ true is boolean }} {{ {} is mapping }} {{ [] is sequence }} {{ 'a' is iterable }} {{ 1 is iterable }} {{ {} is sequence }} {{ x is iterable }}",
    "{{ 2 is even }} {{ 3 is odd }} {{ 4 is divisibleby 2 }} {{ 4 is divisibleby(3) }} {{ 1 is eq 1 }} {{ 1 is ne(2) }} {{ 1 is in [1] }} {{ 2 is not in [1] }} {{ true is true }} {{ 1 is true }} {{ false is false }} {{ 'a' is not none and 'b' is string }} {{ 2 is gt 1 }} {{ 'A' is upper }}",
    "{{ namespace is callable }} {{ range is defined }} {{ true is not integer }} {{ none is string or 'y' }}",
    # Statements.
    "{% for i in range(3) %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }} {% endfor %}",
    "{% for x in 'abc' %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}{% for x in [] %}a{% else %}empty{% endfor %}",
    "{% for x in [1,2,3,4] if x is even %}{{ loop.index }}:{{ x }} {% endfor %}{% for a, b in [(1, 2), [3, 4]] %}{{ a + b }} {% endfor %}",
    "{% for x in [1,2,3,4] %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 4 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for i in range(2, 8, 3) %}{{ i }} {% endfor %}{% for i in range(3, 0, -1) %}{{ i }} {% endfor %}",
    "{% set x = 1 %}{% for i in [1,2] %}{{ x }}{% set x = 5 %}{{ x }} {% endfor %}{{ x }}",
    "{% set ns = namespace(found=false, n=0) %}{% for i in [1,2,3] %}{% if i > 1 %}{% set ns.found = true %}{% set ns.n = ns.n + i %}{% endif %}{% endfor %}{{ ns.found }} {{ ns.n }} {{ ns.zzz is defined }}",
    "{% set a, b = 1, 'x' %}{{ a }}{{ b }}{% set t %}block {{ a }}{% endset %}[{{ t }}]{{ t | length }}",
    "{% if false %}a{% elif 0 %}b{% elif 'x' %}c{% else %}d{% endif %}{% if [] %}e{% else %}f{% endif %}{% if not x %}g{% endif %}{% set y = 3 if x else 4 %}{{ y }}",
    "{% macro m(a, b='B', c=none) %}({{ a }}{{ b }}{{ c }}{{ outer }}){% endmacro %}{% set outer = 'o' %}{{ m(1) }}{{ m(1, 2) }}{{ m(c=3, a=4) }}{{ m() }}",
    "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}",
    "{% if true %}{% set z = 'seen' %}{% endif %}{{ z }}{% for i in [1] %}{% set w = 1 %}{% endfor %}{{ w is defined }}",
    "{% generation %}g{% endgeneration %}{% set d = dict(a=1) %}{{ d.a }}{{ dict(a=1, b=2) }}",
    # White space.
    "a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a  {%- if true -%}  b  {%- endif -%}  c", "a\n{{ 1 }}\n  {{ 2 }}\n{# c #}\n  {# d #}  \nx",
    "  {%+ if true %}\nx{%+ endif +%}\ny\n\n", "{% if true -%}\n\n   x\n{%- endif %}\n\nz\r\nq\r\n", "x\n   {#- c -#}   \n y", "\n{% set a = 1 %}\n\n{{ a }}\n\t{% set b = 2 %}\t\n{{ b }}",
    "a {% if true %} b {% endif %} c\n {{- ' d ' -}} \n e", "{{ '{{' }} {{ '%}' }} {{ {'a': {'b': 1}}['a'] }}{{ \"}}\" }}",
    "   {% set a = 1 %}   {% set b = 2 %}\n  {{ a }}",
    # Undefined values.
    "[{{ missing }}] {{ missing | length }} {% for x in missing %}x{% endfor %} {{ messages[0].nothing is defined }} {{ missing == none }} {{ missing | trim }}|{{ missing | upper }}|{{ 'a' in missing }}|{{ missing ~ 'b' }}|{{ missing or 'c' }}",
    "{{ missing.attribute }}", "{{ missing + 'a' }}", "{{ missing['a'] }}", "{{ missing() }}", "{{ none + 1 }}", "{{ 1 + 'a' }}",
    "{{ 'a'.nosuch is defined }}", "{{ 1 / 0 }}", "{{ [1] < ['a'] }}", "{% for a, b in [1] %}{% endfor %}", "{{ none | length }}", "{% for x in 5 %}{% endfor %}",
    "{{ tools is none }} {{ documents is none }} {{ custom is defined }} {{ add_generation_prompt }} {{ bos_token }}",
    "{{ raise_exception('no ' ~ messages | length) }}", "{{ messages[0] }} {{ messages | tojson }} {{ messages == messages[:] }}",
]


def rendered(template, conversation, prompt, tokenizer):
    messages = [{"role": role, "content": content} for role, content in conversation]
    try:
        return tokenizer.apply_chat_template(
            messages, chat_template=template, tokenize=False, add_generation_prompt=prompt
        )
    except Exception:
        return None


def snippet(source):
    messages = [{"role": role, "content": content} for role, content in CONVERSATIONS[1]]
    try:
        return _compile_jinja_template(source).render(
            messages=messages, tools=None, documents=None, add_generation_prompt=True,
            bos_token=BOS, eos_token=EOS,
        )
    except Exception:
        return None


def main():
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE({BOS: 0, EOS: 1}, [])), bos_token=BOS, eos_token=EOS
    )
    cases = [
        [
            [rendered(template, c, prompt, tokenizer) for prompt in (False, True)]
            for c in CONVERSATIONS
        ]
        for template in TEMPLATES.values()
    ]
    golden = {
        "conversations": CONVERSATIONS,
        "templates": [
            {"name": name, "source": source, "texts": texts}
            for (name, source), texts in zip(TEMPLATES.items(), cases)
        ],
        "snippets": [[source, snippet(source)] for source in SNIPPETS],
    }
    text = json.dumps(golden, ensure_ascii=False, indent=1)
    (pathlib.Path(sys.argv[1]) / "chat.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
