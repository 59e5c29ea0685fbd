# sh test.sh GAUGE: asks the program and compares.
set -eu
gauge=$1
fail() { echo "gauge: $*" >&2; exit 1; }
[ "$("$gauge" 0)" = 1.60 ] || fail "height at new moon is $("$gauge" 0), want 1.60"
[ -n "$("$gauge" -v)" ] || fail "no version"
if "$gauge" soon 2>/dev/null; then fail "takes a word for a number"; fi
