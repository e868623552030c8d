#!/usr/bin/env bash
# Compiles one crate of the workspace, with the counters of libFuzzer if a fuzzer links it; used by run.sh.
previous=
for argument in "$@"; do
    if [ "$previous" = --crate-name ] && [[ $argument != tarn_* && $argument != fuzz_* ]]; then
        # A build script, or a program without libFuzzer.
        exec "$@"
    fi
    previous=$argument
done
exec "$@" -C passes=sancov-module \
    -C llvm-args=-sanitizer-coverage-level=4 \
    -C llvm-args=-sanitizer-coverage-inline-8bit-counters \
    -C llvm-args=-sanitizer-coverage-pc-table \
    -C llvm-args=-sanitizer-coverage-trace-compares \
    -C codegen-units=1
