#!/bin/sh
# Installs what the interop tests (tests/interop.rs) need, into target/interop: a Python environment and Node packages
# with the official SDKs, Prometheus, its promtool and that of Prometheus 3; and Chromium as a package of the system.
# Quick when all is there. Python 3.10 and Node 20, or newer, have to be there already.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
into=${CARGO_TARGET_DIR:-$here/../../target}/interop
mkdir -p "$into/bin"
into=$(cd "$into" && pwd)

fail() {
    echo "tests/interop/install.sh: $1" >&2
    exit 1
}

# A copy of the file that named what to install lies where that was installed, and is made last: so one that is the same
# says that all is there.
if ! cmp -s "$here/requirements.txt" "$into/venv/requirements.txt"; then
    command -v python3 >/dev/null || fail "Python 3 is missing."
    rm -rf "$into/venv"
    python3 -m venv "$into/venv" || fail "python3 cannot make a virtual environment (on Debian, install python3-venv)."
    "$into/venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
    cp "$here/requirements.txt" "$into/venv/requirements.txt"
fi

if ! cmp -s "$here/package.json" "$into/node_modules/package.json"; then
    command -v npm >/dev/null || fail "Node and its npm are missing."
    rm -rf "$into/node_modules"
    cp "$here/package.json" "$into/package.json"
    npm install --prefix "$into" --no-package-lock --no-audit --no-fund --silent
    cp "$here/package.json" "$into/node_modules/package.json"
fi
# Node looks for packages beside a script and above it, never elsewhere.
ln -sfn "$into/node_modules" "$here/node_modules"

if ! [ -x "$into/bin/promtool" ] || ! [ -x "$into/bin/prometheus" ]; then
    if command -v promtool >/dev/null && command -v prometheus >/dev/null; then
        ln -sf "$(command -v promtool)" "$(command -v prometheus)" "$into/bin"
    else
        command -v apt-get >/dev/null || fail "prometheus and promtool are missing."
        as_root=
        if [ "$(id -u)" -eq 0 ]; then
            apt-get update --quiet=2
            as_root='--option APT::Sandbox::User=root' # Or it warns that its own user cannot write here.
        fi
        # Only the two programs: the package as a whole would run a server on this machine from now on.
        package=$(mktemp -d)
        trap 'rm -rf "$package"' EXIT
        (cd "$package" && apt-get download --quiet=2 $as_root prometheus) || fail "apt-get has no prometheus."
        dpkg-deb --extract "$package"/prometheus_*.deb "$package/all"
        mv "$package/all/usr/bin/promtool" "$package/all/usr/bin/prometheus" "$into/bin"
    fi
fi

# Rules and their tests are to hold for Prometheus 3 too, which Debian has in its unstable suite: on this machine's own
# mirror, beside all that apt knows here. Where it cannot be had, the other one has to do.
if ! [ -x "$into/bin/promtool3" ]; then
    unstable=$(mktemp -d)
    trap 'rm -rf "${package:-}" "$unstable"' EXIT
    mkdir -p "$unstable/lists/partial" "$unstable/cache/archives/partial"
    apt_unstable() {
        apt-get --quiet=2 -o APT::Sandbox::User=root -o Acquire::Languages=none -o Dir::Etc::SourceParts=- \
            -o Dir::Etc::SourceList="$unstable/sources.list" -o Dir::State::Lists="$unstable/lists" -o Dir::Cache="$unstable/cache" "$@"
    }
    (
        cd "$unstable"
        mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' | head -n 1)
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror:?} sid main" >sources.list
        apt_unstable update && apt_unstable download promtool && dpkg-deb --extract promtool_*.deb all
        mv all/usr/bin/promtool "$into/bin/promtool3"
        "$into/bin/promtool3" --version >/dev/null 2>&1 || { rm "$into/bin/promtool3"; exit 1; }
    ) || echo "tests/interop/install.sh: no promtool of Prometheus 3 here; rules are tested with the other one alone." >&2
fi

if ! command -v "${CHROMIUM:-/usr/bin/chromium}" >/dev/null; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        fail "Chromium is missing: install it, and say where in CHROMIUM if not at /usr/bin/chromium."
    fi
    apt-get update --quiet=2
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --no-install-recommends chromium >/dev/null
fi
