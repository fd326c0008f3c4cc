# Groundwork. Every command needs Go and make, nothing else; `make help` lists them.
SHELL := /bin/sh
.DEFAULT_GOAL := help

# Built and not `go run`: it then is make's own child, hears its signals, and ends when make is killed.
LOCAL := .local/bin/local
BUILD_LOCAL := go build -o $(LOCAL) ./deploy/local
LINT_VERSION := v2.15.0
LINT := .local/bin/golangci-lint-$(LINT_VERSION)
OASDIFF_VERSION := v1.35.0
OASDIFF := .local/bin/oasdiff-$(OASDIFF_VERSION)

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## start what is missing, migrate, serve, and print where to go
	@echo "compiling the launcher (the first time this takes a minute)"
	@$(BUILD_LOCAL)
	@$(LOCAL)

# only with auth:
demo: ## tell the main story to the running server
	@go run ./deploy/demo
# end auth

# only with auth:
web: ## serve the example of a web front end at http://localhost:3000
	@go run ./deploy/web
# end auth

test: ## everything, on a throwaway Postgres and Redis
	@$(BUILD_LOCAL)
	@$(LOCAL) -test go test $(TESTFLAGS) ./...

race: ## the same under the race detector
	@$(BUILD_LOCAL)
	@$(LOCAL) -test go test -race $(TESTFLAGS) ./...

browser: ## try every page in a real Chromium
	@$(BUILD_LOCAL)
	@NEED_BROWSER=true $(LOCAL) -test go test -count=1 $(TESTFLAGS) -run InABrowser ./pkg/browsertest ./pkg/docs ./services

docs: ## do what docs/ says, as a reader does
	@$(BUILD_LOCAL)
	@NEED_DOCS=true $(LOCAL) -test go test -count=1 -timeout 30m $(TESTFLAGS) -run TestTheCommandsInDocsRun ./services

generate: ## make the code from the contracts
	@go generate ./api/...

lint: $(LINT) ## look for mistakes
	@$(LINT) run --allow-parallel-runners ./...

breaking: $(OASDIFF) ## say which contract breaks callers of the last release
	@OASDIFF=$(OASDIFF) go run ./tools/contracts breaking

# What the API's callers see change since the last release, as Markdown; and, in a release, that noted and the contracts kept.
api-changelog: $(OASDIFF)
	@OASDIFF=$(OASDIFF) go run ./tools/contracts changelog

snapshot: $(OASDIFF)
	@OASDIFF=$(OASDIFF) go run ./tools/contracts snapshot $(VERSION)

check: ## all that CI does
	@sh .ci/check

module: ## write a whole module: make module NAME=invoices
	@go run ./tools/fork module $(NAME) $(if $(PUBLIC),--public)

remove: ## take a module out: make remove NAME=transactions
	@go run ./tools/fork remove $(NAME)

reset: ## wipe this checkout's data
	@$(BUILD_LOCAL)
	@$(LOCAL) -reset

$(LINT):
	@echo "building golangci-lint $(LINT_VERSION), once"
	@mkdir -p .local/bin && GOBIN="$(CURDIR)/.local/bin" go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	@mv .local/bin/golangci-lint $(LINT)

$(OASDIFF):
	@echo "building oasdiff $(OASDIFF_VERSION), once"
	@mkdir -p .local/bin && GOBIN="$(CURDIR)/.local/bin" go install github.com/oasdiff/oasdiff@$(OASDIFF_VERSION)
	@mv .local/bin/oasdiff $(OASDIFF)

.PHONY: help run demo test race generate lint breaking api-changelog snapshot check reset module remove browser web docs
