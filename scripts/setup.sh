#!/usr/bin/env bash
# Installs what is missing on this machine: `setup.sh run` for running Quell, `setup.sh test` for its tests as well.
# Packages come from apt; on a system without it, the script says what to install.
set -euo pipefail

usage() {
  echo "usage: ${0##*/} run|test" >&2
  exit 2
}

[[ $# -eq 1 ]] || usage

# command:package, the package being Debian's.
needed=(ansible-playbook:ansible-core)
case $1 in
  run) ;;
  test) needed+=(ssh:openssh-client /usr/sbin/sshd:openssh-server gcc:gcc ps:procps chromium:chromium) ;;
  *) usage ;;
esac

missing=()
for pair in "${needed[@]}"; do
  command -v "${pair%%:*}" > /dev/null || missing+=("${pair##*:}")
done
# With cgo, the race detector needs the C library's headers too; without recommended packages gcc does not bring them.
if [[ " ${missing[*]-} " == *" gcc "* ]]; then
  missing+=(libc6-dev)
fi

if ! command -v go > /dev/null; then
  echo "Go is missing: see https://go.dev/doc/install (go.mod names the version)." >&2
  exit 1
fi
[[ ${#missing[@]} -gt 0 ]] || exit 0

if ! command -v apt-get > /dev/null; then
  echo "Missing here, and no apt-get to install it with (names of Debian's packages): ${missing[*]}" >&2
  exit 1
fi

as_root=()
if [[ $EUID -ne 0 ]]; then
  if ! command -v sudo > /dev/null; then
    echo "Missing here: ${missing[*]}. Install it as root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi

echo "Installing what is missing: ${missing[*]}${as_root[0]:+ (with sudo)}"
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
