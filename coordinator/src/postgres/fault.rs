//! What goes wrong on a connection, as the client is told it.
//!
//! Knows SQLSTATE and severities. Logs nothing.

use std::fmt;

use tarn_engine::{EngineError, ErrorKind};

use super::message::{Malformed, NOT_UTF8};
use super::wire::WireError;

/// An error or notice: the fields of `ErrorResponse`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) severity: &'static str,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) detail: Option<String>,
    pub(crate) hint: Option<String>,
    /// In characters from 1.
    pub(crate) position: Option<usize>,
    /// Where it happened, e.g. the line of COPY's input.
    pub(crate) context: Option<String>,
}

impl Notice {
    pub(crate) fn new(
        severity: &'static str,
        code: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            code,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
            context: None,
        }
    }

    pub(crate) fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self::new("WARNING", code, message)
    }

    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Why a message was not done.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The statement failed; the connection goes on.
    Error(Box<Notice>),
    /// The connection ends after saying so.
    Fatal(Box<Notice>),
    /// The client is gone.
    Gone,
}

impl Fault {
    pub(crate) fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self::Error(Box::new(Notice::new("ERROR", code, message)))
    }

    pub(crate) fn fatal(code: &'static str, message: impl Into<String>) -> Self {
        Self::Fatal(Box::new(Notice::new("FATAL", code, message)))
    }

    /// What is understood but not done.
    pub(crate) fn unsupported(what: impl fmt::Display) -> Self {
        Self::error("0A000", format!("{what} is not supported"))
    }

    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Error(notice) | Self::Fatal(notice) = &mut self {
            notice.hint = Some(hint.into());
        }
        self
    }

    #[must_use]
    pub(crate) fn with_context(mut self, context: impl Into<String>) -> Self {
        if let Self::Error(notice) | Self::Fatal(notice) = &mut self {
            notice.context = Some(context.into());
        }
        self
    }

    /// Moves a position by the characters that stand before the statement.
    #[must_use]
    pub(crate) fn shifted(mut self, characters: usize) -> Self {
        if let Self::Error(notice) = &mut self
            && let Some(position) = &mut notice.position
        {
            *position += characters;
        }
        self
    }
}

impl From<Notice> for Fault {
    fn from(notice: Notice) -> Self {
        Self::Error(Box::new(notice))
    }
}

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Self {
        let severity = match error.kind {
            ErrorKind::ShuttingDown => "FATAL",
            _ => "ERROR",
        };
        // Programs look for PostgreSQL's words.
        let message = match error.kind {
            ErrorKind::Canceled => "canceling statement due to user request".to_owned(),
            ErrorKind::Timeout => "canceling statement due to statement timeout".to_owned(),
            _ => error.message,
        };
        let mut notice = Notice::new(severity, error.kind.sqlstate(), message);
        notice.hint = error.hint;
        notice.position = error.position;
        match severity {
            "FATAL" => Self::Fatal(Box::new(notice)),
            _ => Self::Error(Box::new(notice)),
        }
    }
}

impl From<WireError> for Fault {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Gone => Self::Gone,
            WireError::Length { tag, bytes } => Self::fatal(
                "08P01",
                format!("invalid length {bytes} of message {}", shown(tag)),
            ),
            WireError::Tag(tag) => {
                Self::fatal("08P01", format!("invalid message type {}", shown(tag)))
            }
        }
    }
}

fn shown(tag: u8) -> String {
    match tag {
        0 => "at start-up".to_owned(),
        tag if tag.is_ascii_graphic() => format!("\"{}\"", char::from(tag)),
        tag => tag.to_string(),
    }
}

impl From<Malformed> for Fault {
    fn from(Malformed(what): Malformed) -> Self {
        let code = if what == NOT_UTF8 { "22021" } else { "08P01" };
        Self::error(code, what)
    }
}
