//! The PostgreSQL door: start-up packets, messages, values in text and binary, COPY, commands.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tarn_coordinator::decode_untrusted(data));
