"""What ranks take, by hand; test_training.py compares with what they took."""

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm import ModelConfig
from bytemill.lm.distributed.costs import rank_costs
from bytemill.lm.model.cost.accounting import training_memory
from bytemill.lm.optim.groups import OptimConfig

# 16 matrices of 64 x 64, four of 256 x 64 and four of 64 x 256 in the layers; embedding and head.
MODEL = ModelConfig.preset(
    "gpt", vocab_size=256, context_length=32, d_model=64, n_layer=4, n_head=4, d_ff=256
)
MATRICES = 4 * (4 * 64 * 64 + 2 * 64 * 256)
TABLES = 2 * 256 * 64


@pytest.mark.parametrize(("kind", "of_matrix"), [("muon", 1), ("adamw", 2)])
def test_what_divides_is_shared_out_evenly(kind, of_matrix):
    for size in (1, 2, 4):
        costs = rank_costs(MODEL, OptimConfig(kind=kind), size, rows=3)
        assert costs.optimizer == 4 * (of_matrix * MATRICES + 2 * TABLES) / size
        assert costs.sent == 2 * 4 * (MATRICES + TABLES) * (size - 1) / size
        assert costs.gradients == 4 * (MATRICES + TABLES) * (1 + (size > 1) / size)
    alone = training_memory(MODEL, batch_size=3, optimizer=kind, dtype="bfloat16")
    assert rank_costs(MODEL, OptimConfig(kind=kind), 1, rows=3).total == alone.total


def test_matrices_that_do_not_divide_are_counted_on_the_rank_that_has_most():
    # On 8 ranks the wide and the tall ones are a row of 8 each, half gaps; 16 square ones are two.
    costs = rank_costs(MODEL, OptimConfig(), 8)
    assert costs.optimizer == 4 * (2 * 64 * 64 + 64 * 256 + 2 * TABLES / 8)
    assert costs.sent == 2 * 4 * 7 * (2 * 64 * 64 + 2 * 64 * 256 + TABLES / 8)


def test_fsdp_shares_weights_too_and_gathers_them_for_each_micro_batch():
    costs = rank_costs(MODEL, OptimConfig(), 4, "fsdp", micro_batches=3, dtype="float32")
    layer = MATRICES // 4
    n = MATRICES + TABLES
    assert costs.weights == 4 * (n / 4 + TABLES + 2 * layer)
    assert costs.optimizer == 4 * (MATRICES + 2 * TABLES) / 4
    assert costs.gathered == 4 * (TABLES + 2 * layer)
    # Gathered twice, or once; gradients summed; and for Muon a matrix's slices three times.
    micro_batches = 3 * (2 * MATRICES + TABLES + n)
    assert costs.sent == pytest.approx(3 / 4 * 4 * (micro_batches + 3 * MATRICES / 4))


def test_what_does_not_divide_is_counted_where_most_is():
    """Of five rows two ranks have three and two; Muon's matrices are dealt out whole."""
    small = ModelConfig.preset(
        "gpt", vocab_size=5, context_length=8, d_model=8, n_layer=3, n_head=1, d_ff=8
    )
    costs = rank_costs(small, OptimConfig(), 2, "fsdp", dtype="float32")
    assert small.padded_vocab_size == 5
    tables, matrices = 2 * 3 * 8, 3 * 6 * 8 * 8
    assert costs.weights - costs.gathered == 4 * (tables + matrices / 2)
    assert costs.optimizer == 4 * (matrices / 2 + 2 * tables)


def test_a_second_moment_is_a_part_of_what_muon_keeps():
    for shard in ("zero2", "fsdp"):
        plain, squares = (
            rank_costs(MODEL, OptimConfig(muon_beta2=beta2), 2, shard) for beta2 in (None, 0.9)
        )
        # A number for each row or column of the longer side.
        assert squares.optimizer - plain.optimizer == 4 * (16 * 64 + 8 * 256) / 2


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="world_size=0"):
        rank_costs(MODEL, OptimConfig(), 0)
    with pytest.raises(ValueError, match=r"shard='zero3'.*zero2, fsdp"):
        rank_costs(MODEL, OptimConfig(), 2, "zero3")
