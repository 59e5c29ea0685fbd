# sh test.sh SIGN: shows a recorded answer, and refuses one that is none.
set -eu
sign=$1
fail() { echo "ferry-sign: $*" >&2; exit 1; }
printf '[\n  {\n    "leaves": "2026-11-21T07:45:00Z",\n    "from": "shore"\n  }\n]\n' > answer.json
[ "$("$sign" answer.json)" = "NEXT FERRY 07:45" ] || fail "shows $("$sign" answer.json)"
echo '[]' > empty.json
if "$sign" empty.json 2>/dev/null; then fail "shows a departure where there is none"; fi
[ -n "$("$sign" -v)" ] || fail "no version"
