# What the whole runs share; sourced by them.

# The Python of the clone's own environment, where there is one.
python=${PYTHON:-python}
[[ -z ${PYTHON:-} && -x .venv/bin/python ]] && python=.venv/bin/python

# bytemill, as one process.
bytemill() { "$python" -m bytemill "$@"; }

# bytemill with a process for each GPU. One that dies has all of them started again, from the last
# checkpoint.
on_all() {
    if ((GPUS > 1)); then
        "$python" -m torch.distributed.run --standalone --nproc-per-node "$GPUS" --max-restarts 3 \
            -m bytemill "$@"
    else
        bytemill "$@"
    fi
}

# step NAME COMMAND...: does a step, unless it was done before. All commands go on where they were
# stopped, so that whatever ends this script, the next start loses nothing.
step() {
    local name=$1 mark=$OUT/steps/$1 goes_on=
    shift
    # A training run that has begun.
    [[ $* == *"--out $OUT/$name"* && -e $OUT/$name/config.json ]] && goes_on=--resume
    if [[ -e $mark ]]; then
        if [[ $(<"$mark") != "$*" ]]; then
            echo "error: step $name was done as: $(<"$mark"); give what was given then, or another" \
                "OUT, or remove $mark to do it again" >&2
            exit 2
        fi
        echo "== $name: done before"
        return
    fi
    echo "== $name: $*"
    "$@" $goes_on
    mkdir -p "$OUT/steps"
    printf '%s\n' "$*" >"$mark.new"
    mv "$mark.new" "$mark"
}

# The published conversations and questions, from the hub, unless CHAT_DATA names a folder of them.
get_chat_data() {
    [[ -n ${CHAT_DATA:-} ]] && return
    CHAT_DATA=data
    local of
    for of in HuggingFaceTB/smol-smoltalk cais/mmlu openai/gsm8k allenai/ai2_arc \
        openai/openai_humaneval; do
        step "get-${of#*/}" bytemill download "hf:$of" --out "$CHAT_DATA/${of#*/}"
    done
}
