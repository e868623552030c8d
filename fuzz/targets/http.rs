//! The HTTP door: JSON bodies, query strings, headers, cursors.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tarn_coordinator::decode_untrusted_http(data));
