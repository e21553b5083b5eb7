# What there is to do here; `make` alone lists it.

GO ?= go

# Packages whose code runs on several threads at once.
RACE = ./physmem ./mm ./syscallq ./timer ./skas ./guest/... ./cmd/... ./examples/...

.PHONY: help run build test packages real-uml lint fmt

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

run: ## build and boot the embedded guest
	$(GO) run ./cmd/skas boot

build: ## build bin/skas
	$(GO) build -o bin/skas ./cmd/skas

test: packages lint ## install what the tests need, run every check and test
	$(GO) test -race -short $(RACE)
	$(GO) test ./...

packages: ## install what the tests need from the system's packages
	scripts/install-test-packages

real-uml: ## get real User Mode Linux, which the tests compare with, from Debian
	$(GO) run ./realuml/get

lint: ## gofmt, go vet and staticcheck
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt: run 'make fmt' for" $$unformatted; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

fmt: ## format the sources
	gofmt -w .
