# Groundwork. Every command needs Go and make, nothing else; `make help` lists them.
SHELL := /bin/sh
.DEFAULT_GOAL := help

# Built and not `go run`: it then is make's own child, hears its signals, and ends when make is killed.
LOCAL := .local/bin/local
# Garbage is collected as seldom as the program does it (services/memory.go).
TESTS := GOGC=$${GOGC:-400} $(LOCAL) -test
BUILD_LOCAL := go build -o $(LOCAL) ./deploy/local
DEV := .local/bin/dev
BUILD_DEV := go build -o $(DEV) ./tools/dev
DLV_VERSION := v1.27.2
DLV := .local/bin/dlv-$(DLV_VERSION)
LINT_VERSION := v2.15.0
LINT := .local/bin/golangci-lint-$(LINT_VERSION)
OASDIFF_VERSION := v1.35.0
OASDIFF := .local/bin/oasdiff-$(OASDIFF_VERSION)
CADDY_VERSION := v2.11.9
CADDY := .local/bin/caddy-$(CADDY_VERSION)
PROMETHEUS_VERSION := v0.313.5
PROMETHEUS := .local/bin/prometheus-$(PROMETHEUS_VERSION)
PROMTOOL := .local/bin/promtool-$(PROMETHEUS_VERSION)

# What you give on the command line reaches a command by its environment, as you typed it: neither make nor a shell reads it. From anywhere
# else these count as empty: make and other tools have an AS and a DB of their own, and some systems a NAME.
GIVEN := ALL AS CMD DB FROM MODULE NAME PKG PUBLIC RUN SINGULAR SQL TO VERSION
$(foreach name,$(GIVEN),$(eval override $(name) := $(if $(filter command%,$(origin $(name))),$$(value $(name))))$(eval export $(name)))

help: ## list the commands of every day; ALL=1: the others too
	@awk -v all="$$ALL" -F ':.*[#][#:] ' '/^[a-z-]+:.*## / || all && /^[a-z-]+:.*#: / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## start what is missing, migrate, serve, and print where to go
	@echo "compiling the launcher (the first time this takes a minute)"
	@$(BUILD_LOCAL)
	@$(LOCAL)

dev: ## the same, and build, migrate and serve again at every save
	@$(BUILD_LOCAL)
	@$(LOCAL) -dev

debug: $(DLV) #: the same under a debugger, for an editor at 127.0.0.1:2345
	@$(BUILD_LOCAL)
	@$(LOCAL) -debug "$$PWD/$(DLV)"

apart: $(CADDY) #: the same with every module in processes of its own, behind the gateway
	@$(BUILD_LOCAL)
	@$(LOCAL) -apart "$$PWD/$(CADDY)"

logs: ## what the running server says
	@$(BUILD_LOCAL)
	@$(LOCAL) -logs

psql: ## a prompt for SQL; AS=a-module, SQL='select 1', DB=one-of-a-failed-test
	@$(BUILD_LOCAL)
	@$(BUILD_DEV)
	@$(LOCAL) $(if $(DB),-test) $(DEV) psql -as "$$AS" -db "$$DB"

redis: #: a prompt for Redis; CMD='ping'
	@$(BUILD_LOCAL)
	@$(BUILD_DEV)
	@$(LOCAL) $(DEV) redis

mail: ## the newest mails of the running server; TO=ada@example.com
	@$(BUILD_DEV)
	@$(DEV) mail -to "$$TO"

# only with auth:
token: ## an access token; AS=operator or AS=new-user
	@$(BUILD_DEV)
	@$(DEV) token "$$AS"
# end auth

# only with auth:
demo: ## tell the main story to the running server
	@go run ./deploy/demo
# end auth

# only with auth:
web: #: serve the example of a web front end at http://localhost:3000
	@go run ./deploy/web
# end auth

# One package more than there are processors: tests wait for servers a good part of their time.
test: ## everything, on a Postgres and a Redis for tests; PKG=./services/..., RUN=Story
	@$(BUILD_LOCAL)
	@$(TESTS) go test -p $$(($$(getconf _NPROCESSORS_ONLN) + 1)) $${RUN:+-run "$$RUN"} $(TESTFLAGS) $${PKG:-./...}

# tools/fork has one goroutine, and reads the tree too often for the detector.
race: #: the same under the race detector
	@$(BUILD_LOCAL)
	@$(TESTS) go test -race $(TESTFLAGS) $${PKG:-$$(go list ./... | grep -v /tools/fork$$)}

browser: $(CADDY) #: try every page in a real Chromium
	@$(BUILD_LOCAL)
	@NEED_BROWSER=true $(TESTS) go test -count=1 $(TESTFLAGS) -run InABrowser ./pkg/browsertest ./pkg/docs ./pkg/mail ./services

# only with auth:
failures: #: see what goes on while Redis, Postgres and the rest fail one after the other
	@$(BUILD_LOCAL)
	@NEED_FAILURES=true $(TESTS) go test -count=1 -v $(TESTFLAGS) -run TestWhenAP ./services
# end auth

# only with auth:
overload: #: offer five times what can be carried, and see how much of the work is done
	@$(BUILD_LOCAL)
	@NEED_OVERLOAD=true $(TESTS) go test -count=1 -v -timeout 30m $(TESTFLAGS) -run TestFiveTimesTheLoad ./services
# end auth

# only with auth:
away: $(CADDY) #: kill each process of those that run apart, and see what goes on
	@$(BUILD_LOCAL)
	@NEED_APART=true $(TESTS) go test -count=1 -v $(TESTFLAGS) -run TestWhenAModuleIsAway ./services
# end auth

# only with auth, transactions:
rolling: $(CADDY) #: replace both instances under payments, by releases with migrations; ROLLING_TIMES=20
	@$(BUILD_LOCAL)
	@NEED_ROLLING=true $(TESTS) go test -count=1 -v -timeout 30m $(TESTFLAGS) -run TestRollingRestarts ./services
# end auth, transactions

# only with auth:
# The log of it is what goes to the standard error.
checklist: $(CADDY) $(PROMETHEUS) $(OASDIFF) #: run the tests that answer the fourteen questions of docs/checklist.md, and print the answers
	@$(BUILD_LOCAL)
	@sh .ci/contract-test install
	@NEED_FAILURES=true NEED_OVERLOAD=true NEED_APART=true NEED_ROLLING=true NEED_PROMETHEUS="$$PWD/$(PROMETHEUS)" \
		SCHEMATHESIS="$$(ls "$$PWD/.local/schemathesis/bin/st" 2>/dev/null)" $(TESTS) go run ./tools/checklist
# end auth

alerts: $(PROMTOOL) #: try the alerts on series that fire them and on such that must not
	@$(PROMTOOL) check config deploy/observability/prometheus.yml
	@$(PROMTOOL) test rules deploy/observability/rules_test.yml

observe: alerts $(PROMETHEUS) #: and alerts, dashboards and runbooks on a real Prometheus that scrapes a real server
# only with auth:
	@$(BUILD_LOCAL)
	@NEED_PROMETHEUS="$$PWD/$(PROMETHEUS)" $(TESTS) go test -count=1 -v $(TESTFLAGS) -run TestPrometheus ./services
# end auth

docs: #: do what docs/ says, as a reader does
	@$(BUILD_LOCAL)
	@NEED_DOCS=true $(TESTS) go test -count=1 -timeout 30m $(TESTFLAGS) -run TestTheCommandsInDocsRun ./services

# only with auth, users, transactions:
# On a stack of its own, which is durable, other than that for tests; /var/tmp is a disk where /tmp may be memory.
bench: #: measure the program against baselines, in one run; BENCH='-rounds 1 -for 2s'
	@$(BUILD_LOCAL)
	@go build -o .local/bin/groundwork-bench ./services && go build -o .local/bin/bench ./tools/bench
	@data=$$(mktemp -d /var/tmp/bench.XXXXXX) && chmod 711 "$$data" && trap 'rm -rf "$$data"' EXIT && \
		LOCAL_DATA="$$data" $(LOCAL) .local/bin/bench $(BENCH) .local/bin/groundwork-bench

bench-identity: #: how many logins and renewals of sessions there are in a second, and what memory they take
	@$(MAKE) bench BENCH="-identity $(BENCH)"

bench-history: #: what ten million entries cost, in a quarter of an hour
	@$(MAKE) bench BENCH="-history 10000000 -for 10s $(BENCH)"

# The stack for tests lends its Redis, and says where Postgres is: the one that is killed is another.
crash: #: kill instances and Postgres under payments, count what is lost or doubled; CRASH='-for 60s'
	@$(BUILD_LOCAL)
	@go build -o .local/bin/groundwork-crash ./services && go build -o .local/bin/crash ./tools/crash
	@$(LOCAL) -test .local/bin/crash $(CRASH) .local/bin/groundwork-crash
# end auth, users, transactions

generate: ## make the code from the contracts
	@go generate ./api/...

lint: $(LINT) #: look for mistakes
	@$(LINT) run --allow-parallel-runners ./...

breaking: $(OASDIFF) #: say which contract breaks callers of the last release
	@OASDIFF=$(OASDIFF) go run ./tools/contracts breaking

# What the API's callers see change since the last release, as Markdown; and, in a release, that noted and the contracts kept.
api-changelog: $(OASDIFF)
	@OASDIFF=$(OASDIFF) go run ./tools/contracts changelog

snapshot: $(OASDIFF)
	@OASDIFF=$(OASDIFF) go run ./tools/contracts snapshot "$$VERSION"

typescript: #: make and try the client in api/typescript (needs Node)
	@sh .ci/typescript

contract-test: #: ask the running program all that its contracts allow and forbid (needs Python)
	@sh .ci/contract-test

check: ## what CI does, as far as this machine can; CI=true: all
	@sh .ci/check

rename: ## make it yours: MODULE=github.com/acme/backend NAME=acme
	@go run ./tools/fork rename "$$MODULE" "$$NAME"

upgrade: #: merge in a newer template: VERSION=v1.2.3, once FROM=its git address
	@go run ./tools/fork upgrade "$$VERSION" "$$FROM"

upgrades: #: make forks, change them, and upgrade them to releases that changed too
	@NEED_UPGRADES=true go test -count=1 $(TESTFLAGS) -run 'IsUpgraded|TakesTheNextReleases' ./tools/fork

release: #: tag this as a release, by its changelog: VERSION=v1.2.3
	@go run ./tools/fork release "$$VERSION"

module: ## write a whole module: NAME=invoices, with PUBLIC=1 for one that everybody may read
	@go run ./tools/fork module "$$NAME" "--singular=$$SINGULAR" $(if $(filter-out 0 no,$(PUBLIC)),--public)

resource: #: add a resource to a module: MODULE=invoices NAME=line-items [PUBLIC=1]
	@go run ./tools/fork resource "$$MODULE" "$$NAME" "--singular=$$SINGULAR" $(if $(filter-out 0 no,$(PUBLIC)),--public)

remove: #: take a module out: NAME=transactions
	@go run ./tools/fork remove "$$NAME"

settings: #: write the README's table of settings, as the program has them
	@go run ./tools/fork settings

reset: ## wipe this checkout's data
	@$(BUILD_LOCAL)
	@$(LOCAL) -reset

$(DLV):
	@echo "building dlv $(DLV_VERSION), once"
	@mkdir -p .local/bin && GOBIN="$$PWD/.local/bin" go install github.com/go-delve/delve/cmd/dlv@$(DLV_VERSION)
	@mv .local/bin/dlv $(DLV)

$(LINT):
	@echo "building golangci-lint $(LINT_VERSION), once"
	@mkdir -p .local/bin && GOBIN="$$PWD/.local/bin" go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	@mv .local/bin/golangci-lint $(LINT)

$(OASDIFF):
	@echo "building oasdiff $(OASDIFF_VERSION), once"
	@mkdir -p .local/bin && GOBIN="$$PWD/.local/bin" go install github.com/oasdiff/oasdiff@$(OASDIFF_VERSION)
	@mv .local/bin/oasdiff $(OASDIFF)

$(CADDY):
	@echo "building caddy $(CADDY_VERSION), once"
	@mkdir -p .local/bin && GOBIN="$$PWD/.local/bin" go install github.com/caddyserver/caddy/v2/cmd/caddy@$(CADDY_VERSION)
	@mv .local/bin/caddy $(CADDY)

# In its folder of the module cache, as its authors have it: its go.mod has a line for itself alone (replace), which go install refuses. What finds
# machines to scrape is left out, but for DNS, and with it most of the time: what is left is three minutes the first time.
.local/bin/%-$(PROMETHEUS_VERSION):
	@echo "building $* $(PROMETHEUS_VERSION), once"
	@mkdir -p .local/bin && to=$$PWD/$@ && dir=$$(cd / && go mod download -json github.com/prometheus/prometheus@$(PROMETHEUS_VERSION) | sed -n 's/^.*"Dir": "\(.*\)".*/\1/p') && \
		cd "$$dir" && GOWORK=off go build -tags remove_all_sd,enable_dns_sd -o "$$to" ./cmd/$*

.PHONY: help run apart demo test race failures overload away rolling alerts observe checklist bench bench-identity bench-history crash generate lint breaking api-changelog snapshot check rename upgrade upgrades release module resource remove settings reset browser web docs dev debug logs psql redis mail token typescript contract-test
