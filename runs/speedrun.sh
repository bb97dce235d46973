#!/usr/bin/env bash
# From web pages to an assistant, on a machine with 8 GPUs: nanochat's first speedrun, at depth 20.
#
#     bash runs/speedrun.sh
#
# Started again, it goes on where it stopped. The settings below can be given before it, as in
# `DEPTH=12 GPUS=4 OUT=runs/d12 bash runs/speedrun.sh`; BASE, MID, SFT, RL and EVAL hold more flags
# of the programs. TEXT and CHAT_DATA name folders to take instead of what would be downloaded, and
# CORE that of DCLM's evaluation bundle.
set -euo pipefail
cd "$(dirname "$0")/.."

OUT=${OUT:-runs/speedrun}
GPUS=${GPUS:-8}
DEPTH=${DEPTH:-20}
VOCAB_SIZE=${VOCAB_SIZE:-65536}
# 20 tokens a parameter, at some 4.8 characters a token and 250 million characters a shard.
SHARDS=${SHARDS:-240}
source runs/common.sh

# 1. Text, and a tokenizer of its first two billion characters.
if [[ -z ${TEXT:-} ]]; then
    TEXT=data/fineweb-edu
    step get-text bytemill download fineweb-edu --shards "$SHARDS" --out "$TEXT"
fi
step tokenizer bytemill tok-train --input "$TEXT" --vocab-size "$VOCAB_SIZE" --pattern nanochat \
    --chat --max-chars 2000000000 --doc-cap 10000 \
    --out "$OUT/tokenizer" --overwrite
step compression bytemill tok-eval "$OUT/tokenizer" --markdown "$OUT/tokenizer.md"

# 2. A base model.
step base on_all train --data "$TEXT" --tokenizer "$OUT/tokenizer" --preset gpt --depth "$DEPTH" \
    --context-length 2048 --out "$OUT/base" ${BASE:-}
step base-eval on_all base-eval --model "$OUT/base" ${CORE:+--core "$CORE"}

# 3. Conversations, questions with choices, sums with the calculator; then those it is to be good at.
get_chat_data
step mid on_all mid-train --init-from "$OUT/base" --data "$CHAT_DATA" --out "$OUT/mid" \
    ${MID:-}
step mid-eval on_all chat-eval --model "$OUT/mid" --data "$CHAT_DATA" ${EVAL:-}
step sft on_all sft --init-from "$OUT/mid" --data "$CHAT_DATA" --out "$OUT/sft" ${SFT:-}
step sft-eval on_all chat-eval --model "$OUT/sft" --data "$CHAT_DATA" ${EVAL:-}

# 4. Sums again, by trial.
step rl on_all rl --init-from "$OUT/sft" --data "$CHAT_DATA" --out "$OUT/rl" ${RL:-}
step rl-eval on_all chat-eval --model "$OUT/rl" --data "$CHAT_DATA" ${EVAL:-}

# 5. All of it on one page.
bytemill report "$OUT/rl" --out "$OUT/report"
echo "to talk to it: bytemill chat $OUT/rl"
