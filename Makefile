# What there is to do here; `make` alone lists it.

GO ?= go

# Packages whose code runs on several threads at once.
RACE = ./physmem ./mm ./syscallq ./timer ./skas ./guest/... ./cmd/... ./examples/... ./internal/probe

# Packages whose tests take the whole path, and the guards under which they run
# besides the default.
WHOLE = ./skas ./guest ./guest/toy
GUARDS = none notify validate

# Where skipped tests say why (internal/testkit).
SKIPS = $(CURDIR)/build/skips

.PHONY: help run build test packages real-uml busybox-tests bench-peers readme readme-bench lint fmt $(GUARDS:%=test-%) test-ptrace

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

run: ## build and boot the embedded guest
	$(GO) run ./cmd/skas boot

build: ## build bin/skas
	$(GO) build -o bin/skas ./cmd/skas

test: packages lint ## install what the tests need, run every check and test
	@mkdir -p $(dir $(SKIPS)) && rm -f $(SKIPS)
	SKAS_SKIPS=$(SKIPS) $(GO) test -race -short $(RACE)
	SKAS_SKIPS=$(SKIPS) $(GO) test ./...
	@$(MAKE) --no-print-directory -j2 -Otarget $(GUARDS:%=test-%) test-ptrace
	@if test -s $(SKIPS); then echo "Skipped, and why:"; sort -u $(SKIPS); else echo "No test was skipped."; fi

# make test-validate: the tests of the whole path under that guard, small storms.
$(GUARDS:%=test-%): test-%:
	SKAS_GUARD=$* SKAS_SKIPS=$(SKIPS) $(GO) test -short $(WHOLE)

# The same in the other mode, which has no guards.
test-ptrace:
	SKAS_MODE=ptrace SKAS_SKIPS=$(SKIPS) $(GO) test -short $(WHOLE)

packages: ## install what the tests need from the system's packages
	scripts/install-test-packages

real-uml: ## get real User Mode Linux, which the tests compare with, from Debian
	$(GO) run ./realuml/get

busybox-tests: ## run all of BusyBox's own tests in a guest, which takes minutes
	$(GO) test ./guest -run '^TestGuestPassesBusyboxTests$$' -busybox -v -timeout 1h

readme: ## bring the tables of README.md up to date that follow from the code
	$(GO) test ./containment ./cmd/skas -run '^TestReadme' -update

readme-bench: build ## measure mapping calls here and put the table into README.md
	@mkdir -p build
	bin/skas bench mmap --pin on --markdown >build/bench-mmap.md
	scripts/readme-section "bench mmap" <build/bench-mmap.md

bench-peers: build ## measure beside real User Mode Linux; build/bench-peers.md, .json and README.md
	@mkdir -p build
	bin/skas bench peers --save build/bench-peers
	scripts/readme-section "bench peers" <build/bench-peers.md

lint: ## gofmt, go vet and staticcheck
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt: run 'make fmt' for" $$unformatted; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

fmt: ## format the sources
	gofmt -w .
