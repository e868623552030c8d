#!/usr/bin/env bash
# Installs what the tests talk to and with, once: Debian packages (PostgreSQL, psql,
# ODBC, ip), virtual environments of Python (the clients and the S3 server; dbt; Superset),
# packages of Node, and what Maven needs to work offline.
#
# With the argument `zoo`, also Spark and its jars, which only `make zoo` needs; with `bench`, also what only
# `make bench` needs.
#
# Each is kept under ~/.cache/tarn in a folder named after the hash of its pins, with a
# link to it (venv, venv-dbt, venv-superset, node) where tests/it looks. What is there
# already costs a fraction of a second. May be run by several at once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cache="${TARN_CACHE_DIR:-$HOME/.cache/tarn}"
mkdir -p "$cache"

say() { echo "test-tools: $*" >&2; }

fail() {
    say "$*"
    exit 1
}

# Runs a command while nobody else installs the thing of this name.
locked() { # NAME COMMAND...
    local name="$1"
    shift
    (
        flock 9
        "$@"
    ) 9>"$cache/$name.lock"
}

install_packages() { # DEBIAN PACKAGES...
    if [[ "$(id -u)" != 0 ]] || ! command -v apt-get >/dev/null; then
        return 1
    fi
    say "installing the packages $*"
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

# ---- Debian packages

has_postgres() {
    command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

has_odbc() {
    compgen -G '/usr/lib/*/odbc/psqlodbcw.so' >/dev/null && compgen -G '/usr/lib/*/libodbc.so.2' >/dev/null &&
        grep -q 'PostgreSQL Unicode' /etc/odbcinst.ini 2>/dev/null
}

has_java() {
    command -v mvn >/dev/null && command -v javac >/dev/null
}

# Names of the packages that are not there, one a line.
missing_packages() {
    has_postgres || echo postgresql
    command -v psql >/dev/null || echo postgresql-client
    has_odbc || printf '%s\n' odbc-postgresql unixodbc
    command -v curl >/dev/null || echo curl
    command -v npm >/dev/null || printf '%s\n' nodejs npm
    has_java || printf '%s\n' maven default-jdk-headless
    python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
    # For networks of their own, which only root may make.
    [[ "$(id -u)" != 0 ]] || command -v ip >/dev/null || echo iproute2
}

ensure_packages() {
    local missing
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]} > 0)) || return 0
    install_packages "${missing[@]}" ||
        fail "the tests need Debian packages that only root can install: apt-get install ${missing[*]}"
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]} == 0)) || fail "installed, but not where they are looked for: ${missing[*]}"
}

# ---- virtual environments of Python

make_venv() { # FOLDER REQUIREMENTS
    rm -rf "$1"
    python3 -m venv "$1"
    say "installing $2 into $1"
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$2"
}

ensure_venv() { # LINK REQUIREMENTS [FUNCTION that gets the folder of a new environment]
    local hash venv
    hash=$({ python3 --version; cat "$2"; } | sha256sum | cut -c1-12)
    venv="$cache/$1-$hash"
    if [[ ! -e "$venv/.complete" ]]; then
        make_venv "$venv" "$2"
        [[ -z "${3:-}" ]] || "$3" "$venv"
        touch "$venv/.complete"
    fi
    ln -sfn "$venv" "$cache/$1"
}

# Superset's own database as its installation guide makes it; a test starts from a copy.
make_superset_template() { # VENV
    local command
    say "making Superset's database"
    mkdir -p "$1/template"
    for command in 'db upgrade' init \
        'fab create-admin --username admin --firstname A --lastname B --email admin@example.com --password secret'; do
        # shellcheck disable=SC2086
        SUPERSET_HOME="$1/template" SUPERSET_CONFIG_PATH="$PWD/tests/clients/superset/superset_config.py" \
            FLASK_APP='superset.app:create_app()' PYTHONDONTWRITEBYTECODE=1 \
            "$1/bin/superset" $command >"$1/template.log" 2>&1 || {
            tail -40 "$1/template.log" >&2
            fail "superset $command failed"
        }
    done
}

# ---- Node

ensure_node() {
    local hash folder
    hash=$({ node --version; cat tests/clients/pg/package-lock.json; } | sha256sum | cut -c1-12)
    folder="$cache/node-$hash"
    if [[ ! -e "$folder/.complete" ]]; then
        say "installing tests/clients/pg/package-lock.json into $folder"
        rm -rf "$folder"
        mkdir -p "$folder"
        cp tests/clients/pg/package.json tests/clients/pg/package-lock.json "$folder"
        (cd "$folder" && npm ci --silent --no-audit --no-fund)
        touch "$folder/.complete"
    fi
    ln -sfn "$folder" "$cache/node"
}

# ---- Maven

# After this, `mvn -o` builds and runs the project of the folder.
ensure_maven() { # FOLDER GOALS...
    local folder="$1" stamp build
    shift
    stamp="$HOME/.m2/.tarn-$(sha256sum "$folder/pom.xml" | cut -c1-12)"
    [[ ! -e "$stamp" ]] || return 0
    say "fetching what $folder/pom.xml needs"
    build=$(mktemp -d)
    mvn -B -q -f "$folder/pom.xml" "-Dtarn.build=$build" "$@" >&2
    rm -rf "$build"
    touch "$stamp"
}

locked packages ensure_packages
locked venv ensure_venv venv tests/clients/requirements.txt
locked venv-dbt ensure_venv venv-dbt tests/clients/requirements-dbt.txt
locked venv-superset ensure_venv venv-superset tests/clients/requirements-superset.txt make_superset_template
locked venv-flightsql ensure_venv venv-flightsql tests/clients/requirements-flightsql.txt
locked node ensure_node
# exec:java is told to skip the program itself: only the plugin is wanted.
locked maven ensure_maven tests/clients/pgjdbc compile exec:java -Dexec.skip=true
# The same for exec:exec, which runs a Java of its own.
locked maven-flight ensure_maven tests/clients/flight-jdbc compile exec:exec -Dexec.skip=true

# ---- Spark

# Each jar that tests/zoo/jars.py names by its path in Maven's repository.
ensure_jars() {
    local jar folder file version artifact
    while read -r jar; do
        [[ ! -e "$HOME/.m2/repository/$jar" ]] || continue
        folder="${jar%/*}" file="${jar##*/}"
        version="${folder##*/}" folder="${folder%/*}"
        artifact="${folder##*/}" folder="${folder%/*}"
        say "fetching $file"
        mvn -B -q dependency:get -Dtransitive=false "-Dartifact=${folder//\//.}:$artifact:$version" >&2
    done < <(python3 -B tests/zoo/jars.py)
}

if [[ "${1:-}" == zoo ]]; then
    locked venv-spark ensure_venv venv-spark tests/clients/requirements-spark.txt
    locked maven-zoo ensure_jars
fi

if [[ "${1:-}" == bench ]]; then
    locked venv-bench ensure_venv venv-bench benches/requirements.txt
fi
