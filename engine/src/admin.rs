//! Statements about the server itself: users, tokens, running queries, sessions.
//!
//! Says what is to be done and by whom; whether they may is decided by [`crate::Identities`] and
//! [`crate::SystemTables`]. Passwords come in as secrets and are never printed.

use std::ops::ControlFlow;
use std::sync::Arc;

use chrono::{DateTime, Days, Months, TimeDelta, Utc};
use datafusion::arrow::array::timezone::Tz;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StringArray};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::compute::kernels::cast_utils::{
    parse_interval_month_day_nano, string_to_datetime,
};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use secrecy::{ExposeSecret as _, SecretString};

use crate::engine::{Engine, Outcome};
use crate::error::{EngineError, ErrorKind};
use crate::identities::{NewRole, NewToken, RoleChange, RoleKind, times, tokens_view};
use crate::session::Session;
use crate::system::Viewer;
use crate::zone::{recast, zoned};

/// How long a token is valid unless the statement says otherwise.
const TOKEN_DAYS: u64 = 90;

/// A statement about the server itself.
#[derive(Debug)]
pub(crate) enum Admin {
    /// `CREATE USER`.
    CreateUser {
        name: String,
        kind: RoleKind,
        if_not_exists: bool,
        options: UserOptions,
    },
    /// `ALTER USER`.
    AlterUser {
        /// `None` is the current user.
        name: Option<String>,
        if_exists: bool,
        rename: Option<String>,
        options: UserOptions,
    },
    /// `DROP USER`.
    DropUsers { names: Vec<String>, if_exists: bool },
    /// `CREATE TOKEN`.
    CreateToken {
        name: String,
        /// `None` is the current user.
        owner: Option<String>,
        expiry: Expiry,
        comment: Option<String>,
    },
    /// `REVOKE TOKEN`.
    RevokeToken {
        name: String,
        /// `None` is the current user.
        owner: Option<String>,
        if_exists: bool,
    },
    /// `SHOW USERS`.
    ShowUsers,
    /// `SHOW TOKENS`; `None` is the current user.
    ShowTokens(Option<String>),
    /// `SHOW QUERIES`.
    ShowQueries,
    /// `SHOW SESSIONS`.
    ShowSessions,
    /// `KILL 'query id'`.
    KillQuery(String),
    /// `KILL SESSION 'session id'`.
    KillSession(String),
}

/// What `CREATE USER` and `ALTER USER` say of a user.
#[derive(Debug, Default)]
#[allow(
    clippy::option_option,
    reason = "not said, NULL, and a value are three things"
)]
pub(crate) struct UserOptions {
    /// `PASSWORD NULL` is `Some(None)`.
    pub(crate) password: Option<Option<SecretString>>,
    pub(crate) is_admin: Option<bool>,
    pub(crate) disabled: Option<bool>,
    /// The text of the moment; `infinity` and NULL are `Some(None)`.
    pub(crate) valid_until: Option<Option<String>>,
    pub(crate) comment: Option<Option<String>>,
}

/// When a token expires.
#[derive(Debug)]
pub(crate) enum Expiry {
    /// The statement does not say.
    Default,
    /// `EXPIRES NEVER`.
    Never,
    /// `EXPIRES IN 'interval'`.
    In(String),
    /// `EXPIRES AT 'moment'`.
    At(String),
}

impl Admin {
    pub(crate) fn tag(&self) -> &'static str {
        match self {
            // PostgreSQL calls all of them roles.
            Self::CreateUser { .. } => "CREATE ROLE",
            Self::AlterUser { .. } => "ALTER ROLE",
            Self::DropUsers { .. } => "DROP ROLE",
            Self::CreateToken { .. } => "CREATE TOKEN",
            Self::RevokeToken { .. } => "REVOKE TOKEN",
            Self::ShowUsers | Self::ShowTokens(_) | Self::ShowQueries | Self::ShowSessions => {
                "SHOW"
            }
            Self::KillQuery(_) | Self::KillSession(_) => "KILL",
        }
    }

    /// Whether it only answers.
    pub(crate) fn only_reads(&self) -> bool {
        match self {
            Self::ShowUsers | Self::ShowTokens(_) | Self::ShowQueries | Self::ShowSessions => true,
            Self::CreateUser { .. }
            | Self::AlterUser { .. }
            | Self::DropUsers { .. }
            | Self::CreateToken { .. }
            | Self::RevokeToken { .. }
            | Self::KillQuery(_)
            | Self::KillSession(_) => false,
        }
    }

    /// The columns of the answer of a statement that also changes something.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if the columns do not fit each other.
    pub(crate) fn columns(&self, session: &Session) -> Result<Option<SchemaRef>, EngineError> {
        if let Self::CreateToken { .. } = self {
            let none = token_row("", "", "", None)?;
            return Ok(Some(zoned(
                &none.schema(),
                session.settings.get("time_zone"),
            )));
        }
        Ok(None)
    }
}

impl Engine {
    /// Carries out a statement about the server itself.
    pub(crate) async fn admin(
        &self,
        session: &Session,
        statement: Admin,
    ) -> Result<Outcome, EngineError> {
        let tag = statement.tag();
        match self.admin_change(session, statement).await? {
            ControlFlow::Break(Some(batch)) => {
                let shown = zoned(&batch.schema(), session.settings.get("time_zone"));
                Ok(Outcome::rows(tag, recast(&batch, &shown)?))
            }
            ControlFlow::Break(None) => Ok(Outcome::done(tag, None)),
            ControlFlow::Continue(show) => {
                let batch = self.admin_show(session, show).await?;
                let shown = zoned(&batch.schema(), session.settings.get("time_zone"));
                Ok(Outcome::rows(tag, recast(&batch, &shown)?))
            }
        }
    }

    /// Carries out what changes something; gives back what only shows.
    async fn admin_change(
        &self,
        session: &Session,
        statement: Admin,
    ) -> Result<ControlFlow<Option<RecordBatch>, Admin>, EngineError> {
        let identities = &self.config.identities;
        let by = &session.user;
        match statement {
            Admin::CreateUser {
                name,
                kind,
                if_not_exists,
                options,
            } => {
                let new = NewRole {
                    name,
                    kind,
                    password: options.password.flatten(),
                    is_admin: options.is_admin.unwrap_or(false),
                    disabled: options.disabled.unwrap_or(false),
                    valid_until: moment(session, options.valid_until.flatten())?,
                    comment: options.comment.flatten(),
                };
                let created = identities.create_user(by, new).await;
                ignoring(created, ErrorKind::DuplicateObject, if_not_exists)?;
            }
            Admin::AlterUser {
                name,
                if_exists,
                rename,
                options,
            } => {
                let valid_until = options.valid_until.map(|text| moment(session, text));
                let change = RoleChange {
                    password: options.password,
                    name: rename,
                    is_admin: options.is_admin,
                    disabled: options.disabled,
                    valid_until: valid_until.transpose()?,
                    comment: options.comment,
                };
                let name = name.as_ref().unwrap_or(by);
                let altered = identities.alter_user(by, name, change).await;
                ignoring(altered, ErrorKind::UndefinedObject, if_exists)?;
            }
            Admin::DropUsers { names, if_exists } => {
                for name in names {
                    let dropped = identities.drop_user(by, &name).await;
                    ignoring(dropped, ErrorKind::UndefinedObject, if_exists)?;
                }
            }
            Admin::CreateToken {
                name,
                owner,
                expiry,
                comment,
            } => {
                let expires_at = expiry.at(session)?;
                let user = owner.unwrap_or_else(|| by.clone());
                let new = NewToken {
                    user: user.clone(),
                    name: name.clone(),
                    expires_at,
                    comment,
                };
                let secret = identities.create_token(by, new).await?;
                let row = token_row(secret.expose_secret(), &name, &user, expires_at)?;
                return Ok(ControlFlow::Break(Some(row)));
            }
            Admin::RevokeToken {
                name,
                owner,
                if_exists,
            } => {
                let owner = owner.as_ref().unwrap_or(by);
                let revoked = identities.revoke_token(by, owner, &name).await;
                ignoring(revoked, ErrorKind::UndefinedObject, if_exists)?;
            }
            Admin::KillQuery(id) => {
                let found = self.seen_by(session).kill_query(&id);
                require(found, "running query", &id, "SHOW QUERIES")?;
            }
            Admin::KillSession(id) => {
                let found = self.seen_by(session).kill_session(&id);
                require(found, "session", &id, "SHOW SESSIONS")?;
            }
            show @ (Admin::ShowUsers
            | Admin::ShowTokens(_)
            | Admin::ShowQueries
            | Admin::ShowSessions) => return Ok(ControlFlow::Continue(show)),
        }
        Ok(ControlFlow::Break(None))
    }

    async fn admin_show(
        &self,
        session: &Session,
        statement: Admin,
    ) -> Result<RecordBatch, EngineError> {
        let by = &session.user;
        match statement {
            Admin::ShowTokens(owner) => {
                let owner = owner.as_ref().unwrap_or(by);
                let tokens = self.config.identities.tokens(by, Some(owner)).await?;
                tokens_view(&tokens)
            }
            Admin::ShowUsers => self.system_rows(session, "users").await,
            Admin::ShowSessions => self.system_rows(session, "sessions").await,
            Admin::ShowQueries => running(&self.system_rows(session, "queries").await?),
            other => Err(EngineError::internal(format!(
                "{} does not show anything",
                other.tag()
            ))),
        }
    }

    async fn system_rows(&self, session: &Session, view: &str) -> Result<RecordBatch, EngineError> {
        let rows = self.seen_by(session).load(view).await?;
        rows.ok_or_else(|| EngineError::internal(format!("system.{view} is missing")))
    }

    /// The server's views as the session's user may see them.
    pub(crate) fn seen_by(&self, session: &Session) -> Arc<dyn crate::SystemTables> {
        self.config.system.seen_by(&Viewer {
            user: session.user.clone(),
            is_admin: session.is_admin,
        })
    }
}

/// `IF EXISTS` and `IF NOT EXISTS`.
fn ignoring(
    result: Result<(), EngineError>,
    kind: ErrorKind,
    allowed: bool,
) -> Result<(), EngineError> {
    match result {
        Err(error) if allowed && error.kind == kind => Ok(()),
        other => other,
    }
}

/// Somebody else's query or session answers as if there were none.
fn require(found: bool, what: &str, id: &str, listed_by: &str) -> Result<(), EngineError> {
    if found {
        return Ok(());
    }
    Err(EngineError::new(
        ErrorKind::UndefinedObject,
        format!("there is no {what} with id \"{id}\""),
    )
    .with_hint(format!("{listed_by} lists them")))
}

/// A moment in the session's time zone.
fn moment(session: &Session, text: Option<String>) -> Result<Option<DateTime<Utc>>, EngineError> {
    let Some(text) = text else { return Ok(None) };
    let zone: Tz = session.settings.get("time_zone").parse()?;
    let at = string_to_datetime(&zone, text.trim()).map_err(|_| {
        EngineError::new(
            ErrorKind::InvalidText,
            format!("\"{text}\" is no timestamp"),
        )
        .with_hint("write it as '2027-01-31' or '2027-01-31 12:00:00+01'")
    })?;
    Ok(Some(at.with_timezone(&Utc)))
}

impl Expiry {
    fn at(self, session: &Session) -> Result<Option<DateTime<Utc>>, EngineError> {
        let now = Utc::now();
        let at = match self {
            Self::Never => return Ok(None),
            Self::At(text) => return moment(session, Some(text)),
            Self::Default => now.checked_add_days(Days::new(TOKEN_DAYS)),
            Self::In(text) => after(now, &text),
        };
        let too_far = || {
            EngineError::new(
                ErrorKind::InvalidText,
                "the expiry of a token is no interval in the future",
            )
            .with_hint("write EXPIRES IN '90 days', EXPIRES AT '2027-01-31' or EXPIRES NEVER")
        };
        at.map(Some).ok_or_else(too_far)
    }
}

/// `now` plus an interval such as `90 days` that is not negative.
fn after(now: DateTime<Utc>, interval: &str) -> Option<DateTime<Utc>> {
    let interval = parse_interval_month_day_nano(interval).ok()?;
    let months = Months::new(u32::try_from(interval.months).ok()?);
    let days = Days::new(u64::try_from(interval.days).ok()?);
    now.checked_add_months(months)?
        .checked_add_days(days)?
        .checked_add_signed(TimeDelta::nanoseconds(interval.nanoseconds))
        .filter(|at| *at > now)
}

/// The one row that shows a token.
fn token_row(
    secret: &str,
    name: &str,
    user: &str,
    expires_at: Option<DateTime<Utc>>,
) -> Result<RecordBatch, EngineError> {
    let text = |value: &str| Arc::new(StringArray::from(vec![value])) as ArrayRef;
    let expires = times([expires_at].into_iter());
    Ok(RecordBatch::try_from_iter_with_nullable(vec![
        ("token", text(secret), false),
        ("token_name", text(name), false),
        ("user_name", text(user), false),
        ("expires_at", expires, true),
    ])?)
}

/// What `SHOW QUERIES` shows of `system.queries`: those that run or wait for their turn.
fn running(queries: &RecordBatch) -> Result<RecordBatch, EngineError> {
    const SHOWN: [&str; 11] = [
        "query_id",
        "state",
        "queue_position",
        "user_name",
        "door",
        "started_at",
        "elapsed_ms",
        "rows_out",
        "tasks_done",
        "tasks_total",
        "statement",
    ];
    let schema = queries.schema();
    let columns = SHOWN
        .iter()
        .map(|name| schema.index_of(name))
        .collect::<Result<Vec<_>, _>>()?;
    let states = queries
        .column_by_name("state")
        .and_then(|column| column.as_string_opt::<i32>())
        .ok_or_else(|| EngineError::internal("system.queries has no state"))?;
    let live: BooleanArray = (0..states.len())
        .map(|row| Some(["PLANNING", "QUEUED", "RUNNING"].contains(&states.value(row))))
        .collect();
    Ok(filter_record_batch(&queries.project(&columns)?, &live)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn check_after(interval: &str, expected: Option<&str>) {
        let found = after(at("2026-01-31T10:00:00Z"), interval);
        assert_eq!(found, expected.map(at), "{interval}");
    }

    #[test]
    fn an_expiry_is_an_interval_in_the_future() {
        check_after("90 days", Some("2026-05-01T10:00:00Z"));
        check_after("1 month", Some("2026-02-28T10:00:00Z"));
        check_after("1 year 12 hours", Some("2027-01-31T22:00:00Z"));
        check_after("-1 day", None);
        check_after("0 days", None);
        check_after("soon", None);
        check_after("999999999 years", None);
    }

    #[test]
    fn a_moment_is_read_in_the_zone_of_the_session() {
        let mut session = Session::new("ann", "lake", "main");
        let read = |session: &Session, text: &str| moment(session, Some(text.to_owned()));
        let day = Some(at("2027-01-31T00:00:00Z"));
        assert_eq!(read(&session, "2027-01-31").unwrap(), day);
        session.settings.set("time_zone", "Europe/Zurich").unwrap();
        let day = Some(at("2027-01-30T23:00:00Z"));
        assert_eq!(read(&session, "2027-01-31").unwrap(), day);
        let error = read(&session, "tomorrow").unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidText);
    }
}
