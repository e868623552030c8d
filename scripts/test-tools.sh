#!/usr/bin/env bash
# Installs what the tests talk to, once: Python clients and the S3 server in a
# virtual environment named after the pinned requirements, and PostgreSQL.
#
# Leaves ~/.cache/tarn/venv pointing at the environment; tests/it looks there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cache="${TARN_CACHE_DIR:-$HOME/.cache/tarn}"
requirements=tests/clients/requirements.txt

say() { echo "test-tools: $*" >&2; }

install_package() { # DEBIAN PACKAGES...
    if [[ "$(id -u)" != 0 ]] || ! command -v apt-get >/dev/null; then
        return 1
    fi
    say "installing $*"
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

make_venv() { # FOLDER
    rm -rf "$1"
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        install_package python3-venv || {
            say "Python cannot make virtual environments; run: apt-get install python3-venv"
            exit 1
        }
    fi
    python3 -m venv "$1"
    say "installing $requirements into $1"
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements"
    touch "$1/.complete"
}

ensure_venv() {
    local hash venv
    hash=$({ python3 --version; cat "$requirements"; } | sha256sum | cut -c1-12)
    venv="$cache/venv-$hash"
    mkdir -p "$cache"
    exec 9>"$cache/venv.lock"
    flock 9
    [[ -e "$venv/.complete" ]] || make_venv "$venv"
    ln -sfn "$venv" "$cache/venv"
    flock -u 9
}

has_postgres() {
    command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

ensure_postgres() {
    has_postgres && return
    install_package postgresql || {
        say "the PostgreSQL server is missing (no initdb); run: apt-get install postgresql"
        exit 1
    }
    has_postgres || {
        say "PostgreSQL was installed, but initdb is not under /usr/lib/postgresql"
        exit 1
    }
}

ensure_venv
ensure_postgres
