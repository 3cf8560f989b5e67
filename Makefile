# `make check` is all that CI runs.
CARGO ?= cargo

.PHONY: check format lint test doc audit

check: format lint test doc audit

format:
	$(CARGO) fmt --all --check

lint:
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	$(CARGO) clippy --release -p blemish-cli -p blemish-backbones --features blemish-cli/onnx,blemish-backbones/onnx --all-targets -- -D warnings

# Doc tests are part of it.
test:
	$(CARGO) test --release --workspace
	$(CARGO) test --release -p blemish-backbones --features onnx --test onnx

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --workspace --no-deps

# Licences, sources and duplicate crates. `cargo deny check advisories` needs the network besides.
audit:
	@command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny
	$(CARGO) deny --log-level error --all-features check bans licenses sources
