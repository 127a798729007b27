#!/usr/bin/env bash
# What `make test` needs besides Rust, Python 3 and npm. Says what it installs, and installs only what is missing.
set -euo pipefail

say() { printf 'deps: %s\n' "$*"; }

missing=()
for command in gcc git; do
  command -v "$command" >/dev/null 2>&1 || missing+=("$command")
done
# Signed tags are made and checked by it.
command -v ssh-keygen >/dev/null 2>&1 || missing+=(openssh-client)
if [ "${#missing[@]}" -gt 0 ]; then
  say "installing ${missing[*]} by apt"
  apt-get update -qq
  apt-get install -y -qq "${missing[@]}" >/dev/null
fi
# Several gateways share a PostgreSQL database; each test runs a private server of its own, never the system's.
if ! compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null && ! command -v initdb >/dev/null 2>&1; then
  say "installing postgresql by apt; its own server isn't started"
  apt-get update -qq
  mkdir -p /etc/postgresql-common
  [ -e /etc/postgresql-common/createcluster.conf ] || echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql >/dev/null
fi
# The symbolic part of `placet diff` is proved by it; without it the verb says so.
if ! command -v cvc5 >/dev/null 2>&1; then
  say "installing cvc5 by apt"
  apt-get update -qq
  apt-get install -y -qq cvc5 >/dev/null || say "there is no package cvc5 here: its tests are left out"
fi
# The ledger's verifier that shares no code with Placet has its signatures from here.
if ! python3 -c 'import cryptography' >/dev/null 2>&1; then
  say "installing python3-cryptography by apt"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3 python3-cryptography >/dev/null
  # A python3 of another origin than Debian's takes it from its own registry.
  python3 -c 'import cryptography' >/dev/null 2>&1 || python3 -m pip install --quiet 'cryptography>=42'
fi
# The pages for people are tested in a real browser.
if ! command -v chromium >/dev/null 2>&1 && ! command -v google-chrome >/dev/null 2>&1; then
  say "installing chromium by apt (some 300 MB)"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
fi
if ! cargo nextest --version >/dev/null 2>&1; then
  say "installing cargo-nextest from crates.io (some minutes, once)"
  cargo install --quiet --locked cargo-nextest
fi
for component in clippy rustfmt; do
  "cargo-${component/rustfmt/fmt}" --version >/dev/null 2>&1 || { say "adding $component by rustup"; rustup component add "$component"; }
done
say "rust $(rustc --version | cut -d' ' -f2), nextest $(cargo nextest --version | head -1 | cut -d' ' -f2): ready"
