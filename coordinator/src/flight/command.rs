//! Commands as clients send them: decoded once, refused by name if they are not known.
//!
//! Total: any bytes give a command or an error, never a panic.

use arrow_flight::FlightDescriptor;
use arrow_flight::flight_descriptor::DescriptorType;
use arrow_flight::sql::{Any, Command, ProstMessageExt};
use prost::Message;
use tonic::Status;

use super::status::{malformed, unsupported};
use super::tickets::Handle;

/// The command of a descriptor.
pub(crate) fn of_descriptor(descriptor: &FlightDescriptor) -> Result<Command, Status> {
    if descriptor.r#type() != DescriptorType::Cmd {
        return Err(unsupported("a flight named by a path"));
    }
    decode(&descriptor.cmd)
}

/// The command in a descriptor's or ticket's bytes.
pub(crate) fn decode(bytes: &[u8]) -> Result<Command, Status> {
    let any = Any::decode(bytes).map_err(|_| {
        malformed("the request is not a Flight SQL command; use a Flight SQL client")
    })?;
    if any.type_url.is_empty() {
        return Err(malformed("the ticket or command is empty"));
    }
    Command::try_from(any).map_err(|error| malformed(format!("malformed command: {error}")))
}

/// The message of an action's body, packed as Flight SQL packs it.
pub(crate) fn unpack<M: ProstMessageExt>(body: &[u8]) -> Result<M, Status> {
    let any = Any::decode(body).map_err(|_| malformed("the body of the action is malformed"))?;
    any.unpack()
        .map_err(|error| malformed(format!("malformed action: {error}")))?
        .ok_or_else(|| malformed(format!("the action needs a {}", short(M::type_url()))))
}

/// The message of an action's body that Flight itself defines, which is not packed.
pub(crate) fn plain<M: Message + Default>(body: &[u8]) -> Result<M, Status> {
    M::decode(body).map_err(|_| malformed("the body of the action is malformed"))
}

/// Name of a command, as the protocol spells it.
pub(crate) fn name(command: &Command) -> &str {
    short(command.type_url())
}

fn short(type_url: &str) -> &str {
    type_url.rsplit(['.', '/']).next().unwrap_or(type_url)
}

/// The random part of a ticket's handle.
pub(crate) fn handle(bytes: &[u8]) -> Option<Handle> {
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_flight::sql::{
        ActionCreatePreparedStatementRequest, CommandGetTables, CommandStatementQuery,
    };
    use proptest::prelude::*;
    use tonic::Code;

    fn packed(message: &impl ProstMessageExt) -> Vec<u8> {
        message.as_any().encode_to_vec()
    }

    #[test]
    fn a_command_is_read_and_named() {
        let query = CommandStatementQuery {
            query: "SELECT 1".to_owned(),
            transaction_id: None,
        };
        let command = decode(&packed(&query)).unwrap();
        assert_eq!(command, Command::CommandStatementQuery(query));
        assert_eq!(name(&command), "CommandStatementQuery");
    }

    #[test]
    fn what_is_not_a_command_is_refused() {
        assert_eq!(decode(&[]).unwrap_err().code(), Code::InvalidArgument);
        let path = FlightDescriptor::new_path(vec!["a".to_owned()]);
        assert_eq!(
            of_descriptor(&path).unwrap_err().code(),
            Code::Unimplemented
        );
        assert_eq!(decode(b"\xff").unwrap_err().code(), Code::InvalidArgument);
        let wrong = packed(&CommandGetTables::default());
        let error = unpack::<ActionCreatePreparedStatementRequest>(&wrong).unwrap_err();
        assert!(
            error
                .message()
                .contains("ActionCreatePreparedStatementRequest")
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_without_a_panic(bytes in any::<Vec<u8>>()) {
            let _ = decode(&bytes).map(|command| name(&command).len());
            let _ = unpack::<ActionCreatePreparedStatementRequest>(&bytes);
            let _ = plain::<arrow_flight::CancelFlightInfoRequest>(&bytes);
            let _ = plain::<super::super::options::SetSessionOptionsRequest>(&bytes);
            let _ = handle(&bytes);
        }

        #[test]
        fn a_damaged_command_is_decoded_without_a_panic(at in 0usize..200, byte: u8, query in ".{0,60}") {
            let mut bytes = packed(&CommandStatementQuery { query, transaction_id: None });
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = decode(&bytes);
        }

        #[test]
        fn any_value_under_any_command_is_decoded_without_a_panic(
            which in 0usize..6, value in any::<Vec<u8>>()
        ) {
            let name = ["CommandStatementQuery", "CommandGetTables", "CommandStatementIngest",
                "CommandPreparedStatementQuery", "CommandGetSqlInfo", "TicketStatementQuery"][which];
            let any = Any {
                type_url: format!("type.googleapis.com/arrow.flight.protocol.sql.{name}"),
                value: value.into(),
            };
            let _ = decode(&any.encode_to_vec());
        }
    }
}
