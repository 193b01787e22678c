# Each target installs what it lacks, into .deps/, and says so. `make help` lists them.

CARGO ?= cargo
THETIS_DEPS ?= $(CURDIR)/.deps
export THETIS_DEPS

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 12

.PHONY: demo
demo: ## back up and restore a simulated cluster, end to end (KEEP=1 leaves it running, STORE=local uses a directory)
	@tools/deps.sh nats weed
	$(CARGO) build --locked --workspace --bins
	@"$${CARGO_TARGET_DIR:-target}/debug/demo"

# Tests wait more than they compute: half as many again as there are cores run at once.
.PHONY: test
test: ## run all tests on real servers
	@tools/deps.sh
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$(( ($$(nproc) * 3 + 1) / 2 ))} $(CARGO) test --locked --workspace

.PHONY: check
check: ## what CI checks before it tests: format, lints, dependencies, docs
	@tools/deps.sh deny
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(THETIS_DEPS)/bin/cargo-deny --locked check bans licenses sources
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps

.PHONY: advisories
advisories: ## ask RustSec whether a crate is known to be unsafe; left out, with a notice, where it cannot be reached
	@tools/deps.sh deny
	@if timeout 120 $(THETIS_DEPS)/bin/cargo-deny --locked fetch db; then \
		$(THETIS_DEPS)/bin/cargo-deny --locked check advisories; \
	else echo "advisories: left out, RustSec's database cannot be reached"; fi

.PHONY: fuzz
fuzz: ## fuzz the readers of manifests, keys and names, each for FUZZ_SECS (60) seconds
	@tools/deps.sh fuzz
	@fuzz/run.sh

.PHONY: bench
bench: ## measure uploads beside their limit, rclone and s5cmd (FULL=1 takes longer and shows more, ONLY=mixed a part)
	@tools/deps.sh nats rclone
	@tools/deps.sh s5cmd || echo "bench: going on without s5cmd"
	@tools/deps.sh fio || echo "bench: going on without fio"
	$(CARGO) build --locked --release --workspace --bins
	@"$${CARGO_TARGET_DIR:-target}/release/bench" $(if $(FULL),--full) $(ONLY)

.PHONY: golden
golden: deps ## write proto-schemas/ and the table of docs/metrics.md anew from the code; look at the difference before you commit
	UPDATE_GOLDEN=1 $(CARGO) test --locked -p protocol --test golden
	UPDATE_GOLDEN=1 $(CARGO) test --locked -p tests --test e2e metrics

.PHONY: deps
deps: ## install the servers that tests and demo need into .deps/
	@tools/deps.sh

.PHONY: clean
clean: ## remove what was built and installed here
	$(CARGO) clean
	rm -rf .demo .deps
