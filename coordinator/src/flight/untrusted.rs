//! Every decoder of the door in one function, for the fuzzers in `fuzz/`.
//!
//! None of them may panic, whatever comes. Arrow's own reader of IPC messages is not among them: the door
//! catches its panics (see `put.rs`), which a fuzzer would take for ours.

use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionClosePreparedStatementRequest,
    ActionCreatePreparedStatementRequest,
};
use arrow_flight::{CancelFlightInfoRequest, RenewFlightEndpointRequest};
use tarn_engine::Session;

use super::bulk::plain_insert;
use super::command::{decode, handle, name, plain, unpack};
use super::listing::Pattern;
use super::options::{SetSessionOptionsRequest, change};
use super::placeholders::numbered;

/// Gives `data` to the decoder that its first byte names.
pub fn decode_untrusted_flight(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    match choice % 6 {
        0 => {
            let _ = decode(rest).map(|command| name(&command).len());
        }
        1 => {
            let _ = unpack::<ActionCreatePreparedStatementRequest>(rest);
            let _ = unpack::<ActionClosePreparedStatementRequest>(rest);
            let _ = unpack::<ActionCancelQueryRequest>(rest);
        }
        2 => {
            let _ = plain::<CancelFlightInfoRequest>(rest);
            let _ = plain::<RenewFlightEndpointRequest>(rest);
        }
        3 => {
            let session = Session::new("ann", "lake", "main");
            let options = plain::<SetSessionOptionsRequest>(rest).unwrap_or_default();
            for (name, value) in options.session_options {
                let _ = change(&session, &name, &value);
            }
        }
        4 => {
            let sql = numbered(&String::from_utf8_lossy(rest));
            for parameters in 0..4 {
                let _ = plain_insert(&sql, parameters);
            }
        }
        _ => {
            let text = String::from_utf8_lossy(rest);
            let (pattern, subject) = text.split_once('\n').unwrap_or((&text, "orders"));
            let _ = Pattern::new(Some(pattern)).matches(subject);
            let _ = handle(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_fuzzers_seeds_are_decoded() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/flight");
        let seeds: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
        assert!(seeds.len() >= 6);
        for seed in seeds {
            decode_untrusted_flight(&std::fs::read(seed.unwrap().path()).unwrap());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded(data in any::<Vec<u8>>()) {
            decode_untrusted_flight(&data);
        }
    }
}
