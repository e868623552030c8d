//! Every decoder of the door in one function, for the fuzzers in `fuzz/`.
//!
//! None of them may panic, whatever comes; what they return is of no interest here.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use bytes::Bytes;
use tarn_engine::{ConnectionCommand, SCALARS, connection_command, pg_type_named};

use super::copy::Reader;
use super::encode::Format;
use super::{decode, message, startup};

/// COPY statements whose input is tried.
const COPIES: [&str; 4] = [
    "COPY t FROM STDIN",
    "COPY t FROM STDIN (FORMAT csv, HEADER match, FORCE_NULL (b))",
    "COPY t FROM STDIN (FORMAT csv, ESCAPE E'\\\\', QUOTE '''')",
    "COPY t FROM STDIN (FORMAT binary)",
];
/// Bytes of one row that COPY takes here.
const ROW_BYTES_MAX: usize = 4096;

/// Gives `data` to the decoder that its first byte names.
pub fn decode_untrusted(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    let (second, body) = rest.split_first().unwrap_or((&0, &[]));
    match choice % 5 {
        0 => startup::try_read(Bytes::copy_from_slice(rest)),
        1 => {
            let _ = message::read(*second, Bytes::copy_from_slice(body));
        }
        2 => values(usize::from(*second), body),
        3 => copy(usize::from(*second), body),
        _ => {
            let _ = connection_command(&String::from_utf8_lossy(rest));
        }
    }
}

fn values(choice: usize, body: &[u8]) {
    let scalar = &SCALARS[choice / 4 % SCALARS.len()];
    let array = pg_type_named(&format!("_{}", scalar.name));
    let oid = match array {
        Some(array) if choice & 1 == 1 => array.oid,
        _ => scalar.oid,
    };
    let format = if choice & 2 == 2 {
        Format::Binary
    } else {
        Format::Text
    };
    if let Some(ty) = decode::arrow_type(oid) {
        let _ = decode::parameter(Some(body), oid, format, &ty, "Europe/Berlin");
    }
}

fn copy(choice: usize, body: &[u8]) {
    let Ok(Some(ConnectionCommand::Copy(copy))) = connection_command(COPIES[choice % COPIES.len()])
    else {
        return;
    };
    let schema = Arc::new(Schema::new(vec![
        Field::new("a", DataType::Int32, true),
        Field::new("b", DataType::new_list(DataType::Utf8View, true), true),
    ]));
    let zone = "UTC".to_owned();
    let Ok(mut reader) = Reader::new("t".to_owned(), schema, copy.options, zone, ROW_BYTES_MAX)
    else {
        return;
    };
    for chunk in body.chunks(choice / 4 + 1) {
        reader.push(chunk);
        loop {
            match reader.next_batch() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    reader.finish();
    while let Ok(Some(_)) = reader.next_batch() {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_make_a_decoder_panic(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            decode_untrusted(&data);
        }
    }
}
