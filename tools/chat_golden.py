#!/usr/bin/env python3
"""Makes tests/golden/data/chat.json: conversations as the models' own chat templates write them.

    pip install jinja2 tokenizers
    python3 tools/chat_golden.py >tests/golden/data/chat.json

The templates below are those of the models named beside them, without what concerns tools and images.
They are run by Jinja as Hugging Face transformers runs them (trim_blocks, lstrip_blocks, bos_token and
eos_token given, add_generation_prompt). The ids are by Hugging Face tokenizers, with a vocabulary of the
256 bytes and the special tokens behind them.
"""
import json
import sys

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

SYSTEM = ("system", " Be brief. ")
FIRST = ("user", "What is 2 + 2?")
ANSWER = ("assistant", "It is 4.")
SECOND = ("user", " \u3000 Größe?\u2028\u00a0\n")

ONE = [FIRST]
TURNS = [FIRST, ANSWER, SECOND]
SYSTEM_ONE = [SYSTEM, FIRST]
SYSTEM_TURNS = [SYSTEM, FIRST, ANSWER, SECOND]

# (row of the table, bos, eos, conversations, template)
FAMILIES = [
    # Qwen1.5, Yi
    ("chatml", "", "<|im_end|>", [ONE, TURNS, SYSTEM_ONE, SYSTEM_TURNS],
     "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
     "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
     "{% endif %}"),
    # Llama-2-chat
    ("llama2", "<s>", "</s>", [ONE, TURNS, SYSTEM_ONE, SYSTEM_TURNS],
     "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message "
     "= messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false "
     "%}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 "
     "== 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{% if loop.index0 == 0 and "
     "system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + "
     "message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if "
     "message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif "
     "message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}"
     "{% endfor %}"),
    # Llama-3-Instruct
    ("llama3", "<|begin_of_text|>", "<|eot_id|>", [ONE, TURNS, SYSTEM_ONE, SYSTEM_TURNS],
     "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = "
     "'<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + "
     "'<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
     "{{ content }}{% endfor %}{% if add_generation_prompt %}{{ "
     "'<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"),
    # Mistral-7B-Instruct-v0.2 of its first year
    ("mistral-v0.2", "<s>", "</s>", [ONE, TURNS],
     "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == "
     "0) %}{{ raise_exception('roles must alternate') }}{% endif %}{% if message['role'] == 'user' %}"
     "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
     "{{ message['content'] + eos_token}}{% endif %}{% endfor %}"),
    # Mixtral-8x7B-Instruct-v0.1
    ("mistral-v1", "<s>", "</s>", [ONE, TURNS, SYSTEM_ONE, SYSTEM_TURNS], """\
{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}

{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.first and system_message is defined %}
            {{- " [INST] " + system_message + "\\n\\n" + message["content"] + " [/INST]" }}
        {%- else %}
            {{- " [INST] " + message["content"] + " [/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"] + eos_token}}
    {%- endif %}
{%- endfor %}
"""),
    # Mistral-7B-Instruct-v0.3; the system's message of several turns is placed elsewhere by the table
    ("mistral-v3", "<s>", "</s>", [ONE, TURNS, SYSTEM_ONE], """\
{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}

{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is defined %}
            {{- "[AVAILABLE_TOOLS] [" + tools + "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- endif %}
{%- endfor %}
"""),
    # Mistral-Nemo-Instruct-2407
    ("mistral-v3-tekken", "<s>", "</s>", [ONE, TURNS, SYSTEM_ONE], """\
{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}

{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is defined %}
            {{- "[AVAILABLE_TOOLS][" + tools + "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST]" + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST]" + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- message["content"] + eos_token}}
    {%- endif %}
{%- endfor %}
"""),
    # Mistral-Large-Instruct-2411
    ("mistral-v7", "<s>", "</s>", [ONE, TURNS, SYSTEM_ONE, SYSTEM_TURNS],
     "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + "
     "message['content'] + '[/INST]' }}{% elif message['role'] == 'system' %}{{ '[SYSTEM_PROMPT] ' + "
     "message['content'] + '[/SYSTEM_PROMPT]' }}{% elif message['role'] == 'assistant' %}{{ ' ' + "
     "message['content'] + eos_token }}{% endif %}{% endfor %}"),
    # Mistral-Small-24B-Instruct-2501, without the message it adds for the system
    ("mistral-v7-tekken", "<s>", "</s>", [ONE, TURNS, SYSTEM_ONE, SYSTEM_TURNS], """\
{{- bos_token }}

{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] %}
    {%- set loop_messages = messages[1:] %}
{{- '[SYSTEM_PROMPT]' + system_message + '[/SYSTEM_PROMPT]' }}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}

{%- for message in loop_messages %}
    {%- if message['role'] == 'user' %}
        {{- '[INST]' + message['content'] + '[/INST]' }}
    {%- elif message['role'] == 'assistant' %}
        {{- message['content'] + eos_token }}
    {%- endif %}
{%- endfor %}
"""),
    # Gemma 2
    ("gemma", "<bos>", "<eos>", [ONE, TURNS],
     "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') "
     "}}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) "
     "%}{{ raise_exception('roles must alternate') }}{% endif %}{% if (message['role'] == 'assistant') %}"
     "{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + "
     "role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}{% if "
     "add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"),
    # Gemma 3
    ("gemma", "<bos>", "<eos>", [ONE, TURNS, SYSTEM_ONE, SYSTEM_TURNS], """\
{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- endif -%}
    {{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model\n'}}
{%- endif -%}
"""),
    # Phi-3-mini
    ("phi3", "", "<|endoftext|>", [ONE, TURNS, SYSTEM_ONE, SYSTEM_TURNS],
     "{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\n' + "
     "message['content'] + '<|end|>\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\n' + "
     "message['content'] + '<|end|>\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + "
     "message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}"
     "{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"),
    # zephyr-7b-beta, TinyLlama-1.1B-Chat
    ("zephyr", "", "</s>", [ONE, TURNS, SYSTEM_ONE, SYSTEM_TURNS],
     "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\\n' + "
     "message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\\n' + "
     "message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\\n'  + "
     "message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ "
     "'<|assistant|>' }}\n{% endif %}\n{% endfor %}"),
]

# Programs that none of the families is.
UNKNOWN = [
    "",
    "{{ bos_token }}{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}{% endfor %}",
    # Phi-4
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '<|im_sep|>' + message['content'] "
    "+ '<|im_end|>' }}{% endfor %}",
    # Falcon3
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ '<|user|>\\n' + message['content'] + "
    "'\\n' }}{% elif message['role'] == 'assistant' %}{{ '<|assistant|>\\n' + message['content'] + eos_token "
    "}}{% endif %}{% endfor %}",
    # DeepSeek-V2
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ 'User: ' + message['content'] + "
    "'\\n\\n' }}{% elif message['role'] == 'assistant' %}{{ 'Assistant: ' + message['content'] + eos_token "
    "}}{% endif %}{% endfor %}",
]

SPECIAL = ["<s>", "</s>", "<bos>", "<eos>", "<|endoftext|>", "<|im_start|>", "<|im_end|>",
           "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "[INST]",
           "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "<start_of_turn>", "<end_of_turn>",
           "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]


def byte_characters():
    """The character that stands for each byte in a byte-level vocabulary (GPT-2)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in shown]
    return {**{b: chr(b) for b in shown}, **{b: chr(256 + i) for i, b in enumerate(hidden)}}


def tokenizer():
    characters = byte_characters()
    result = Tokenizer(models.BPE(vocab={characters[b]: b for b in range(256)}, merges=[]))
    result.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    result.decoder = decoders.ByteLevel()
    result.add_special_tokens(SPECIAL)
    return result


def refuse(message):
    raise jinja2.exceptions.TemplateError(message)


def main():
    encoder = tokenizer()
    characters = byte_characters()
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = refuse
    families = []
    for name, bos, eos, conversations, source in FAMILIES:
        template = environment.from_string(source)
        cases = []
        for messages in conversations:
            text = template.render(messages=[{"role": r, "content": c} for r, c in messages],
                                   bos_token=bos, eos_token=eos, add_generation_prompt=True)
            cases.append({"messages": messages, "text": text, "ids": encoder.encode(text).ids})
        families.append({"template": name, "source": source, "bos": bos, "eos": eos, "cases": cases})
    json.dump({"bytes": [characters[b] for b in range(256)], "special": SPECIAL, "families": families,
               "unknown": UNKNOWN}, sys.stdout, ensure_ascii=False, separators=(",", ":"))
    print()


if __name__ == "__main__":
    main()
