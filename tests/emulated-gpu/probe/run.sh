#!/usr/bin/env bash
# Runs the packed tests on this machine's own GPU. All answers are in answers.txt afterwards.
cd "$(dirname "$0")" || exit 1
export ALBERT_REAL_GPU=1 CARGO_MANIFEST_DIR="$PWD" RUST_BACKTRACE=0
export LD_LIBRARY_PATH="$PWD/libraries:${LD_LIBRARY_PATH:-}"
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | tee answers.txt
failed=0
for test in fragments h100_products probe blas_layers lt_products graphs resources; do
    echo "== $test" | tee -a answers.txt
    timeout 120 "./$test" --nocapture --test-threads=1 2>&1 | tee -a answers.txt
    [ "${PIPESTATUS[0]}" = 0 ] || failed=1
done
grep '^probe:' answers.txt
exit $failed
