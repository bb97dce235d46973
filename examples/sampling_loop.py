"""A sampling loop of one's own, with the KV cache: each token is read once.

python examples/sampling_loop.py

`bytemill.lm.generate.text.generate` does this for several prompts, and faster; see there for top-k,
top-p and texts longer than the context.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from small import train_small_model

from bytemill.lm import KVCache, Transformer
from bytemill.lm.checkpoint.loading import load_model


@torch.inference_mode()
def sample(model: Transformer, prompt: list[int], n: int, temperature: float) -> list[int]:
    """`n` ids that follow `prompt`; temperature 0 takes the likeliest."""
    generator = torch.Generator().manual_seed(0)
    cache = KVCache(model.config, batch_size=1)
    logits = model(torch.tensor([prompt]), cache)[0, -1]
    ids: list[int] = []
    while True:
        if temperature > 0:
            chances = torch.softmax(logits / temperature, -1)
            ids.append(int(torch.multinomial(chances, 1, generator=generator)))
        else:
            ids.append(int(logits.argmax()))
        if len(ids) == n:
            return ids
        # Only the new token goes in; what came before is in the cache.
        logits = model(torch.tensor([ids[-1:]]), cache)[0, -1]


def main() -> None:
    """Trains a small model, samples from it, and compares the cache with reading all again."""
    with tempfile.TemporaryDirectory() as folder:
        loaded = load_model(train_small_model(Path(folder)))
    model, tokenizer = loaded.model, loaded.tokenizer
    assert tokenizer is not None
    prompt = tokenizer.encode("def ")
    print(repr("def " + tokenizer.decode(sample(model, prompt, 24, temperature=0.8))))

    greedy = sample(model, prompt, 16, temperature=0)
    again = list(prompt)
    with torch.inference_mode():
        for _ in greedy:
            again.append(int(model(torch.tensor([again]))[0, -1].argmax()))
    print("with and without the cache:", "equal" if again[len(prompt) :] == greedy else "different")


if __name__ == "__main__":
    main()
