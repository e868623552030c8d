//! One connection after its start-up: messages in, answers out, until either side ends it.
//!
//! Holds what lasts between messages: the session, its prepared statements, portals and transaction
//! block. The two protocols are in [`super::simple`] and [`super::extended`].

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tarn_engine::{BackendState, PlanSlot, ScalarValue, Session, only_reads, parse_duration};
use uuid::Uuid;

use super::Shared;
use super::cancel::CancelKey;
use super::extended::Statement;
use super::fault::{Fault, Notice};
use super::message::{self, Message};
use super::named::{Held, Named};
use super::portal::Portal;
use super::transaction::{Block, State};
use super::wire::{Frame, Wire};
use crate::sessions::{Admitted, SessionGuard};
use crate::statements::{Door, Running, StatementRequest};

/// Settings whose changes clients are told. Source: PostgreSQL, `GUC_REPORT`.
const REPORTED: [(&str, &str); 14] = [
    ("application_name", "application_name"),
    ("client_encoding", "client_encoding"),
    ("DateStyle", "datestyle"),
    (
        "default_transaction_read_only",
        "default_transaction_read_only",
    ),
    ("in_hot_standby", "in_hot_standby"),
    ("integer_datetimes", "integer_datetimes"),
    ("IntervalStyle", "intervalstyle"),
    ("is_superuser", "is_superuser"),
    ("search_path", "search_path"),
    ("server_encoding", "server_encoding"),
    ("server_version", "server_version"),
    ("session_authorization", "session_authorization"),
    ("standard_conforming_strings", "standard_conforming_strings"),
    ("TimeZone", "time_zone"),
];

/// A connection that has authenticated.
pub(crate) struct Connection {
    pub(crate) wire: Wire,
    pub(crate) shared: Arc<Shared>,
    pub(crate) session: Session,
    pub(crate) block: Block,
    pub(crate) statements: Named<Arc<Statement>>,
    pub(crate) portals: Named<Portal>,
    /// After an error of the extended protocol everything up to Sync is skipped.
    pub(crate) skips: bool,
    cancel: CancelKey,
    /// The session in the registry of all doors.
    guard: SessionGuard,
    /// What the client was told of each of [`REPORTED`].
    reported: [Option<String>; REPORTED.len()],
}

impl Connection {
    /// Greets a client that has authenticated; `None` if it has left.
    pub(crate) async fn open(
        wire: Wire,
        session: Session,
        guard: SessionGuard,
        shared: &Arc<Shared>,
    ) -> Option<Self> {
        // What pg_backend_pid() says, too.
        let cancel = shared.cancels.register(guard.pid());
        let (statements, portals) = (Named::new(), Named::new());
        guard.admit(Admitted {
            port: wire.port(),
            tls: wire.tls(),
            holdings: Arc::new(Held::of(&statements, &portals)),
        });
        let mut connection = Self {
            wire,
            shared: Arc::clone(shared),
            session,
            block: Block::new(),
            statements,
            portals,
            skips: false,
            cancel,
            reported: Default::default(),
            guard,
        };
        connection.report();
        let key = &connection.cancel;
        let (process, secret) = (key.process, key.secret());
        message::message(&mut connection.wire.output, b'K', |out| {
            out.extend(process.to_be_bytes());
            out.extend(secret.to_be_bytes());
        });
        connection.ready();
        connection.wire.flush().await.ok()?;
        Some(connection)
    }

    /// Serves until the client leaves or has to.
    pub(crate) async fn serve(mut self: Box<Self>) {
        let closed = self.guard.closed();
        let fault = tokio::select! {
            // First, or a quick statement would be answered to a session that has been ended.
            biased;
            end = closed => end.error().into(),
            fault = self.talk() => fault,
        };
        self.portals.clear();
        self.end_temporary().await;
        let notice = match fault {
            Fault::Gone => return,
            Fault::Error(notice) | Fault::Fatal(notice) => notice,
        };
        let notice = Notice {
            severity: "FATAL",
            ..*notice
        };
        message::notice(&mut self.wire.output, b'E', &notice);
        let goodbye = async {
            let _ = self.wire.flush().await;
            self.wire.close().await;
        };
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
    }

    /// Handles messages; returns why no more can be.
    async fn talk(&mut self) -> Fault {
        loop {
            let message = match self.next().await {
                Ok(message) => message,
                Err(fault) => return fault,
            };
            self.guard.touch();
            let done = match message {
                Message::Terminate => return Fault::Gone,
                Message::Query(sql) if !self.skips => Box::pin(self.query(&sql)).await,
                Message::Sync => self.sync().await,
                _ if self.skips => Ok(()),
                Message::FunctionCall => self
                    .failed(Fault::unsupported("the function call protocol"))
                    .map(|()| self.ready()),
                // What is left of a COPY that has failed.
                Message::CopyData(_) | Message::CopyDone | Message::CopyFail(_) => Ok(()),
                Message::Password(_) | Message::Query(_) => {
                    Err(Fault::fatal("08P01", "a password is not expected now"))
                }
                other => match Box::pin(self.extended(other)).await {
                    Err(fault @ Fault::Error(_)) => {
                        self.skips = true;
                        self.failed(fault)
                    }
                    other => other,
                },
            };
            let done = match done {
                Ok(()) => self.wire.flush_if_large().await.map_err(Fault::from),
                Err(fault) => Err(fault),
            };
            if let Err(fault) = done {
                return fault;
            }
        }
    }

    /// The next message. Sends what is due before it waits.
    async fn next(&mut self) -> Result<Message, Fault> {
        let frame = if self.wire.peek().is_some() {
            self.wire.next().await?
        } else {
            self.wire.flush().await?;
            self.wire.rest();
            self.idle().await?
        };
        Ok(match message::read(frame.tag, frame.body) {
            Ok(message) => message,
            Err(malformed) if malformed.0 == message::NOT_UTF8 && frame.tag == b'Q' => {
                // The bytes are bad, the message is whole.
                self.failed(malformed.into())?;
                self.ready();
                return Box::pin(self.next()).await;
            }
            Err(malformed) => {
                let fault = Fault::from(malformed);
                return Err(match fault {
                    Fault::Error(notice) => Fault::Fatal(notice),
                    other => other,
                });
            }
        })
    }

    /// Waits for a message, as long as the session may be idle.
    async fn idle(&mut self) -> Result<Frame, Fault> {
        let (setting, code, text) = if self.block.is_idle() {
            (
                "idle_session_timeout",
                "57P05",
                "terminating connection due to idle-session timeout",
            )
        } else {
            (
                "idle_in_transaction_session_timeout",
                "25P03",
                "terminating connection due to idle-in-transaction timeout",
            )
        };
        let limit = parse_duration(self.session.settings.get(setting))
            .filter(|limit| !limit.is_zero())
            .unwrap_or(FOREVER);
        let stop = self.shared.stop.clone();
        tokio::select! {
            biased;
            frame = self.wire.next() => Ok(frame?),
            () = stop.cancelled() => Err(Fault::fatal(
                "57P01",
                "terminating connection due to administrator command",
            ).with_hint("the server stops")),
            () = tokio::time::sleep(limit) => Err(Fault::fatal(code, text)),
        }
    }

    /// Tells the client of an error; hands on what ends the connection.
    pub(crate) fn failed(&mut self, fault: Fault) -> Result<(), Fault> {
        match fault {
            Fault::Error(notice) => {
                self.block.fail();
                message::notice(&mut self.wire.output, b'E', &notice);
                Ok(())
            }
            other => Err(other),
        }
    }

    /// Tells the client something, unless it does not want to know.
    pub(crate) fn notice(&mut self, notice: &Notice) {
        let least = self.session.settings.get("client_min_messages");
        let is_told = match notice.severity {
            "WARNING" => least != "error",
            _ => !matches!(least, "error" | "warning"),
        };
        if is_told {
            message::notice(&mut self.wire.output, b'N', notice);
        }
    }

    /// Tells the client of settings that have changed.
    pub(crate) fn report(&mut self) {
        for (at, (name, setting)) in REPORTED.iter().enumerate() {
            let value = self.session.shown(setting);
            let known = &mut self.reported[at];
            if known.as_ref() != Some(&value) {
                message::parameter_status(&mut self.wire.output, name, &value);
                *known = Some(value);
            }
        }
    }

    pub(crate) fn ready(&mut self) {
        self.warn();
        let state = match self.block.state {
            State::Idle => BackendState::Idle,
            State::Open => BackendState::IdleInTransaction,
            State::Failed => BackendState::IdleInFailedTransaction,
        };
        let name = self.session.settings.get("application_name");
        self.guard.rests(state, &self.session.catalog, name);
        message::ready(&mut self.wire.output, self.block.byte());
    }

    /// End of a message group: without a block, portals end with it.
    async fn sync(&mut self) -> Result<(), Fault> {
        self.skips = false;
        self.end_implicit();
        self.report();
        self.ready();
        self.wire.flush().await?;
        Ok(())
    }

    /// Ends what belongs to a transaction, if none is open.
    pub(crate) fn end_implicit(&mut self) {
        if self.block.is_idle() && !self.portals.is_empty() {
            self.portals.retain(Portal::is_held);
        }
    }

    /// Starts a statement of the engine; what it sets lasts beyond the block.
    pub(crate) async fn start(
        &mut self,
        sql: &str,
        parameters: Vec<ScalarValue>,
    ) -> Result<Running, Fault> {
        self.start_prepared(sql, parameters, None).await
    }

    /// As [`Self::start`], for a statement that keeps its plan in `plan`.
    pub(crate) async fn start_prepared(
        &mut self,
        sql: &str,
        parameters: Vec<ScalarValue>,
        plan: Option<Arc<PlanSlot>>,
    ) -> Result<Running, Fault> {
        let before = (!self.block.is_idle()).then(|| self.session.clone());
        let running = self.run(sql, parameters, plan).await?;
        if let Some(before) = before {
            self.block.set_lasting(&before, &self.session);
        }
        Ok(running)
    }

    /// Starts a statement of the engine.
    pub(crate) async fn run(
        &mut self,
        sql: &str,
        parameters: Vec<ScalarValue>,
        plan: Option<Arc<PlanSlot>>,
    ) -> Result<Running, Fault> {
        self.block.check()?;
        if self.block.is_read_only(&self.session) && !only_reads(sql) {
            return Err(refused_write(sql));
        }
        let query_id = Uuid::now_v7().to_string();
        self.cancels(&query_id);
        let request = StatementRequest {
            query_id,
            sql: sql.to_owned(),
            parameters,
            door: Door::Postgres,
            plan,
        };
        let service = &self.shared.service;
        let run = service
            .statements
            .run(&service.engine, &mut self.session, request);
        let done = self.wire.beside(run.boxed()).await;
        let running = done??;
        for notice in &running.notices {
            self.notice(&Notice::new("NOTICE", notice.sqlstate, &notice.message));
        }
        if !is_read(running.command) {
            self.block.wrote();
        }
        Ok(running)
    }

    /// Drops the session's temporary tables.
    pub(crate) async fn end_temporary(&mut self) {
        let engine = &self.shared.service.engine;
        engine.end_session(&self.session).boxed().await;
    }

    /// The statement that a cancel request ends from now on.
    pub(crate) fn cancels(&self, query_id: &str) {
        self.cancel.points_at(Some(query_id.to_owned()));
        self.guard.runs(query_id);
    }

    /// What the client asks for now, as `pg_stat_activity` shows it.
    pub(crate) fn asks(&self, shown: &Arc<str>) {
        self.guard.begins(shown);
    }

    /// Tells the client what its statement has warned of meanwhile.
    pub(crate) fn warn(&mut self) {
        for message in self.guard.warnings() {
            self.notice(&Notice::warning("01000", message));
        }
    }
}

/// How long a connection that is ended waits for its last words to be read.
const GOODBYE: Duration = Duration::from_secs(1);
/// A wait without a limit.
const FOREVER: Duration = Duration::from_hours(24 * 365);

fn is_read(command: &str) -> bool {
    matches!(
        command,
        "SELECT" | "SHOW" | "EXPLAIN" | "DESCRIBE" | "SET" | "RESET" | "USE" | "KILL"
    )
}

pub(crate) fn refused_write(sql: &str) -> Fault {
    Fault::error(
        "25006",
        format!(
            "cannot execute {} in a read-only transaction",
            tarn_engine::first_word(sql)
        ),
    )
}
