"""Runs of one process or of several, whose steps and rows are kept."""

import hashlib

import torch

from bytemill.lm.distributed.ranks import Ranks
from bytemill.lm.train import Trainer
from bytemill.lm.train.events import MemoryRanOut, Stepped
from bytemill.lm.train.steps.world import Alone
from tests.support.lm_runs import config, make_ids, make_shards

EVERY = 20
"""A run is validated after so many steps, and has twice as many."""

# With eight Newton-Schulz steps the directions in which a gradient has nothing but rounding are
# multiplied by up to 70,000 (`reach`): two runs that round differently part, on ranks or not.
KINDS = {
    "adamw": {"optimizer": "adamw", "loader": "windows", "preset": "cs336"},
    "muon": {"optimizer": "muon", "ns_steps": 5, "loader": "documents"},
}


def make_data(folder):
    """What the runs read; returns the folder."""
    make_ids(folder)
    make_shards(folder)
    return folder


def settings(folder, kind, **changes):
    fields = {
        "data": str(folder / "shards"), "tokenizer": str(folder / "tokenizer"), "n_layer": 2,
        "batch_size": 6, "steps": 2 * EVERY, "micro_batch_size": 2, "eval_every": EVERY,
        **KINDS[kind],
    }  # fmt: skip
    return config(folder, **{**fields, **changes})


class Watched:
    """A run whose steps and rows are kept."""

    def __init__(self, config, group=None, *, resume=False, on_step=None):
        self.steps, self.rows, self.ran_out, self.on_step = [], [], [], on_step
        world = Alone() if group is None else Ranks(group)
        draw = world.draw

        def drawn(source):
            if group is not None:
                source.next_batch = None  # a rank makes its own rows, and no others
            return self.keep(draw(source))

        world.draw = drawn
        self.trainer = Trainer(config, on_event=self.listen, resume=resume, world=world)
        self.world = world

    def keep(self, batch):
        if self.on_step:
            self.on_step(self)
        rows = torch.cat(batch, dim=1)
        self.rows.append([hashlib.sha256(row.numpy().tobytes()).hexdigest() for row in rows])
        return batch

    def listen(self, event):
        if isinstance(event, Stepped):
            self.steps.append((event.loss, event.grad_norm))
        if isinstance(event, MemoryRanOut):
            self.ran_out.append((event.step, event.rows))

    def run(self):
        result = self.trainer.run()
        validation = result.validation and (result.validation.loss, result.validation.bits_per_byte)
        return {
            "steps": self.steps, "rows": self.rows, "ran out": self.ran_out, "at": result.step,
            "validation": validation, "micro-batch": self.trainer._loop.rows,
            "optimizer bytes": optimizer_bytes(self.trainer),
            "weight bytes": self.weight_bytes(),
        }  # fmt: skip

    def weight_bytes(self):
        """Of the weights that this process keeps."""
        sharding = getattr(self.world, "_sharding", None)
        if hasattr(sharding, "weight_bytes"):
            return sharding.weight_bytes()
        return sum(weight.nbytes for weight in self.trainer.model.parameters())


def optimizer_bytes(trainer):
    states = (one for o in trainer.optimizers for one in o.state.values())
    return sum(v.nbytes for state in states for v in state.values() if isinstance(v, torch.Tensor))


def same_rows(by_rank, one):
    """Whether the ranks' rows, side by side, are those of one process."""
    steps = zip(*(found["rows"] for found in by_rank), strict=True)
    return [[row for rows in step for row in rows] for step in steps] == one


def close(found, expected):
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=0, atol=1e-5)
