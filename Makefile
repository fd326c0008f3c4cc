# Groundwork. Every command needs Go and make, nothing else; `make help` lists them.
SHELL := /bin/sh
.DEFAULT_GOAL := help

# Built and not `go run`: it then is make's own child, hears its signals, and ends when make is killed.
LOCAL := .local/bin/local
BUILD_LOCAL := go build -o $(LOCAL) ./deploy/local
LINT_VERSION := v2.15.0
LINT := .local/bin/golangci-lint-$(LINT_VERSION)

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## start what is missing, migrate, serve, and print where to go
	@echo "compiling the launcher (the first time this takes a minute)"
	@$(BUILD_LOCAL)
	@$(LOCAL)

demo: ## tell the main story to the running server
	@go run ./deploy/demo

test: ## everything, on a throwaway Postgres and Redis
	@$(BUILD_LOCAL)
	@$(LOCAL) -test go test $(TESTFLAGS) ./...

race: ## the same under the race detector
	@$(BUILD_LOCAL)
	@$(LOCAL) -test go test -race $(TESTFLAGS) ./...

generate: ## make the code from the contracts
	@go generate ./api/...

module: ## add a module: NAME=invoices, with PUBLIC=1 for one that everybody may read
	@go run ./tools/fork module "$(NAME)" $(if $(filter-out 0 no,$(PUBLIC)),--public) "--singular=$(SINGULAR)"

resource: ## add a resource to a module: MODULE=invoices NAME=line-items [PUBLIC=1]
	@go run ./tools/fork resource "$(MODULE)" "$(NAME)" $(if $(filter-out 0 no,$(PUBLIC)),--public) "--singular=$(SINGULAR)"

lint: $(LINT) ## look for mistakes
	@$(LINT) run ./...

check: ## all that CI does
	@sh .ci/check

reset: ## wipe this checkout's data
	@$(BUILD_LOCAL)
	@$(LOCAL) -reset

$(LINT):
	@echo "building golangci-lint $(LINT_VERSION), once"
	@mkdir -p .local/bin && GOBIN="$(CURDIR)/.local/bin" go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	@mv .local/bin/golangci-lint $(LINT)

.PHONY: help run demo test race generate module resource lint check reset
