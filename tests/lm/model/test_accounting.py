"""Accounting against figures worked out by hand, and against real models."""

import pytest

torch = pytest.importorskip("torch")

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bytemill.lm import ModelConfig, Transformer
from bytemill.lm.device.gpus import GPUS, find_gpu, gpu
from bytemill.lm.model.cost import accounting as account
from tests.support.one_thread import one_thread  # noqa: F401

# CS336, assignment 1, problem transformer_accounting: GPT-2 XL with SwiGLU of d_ff 6,400.
GPT2_XL = ModelConfig.preset(
    "cs336",
    vocab_size=50_257,
    context_length=1_024,
    d_model=1_600,
    n_layer=48,
    n_head=25,
    d_ff=6_400,
)


def small(name: str, **fields) -> ModelConfig:
    sizes = {"vocab_size": 300, "context_length": 32, "d_model": 64, "n_layer": 2, "n_head": 4}
    sizes["d_ff"] = 192
    return ModelConfig.preset(name, **{**sizes, **fields})


VARIANTS = [
    small("cs336"),
    small("cs336", n_kv_head=2, d_ff=320, n_layer=3),
    small("gpt"),
    small("gpt", n_kv_head=1, n_layer=1),
    small("gpt", norm_weights=True, mlp="swiglu"),
    small("cs336", mlp="silu", norm_position="post", tie_embeddings=True),
    small("cs336", norm_position="none", position="none", n_layer=3),
    small("gpt", norm_position="none", mlp="silu", tie_embeddings=True, norm_weights=True),
    small("cs336", norm_position="post", qk_norm=True, embedding_norm=True, dropout=0.2),
    small("cs336", dropout=0.1, window=5, window_pattern="SSL", n_layer=4),
    small("gpt", window=40, window_pattern="S"),
    small("nanochat-2026", n_kv_head=2, n_layer=5),
    small("nanochat-2026", n_layer=4, norm_weights=True, vocab_multiple=1, x0_scalars=False),
    small("nanochat-2026", n_layer=3, embedding_norm=False, resid_scalars=False, smear=False),
    small("cs336", value_embeddings=True, smear=True, backout=True, x0_scalars=True),
    small("gpt", value_embeddings=True, backout=True, n_layer=4),
    small("cs336", norm="layer", bias=True, mlp="gelu", position="learned", tie_embeddings=True),
    small("gpt", norm="layer", bias=True, n_kv_head=2, norm_weights=True, norm_position="post"),
    small("gpt", norm="layer", n_layer=3),
]


def test_gpt2_xl_by_hand():
    of = account.count_parameters(GPT2_XL)
    assert of.embedding == of.head == 80_411_200
    assert of.attention == 48 * 10_240_000
    assert of.feed_forward == 48 * 30_720_000
    assert of.norms == 97 * 1_600
    assert of.total == 2_127_057_600
    flops = account.forward_flops(GPT2_XL)
    assert flops.attention_projections == 48 * 20_971_520_000
    assert flops.attention_scores == 48 * 6_710_886_400
    assert flops.feed_forward == 48 * 62_914_560_000
    assert flops.head == 164_682_137_600
    assert flops.total == 4_513_336_524_800
    at_16k = account.forward_flops(GPT2_XL, length=16_384)
    # At a context of 16,384 the scores, quadratic in it, are more than half of all.
    assert at_16k.attention_scores / at_16k.total == pytest.approx(0.5516, abs=1e-4)


def test_the_recipe_of_2026_by_hand():
    """Depth 12: width 768, 6 heads of 128, 32,768 ids, 2,048 tokens."""
    shape = {"d_model": 768, "n_layer": 12, "n_head": 6}
    config = ModelConfig.preset("nanochat-2026", vocab_size=32_768, context_length=2_048, **shape)
    of = account.count_parameters(config)
    assert of.embedding == of.head == 32_768 * 768 == 25_165_824
    # A layer: four matrices of 768 x 768, one up to 3,072 and one back. Six layers have gates from
    # 12 numbers to 6 heads.
    assert of.attention == 12 * 4 * 589_824 + 6 * 12 * 6 == 28_311_984
    assert of.feed_forward == 12 * 2 * 768 * 3_072 == 56_623_104
    assert of.value_embeddings == 6 * 25_165_824 == 150_994_944
    # A number for each layer and one for x0, smear's gate and its number, and that of backout.
    assert of.scalars == 12 + 12 + 24 + 1 + 1 == 50
    assert of.norms == 0
    assert of.total == 2 * 25_165_824 + 28_311_984 + 56_623_104 + 150_994_944 + 50 == 286_261_730
    flops = account.forward_flops(config)
    assert flops.attention_projections == 2 * 2_048 * 28_311_984
    assert flops.feed_forward == 2 * 2_048 * 56_623_104
    assert flops.head == 2 * 2_048 * 25_165_824
    assert flops.smear == 2 * 2_048 * 24
    # SSSL three times: 9 layers see 512 tokens, 3 all 2,048; 2 products of 768 numbers a key.
    assert flops.attention_scores == 2_048 * 4 * 768 * (9 * 512 + 3 * 2_048) == 67_645_734_912
    per_token = 3 * 2 * (28_311_984 + 56_623_104 + 25_165_824 + 24) + 3 * 4 * 768 * 10_752
    assert account.training_flops_per_token(config) == per_token == 759_696_048
    # 50,257 ids are padded to 50,304.
    assert (
        account.count_parameters(
            ModelConfig.preset("nanochat-2026", vocab_size=50_257, context_length=2_048, **shape)
        ).head
        == 50_304 * 768
    )


def test_gpt2_xl_trains_for_years_on_one_a100():
    # 400K steps of 1,024 sequences, as the assignment asks; its A100 at half its fp32 peak.
    days = account.training_days(GPT2_XL, 400_000 * 1_024 * 1_024, peak_flops=19.5e12, mfu=0.5)
    assert days == pytest.approx(3 * 4_513_336_524_800 * 1_024 * 400_000 / 9.75e12 / 86_400)
    assert days == pytest.approx(6_583, abs=1)


def test_palm_rule():
    # 6 N + 12 L H Q T: PaLM, appendix B, N without the embedding.
    of = account.count_parameters(GPT2_XL)
    n = of.matrices + of.head
    expected = 6 * n + 12 * 48 * 25 * 64 * 1_024
    assert account.training_flops_per_token(GPT2_XL) == expected


@pytest.mark.parametrize("config", VARIANTS)
def test_parameters_are_the_models(config):
    with torch.device("meta"):
        model = Transformer(config)
    assert account.count_parameters(config).total == model.n_params()
    matrices = [p for name, p in model.named_parameters() if name.startswith("layers.")]
    expected = sum(p.numel() for p in matrices if p.ndim == 2)
    assert account.count_parameters(config).matrices == expected


@pytest.mark.parametrize("config", VARIANTS)
def test_flops_are_those_counted(config):
    model = Transformer(config)
    ids = torch.zeros(3, 32, dtype=torch.int64)
    # Without autocast products are oneDNN's, which the counter does not know.
    autocast = torch.autocast("cpu", torch.bfloat16)
    # Not every version of torch counts the fused attention of CPUs; it counts plain products.
    plain = sdpa_kernel(SDPBackend.MATH)
    # A mask hides keys beyond a window, but leaves their scores to be computed.
    time, width = 32, config.n_head * config.head_dim
    hidden = sum(time - min(window or time, time) for window in config.windows)
    masked = 3 * time * 4 * width * hidden
    with FlopCounterMode(display=False) as counter, torch.no_grad(), autocast, plain:
        model(ids)
    total = account.forward_flops(config, batch_size=3).total
    assert counter.get_total_flops() == total + masked
    with FlopCounterMode(display=False) as counter, autocast, sdpa_kernel(SDPBackend.MATH):
        model(ids).sum().backward()
    assert counter.get_total_flops() == 3 * (total + masked)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("config", VARIANTS)
def test_activations_are_what_autograd_holds(config, dtype):
    model = Transformer(config)
    ids = torch.zeros(5, 31, dtype=torch.int64)
    weights = {p.shape for p in model.parameters()} | {p.shape[::-1] for p in model.parameters()}
    held, known = {}, {ids.data_ptr(), *(buffer.data_ptr() for buffer in model.buffers())}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if tensor.shape not in weights and storage.data_ptr() not in known:
            held[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    enabled = dtype == "bfloat16"
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=enabled),
    ):
        model.hidden(ids)
    found = sum(size for size, _ in held.values())
    expected = account.training_memory(config, batch_size=5, length=31, dtype=dtype).activations
    assert expected == pytest.approx(found, rel=0.02)


def test_memory_of_training():
    config = VARIANTS[2]
    of = account.count_parameters(config)
    takes = account.training_memory(config, batch_size=2)
    assert takes.weights == takes.gradients == 4 * of.total
    assert takes.optimizer == 8 * of.total
    model = Transformer(config)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.zeros(1, 4, dtype=torch.int64)).sum().backward()
    optimizer.step()
    states = [s for state in optimizer.state.values() for s in state.values() if s.ndim]
    assert takes.optimizer == sum(4 * s.numel() for s in states)
    muon = account.training_memory(config, batch_size=2, optimizer="muon")
    assert takes.optimizer - muon.optimizer == 4 * of.matrices
    assert account.training_memory(config, batch_size=4).activations == 2 * takes.activations
    assert takes.total == takes.fixed + takes.activations + takes.loss


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_largest_batch_is_the_last_that_fits(dtype):
    config = VARIANTS[0]
    for memory in (4e6, 1e7, 3e8):
        batch = account.largest_batch(config, memory, dtype=dtype, reserve=0.2)

        def takes(n):
            return account.training_memory(config, batch_size=n, dtype=dtype).total

        assert batch > 0
        assert takes(batch) <= 0.8 * memory < takes(batch + 1)
    assert account.largest_batch(config, 1e5, dtype=dtype) == 0


def test_cache_is_as_large_as_the_models():
    from bytemill.lm import KVCache

    for config in VARIANTS:
        cache = KVCache(config, 3, 17)
        expected = 4 * (cache.keys.numel() + cache.values.numel())
        assert account.cache_bytes(config, batch_size=3, length=17) == expected


def test_decoding_adds_up_to_a_forward_pass():
    config = VARIANTS[1]
    steps = sum(account.decoding_flops_per_token(config, n + 1) for n in range(32))
    whole = account.forward_flops(config)
    # The forward pass counts the masked scores too: T^2 of them, decoding T (T + 1) / 2.
    expected = whole.total - whole.attention_scores * (1 - (32 + 1) / (2 * 32))
    assert steps == pytest.approx(expected)


@pytest.mark.parametrize(
    ("driver", "name"),
    [
        ("NVIDIA H200", "H200"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A100-SXM4-40GB", "A100 40GB"),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("Tesla T4", "T4"),
        ("AMD Instinct MI300X", "MI300X"),
        ("h100", "H100"),
    ],
)
def test_gpus_by_the_drivers_names(driver, name):
    assert find_gpu(driver).name == name


def test_gpus_that_are_not_known():
    assert find_gpu("NVIDIA GeForce RTX 4090 Laptop GPU") is None
    assert find_gpu("") is None
    with pytest.raises(ValueError, match=r"gpu='H900'.*H200.*peak"):
        gpu("H900")
    assert len({gpu.name for gpu in GPUS}) == len(GPUS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: account.forward_flops(c, batch_size=0), "batch_size=0"),
        (lambda c: account.forward_flops(c, length=0), "length=0"),
        (lambda c: account.training_memory(c, batch_size=1, optimizer="lion"), "optimizer='lion'"),
        (lambda c: account.training_memory(c, batch_size=1, dtype="int8"), "dtype='int8'"),
        (lambda c: account.largest_batch(c, 0), "memory_bytes=0"),
        (lambda c: account.largest_batch(c, 1e9, reserve=1), "reserve=1"),
        (lambda c: account.training_days(c, 1, peak_flops=1, mfu=40), "mfu=40"),
        (lambda c: account.training_days(c, 0, peak_flops=1, mfu=1), "n_tokens=0"),
        (lambda c: account.training_days(c, 1, peak_flops=0, mfu=1), "peak_flops=0"),
        (lambda c: account.training_days(c, 1, peak_flops=1, mfu=1, n_gpus=0), "n_gpus=0"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call(VARIANTS[0])
