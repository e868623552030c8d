#!/usr/bin/env bash
# Builds the fuzzers with coverage of our own crates and runs each for a while.
#
#   fuzz/run.sh [SECONDS] [TARGET...]
#
# New inputs are kept outside the checkout; what crashes a target is printed and kept there too.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
shift || true
targets=("$@")
if [ ${#targets[@]} = 0 ]; then
    for source in fuzz/targets/*.rs; do
        targets+=("$(basename "$source" .rs)")
    done
fi
target_dir=${CARGO_TARGET_DIR:-$HOME/.cache/tarn/target}
found=${TARN_CACHE_DIR:-$HOME/.cache/tarn}/fuzz
# The dependencies stay as they are compiled for the tests: only members of the workspace are
# compiled anew, with what libFuzzer needs to see which way an input took.
export RUSTC_WORKSPACE_WRAPPER=$PWD/fuzz/instrument.sh
cargo build --locked --workspace --bin 'fuzz_*' --features tarn-fuzz/fuzzers
status=0
for target in "${targets[@]}"; do
    mkdir -p "$found/$target"
    echo "== $target: $seconds s"
    "$target_dir/debug/fuzz_$target" "$found/$target" "fuzz/seeds/$target" \
        -max_total_time="$seconds" -max_len=4096 -rss_limit_mb=2048 -timeout=10 \
        -artifact_prefix="$found/$target-crash-" -print_final_stats=1 -verbosity=1 || status=1
done
exit $status
