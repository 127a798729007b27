#!/usr/bin/env bash
# What `make test` needs besides Rust, Python 3 and npm. Says what it installs, and installs only what is missing.
set -euo pipefail

say() { printf 'deps: %s\n' "$*"; }

missing=()
for command in gcc git; do
  command -v "$command" >/dev/null 2>&1 || missing+=("$command")
done
if [ "${#missing[@]}" -gt 0 ]; then
  say "installing ${missing[*]} by apt"
  apt-get update -qq
  apt-get install -y -qq "${missing[@]}" >/dev/null
fi
if ! cargo nextest --version >/dev/null 2>&1; then
  say "installing cargo-nextest from crates.io (some minutes, once)"
  cargo install --quiet --locked cargo-nextest
fi
for component in clippy rustfmt; do
  "cargo-${component/rustfmt/fmt}" --version >/dev/null 2>&1 || { say "adding $component by rustup"; rustup component add "$component"; }
done
say "rust $(rustc --version | cut -d' ' -f2), nextest $(cargo nextest --version | head -1 | cut -d' ' -f2): ready"
