# What a developer or an operator types. `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

GO ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GO_BUILD := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'

# The linter is built from source, at this version, into a folder of that version.
GOLANGCI_VERSION := v2.15.0
GOLANGCI := .tools/golangci-lint-$(GOLANGCI_VERSION)/golangci-lint

# `make run` listens here and keeps its state there.
LISTEN ?= 127.0.0.1:8082
ETCD_LISTEN ?= 127.0.0.1:2379
DATA_DIR ?= ./data

# How long each fuzz target runs within `make test` and `make fuzz`.
FUZZTIME ?= 3s

# How many random workflows `make workflows` goes through.
CHECKS ?= 5000

# The page is built with npm, where it is there; `make NPM=` leaves it as it is.
NPM ?= $(shell command -v npm)
PAGE_SOURCES := $(shell find web/src web/public -type f ! -name schema.d.ts ! -name '*.test.ts') $(addprefix web/, \
  index.html openapi.json package.json package-lock.json tsconfig.json vite.config.ts)
PAGE := $(if $(NPM),web/dist/index.html)

# Built rather than run by `go run`, whose own last line would follow the summary.
RUNTESTS = mkdir -p .tools/bin && $(GO) build -o .tools/bin/runtests ./scripts/runtests && exec .tools/bin/runtests

.PHONY: help build page run test unit fuzz workflows lint fmt reference tools screenshots clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

build: page ## Build bin/quell with its page, bin/quell-shim and bin/etcdctl
	@mkdir -p bin
	$(GO_BUILD) -o bin/quell ./cmd/quell
	$(GO_BUILD) -o bin/quell-shim ./cmd/quell-shim
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/etcdctl go.etcd.io/etcd/etcdctl/v3

page: $(PAGE) ## Build the page that bin/quell embeds, if npm is there and its sources changed
	@[[ -e web/dist/index.html ]] || echo "No npm: quell is built without its page (it needs Node 20.19 or later)."

web/dist/index.html: $(PAGE_SOURCES) web/node_modules/.package-lock.json
	cd web && $(NPM) run build

web/node_modules/.package-lock.json: web/package-lock.json web/.npmrc
	cd web && $(NPM) ci && touch node_modules/.package-lock.json

run: ## Install what is missing, build, and start all of Quell with the examples
	@scripts/setup.sh run
	@$(MAKE) --no-print-directory build
	@exec bin/quell dev --listen $(LISTEN) --etcd-listen $(ETCD_LISTEN) --data-dir $(DATA_DIR) \
	  --playbook-dir examples/playbooks --templates $(wildcard examples/templates/*.yml)

test: ## Install what is missing and run every test and, shortly, every fuzz target
	@scripts/setup.sh test
	@$(MAKE) --no-print-directory build
	$(GO) vet ./...
	@export QUELL_TEST_ALL=1; $(RUNTESTS) -fuzztime $(FUZZTIME) ./...

unit: ## Run the tests of the packages in PKG (default: all) without installing or fuzzing
	@$(RUNTESTS) -fuzztime 0 $(or $(PKG),./...)

fuzz: ## Fuzz every target for FUZZTIME
	@$(RUNTESTS) -run '^Fuzz' -fuzztime $(FUZZTIME) ./...

workflows: ## Check the guarantees on CHECKS random workflows (make test: 100)
	$(GO) test -race ./internal/scheduler -run TestAnyWorkflow -timeout 0 -rapid.checks $(CHECKS)

lint: $(GOLANGCI) ## Run the linters
	@for script in .ci/run scripts/*.sh; do bash -n "$$script"; done
	@if command -v shellcheck > /dev/null; then shellcheck .ci/run scripts/*.sh; fi
	$(GOLANGCI) run ./...

fmt: $(GOLANGCI) ## Format the Go sources
	$(GOLANGCI) fmt ./...

reference: ## Write docs/reference.md and web/openapi.json from the code
	@$(GO) run ./cmd/quell reference > docs/reference.md.new && mv docs/reference.md.new docs/reference.md
	@$(GO) run ./cmd/quell openapi > web/openapi.json.new && mv web/openapi.json.new web/openapi.json

tools: $(GOLANGCI) ## Build the linter

$(GOLANGCI):
	GOBIN=$(CURDIR)/$(@D) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

screenshots: build ## Keep a picture of each page and state in screenshots/
	rm -rf screenshots && node web/e2e/screenshots.mjs screenshots

clean: ## Remove what was built (not the data folder)
	rm -rf bin .tools screenshots web/dist web/node_modules
