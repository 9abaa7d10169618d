#!/usr/bin/env bash
# Packs the tests that run on hardware, with all they need, into a folder that a bare GPU machine can run: see README.md.
#   probe/pack.sh FOLDER [--cublas]      --cublas: with cuBLAS from PyPI (some 500 MB), for machines that have none
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:?the folder to make}
tests=(fragments h100_products probe blas_layers lt_products graphs resources)

mkdir -p "$folder/golden" "$folder/libraries"
for test in "${tests[@]}"; do
    executable=$(cargo test --quiet -p emulated-gpu --test "$test" --no-run --message-format=json |
        python3 -c 'import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["target"]["name"] == sys.argv[1]: print(message["executable"])' "$test")
    strip -o "$folder/$test" "$executable"
    target=$(dirname "$executable")/../..
done
cp -r golden/h100_mma "$folder/golden/"
# NVRTC is fetched when the tests run for the first time.
cargo test --quiet -p emulated-gpu --test fragments > /dev/null
cp "$target"/cuda-13.0/nvidia/cu13/lib/libnvrtc*.so* "$folder/libraries/"
ln -sf libnvrtc.so.13 "$folder/libraries/libnvrtc.so"
if [ "${2:-}" = --cublas ]; then
    python3 -m pip install --quiet --no-deps --target "$folder/cublas" "nvidia-cublas>=13.0,<13.1"
    cp -a "$folder"/cublas/nvidia/cu13/lib/*.so* "$folder/libraries/"
    rm -r "$folder/cublas"
fi
cp probe/run.sh "$folder/"
echo "packed $(du -sh "$folder" | cut -f1) in $folder: copy it to the GPU machine and start run.sh there"
