#!/usr/bin/env bash
# usage: tests/bare.sh COMMAND… : runs it as on a bare machine: a PATH without browser, Node.js and ffmpeg, and no shared folder.
set -euo pipefail
hidden='chromium.*|google-chrome.*|node|nodejs|ffmpeg|ffprobe'
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
IFS=: read -ra places <<<"$PATH"
for place in "${places[@]}"; do
  [ -d "$place" ] || continue
  # the first of a name wins, as on PATH
  find "$place" -maxdepth 1 \( -type f -o -type l \) -regextype posix-extended -not -regex ".*/($hidden)" -print0 |
    xargs -0 -r ln -s -t "$bin" 2>/dev/null || true
done
export PATH=$bin MELLM_SHARED=/nonexistent
for program in chromium google-chrome node ffmpeg; do
  if command -v "$program" >/dev/null; then echo "$program is not hidden: mend tests/bare.sh" >&2; exit 1; fi
done
env "$@" # so that VARIABLE=value may stand before the command, as in the Makefile
