//! Every decoder of the door in one function, for the fuzzers in `fuzz/`.
//!
//! None of them may panic, whatever comes; what they return is of no interest here.

use arrow_flight::sql::{
    ActionBeginTransactionRequest, ActionClosePreparedStatementRequest,
    ActionCreatePreparedStatementRequest, ActionEndTransactionRequest,
};
use arrow_flight::{CancelFlightInfoRequest, FlightDescriptor, Ticket};
use prost::Message;

use super::command;
use super::options::SetSessionOptionsRequest;

/// Gives `data` to the decoder that its first byte names.
pub fn decode_untrusted_flight(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    match choice % 4 {
        0 => {
            let _ = command::decode(rest).map(|found| command::name(&found).len());
        }
        1 => {
            if let Ok(descriptor) = FlightDescriptor::decode(rest) {
                let _ = command::of_descriptor(&descriptor);
            }
            if let Ok(ticket) = Ticket::decode(rest) {
                let _ = command::decode(&ticket.ticket);
            }
            let _ = command::handle(rest);
        }
        2 => {
            let _ = command::unpack::<ActionCreatePreparedStatementRequest>(rest);
            let _ = command::unpack::<ActionClosePreparedStatementRequest>(rest);
            let _ = command::unpack::<ActionBeginTransactionRequest>(rest);
            let _ = command::unpack::<ActionEndTransactionRequest>(rest);
        }
        _ => {
            let _ = command::plain::<CancelFlightInfoRequest>(rest);
            let _ = command::plain::<SetSessionOptionsRequest>(rest);
        }
    }
}
