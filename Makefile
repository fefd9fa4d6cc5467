# The only door: `make` prints what there is.

GO      ?= go
BIN     := bin/qqbtfs
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# The whole suite, real clients included, has to fit in this.
TIMEOUT ?= 30m
# How many end-to-end tests run at once: most of them wait for programs of others.
E2E_PARALLEL ?= 4
FUZZTIME ?= 20s
SOAK ?= 30m
# Linters are pinned, so that they find tomorrow what they find today.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := v1.9.0

.PHONY: help build demo test unit race e2e interop bench fuzz soak lint darwin deps deps-test deps-bench clean

help: ## print this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

build: ## build bin/qqbtfs, a static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $(BIN) ./cmd/qqbtfs

demo: deps build ## make content, seed it, mount it, copy out of the incomplete mount, compare
	@.ci/demo $(BIN)

test: deps-test build lint race e2e ## everything: unit, scenarios, fuzz seeds, mounts, real clients

unit: ## the tests that need no other client
	$(GO) test -timeout $(TIMEOUT) $$($(GO) list ./... | grep -v /e2e)

race: ## the same under the race detector
	$(GO) test -race -timeout $(TIMEOUT) $$($(GO) list ./... | grep -v /e2e)
	$(GO) test -timeout $(TIMEOUT) ./fetch/dht # whose virtual time the race detector can't stand

e2e: build ## end to end, against the clients that are installed
	CGO_ENABLED=0 QQBTFS_BIN=$(abspath $(BIN)) $(GO) test -count=1 -parallel $(E2E_PARALLEL) -timeout $(TIMEOUT) ./cmd/qqbtfs/e2e/...

interop: deps-test build ## end to end with other clients only, and write docs/interop.md
	QQBTFS_BIN=$(abspath $(BIN)) QQBTFS_INTEROP_TABLE=$(abspath docs/interop.md) \
		$(GO) test -count=1 -parallel $(E2E_PARALLEL) -timeout $(TIMEOUT) -run Client ./cmd/qqbtfs/e2e

soak: build ## churn peers, faults, readers and remounts for SOAK (30m)
	QQBTFS_BIN=$(abspath $(BIN)) QQBTFS_SOAK=$(SOAK) $(GO) test -count=1 -timeout 0 -v -run '^TestSoak$$' ./cmd/qqbtfs/e2e

bench: deps-bench build ## measure against btfs and aria2 where they are installed, print a table
	$(GO) run ./cmd/qqbtfs/bench -bin $(abspath $(BIN))

fuzz: ## run every fuzz target for FUZZTIME (20s)
	@.ci/fuzz $(FUZZTIME)

lint: darwin ## gofmt, vet, staticcheck, govulncheck, and that the other platform compiles
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'gofmt would change these files'; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	@GO="$(GO)" .ci/vulncheck $(GOVULNCHECK)

darwin:
	GOOS=darwin $(GO) build -o /dev/null ./cmd/qqbtfs

deps: ## install what mounting needs (fuse3)
	@.ci/deps run

deps-test:
	@.ci/deps run test

deps-bench:
	@.ci/deps run test bench

clean: ## remove what was built
	rm -rf bin
