"""The adapters of CS336's assignment 1, whose functions are a few lines each with these parts.

The names and arguments are those of the assignment (spring 2025).
"""

from bytemill import Tokenizer, train_bpe
from bytemill.lm import ModelConfig, Transformer, functional
from bytemill.lm.checkpoint.one_file import load_checkpoint, save_checkpoint
from bytemill.lm.model.layers import Embedding, Linear, RMSNorm
from bytemill.lm.model.residual.block import Block
from bytemill.lm.model.rope import Rope


def run_linear(d_in, d_out, weights, in_features):
    layer = Linear(d_in, d_out)
    layer.load_state_dict({"weight": weights})
    return layer(in_features)


def run_embedding(vocab_size, d_model, weights, token_ids):
    layer = Embedding(vocab_size, d_model)
    layer.load_state_dict({"weight": weights})
    return layer(token_ids)


def run_swiglu(d_model, d_ff, w1_weight, w2_weight, w3_weight, in_features):
    return functional.swiglu(in_features, w1_weight, w2_weight, w3_weight)


def run_silu(in_features):
    return functional.silu(in_features)


def run_softmax(in_features, dim):
    return functional.softmax(in_features, dim)


def run_rmsnorm(d_model, eps, weights, in_features):
    layer = RMSNorm(d_model, eps)
    layer.load_state_dict({"weight": weights})
    return layer(in_features)


def run_rope(d_k, theta, max_seq_len, in_query_or_key, token_positions):
    return Rope(d_k, max_seq_len, theta)(in_query_or_key, token_positions)


def run_scaled_dot_product_attention(Q, K, V, mask=None):
    return functional.scaled_dot_product_attention(Q, K, V, mask)


def run_multihead_self_attention(d_model, num_heads, q, k, v, o, in_features):
    return functional.multihead_self_attention(in_features, q, k, v, o, num_heads)


def run_multihead_self_attention_with_rope(
    d_model, num_heads, max_seq_len, theta, q, k, v, o, in_features, token_positions=None
):
    rope = Rope(d_model // num_heads, max_seq_len, theta)
    positions = 0 if token_positions is None else token_positions
    table = rope.at(in_features.shape[-2], positions)
    return functional.multihead_self_attention(in_features, q, k, v, o, num_heads, table=table)


def run_transformer_block(d_model, num_heads, d_ff, max_seq_len, theta, weights, in_features):
    sizes = {"d_model": d_model, "n_head": num_heads, "d_ff": d_ff, "n_layer": 1}
    block = Block(ModelConfig.preset("cs336", vocab_size=1, context_length=max_seq_len, **sizes))
    block.load_state_dict(weights)
    rope = Rope(d_model // num_heads, max_seq_len, theta)
    return block(in_features, rope.at(in_features.shape[-2]))


def run_transformer_lm(
    vocab_size,
    context_length,
    d_model,
    num_layers,
    num_heads,
    d_ff,
    rope_theta,
    weights,
    in_indices,
):
    config = ModelConfig.preset(
        "cs336", vocab_size=vocab_size, context_length=context_length, d_model=d_model,
        n_layer=num_layers, n_head=num_heads, d_ff=d_ff, rope_theta=rope_theta,
    )  # fmt: skip
    model = Transformer(config)
    model.load_state_dict(weights)
    return model(in_indices)


def run_get_batch(dataset, batch_size, context_length, device):
    return functional.get_batch(dataset, batch_size, context_length, device)


def run_cross_entropy(inputs, targets):
    return functional.cross_entropy(inputs, targets)


def run_gradient_clipping(parameters, max_l2_norm):
    functional.clip_gradients(parameters, max_l2_norm)


def get_adamw_cls():
    return functional.AdamW


def run_get_lr_cosine_schedule(
    it, max_learning_rate, min_learning_rate, warmup_iters, cosine_cycle_iters
):
    return functional.cosine_schedule(
        it, max_learning_rate, min_learning_rate, warmup_iters, cosine_cycle_iters
    )


def run_save_checkpoint(model, optimizer, iteration, out):
    save_checkpoint(model, optimizer, iteration, out)


def run_load_checkpoint(src, model, optimizer):
    return load_checkpoint(src, model, optimizer)


def get_tokenizer(vocab, merges, special_tokens=None):
    return Tokenizer(vocab, merges, special_tokens)


def run_train_bpe(input_path, vocab_size, special_tokens, **kwargs):
    return train_bpe(input_path, vocab_size, special_tokens, **kwargs)
