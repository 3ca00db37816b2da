# The two commands of the quick start are `make run` and `make test`.

TARGET := $(shell rustc --print host-tuple 2>/dev/null)
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
FUNC := $(TARGET_DIR)/$(TARGET)/release/func
# Where `make run` keeps its data, and what else it is told: make run ARGS='--idle 5s'
DATA ?= .func
ARGS ?=
IMAGE ?= func:latest

# How long `make fuzz` tries each target: make fuzz SECONDS=600
SECONDS ?= 60

# How long `make soak` goes on: make soak MINUTES=5
MINUTES ?= 30

.PHONY: run build test fuzz soak failure-docs framing-docs test-deploys lint deny images image bench bench-wake bench-herd bench-attacks bench-builds clean-data help

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: build ## Build func and run all of it on loopback, with data in .func/
	@exec $(FUNC) serve all --guide --own-keys yes --data $(DATA) $(ARGS)

build: ## Build the release program
	@.ci/setup run
	cargo build --release --locked

# The release program first: one of the tests does what the quick start says.
test: ## Run all tests; as root it installs what they need
	@.ci/setup test
	cargo build --release --locked
	docker/offline/make-images busybox:stable redis:7-alpine debian:bookworm-slim buildpack-deps:bookworm-scm docker:dind
	cargo test --workspace --locked --no-fail-fast

# CI tries each with the same few hundred inputs, as a part of `make test`.
fuzz: ## Try everything that reads what others write with new inputs, a minute each (SECONDS=600: longer)
	@.ci/setup run
	FUZZ_SECONDS=$(SECONDS) cargo test --workspace --locked --no-fail-fast --lib --bins fuzz_tests::

# First 200 kills one after the other, of 13 apps; then a hundred apps for as long as it is told.
soak: ## Kill everything at random for half an hour, and count what is lost (MINUTES=5: shorter)
	@.ci/setup test
	docker/offline/make-images redis:7-alpine
	cargo build --locked --bin func --example testapp
	KILLS_ROUNDS=200 cargo test --locked --test e2e kills:: -- --nocapture
	SOAK_MINUTES=$(MINUTES) cargo test --locked --test soak

failure-docs: ## Break everything once, and write docs/failure.md
	@.ci/setup test
	WRITE_DOCS=1 cargo test --locked --test e2e failures::

framing-docs: ## Send odd requests to func and to nginx, and write docs/framing.md
	@.ci/setup bench
	cargo build --locked --bin func --example testapp
	WRITE_DOCS=1 cargo test --locked --test e2e attacks::framing

test-deploys: ## 50 deploys and 50 rollbacks under load, where CI does six
	@.ci/setup test
	cargo build --locked --bin func --example testapp
	E2E_SWITCHES=50 cargo test --locked --test e2e deploys_under_load -- --nocapture

lint: ## Check the format and the lints
	@.ci/setup run
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

# The list of known flaws is a git repository of its own: where it cannot be fetched, nothing is said about them.
deny: ## Check licences, bans, sources and known flaws of the dependencies
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny check bans licenses sources
	@if cargo deny fetch db >/dev/null 2>&1; then cargo deny check advisories; \
	else echo 'NOT CHECKED: known flaws (advisories); their list cannot be fetched from here'; fi

images: ## Make every base image that is missing, from Debian's packages
	docker/offline/make-images

image: build ## Make func's own image, func:latest
	@docker image inspect buildpack-deps:bookworm-scm >/dev/null 2>&1 || docker/offline/make-images buildpack-deps:bookworm-scm
	@docker image inspect redis:7-alpine >/dev/null 2>&1 || docker/offline/make-images redis:7-alpine
	tar -C $(dir $(FUNC)) -cf - func -C $(CURDIR)/docker Dockerfile | docker build -q -t $(IMAGE) -

bench: build ## Measure func beside its peers, in one run
	@.ci/setup bench
	benches/run

bench-wake: build ## Measure every way to wake an app, and write docs/benchmarks.md
	@.ci/setup test
	docker/offline/make-images redis:7-alpine python:3-slim node:18-slim
	benches/wake

bench-herd: build ## Measure many requests at once, and write docs/herd.md
	@.ci/setup bench
	docker/offline/make-images redis:7-alpine busybox:stable
	benches/herd

bench-attacks: build ## Measure a warm app while func is attacked
	@.ci/setup bench
	docker/offline/make-images busybox:stable
	benches/attacks

bench-builds: build ## Measure pushes that build apart beside pushes that build on the engine that serves
	@.ci/setup bench
	docker/offline/make-images busybox:stable debian:bookworm-slim docker:dind
	benches/builds

clean-data: ## Remove the data of `make run`, its containers, images and network
	@.ci/clean $(DATA)
