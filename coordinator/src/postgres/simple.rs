//! The simple protocol: a text of statements, each answered in turn.
//!
//! Source: PostgreSQL 15, "Simple Query" and "Multiple Statements in a Simple Query".

use tarn_engine::{Piece, connection_command, split};

use super::command::Call;
use super::connection::Connection;
use super::extended::shown;
use super::fault::Fault;
use super::message;

impl Connection {
    /// Answers a `Query`. Errors of statements are told to the client here.
    pub(crate) async fn query(&mut self, text: &str) -> Result<(), Fault> {
        self.statements.remove("");
        self.portals.remove("");
        self.asks(&shown(text));
        let pieces = split(text);
        if pieces.is_empty() {
            message::bare(&mut self.wire.output, b'I');
        }
        let several = pieces.len() > 1;
        for piece in pieces {
            let done = self.one(&piece, several).await;
            if let Err(fault) = done {
                self.failed(fault.shifted(piece.offset))?;
                break;
            }
        }
        self.end_implicit();
        self.report();
        self.ready();
        self.wire.flush().await?;
        Ok(())
    }

    async fn one(&mut self, piece: &Piece, several: bool) -> Result<(), Fault> {
        if let Some(command) = connection_command(&piece.sql)? {
            let call = Call {
                formats: &[],
                values: vec![],
                describes: true,
                several,
            };
            return Box::pin(self.command(command, &piece.sql, call)).await;
        }
        let running = self.start(&piece.sql, vec![]).await?;
        self.send_all(running, &[], true).await
    }
}
