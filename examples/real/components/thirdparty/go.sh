# Sourced by the build and the tests of every component; see docs/guides/real-product.md.
#
# It sets Go up to work without network on what $DEPS holds: modules of others from thirdparty, unpacked; the
# compiled standard library from gostd. Packages compiled before are linked into a build cache of this sandbox's own.
export CGO_ENABLED=0 GOTOOLCHAIN=local GOSUMDB=off GOPROXY=off GOTELEMETRY=off
export GOFLAGS='-trimpath -vet=off'
export GOMODCACHE=$DEPS/thirdparty/mod GOCACHE=/tmp/home/go-build
mkdir -p "$GOCACHE"
for cache in "$DEPS"/*/cache; do
  cp -rsf "$cache/." "$GOCACHE/"
done
date +%s > "$GOCACHE/trim.txt" # so that Go does not throw old entries out at once

# workspace makes one Go workspace of this component and the sources of all that it needs: their pins in the manifest
# decide what is compiled, not the versions that go.mod files name.
workspace() {
  rm -f go.work go.work.sum
  set -- .
  for mod in "$DEPS"/*/go.mod; do
    set -- "$@" "${mod%/go.mod}"
  done
  go work init "$@"
}

# export_source lays the module's source out in $OUT, without its tests: a change of tests alone rebuilds nothing else.
export_source() {
  tar -cf - --exclude=./.git --exclude=./slipway.yaml --exclude='*_test.go' --exclude=testdata \
    --exclude='*.ttar' --exclude='./go.work*' --exclude='*.md' . | tar -xf - -C "$OUT"
}

# libraries tells what a program is made of, for its build info: "client-golang-1.23.2,client-model-0.6.2,..."
libraries() {
  made=
  for version in "$DEPS"/*/VERSION; do
    name=${version%/VERSION}
    made=$made,${name##*/}-$(cat "$version")
  done
  echo "${made#,}"
}
