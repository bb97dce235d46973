"""The folder of a run whose model talks, as training leaves it."""

import torch

from bytemill.lm.checkpoint.one_file import CheckpointStore
from tests.support.chats import chat_tokenizer
from tests.support.models import small_model


def make_chat_run(folder, context_length=160):
    """A run in `folder`, of a model that says anything."""
    tokenizer = chat_tokenizer()
    model = small_model("cs336", vocab_size=tokenizer.n_vocab, context_length=context_length)
    CheckpointStore(folder).save(
        1, model, [torch.optim.SGD(model.parameters(), lr=1.0)],
        model_config=model.config.to_dict(), metrics={"val_loss": 1.0},
    )  # fmt: skip
    tokenizer.save(folder / "tokenizer")
    return folder
