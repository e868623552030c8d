//! The Flight SQL door: commands, descriptors, tickets, actions.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tarn_coordinator::decode_untrusted_flight(data));
