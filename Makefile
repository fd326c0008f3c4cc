# Groundwork. Every command needs Go and make, nothing else; `make help` lists them.
SHELL := /bin/sh
.DEFAULT_GOAL := help

# Built and not `go run`: it then is make's own child, hears its signals, and ends when make is killed.
LOCAL := .local/bin/local
BUILD_LOCAL := go build -o $(LOCAL) ./deploy/local
DEV := .local/bin/dev
BUILD_DEV := go build -o $(DEV) ./tools/dev
DLV_VERSION := v1.27.2
DLV := .local/bin/dlv-$(DLV_VERSION)
LINT_VERSION := v2.15.0
LINT := .local/bin/golangci-lint-$(LINT_VERSION)

# A variable of the command line, and of nowhere else: make and other tools have an AS and a DB of their own.
given = $(if $(filter command%,$(origin $1)),$($1))

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## start what is missing, migrate, serve, and print where to go
	@echo "compiling the launcher (the first time this takes a minute)"
	@$(BUILD_LOCAL)
	@$(LOCAL)

dev: ## the same, and build, migrate and serve again at every save
	@$(BUILD_LOCAL)
	@$(LOCAL) -dev

debug: $(DLV) ## the same under a debugger, for an editor at 127.0.0.1:2345
	@$(BUILD_LOCAL)
	@$(LOCAL) -debug $(CURDIR)/$(DLV)

logs: ## what the running server says
	@$(BUILD_LOCAL)
	@$(LOCAL) -logs

psql: ## a prompt for SQL; AS=users, SQL='select 1', DB=name-of-a-failed-test's
	@$(BUILD_LOCAL)
	@$(BUILD_DEV)
	@$(LOCAL) $(if $(call given,DB),-test) $(DEV) psql -as '$(call given,AS)' -db '$(call given,DB)'

redis: ## a prompt for Redis; CMD='ping'
	@$(BUILD_LOCAL)
	@$(BUILD_DEV)
	@$(LOCAL) $(DEV) redis

mail: ## the newest mails of the running server; TO=ada@example.com
	@$(BUILD_DEV)
	@$(DEV) mail -to '$(call given,TO)'

# only with auth:
token: ## an access token; AS=operator or AS=new-user
	@$(BUILD_DEV)
	@$(DEV) token $(call given,AS)
# end auth

demo: ## tell the main story to the running server
	@go run ./deploy/demo

test: ## everything, on a Postgres and a Redis for tests; PKG=./services/users, RUN=Story
	@$(BUILD_LOCAL)
	@$(LOCAL) -test go test $(if $(RUN),-run '$(RUN)') $(TESTFLAGS) $(or $(PKG),./...)

race: ## the same under the race detector
	@$(BUILD_LOCAL)
	@$(LOCAL) -test go test -race $(TESTFLAGS) ./...

generate: ## make the code from the contracts
	@go generate ./api/...

lint: $(LINT) ## look for mistakes
	@$(LINT) run ./...

check: ## all that CI does
	@sh .ci/check

reset: ## wipe this checkout's data
	@$(BUILD_LOCAL)
	@$(LOCAL) -reset

$(DLV):
	@echo "building dlv $(DLV_VERSION), once"
	@mkdir -p .local/bin && GOBIN="$(CURDIR)/.local/bin" go install github.com/go-delve/delve/cmd/dlv@$(DLV_VERSION)
	@mv .local/bin/dlv $(DLV)

$(LINT):
	@echo "building golangci-lint $(LINT_VERSION), once"
	@mkdir -p .local/bin && GOBIN="$(CURDIR)/.local/bin" go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	@mv .local/bin/golangci-lint $(LINT)

.PHONY: help run dev debug logs psql redis mail token demo test race generate lint check reset
