#!/usr/bin/env bash
# An evening on two cores: a small base model of web pages, which then learns to spell, to count
# letters and to use the calculator.
#
#     bash runs/cpu.sh
#
# Started again, it goes on where it stopped. The settings below can be given before it, as in
# `MINUTES=20 OUT=runs/quick bash runs/cpu.sh`; BASE, SFT, RL and EVAL hold more flags of the
# programs. TEXT names a folder to take instead of what would be downloaded.
set -euo pipefail
cd "$(dirname "$0")/.."

OUT=${OUT:-runs/cpu}
GPUS=1
DEPTH=${DEPTH:-4}
VOCAB_SIZE=${VOCAB_SIZE:-512}
MINUTES=${MINUTES:-120}
source runs/common.sh
TASKS=(arithmetic spelling counting identity)

# 1. Text, and a tokenizer. A small vocabulary: words of a few letters each can be spelled.
if [[ -z ${TEXT:-} ]]; then
    TEXT=data/fineweb-edu
    step get-text bytemill download fineweb-edu --shards 2 --out "$TEXT"
fi
step tokenizer bytemill tok-train --input "$TEXT" --vocab-size "$VOCAB_SIZE" --pattern nanochat \
    --chat --max-chars 100000000 --doc-cap 10000 \
    --out "$OUT/tokenizer" --overwrite

# 2. A base model.
step base bytemill train --data "$TEXT" --tokenizer "$OUT/tokenizer" --preset gpt --depth "$DEPTH" \
    --context-length 512 --batch-size 16 --minutes "$MINUTES" --out "$OUT/base" ${BASE:-}
step base-eval bytemill base-eval --model "$OUT/base"

# 3. Generated conversations.
step sft bytemill sft --init-from "$OUT/base" --lr-factor 1 --steps 1000 --batch-size 8 \
    --rows best-fit --tasks '0.48=spelling; 0.25=counting; 0.2=arithmetic; 0.07=identity' \
    --out "$OUT/sft" ${SFT:-}
step sft-eval bytemill chat-eval --model "$OUT/sft" --tasks "${TASKS[@]}" arithmetic-3 \
    --max-items 200 ${EVAL:-}

# 4. Sums of three numbers, by trial.
step rl bytemill rl --init-from "$OUT/sft" --tasks arithmetic-3 --out "$OUT/rl" ${RL:-}
step rl-eval bytemill chat-eval --model "$OUT/rl" --tasks "${TASKS[@]}" arithmetic-3 \
    --max-items 200 ${EVAL:-}

# 5. All of it on one page.
bytemill report "$OUT/rl" --out "$OUT/report"
echo "to talk to it: bytemill chat $OUT/rl"
