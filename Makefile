# make demo        the road on the example product, from a push to running nodes; KEEP=1 leaves the server running
# make demo-real   the same on a real product that is made at run time from public Go modules
# make demo-real-queue  ten changes to that product at once, two of them bad, in a queue that speculates and in a serial one
# make test        all tests but the long ones
# make test-long   the long ones too
# make hunt        the property tests with other cases than usual: SEED=N CHECKS=N
# make lint        gofmt, go vet, staticcheck
# make bench       the benchmarks of packages; bench-debian, bench-farm, bench-hash: see docs/bench/README.md
# make bench-queue the policies of the integration queue in simulation: docs/bench/queue.md
# make build       bin/slipway

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.PHONY: build demo demo-real demo-real-queue test test-long hunt lint bench bench-queue bench-debian bench-farm bench-hash setup

export CGO_ENABLED := 0
export PATH := $(PATH):/usr/local/go/bin:/usr/sbin:/sbin
GO ?= go

build:
	@$(GO) build -ldflags='-s -w' -o bin/slipway ./cmd/slipway

setup:
	@scripts/setup test

demo:
	@scripts/setup demo
	@$(MAKE) --no-print-directory build
	@KEEP=$(KEEP) scripts/demo

demo-real:
	@scripts/setup test
	@$(MAKE) --no-print-directory build
	@KEEP=$(KEEP) scripts/demo-real

demo-real-queue:
	@scripts/setup test
	@$(MAKE) --no-print-directory build
	@QUEUE=1 KEEP=$(KEEP) scripts/demo-real

# The two have the same flags, so that test-long right after test runs only what it has more.
test: setup
	$(GO) test -timeout 60m ./...

test-long: setup
	$(GO) test -timeout 60m -tags long ./...

SEED ?= $(shell date +%s)
CHECKS ?= 1000
hunt:
	@echo "seed $(SEED)"
	$(GO) test -count=1 -timeout 60m $$(git grep -l 'seeded\.Check(' -- '*_test.go' | xargs -n1 dirname | sort -u | sed 's,^,./,') -rapid.seed=$(SEED) -rapid.checks=$(CHECKS)

lint:
	@bad=$$(gofmt -l $$(git ls-files '*.go')); if [[ -n $$bad ]]; then echo "not formatted by gofmt:"; echo "$$bad"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags long ./...
	$(GO) tool staticcheck -tags long ./...

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

bench-debian:
	@scripts/setup bench
	@$(MAKE) --no-print-directory build
	@scripts/bench-debian

bench-hash:
	@scripts/bench-hash

bench-farm:
	@scripts/setup demo
	@$(MAKE) --no-print-directory build
	@scripts/bench-farm

bench-queue: build
	@scripts/bench-queue
