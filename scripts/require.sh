#!/usr/bin/env bash
# Says at once, and all together, which of the named tools are missing.
# Usage: scripts/require.sh [cargo] [cc] [fmt] [clippy] [python3]
set -euo pipefail

missing=()
need() { # NAME, WHAT IT IS FOR AND HOW TO GET IT
    missing+=("  $1: $2")
}

for tool in "$@"; do
    case "$tool" in
    cargo)
        if ! command -v cargo >/dev/null; then
            need cargo "the Rust compiler, 1.94 or newer (rustup.rs)"
        else
            # cargo compares the exact version itself; this only spares a long wait.
            minor=$(cargo --version | sed -E 's/^cargo 1\.([0-9]+).*/\1/')
            if [[ "$minor" =~ ^[0-9]+$ ]] && ((minor < 94)); then
                need cargo "is 1.$minor, but 1.94 or newer is needed: rustup update stable"
            fi
        fi
        ;;
    cc)
        command -v cc >/dev/null ||
            need cc "a C compiler and linker: apt-get install build-essential"
        ;;
    fmt)
        cargo fmt --version >/dev/null 2>&1 ||
            need rustfmt "rustup component add rustfmt"
        ;;
    clippy)
        cargo clippy --version >/dev/null 2>&1 ||
            need clippy "rustup component add clippy"
        ;;
    python3)
        if ! command -v python3 >/dev/null; then
            need python3 "Python 3.11 or newer, for the clients in the tests: apt-get install python3 python3-venv"
        elif ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
            need python3 "is $(python3 --version), but 3.11 or newer is needed"
        fi
        ;;
    *)
        echo "require.sh: unknown tool $tool" >&2
        exit 2
        ;;
    esac
done

if ((${#missing[@]} > 0)); then
    echo "missing:" >&2
    printf '%s\n' "${missing[@]}" >&2
    exit 1
fi
