//! Every decoder of the door in one function, for the fuzzers in `fuzz/`.
//!
//! None of them may panic, whatever comes; what they return is of no interest here.

use axum::http::{HeaderMap, HeaderValue, Uri, header};
use tarn_engine::{Session, parameter};

use super::answer::Format;
use super::request::{self, SqlRequest};
use super::{auth, queries};

/// Gives `data` to the decoder that its first byte names.
pub fn decode_untrusted_http(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    match choice % 4 {
        0 => body(rest),
        1 => {
            if let Ok(uri) = Uri::try_from(rest) {
                queries::try_read(&uri);
            }
        }
        2 => {
            if let Ok(value) = HeaderValue::from_bytes(rest) {
                let mut headers = HeaderMap::new();
                for name in [header::AUTHORIZATION, header::ACCEPT, header::CONTENT_TYPE] {
                    headers.insert(name, value.clone());
                }
                let _ = Format::negotiate(&headers);
                auth::try_read(&headers);
            }
        }
        _ => {
            let text = String::from_utf8_lossy(rest);
            let _ = queries::read_cursor(&text);
        }
    }
}

fn body(bytes: &[u8]) {
    let Ok(request) = request::parse::<SqlRequest>(bytes) else {
        return;
    };
    for value in &request.parameters {
        let _ = parameter(value);
    }
    let mut session = Session::new("fuzzer", "lake", "main");
    let _ = request.properties.apply(&mut session);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_of_the_fuzzer_are_decoded() {
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/http");
        let mut tried = 0;
        for seed in std::fs::read_dir(seeds).unwrap() {
            decode_untrusted_http(&std::fs::read(seed.unwrap().path()).unwrap());
            tried += 1;
        }
        assert!(tried >= 10, "{tried}");
    }
}
