//! Fuzzers of everything that strangers may send; the targets are in `targets/`, what they begin with in
//! `seeds/`.
//!
//! `make fuzz` builds them with coverage of our own crates and runs each for a while. They are
//! members of the workspace so that they share its dependencies as they are compiled for the tests.
