//! Grammar of the statements about the server itself: users, tokens, queries, sessions.
//!
//! PostgreSQL's `CREATE ROLE` as far as it means something here. An error never repeats a string of
//! the statement: it may be a password.

use datafusion::sql::sqlparser::tokenizer::Token;
use secrecy::SecretString;

use super::{Grammar, Parsed, fold};
use crate::admin::{Admin, Expiry, UserOptions};
use crate::error::EngineError;
use crate::identities::RoleKind;
use datafusion::sql::sqlparser::parser::ParserError;

impl Grammar<'_> {
    /// The statement that begins here, if it is one about the server itself.
    pub(super) fn admin(&mut self) -> Parsed<Option<Admin>> {
        if self.words(&["CREATE", "TOKEN"]) {
            return self.create_token().map(Some);
        }
        if let Some(kind) = self.role("CREATE") {
            return self.create_user(kind).map(Some);
        }
        if self.role("ALTER").is_some() {
            return self.alter_user().map(Some);
        }
        if self.role("DROP").is_some() {
            let if_exists = self.words(&["IF", "EXISTS"]);
            let mut names = vec![self.role_name()?];
            while self.parser.consume_token(&Token::Comma) {
                names.push(self.role_name()?);
            }
            return Ok(Some(Admin::DropUsers { names, if_exists }));
        }
        if self.words(&["DROP", "TOKEN"]) || self.words(&["REVOKE", "TOKEN"]) {
            let if_exists = self.words(&["IF", "EXISTS"]);
            let name = self.label("a token's name")?;
            let of = self.word("FOR") || self.word("FROM") || self.word("OF");
            let owner = if of { self.user()? } else { None };
            return Ok(Some(Admin::RevokeToken {
                name,
                owner,
                if_exists,
            }));
        }
        if self.words(&["COMMENT", "ON", "ROLE"]) || self.words(&["COMMENT", "ON", "USER"]) {
            return self.comment_on_user().map(Some);
        }
        if self.word("KILL") {
            return self.kill().map(Some);
        }
        self.show_admin()
    }

    fn show_admin(&mut self) -> Parsed<Option<Admin>> {
        if self.words(&["SHOW", "USERS"]) || self.words(&["SHOW", "ROLES"]) {
            return Ok(Some(Admin::ShowUsers));
        }
        if self.words(&["SHOW", "QUERIES"]) {
            return Ok(Some(Admin::ShowQueries));
        }
        if self.words(&["SHOW", "SESSIONS"]) {
            return Ok(Some(Admin::ShowSessions));
        }
        if self.words(&["SHOW", "TOKENS"]) {
            let of = self.word("FOR") || self.word("FROM") || self.word("OF");
            let owner = if of { self.user()? } else { None };
            return Ok(Some(Admin::ShowTokens(owner)));
        }
        Ok(None)
    }

    /// `verb USER|ROLE|SERVICE ACCOUNT`.
    fn role(&mut self, verb: &str) -> Option<RoleKind> {
        if self.words(&[verb, "SERVICE", "ACCOUNT"]) {
            return Some(RoleKind::Service);
        }
        (self.words(&[verb, "USER"]) || self.words(&[verb, "ROLE"])).then_some(RoleKind::User)
    }

    fn create_user(&mut self, kind: RoleKind) -> Parsed<Admin> {
        let if_not_exists = self.words(&["IF", "NOT", "EXISTS"]);
        let name = self.role_name()?;
        let options = self.user_options()?;
        Ok(Admin::CreateUser {
            name,
            kind,
            if_not_exists,
            options,
        })
    }

    fn alter_user(&mut self) -> Parsed<Admin> {
        let if_exists = self.words(&["IF", "EXISTS"]);
        let name = self.user()?;
        if self.words(&["RENAME", "TO"]) {
            let rename = Some(self.role_name()?);
            return Ok(Admin::AlterUser {
                name,
                if_exists,
                rename,
                options: UserOptions::default(),
            });
        }
        if self.at_statement_end() {
            return self.wanted("RENAME TO, ENABLE, DISABLE, PASSWORD or another option");
        }
        let options = self.user_options()?;
        Ok(Admin::AlterUser {
            name,
            if_exists,
            rename: None,
            options,
        })
    }

    fn comment_on_user(&mut self) -> Parsed<Admin> {
        let name = self.user()?;
        if !self.word("IS") {
            return self.wanted("IS");
        }
        let comment = if self.word("NULL") {
            None
        } else {
            Some(self.string()?)
        };
        Ok(Admin::AlterUser {
            name,
            if_exists: false,
            rename: None,
            options: UserOptions {
                comment: Some(comment),
                ..UserOptions::default()
            },
        })
    }

    fn user_options(&mut self) -> Parsed<UserOptions> {
        let mut out = UserOptions::default();
        self.word("WITH");
        while !self.at_statement_end() {
            if self.words(&["ENCRYPTED", "PASSWORD"]) || self.word("PASSWORD") {
                out.password = Some(if self.word("NULL") {
                    None
                } else {
                    Some(SecretString::from(self.string()?))
                });
            } else if self.word("ADMIN") || self.word("SUPERUSER") {
                out.is_admin = Some(true);
            } else if self.word("NOADMIN") || self.word("NOSUPERUSER") {
                out.is_admin = Some(false);
            } else if self.word("ENABLE") || self.word("LOGIN") {
                out.disabled = Some(false);
            } else if self.word("DISABLE") || self.word("NOLOGIN") {
                out.disabled = Some(true);
            } else if self.words(&["VALID", "UNTIL"]) {
                out.valid_until = Some(self.valid_until()?);
            } else if self.word("COMMENT") {
                let _ = self.parser.consume_token(&Token::Eq);
                out.comment = Some(if self.word("NULL") {
                    None
                } else {
                    Some(self.string()?)
                });
            } else {
                self.option_without_effect()?;
            }
        }
        Ok(out)
    }

    fn valid_until(&mut self) -> Parsed<Option<String>> {
        if self.word("NULL") {
            return Ok(None);
        }
        let text = self.string()?;
        Ok(Some(text).filter(|text| !text.trim().eq_ignore_ascii_case("infinity")))
    }

    /// PostgreSQL's options that say what is so anyway; others are refused by name.
    fn option_without_effect(&mut self) -> Parsed<()> {
        const SO_ANYWAY: [&str; 5] = [
            "INHERIT",
            "NOCREATEDB",
            "NOCREATEROLE",
            "NOREPLICATION",
            "NOBYPASSRLS",
        ];
        const REFUSED: [&str; 13] = [
            "NOINHERIT",
            "CREATEDB",
            "CREATEROLE",
            "REPLICATION",
            "BYPASSRLS",
            "CONNECTION",
            "UNENCRYPTED",
            "SYSID",
            "IN",
            "ROLE",
            "USER",
            "SET",
            "RESET",
        ];
        if SO_ANYWAY.iter().any(|word| self.word(word)) {
            return Ok(());
        }
        if let Some(refused) = REFUSED.iter().find(|word| self.word(word)) {
            let what = format!("option {refused} of a user");
            return Err(EngineError::unsupported(what).into());
        }
        self.wanted("PASSWORD, ADMIN, ENABLE, DISABLE, VALID UNTIL or COMMENT")
    }

    fn create_token(&mut self) -> Parsed<Admin> {
        let name = self.label("a token's name")?;
        let (mut owner, mut expiry, mut comment) = (None, Expiry::Default, None);
        while !self.at_statement_end() {
            if self.word("FOR") {
                owner = self.user()?;
            } else if self.words(&["EXPIRES", "NEVER"]) {
                expiry = Expiry::Never;
            } else if self.words(&["EXPIRES", "IN"]) {
                self.word("INTERVAL");
                expiry = Expiry::In(self.string()?);
            } else if self.words(&["EXPIRES", "AT"]) || self.words(&["VALID", "UNTIL"]) {
                self.word("TIMESTAMP");
                expiry = Expiry::At(self.string()?);
            } else if self.word("COMMENT") {
                let _ = self.parser.consume_token(&Token::Eq);
                comment = Some(self.string()?);
            } else {
                return self.wanted("FOR, EXPIRES IN, EXPIRES AT, EXPIRES NEVER or COMMENT");
            }
        }
        Ok(Admin::CreateToken {
            name,
            owner,
            expiry,
            comment,
        })
    }

    fn kill(&mut self) -> Parsed<Admin> {
        let is_session = self.word("SESSION") || self.word("CONNECTION");
        if !is_session {
            self.word("QUERY");
        }
        let id = self.string()?;
        Ok(if is_session {
            Admin::KillSession(id)
        } else {
            Admin::KillQuery(id)
        })
    }

    /// A user; `None` is the current one.
    fn user(&mut self) -> Parsed<Option<String>> {
        for word in ["CURRENT_USER", "CURRENT_ROLE", "SESSION_USER"] {
            if self.word(word) {
                return Ok(None);
            }
        }
        self.role_name().map(Some)
    }

    fn role_name(&mut self) -> Parsed<String> {
        self.label("a user's name")
    }

    /// A name without parts.
    fn label(&mut self, what: &str) -> Parsed<String> {
        match self.parser.peek_token().token {
            Token::Word(_) | Token::SingleQuotedString(_) => {
                Ok(fold(&self.parser.parse_identifier()?))
            }
            _ => self.wanted(what),
        }
    }

    fn string(&mut self) -> Parsed<String> {
        let text = match self.parser.peek_token().token {
            Token::SingleQuotedString(text)
            | Token::EscapedStringLiteral(text)
            | Token::UnicodeStringLiteral(text) => text,
            Token::DollarQuotedString(text) => text.value,
            _ => return self.wanted("a string in single quotes"),
        };
        self.parser.next_token();
        Ok(text)
    }

    fn at_statement_end(&self) -> bool {
        matches!(
            self.parser.peek_token().token,
            Token::EOF | Token::SemiColon
        )
    }

    /// The error that something else was expected, which repeats words but no strings.
    fn wanted<T>(&self, what: &str) -> Parsed<T> {
        let next = self.parser.peek_token();
        let found = match &next.token {
            Token::Word(word) if word.quote_style.is_none() => word.value.clone(),
            Token::EOF => "end of statement".to_owned(),
            token if token.to_string().len() == 1 => token.to_string(),
            _ => "a value".to_owned(),
        };
        Err(ParserError::ParserError(format!(
            "Expected: {what}, found: {found}{}",
            next.span.start
        ))
        .into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use crate::error::ErrorKind;
    use crate::statement::Statement;

    fn check(sql: &str, expected: &str) {
        let Statement::Admin(found) = parse(sql).unwrap() else {
            panic!("{sql} is something else");
        };
        let found = format!("{found:?}");
        let found: String = found
            .replace("SecretBox<str>([REDACTED])", "***")
            .replace(" valid_until: None,", "")
            .replace(" disabled: None,", "")
            .replace(" is_admin: None,", "")
            .replace(" password: None,", "")
            .replace("comment: None", "");
        assert_eq!(found, expected, "{sql}");
    }

    #[test]
    fn users_are_created_changed_and_dropped() {
        check(
            "CREATE USER Ann WITH PASSWORD 'x' ADMIN VALID UNTIL '2027-01-01' COMMENT 'c'",
            "CreateUser { name: \"ann\", kind: User, if_not_exists: false, options: UserOptions { \
             password: Some(Some(***)), is_admin: Some(true), disabled: None, \
             valid_until: Some(Some(\"2027-01-01\")), comment: Some(Some(\"c\")) } }"
                .replace(" disabled: None,", "")
                .as_str(),
        );
        check(
            "create service account \"ETL@x\"",
            "CreateUser { name: \"ETL@x\", kind: Service, if_not_exists: false, options: UserOptions {  } }",
        );
        check(
            "CREATE ROLE IF NOT EXISTS ann LOGIN NOSUPERUSER INHERIT NOCREATEDB VALID UNTIL 'infinity'",
            "CreateUser { name: \"ann\", kind: User, if_not_exists: true, options: UserOptions { \
             is_admin: Some(false), disabled: Some(false), valid_until: Some(None),  } }",
        );
        check(
            "ALTER USER CURRENT_USER PASSWORD E'x';",
            "AlterUser { name: None, if_exists: false, rename: None, options: UserOptions { password: Some(Some(***)),  } }",
        );
        check(
            "ALTER ROLE ann PASSWORD NULL DISABLE",
            "AlterUser { name: Some(\"ann\"), if_exists: false, rename: None, options: UserOptions { \
             password: Some(None), disabled: Some(true),  } }",
        );
        check(
            "ALTER USER IF EXISTS ann RENAME TO \"Anna\"",
            "AlterUser { name: Some(\"ann\"), if_exists: true, rename: Some(\"Anna\"), options: UserOptions {  } }",
        );
        check(
            "COMMENT ON ROLE ann IS NULL",
            "AlterUser { name: Some(\"ann\"), if_exists: false, rename: None, options: UserOptions { comment: Some(None) } }",
        );
        check(
            "DROP USER IF EXISTS ann, bob",
            "DropUsers { names: [\"ann\", \"bob\"], if_exists: true }",
        );
    }

    #[test]
    fn tokens_are_created_listed_and_revoked() {
        check(
            "CREATE TOKEN laptop",
            "CreateToken { name: \"laptop\", owner: None, expiry: Default,  }",
        );
        check(
            "CREATE TOKEN ci FOR robot EXPIRES IN INTERVAL '30 days' COMMENT 'x'",
            "CreateToken { name: \"ci\", owner: Some(\"robot\"), expiry: In(\"30 days\"), comment: Some(\"x\") }",
        );
        check(
            "CREATE TOKEN ci EXPIRES NEVER",
            "CreateToken { name: \"ci\", owner: None, expiry: Never,  }",
        );
        check("SHOW TOKENS", "ShowTokens(None)");
        check("SHOW TOKENS FOR ann", "ShowTokens(Some(\"ann\"))");
        check(
            "REVOKE TOKEN ci FROM robot",
            "RevokeToken { name: \"ci\", owner: Some(\"robot\"), if_exists: false }",
        );
        check(
            "DROP TOKEN IF EXISTS ci",
            "RevokeToken { name: \"ci\", owner: None, if_exists: true }",
        );
    }

    #[test]
    fn queries_and_sessions_are_shown_and_killed() {
        check("SHOW USERS", "ShowUsers");
        check("SHOW QUERIES;", "ShowQueries");
        check("SHOW SESSIONS", "ShowSessions");
        check("KILL 'a'", "KillQuery(\"a\")");
        check("KILL QUERY 'a'", "KillQuery(\"a\")");
        check("KILL SESSION 'a'", "KillSession(\"a\")");
    }

    fn check_error(sql: &str, kind: ErrorKind, part: &str) {
        let error = parse(sql).unwrap_err();
        assert_eq!(error.kind, kind, "{sql}: {error}");
        assert!(error.message.contains(part), "{sql}: {error}");
        assert!(!error.message.contains("hunter2"), "{sql}: {error}");
    }

    #[test]
    fn an_error_never_repeats_what_may_be_a_password() {
        for sql in [
            "CREATE USER ann 'hunter2'",
            "CREATE USER ann PASSWORD \"hunter2\"",
            "CREATE USER ann PASSWORD 'x' 'hunter2'",
            "CREATE USER ann PASSWORD $$x$$ $$hunter2$$",
            "ALTER USER ann 'hunter2'",
            "CREATE TOKEN t 'hunter2'",
            "KILL \"hunter2\"",
        ] {
            check_error(sql, ErrorKind::Syntax, "found: a value");
        }
        check_error("ALTER USER ann", ErrorKind::Syntax, "end of statement");
        check_error("CREATE USER ann FOO", ErrorKind::Syntax, "found: FOO");
        check_error(
            "CREATE USER ann CONNECTION LIMIT 3",
            ErrorKind::Unsupported,
            "CONNECTION",
        );
        check_error("ALTER USER ann SET x = 1", ErrorKind::Unsupported, "SET");
    }
}
