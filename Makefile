# `make check` is all that CI runs.
CARGO ?= cargo

.PHONY: check format lint test test-aarch64 doc audit

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

# Unit tests of the NEON kernels (each beside its safe twin) by emulation, where there is no such processor: needs the
# Rust target aarch64-unknown-linux-gnu, a cross compiler and QEMU (Debian: gcc-aarch64-linux-gnu, qemu-user).
test-aarch64: export CC_aarch64_unknown_linux_gnu = aarch64-linux-gnu-gcc
test-aarch64: export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER = aarch64-linux-gnu-gcc
test-aarch64: export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER = qemu-aarch64 -L /usr/aarch64-linux-gnu
test-aarch64:
	$(CARGO) test --release --target aarch64-unknown-linux-gnu -p blemish-backbones -p blemish-detectors --lib

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --workspace --no-deps

# Licences, sources and duplicate crates. `cargo deny check advisories` needs the network besides.
audit:
	@command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny
	$(CARGO) deny --log-level error --all-features check bans licenses sources
