"""Encoding inside torch's DataLoader workers, however they are started."""

import os

import pytest

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader, Dataset

from bytemill import Tokenizer

TEXTS = [f"{i} pieces of text, {'and more ' * (i % 7)}\n<|end|>" for i in range(64)]


class Encoded(Dataset):
    """Encodes in whatever process asks; tells which one that was."""

    def __init__(self, tokenizer, texts):
        self.tokenizer, self.texts = tokenizer, texts

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, i):
        text = self.texts[i]
        ids = self.tokenizer.encode(text)
        batch = self.tokenizer.encode_batch([text] * 9)
        array = torch.from_numpy(self.tokenizer.encode_to_numpy(text).astype("int64"))
        return ids, batch, list(self.tokenizer.encode_iterable([text])), array, os.getpid()


def as_is(batch):
    return batch


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_four_workers(start, monkeypatch):
    if start not in torch.multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {start} processes")
    for name in list(os.environ):
        if name.startswith(("TOKENIZERS_", "RAYON_", "OMP_", "BYTEMILL_")):
            monkeypatch.delenv(name)
    tokenizer = Tokenizer.train(TEXTS, 300, special_tokens=["<|end|>"])
    # Its threads are running when the workers are started; a fork takes along what they hold.
    expected = tokenizer.encode_batch(TEXTS * 20)[: len(TEXTS)]
    loader = DataLoader(
        Encoded(tokenizer, TEXTS),
        batch_size=4,
        num_workers=4,
        collate_fn=as_is,
        multiprocessing_context=start,
        timeout=900,
    )
    items = [item for batch in loader for item in batch]
    assert len({pid for *_, pid in items} - {os.getpid()}) == 4
    for (ids, batch, streamed, array, _), wanted in zip(items, expected, strict=True):
        assert ids == streamed == array.tolist() == wanted
        assert batch == [wanted] * 9
    # And the parent goes on.
    assert tokenizer.encode_batch(TEXTS) == expected
