//! The transaction state of a connection, as the client sees it.
//!
//! Tarn commits each statement at once. A block therefore keeps PostgreSQL's states and rules, and
//! what settings were; what its statements wrote it only counts, so that ROLLBACK can tell the truth.

use tarn_engine::{SETTINGS, Session};

use super::fault::{Fault, Notice};

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// In no block.
    Idle,
    /// In a block.
    Open,
    /// In a block in which a statement has failed.
    Failed,
}

/// A block, or none.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) state: State,
    /// Statements of the block that wrote something.
    writes: u64,
    /// The session when the block began.
    before: Option<Session>,
    /// The session without `SET LOCAL`.
    lasting: Option<Session>,
    savepoints: Vec<Savepoint>,
}

#[derive(Debug)]
struct Savepoint {
    name: String,
    writes: u64,
    session: Session,
    lasting: Option<Session>,
}

/// Savepoints of one block at most.
const SAVEPOINTS_MAX: usize = 10_000;

impl Block {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Idle,
            writes: 0,
            before: None,
            lasting: None,
            savepoints: vec![],
        }
    }

    /// The byte of `ReadyForQuery`.
    pub(crate) fn byte(&self) -> u8 {
        match self.state {
            State::Idle => b'I',
            State::Open => b'T',
            State::Failed => b'E',
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// A statement has failed.
    pub(crate) fn fail(&mut self) {
        if self.state == State::Open {
            self.state = State::Failed;
        }
    }

    /// A statement has written something, for good.
    pub(crate) fn wrote(&mut self) {
        if self.state != State::Idle {
            self.writes += 1;
        }
    }

    /// Refuses statements in a block that has failed.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        if self.state == State::Failed {
            return Err(Fault::error(
                "25P02",
                "current transaction is aborted, commands ignored until end of transaction block",
            ));
        }
        Ok(())
    }

    /// Whether writes are refused now.
    pub(crate) fn is_read_only(&self, session: &Session) -> bool {
        let name = if self.is_idle() {
            "default_transaction_read_only"
        } else {
            "transaction_read_only"
        };
        session.settings.boolean(name)
    }

    pub(crate) fn begin(&mut self, session: &Session) {
        self.state = State::Open;
        self.writes = 0;
        self.before = Some(session.clone());
        self.lasting = None;
        self.savepoints.clear();
    }

    /// Ends the block and keeps what it did; `true` if it had failed, which makes it a rollback.
    pub(crate) fn commit(&mut self, session: &mut Session) -> bool {
        let failed = self.state == State::Failed;
        if failed {
            self.restore(session);
        } else if let Some(lasting) = self.lasting.take() {
            *session = lasting;
        }
        self.leave(session);
        failed
    }

    /// Ends the block; the warning says what could not be undone.
    pub(crate) fn rollback(&mut self, session: &mut Session) -> Option<Notice> {
        let warning = unrevoked(self.writes);
        self.restore(session);
        self.leave(session);
        warning
    }

    fn restore(&mut self, session: &mut Session) {
        if let Some(before) = self.before.take() {
            *session = before;
        }
    }

    fn leave(&mut self, session: &mut Session) {
        self.state = State::Idle;
        self.before = None;
        self.lasting = None;
        self.savepoints.clear();
        self.writes = 0;
        for name in [
            "transaction_read_only",
            "transaction_isolation",
            "transaction_deferrable",
        ] {
            // They exist.
            let _ = session.settings.reset(name);
        }
    }

    pub(crate) fn savepoint(&mut self, name: String, session: &Session) -> Result<(), Fault> {
        if self.savepoints.len() >= SAVEPOINTS_MAX {
            return Err(Fault::error(
                "54000",
                format!("a transaction has at most {SAVEPOINTS_MAX} savepoints"),
            ));
        }
        self.savepoints.push(Savepoint {
            name,
            writes: self.writes,
            session: session.clone(),
            lasting: self.lasting.clone(),
        });
        Ok(())
    }

    fn find(&self, name: &str) -> Result<usize, Fault> {
        self.savepoints
            .iter()
            .rposition(|savepoint| savepoint.name == name)
            .ok_or_else(|| Fault::error("3B001", format!("savepoint \"{name}\" does not exist")))
    }

    pub(crate) fn release(&mut self, name: &str) -> Result<(), Fault> {
        let at = self.find(name)?;
        self.savepoints.truncate(at);
        Ok(())
    }

    /// Back to a savepoint, which stays.
    pub(crate) fn rollback_to(
        &mut self,
        name: &str,
        session: &mut Session,
    ) -> Result<Option<Notice>, Fault> {
        let at = self.find(name)?;
        self.savepoints.truncate(at + 1);
        let savepoint = &self.savepoints[at];
        *session = savepoint.session.clone();
        self.lasting.clone_from(&savepoint.lasting);
        let warning = unrevoked(self.writes - savepoint.writes);
        self.writes = savepoint.writes;
        self.state = State::Open;
        Ok(warning)
    }

    /// `SET LOCAL` has made `session` of `before`.
    pub(crate) fn set_local(&mut self, before: Session) {
        if self.lasting.is_none() {
            self.lasting = Some(before);
        }
    }

    /// Another statement has made `after` of `before`: what it set outlives the block.
    pub(crate) fn set_lasting(&mut self, before: &Session, after: &Session) {
        let Some(lasting) = &mut self.lasting else {
            return;
        };
        for setting in SETTINGS {
            let value = after.settings.get(setting.name);
            if before.settings.get(setting.name) != value {
                // It has been checked when it was set.
                let _ = lasting.settings.set(setting.name, value);
            }
        }
        if before.catalog != after.catalog || before.search_path() != after.search_path() {
            lasting.catalog.clone_from(&after.catalog);
            lasting.schema.clone_from(&after.schema);
            lasting.path.clone_from(&after.path);
        }
    }
}

/// What a rollback says of writes, which it cannot take back.
fn unrevoked(writes: u64) -> Option<Notice> {
    let what = match writes {
        0 => return None,
        1 => "1 statement that wrote was".to_owned(),
        n => format!("{n} statements that wrote were"),
    };
    Some(
        Notice::warning(
            "25000",
            format!("{what} committed already and cannot be rolled back"),
        )
        .with_hint(
            "Tarn commits each statement at once; a transaction of several is not supported",
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        Session::new("ann", "lake", "main")
    }

    #[test]
    fn a_failed_block_takes_nothing_until_it_ends() {
        let mut session = session();
        let mut block = Block::new();
        block.fail();
        assert_eq!(block.byte(), b'I');
        block.begin(&session);
        assert_eq!(block.byte(), b'T');
        block.fail();
        assert_eq!(block.byte(), b'E');
        assert!(block.check().is_err());
        assert!(block.commit(&mut session));
        assert_eq!(block.byte(), b'I');
    }

    #[test]
    fn a_rollback_tells_what_it_cannot_undo() {
        let mut session = session();
        let mut block = Block::new();
        block.begin(&session);
        assert!(block.rollback(&mut session).is_none());
        block.begin(&session);
        block.wrote();
        block.savepoint("a".to_owned(), &session).unwrap();
        block.wrote();
        block.fail();
        let warning = block.rollback_to("a", &mut session).unwrap().unwrap();
        assert!(warning.message.starts_with("1 statement"), "{warning:?}");
        assert_eq!(block.state, State::Open);
        let warning = block.rollback(&mut session).unwrap();
        assert!(warning.hint.is_some());
    }

    #[test]
    fn settings_go_back_as_far_as_they_were_local() {
        let mut session = session();
        let mut block = Block::new();
        block.begin(&session);
        let before = session.clone();
        session.settings.set("application_name", "local").unwrap();
        block.set_local(before);
        let before = session.clone();
        session.settings.set("statement_timeout", "5s").unwrap();
        block.set_lasting(&before, &session);
        block.commit(&mut session);
        assert_eq!(session.settings.get("application_name"), "");
        assert_eq!(session.settings.get("statement_timeout"), "5s");
        block.begin(&session);
        session.settings.set("statement_timeout", "9s").unwrap();
        block.rollback(&mut session);
        assert_eq!(session.settings.get("statement_timeout"), "5s");
    }

    #[test]
    fn a_savepoint_must_exist_and_goes_with_its_release() {
        let session = session();
        let mut block = Block::new();
        block.begin(&session);
        assert!(block.release("a").is_err());
        block.savepoint("a".to_owned(), &session).unwrap();
        block.savepoint("b".to_owned(), &session).unwrap();
        block.release("a").unwrap();
        assert!(block.release("b").is_err());
    }
}
