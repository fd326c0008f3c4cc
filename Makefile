# Groundwork. Every command needs Go and make, nothing else; `make help` lists them.
SHELL := /bin/sh
.DEFAULT_GOAL := help

LOCAL := go run ./deploy/local
LINT_VERSION := v2.15.0
LINT := .local/bin/golangci-lint-$(LINT_VERSION)

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## start what is missing, migrate, serve, and print where to go
	@echo "compiling the launcher (the first time this takes a minute)"
	@$(LOCAL)

demo: ## tell the main story to the running server
	@go run ./deploy/demo

test: ## everything, on a throwaway Postgres and Redis
	@$(LOCAL) -test go test $(TESTFLAGS) ./...

race: ## the same under the race detector
	@$(LOCAL) -test go test -race $(TESTFLAGS) ./...

generate: ## make the code from the contracts
	@go generate ./api/...

lint: $(LINT) ## look for mistakes
	@$(LINT) run ./...

check: ## all that CI does
	@sh .ci/check

reset: ## wipe this checkout's data
	@$(LOCAL) -reset

$(LINT):
	@echo "building golangci-lint $(LINT_VERSION), once"
	@mkdir -p .local/bin && GOBIN="$(CURDIR)/.local/bin" go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	@mv .local/bin/golangci-lint $(LINT)

.PHONY: help run demo test race generate lint check reset
