#!/usr/bin/env bash
# Measures every GPU figure in README.md and benchmarks/README.md, most informative first.
#
#   benchmarks/run_h100.sh                 all parts
#   benchmarks/run_h100.sh w32 step        only these parts
#   OUT=folder PYTHON=python3.12 benchmarks/run_h100.sh
#
# Every part writes one JSON file into OUT, with its output beside it. A failing part does not stop the others; the exit
# code is the number of parts that failed.
set -u
cd "$(dirname "$0")/.."
OUT=${OUT:-benchmarks/results}
PYTHON=${PYTHON:-python3}
export PYTHONPATH=".${PYTHONPATH:+:$PYTHONPATH}"
mkdir -p "$OUT"
failed=0

bench() { # NAME OPTIONS...
    local name=$1
    shift
    "$PYTHON" -m cbviz bench "$@" --quiet --json > "$OUT/$name.json.new" &&
        mv "$OUT/$name.json.new" "$OUT/$name.json" && show "$OUT/$name.json"
}

script() { # NAME SCRIPT OPTIONS...
    local name=$1 file=$2
    shift 2
    "$PYTHON" "benchmarks/$file" "$@" --json "$OUT/$name.json"
}

show() {
    "$PYTHON" - "$1" <<'PY'
import json, sys
f = json.load(open(sys.argv[1]))
print("{tokens_per_second:,.0f} tokens/s, {efficiency:.1%} of the floor of {floor_tokens_per_second:,.0f}; "
      "{iterations} iterations in {seconds:.2f} s; runs {runs}".format(**f))
if f["breakdown"]:
    print({name: round(f["breakdown"][name], 3) for name in ("step_seconds", "attention", "gemm", "other", "gaps")})
for peer in f["peers"]:
    print(peer)
PY
}

LLAMA="--model random:llama-3.1-8b --workload yardstick"
SMOLLM2="--model random:smollm2-135m --workload exponential"

w32() { bench w32 $LLAMA --requests 128 --slots 32 --save "$OUT/w32_continuous.cbviz"; }
w128() { bench w128 $LLAMA --requests 512 --slots 128 --save "$OUT/w128_continuous.cbviz"; }
step() {
    script step step.py &&
        script step_smollm2_256 step.py --case random:smollm2-135m:128 --context 256
}
ladder() { script ladder ladder.py; }
static() { bench w32_static $LLAMA --requests 128 --slots 32 --policy static --repeats 1 --no-profile --save "$OUT/w32_static.cbviz"; }
small() {
    bench smollm2_1 $SMOLLM2 --requests 16 --slots 1 &&
        bench smollm2_128 $SMOLLM2 --requests 1024 --slots 128
}
opt() { bench opt_13b --model random:opt-13b --dtype float16 --workload truncated --requests 64 --slots 16; }
recording() { script recording recording.py; }
long() { script long_run long_run.py; }
answers() { script answers answers.py --model "${SMOLLM2_WEIGHTS:-smollm2-135m}"; }
vllm_on_board() { script vllm_on_board vllm_on_board.py --out "$OUT/vllm_on_board"; } # PYTHONPATH names where vLLM is
devices() { python benchmarks/devices.py; }
choices() { script choices choices.py; }
answers_models() { script models_answers answers_models.py; }
w128_static() { bench w128_static $LLAMA --requests 512 --slots 128 --policy static --repeats 1 --no-profile --save "$OUT/w128_static.cbviz"; }
eager() { bench w32_eager $LLAMA --requests 128 --slots 32 --no-graphs --repeats 1 --no-profile; }
stalls() { script stalls stalls.py --svg "$OUT/stalls.svg"; }
int8() { script int8 int8.py --model "${SMOLLM2_WEIGHTS:-smollm2-135m}" --model random:llama-3.1-8b; }
lanes() {
    "$PYTHON" -m cbviz race --model random:llama-3.1-8b --policies static,orca,tgi,vllm_v1 --slots 128 --requests 512 \
        --kv-tokens 40000 --block-size 32 --repeats 1 --quiet --save "$OUT/lanes"
}
memory() { script memory memory.py; }
first_minute() { script first_minute first_minute.py && script first_minute_compiled first_minute.py --compiled; }
attention() { script attention attention.py; }
peers() { bench w32_peers $LLAMA --requests 128 --slots 32 --repeats 1 --peer transformers-cb --peer transformers-static; }

for part in "${@:-w32 w128 step static small opt recording long answers answers_models w128_static lanes stalls memory int8 peers ladder eager first_minute choices attention}"; do
    for name in $part; do
        echo "== $name, $(date -u +%H:%M:%S)"
        "$name" 2> >(tee "$OUT/$name.stderr" >&2) | tee "$OUT/$name.txt"
        if [ "${PIPESTATUS[0]}" -ne 0 ]; then
            echo "== $name failed"
            failed=$((failed + 1))
        fi
    done
done
exit "$failed"
