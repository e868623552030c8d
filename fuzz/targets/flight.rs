//! The Flight door: commands, tickets, actions, session options, parameters and name patterns.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tarn_coordinator::decode_untrusted_flight(data));
