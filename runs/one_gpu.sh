#!/usr/bin/env bash
# From web pages to an assistant on one GPU of 24 GB: a small base model by the recipe of 2026.
#
#     bash runs/one_gpu.sh
#
# Started again, it goes on where it stopped. The settings below can be given before it, as in
# `DEPTH=8 OUT=runs/d8 bash runs/one_gpu.sh`; BASE, SFT, RL and EVAL hold more flags of the programs.
# TEXT and CHAT_DATA name folders to take instead of what would be downloaded, and CORE that of
# DCLM's evaluation bundle. Rows that do not fit into memory are computed fewer at a time.
set -euo pipefail
cd "$(dirname "$0")/.."

OUT=${OUT:-runs/one-gpu}
GPUS=${GPUS:-1}
DEPTH=${DEPTH:-12}
VOCAB_SIZE=${VOCAB_SIZE:-32768}
SHARDS=${SHARDS:-40}
source runs/common.sh

# 1. Text, and a tokenizer of its first billion characters.
if [[ -z ${TEXT:-} ]]; then
    TEXT=data/climbmix
    step get-text bytemill download climbmix --shards "$SHARDS" --out "$TEXT"
fi
step tokenizer bytemill tok-train --input "$TEXT" --vocab-size "$VOCAB_SIZE" --pattern nanochat \
    --chat --max-chars 1000000000 --doc-cap 10000 \
    --out "$OUT/tokenizer" --overwrite

# 2. A base model.
step base on_all train --data "$TEXT" --tokenizer "$OUT/tokenizer" --preset nanochat-2026 \
    --depth "$DEPTH" --context-length 2048 --loader best-fit --out "$OUT/base" ${BASE:-}
step base-eval on_all base-eval --model "$OUT/base" ${CORE:+--core "$CORE"}

# 3. Conversations, questions with choices, sums with the calculator: in 2026 one stage does it all.
get_chat_data
step sft on_all sft --init-from "$OUT/base" --data "$CHAT_DATA" --out "$OUT/sft" ${SFT:-}
step sft-eval on_all chat-eval --model "$OUT/sft" --data "$CHAT_DATA" ${EVAL:-}

# 4. Sums again, by trial.
step rl on_all rl --init-from "$OUT/sft" --data "$CHAT_DATA" --out "$OUT/rl" ${RL:-}
step rl-eval on_all chat-eval --model "$OUT/rl" --data "$CHAT_DATA" ${EVAL:-}

# 5. All of it on one page.
bytemill report "$OUT/rl" --out "$OUT/report"
echo "to talk to it: bytemill chat $OUT/rl"
