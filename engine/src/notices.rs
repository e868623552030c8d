//! What a statement has to say besides its result: `DROP TABLE IF EXISTS` of a table that is not there.
//!
//! Noted where it happens, gathered for the statement that runs in this task; the door decides who reads
//! it. No error is ever only a notice.

use std::cell::RefCell;
use std::future::Future;

tokio::task_local! {
    static NOTICES: RefCell<Vec<Notice>>;
}

/// Something that the client may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its SQLSTATE. Source: PostgreSQL 15, appendix A.
    pub sqlstate: &'static str,
    /// What it says.
    pub message: String,
}

/// Runs a statement; gives its result and what was noted meanwhile.
pub(crate) async fn gathered<F: Future>(run: F) -> (F::Output, Vec<Notice>) {
    NOTICES
        .scope(RefCell::default(), async {
            let done = run.await;
            let notices = NOTICES.with(RefCell::take);
            (done, notices)
        })
        .await
}

fn note(sqlstate: &'static str, message: String) {
    // Outside of a statement nobody listens.
    let _ = NOTICES.try_with(|notices| notices.borrow_mut().push(Notice { sqlstate, message }));
}

/// A command that has nothing to do, and why.
pub(crate) fn idle(command: &str, why: &str) {
    note("00000", format!("{command} has nothing to do: {why}"));
}

/// A column whose type a table does not have, and the wider one that it gets.
pub(crate) fn widened(column: &str, declared: &str, kept: &str) {
    note(
        "00000",
        format!("column \"{column}\" is kept as {kept}: the bound of {declared} is not checked"),
    );
}

/// Columns of a query in nanoseconds, which the new table does not have.
pub(crate) fn cut(why: &str) {
    note(
        "01000",
        format!("nanoseconds are cut to microseconds: {why}"),
    );
}

/// `IF EXISTS`, and it does not.
pub(crate) fn missing(kind: &str, name: &[String]) {
    let name = name.last().map_or("", String::as_str);
    note(
        "00000",
        format!("{kind} \"{name}\" does not exist, skipping"),
    );
}

/// `IF NOT EXISTS`, and it does.
pub(crate) fn present(sqlstate: &'static str, kind: &str, name: &str) {
    note(
        sqlstate,
        format!("{kind} \"{name}\" already exists, skipping"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn notices_belong_to_the_statement_that_made_them() {
        missing("table", &["nobody listens".to_owned()]);
        let one = gathered(async {
            missing("table", &["s".to_owned(), "t".to_owned()]);
            tokio::task::yield_now().await;
            7
        });
        let other = gathered(async { present("42P07", "relation", "x") });
        let ((done, notices), ((), others)) = tokio::join!(one, other);
        assert_eq!(done, 7);
        assert_eq!(notices[0].message, "table \"t\" does not exist, skipping");
        assert_eq!((notices.len(), others.len()), (1, 1));
    }
}
