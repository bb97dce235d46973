"""The format as a Jinja chat template, for programs that read Hugging Face's tokenizer files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from bytemill import files
from bytemill.chat.render import Renderer
from bytemill.tokenizer.tokenizer import Tokenizer

TEMPLATE: Final = "".join(
    (
        # What is not the assistant's is text, or a list of texts.
        "{%- macro said(content) -%}",
        "{%- if content is string -%}{{- content -}}",
        "{%- elif content is not sequence or content is mapping -%}",
        "{{- raise_exception('content is neither text nor a list of parts') -}}",
        "{%- else -%}{%- for part in content -%}",
        "{%- if part['type'] != 'text' -%}",
        "{{- raise_exception('a message that is not the assistant\\'s can only be text') -}}",
        "{%- endif -%}{{- part['text'] -}}",
        "{%- endfor -%}{%- endif -%}",
        "{%- endmacro -%}",
        "{%- set system = '' -%}{%- set turns = messages -%}",
        "{%- if messages and messages[0]['role'] == 'system' -%}",
        "{%- set system -%}{{- said(messages[0]['content']) -}}{%- endset -%}",
        "{%- set system = system + '\\n\\n' -%}{%- set turns = messages[1:] -%}",
        "{%- endif -%}",
        "{%- if not turns -%}",
        "{{- raise_exception('a message of the user is missing') -}}",
        "{%- endif -%}",
        "{{- '<|bos|>' -}}",
        "{%- for message in turns -%}",
        "{%- if message['role'] != ('assistant' if loop.index0 % 2 else 'user') -%}",
        "{{- raise_exception('user and assistant have to take turns') -}}",
        "{%- endif -%}",
        "{%- if message['role'] == 'user' -%}",
        "{{- '<|user_start|>' -}}",
        "{%- if loop.first -%}{{- system -}}{%- endif -%}",
        "{{- said(message['content']) + '<|user_end|>' -}}",
        "{%- else -%}",
        "{{- '<|assistant_start|>' -}}",
        "{%- if message['content'] is string -%}",
        "{%- generation -%}{{- message['content'] -}}{%- endgeneration -%}",
        "{%- elif message['content'] is not sequence or message['content'] is mapping -%}",
        "{{- raise_exception('content is neither text nor a list of parts') -}}",
        "{%- else -%}",
        "{%- for part in message['content'] -%}",
        "{%- if part['type'] == 'text' -%}",
        "{%- generation -%}{{- part['text'] -}}{%- endgeneration -%}",
        "{%- elif part['type'] == 'python' -%}",
        "{%- generation -%}{{- '<|python_start|>' + part['text'] + '<|python_end|>' -}}",
        "{%- endgeneration -%}",
        "{%- elif part['type'] == 'python_output' -%}",
        "{%- if loop.first or loop.previtem['type'] != 'python' -%}",
        "{{- raise_exception('a python_output that no python stands before') -}}",
        "{%- endif -%}",
        "{{- '<|output_start|>' + part['text'] + '<|output_end|>' -}}",
        "{%- else -%}{{- raise_exception('a part of type ' + part['type']) -}}{%- endif -%}",
        "{%- endfor -%}",
        "{%- endif -%}",
        "{%- generation -%}{{- '<|assistant_end|>' -}}{%- endgeneration -%}",
        "{%- endif -%}",
        "{%- endfor -%}",
        "{%- if add_generation_prompt -%}{{- '<|assistant_start|>' -}}{%- endif -%}",
    )
)
"""Gives what `Renderer` gives, and marks what is trained on, for transformers' apply_chat_template.

One thing it cannot do: transformers encodes the rendered text as a whole, so that a special token's
name in what a user writes becomes that token. `Renderer` never does.
"""


def export(tokenizer: Tokenizer, folder: str | os.PathLike[str]) -> None:
    """Writes tokenizer.json and tokenizer_config.json with the chat template into a folder.

    transformers' AutoTokenizer.from_pretrained reads it.

    Raises:
        ValueError: The tokenizer lacks the special tokens of conversations, or cannot be written as
            a tokenizer.json (`Tokenizer.to_huggingface`).
    """
    Renderer(tokenizer)  # it has the special tokens
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    tokenizer.to_huggingface(path / "tokenizer.json")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|bos|>",
        "eos_token": "<|assistant_end|>",
        "clean_up_tokenization_spaces": False,
        "chat_template": TEMPLATE,
    }
    files.write_bytes(path / "tokenizer_config.json", json.dumps(config, indent=2).encode())
