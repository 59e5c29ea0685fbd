#!/bin/sh
# ferry-sign FILE: what the sign at the quay shows, from an answer of a harbour's /next in FILE. The signs at sea run this
# very script and cannot be replaced at once, so what it reads is a promise.
set -eu
if [ "${1:-}" = -v ]; then echo "@VERSION@"; exit; fi
leaves=$(sed -n 's/.*"leaves": *"[^T]*T\([0-9][0-9]:[0-9][0-9]\).*/\1/p' "$1" | head -n 1)
if [ -z "$leaves" ]; then
  echo "the harbour answered: $(head -c 120 "$1" | tr -d '\n')" >&2
  echo "ferry-sign: no departure has the field \"leaves\", which every sign at sea reads" >&2
  exit 1
fi
echo "NEXT FERRY $leaves"
