"""The README.md of an exported model."""

from __future__ import annotations

from collections.abc import Mapping

from bytemill.lm.model.transformer import Transformer


def card(
    model: Transformer, architecture: str, checked: str, *, is_chat: bool, facts: Mapping[str, str]
) -> str:
    """What it is, its sizes, how it was checked, how it is used; Markdown."""
    config = model.config
    rows = {
        "Architecture": f"`{architecture}`",
        "Parameters": f"{model.n_params():,}",
        "Layers": f"{config.n_layer}, of width {config.d_model}, with {config.n_head} heads "
        f"({config.n_kv_head} of keys and values)",
        "Vocabulary": f"{config.vocab_size:,}",
        "Context": f"{config.context_length:,} tokens",
        **facts,
        "Checked": checked,
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"""---
library_name: transformers
pipeline_tag: text-generation
tags:
- bytemill
---

# A model trained with bytemill

| | |
| --- | --- |
{table}

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("FOLDER")
model = AutoModelForCausalLM.from_pretrained("FOLDER")
{_CHAT if is_chat else _BASE}
print(tokenizer.decode(model.generate(ids, max_new_tokens=64)[0]))
```

Its training data, what it is meant for and its license are for whoever publishes it to say.
"""


_CHAT = """messages = [{"role": "user", "content": "Hello"}]
ids = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
)["input_ids"]"""
_BASE = 'ids = tokenizer("Once upon a time", return_tensors="pt").input_ids'
