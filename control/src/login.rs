//! Logging in: by password, by token, by SCRAM. One answer for everything that is wrong.
//!
//! Knows no protocol of a door but SCRAM's messages, which are the same on all of them.

use std::net::IpAddr;
use std::sync::Arc;

use secrecy::SecretString;

use crate::error::{AuthError, ControlError};
use crate::limits::Attempt;
use crate::scram::{self, Offer, Verifier};
use crate::token::{self, Found};
use crate::user::{self, Account, Principal, now_ms};
use crate::{Control, Inner};

/// Where somebody tries to log in from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The client's address.
    pub address: IpAddr,
    /// The door, for the log: `http`, `flight`, `postgres`.
    pub door: &'static str,
}

/// Logs in by password, or by a token used as password.
pub(crate) async fn by_password(
    inner: &Inner,
    name: &str,
    password: &SecretString,
    origin: Origin,
) -> Result<Principal, AuthError> {
    if token::is_token(password) {
        return by_token(inner, Some(name), password, origin).await;
    }
    let attempt = attempt(Some(name), origin);
    let gate = || inner.limits.check(attempt);
    gate()?;
    let account = user::find(inner.database.pool(), name)
        .await
        .map_err(AuthError::Control)?;
    let stored = account.as_ref().and_then(Account::password);
    let matches = inner.passwords.check(password, stored, gate).await?;
    let Some(account) = account.filter(|account| matches && is_usable(account, origin)) else {
        return Err(denied(inner, attempt, origin));
    };
    inner.limits.succeeded(attempt);
    if account.stored.verifier.is_none() || account.stored.hash.is_none() {
        let completed = user::complete(&inner.database, &inner.passwords, &account, password);
        if let Err(error) = completed.await {
            tracing::warn!(%error, user = name, "cannot complete what is stored of a password");
        }
    }
    Ok(account.user.principal())
}

/// Logs in by token, as user `name` if one is given.
///
/// A valid token passes whatever limits its user or address has reached: nobody guesses one, so
/// there is nothing to slow down, and a guesser of passwords does not stop the user's programs.
pub(crate) async fn by_token(
    inner: &Inner,
    name: Option<&str>,
    secret: &SecretString,
    origin: Origin,
) -> Result<Principal, AuthError> {
    let attempt = attempt(name, origin);
    let found = if token::is_token(secret) {
        find_token(inner, secret)
            .await
            .map_err(AuthError::Control)?
    } else {
        None
    };
    let owner = found.filter(|(token, account)| {
        token.is_valid()
            && name.is_none_or(|name| name == account.user.name)
            && is_usable(account, origin)
    });
    let Some((token, account)) = owner else {
        inner.limits.check(attempt)?;
        return Err(denied(inner, attempt, origin));
    };
    let principal = Principal {
        token: Some(token.id.clone()),
        ..account.user.principal()
    };
    token::touch(&inner.database, token);
    Ok(principal)
}

async fn find_token(
    inner: &Inner,
    secret: &SecretString,
) -> Result<Option<(Found, Account)>, ControlError> {
    let Some(token) = token::find(&inner.database, secret).await? else {
        return Ok(None);
    };
    let account = user::find_by_id(&inner.database, &token.user_id).await?;
    Ok(account.map(|account| (token, account)))
}

fn attempt(account: Option<&str>, origin: Origin) -> Attempt<'_> {
    Attempt {
        account,
        address: origin.address,
    }
}

fn is_usable(account: &Account, origin: Origin) -> bool {
    let usable = account.user.is_usable(now_ms());
    if !usable {
        // The caller has proved who it is, but is not told: only the log says why.
        let Origin { address, door } = origin;
        tracing::info!(user = account.user.name, %address, door, "login of a disabled or expired user");
    }
    usable
}

fn denied(inner: &Inner, attempt: Attempt<'_>, origin: Origin) -> AuthError {
    inner.limits.failed(attempt);
    let Origin { address, door } = origin;
    let user = attempt.account.filter(|n| n.len() <= user::NAME_BYTES_MAX);
    tracing::info!(user, %address, door, "login denied");
    AuthError::Denied
}

/// The server's side of one SCRAM-SHA-256 login: [`ScramExchange::first`], then
/// [`ScramExchange::last`].
///
/// An unknown user, and one that has no password yet, gets a salt that stays the same and fails at
/// the end, like a wrong password.
#[derive(Debug)]
pub struct ScramExchange {
    inner: Arc<Inner>,
    name: String,
    origin: Origin,
    begun: Option<Begun>,
}

#[derive(Debug)]
struct Begun {
    offer: Offer,
    account: Option<Account>,
    candidates: Vec<Candidate>,
}

/// Something that the client may know.
#[derive(Debug)]
struct Candidate {
    verifier: Verifier,
    /// The token it is of; otherwise it is of the password.
    token: Option<Found>,
}

impl ScramExchange {
    pub(crate) fn new(control: &Control, name: &str, origin: Origin) -> Self {
        Self {
            inner: Arc::clone(&control.inner),
            name: name.to_owned(),
            origin,
            begun: None,
        }
    }

    /// The mechanism's name: `SCRAM-SHA-256`.
    pub fn mechanism(&self) -> &'static str {
        scram::MECHANISM
    }

    /// Takes the client's first message and gives the server's.
    ///
    /// # Errors
    /// [`AuthError::Malformed`] for a message that breaks a rule, [`AuthError::TooMany`] while the
    /// account or address must wait, [`AuthError::Control`] if the database fails.
    pub async fn first(&mut self, message: &[u8]) -> Result<Vec<u8>, AuthError> {
        let inner = &self.inner;
        inner.limits.check(attempt(Some(&self.name), self.origin))?;
        let account = user::find(inner.database.pool(), &self.name)
            .await
            .map_err(AuthError::Control)?;
        let salt = account.as_ref().and_then(|a| a.scram_salt.clone());
        let salt = salt.unwrap_or_else(|| scram::mock_salt(&inner.scram_secret, &self.name));
        let iterations = account
            .as_ref()
            .map_or(scram::ITERATIONS, Account::iterations);
        let offer = Offer::new(message, &scram::fresh_nonce(), &salt, iterations);
        let offer = offer.map_err(|reason| AuthError::Malformed { reason })?;
        let mut candidates = candidates(inner, account.as_ref())
            .await
            .map_err(AuthError::Control)?;
        candidates.retain(|c| {
            let same = c.verifier.salt == salt && c.verifier.iterations == iterations;
            same || c.token.is_none()
        });
        let answer = offer.server_first().as_bytes().to_vec();
        self.begun = Some(Begun {
            offer,
            account,
            candidates,
        });
        Ok(answer)
    }

    /// Takes the client's last message; gives the server's, and who the client is.
    ///
    /// # Errors
    /// [`AuthError::Denied`] if the proof is wrong or the user must not log in, and as for
    /// [`ScramExchange::first`]. The exchange is over in any case.
    pub async fn last(&mut self, message: &[u8]) -> Result<(Vec<u8>, Principal), AuthError> {
        let begun = self.begun.take().ok_or(AuthError::Malformed {
            reason: "the last message came before the first",
        })?;
        let inner = &self.inner;
        let attempt = attempt(Some(&self.name), self.origin);
        let proof = begun.offer.proof(message);
        let proof = proof.map_err(|reason| AuthError::Malformed { reason })?;
        // Nothing waits between this check and the count of a failure.
        inner.limits.check(attempt)?;
        let proven = begun.candidates.into_iter().find_map(|candidate| {
            let answer = proof.accept(&candidate.verifier)?;
            Some((answer, candidate))
        });
        let (Some((answer, candidate)), Some(account)) = (proven, begun.account) else {
            return Err(denied(inner, attempt, self.origin));
        };
        // It may have changed since the first message.
        let now = user::find_by_id(&inner.database, account.user.id.as_str())
            .await
            .map_err(AuthError::Control)?;
        let still = now.filter(|now| {
            now.user.name == self.name
                && is_usable(now, self.origin)
                && match &candidate.token {
                    Some(token) => token.is_valid(),
                    None => now.stored.verifier == account.stored.verifier,
                }
        });
        let Some(now) = still else {
            return Err(denied(inner, attempt, self.origin));
        };
        let mut principal = now.user.principal();
        if let Some(token) = candidate.token {
            principal.token = Some(token.id.clone());
            token::touch(&inner.database, token);
        } else {
            inner.limits.succeeded(attempt);
        }
        Ok((answer.into_bytes(), principal))
    }
}

/// Everything that the account's owner may prove to know; something that nobody knows for others.
async fn candidates(
    inner: &Inner,
    account: Option<&Account>,
) -> Result<Vec<Candidate>, ControlError> {
    let password = account.and_then(|account| account.stored.verifier.clone());
    let mut candidates = vec![Candidate {
        verifier: password.unwrap_or_else(|| inner.passwords.dummy_verifier()),
        token: None,
    }];
    // Asked for nobody's tokens, too, so that it costs the same.
    let id = account.map_or("", |account| account.user.id.as_str());
    for token in token::of_user(&inner.database, id).await? {
        if let Some(verifier) = token.verifier.clone() {
            candidates.push(Candidate {
                verifier,
                token: Some(token),
            });
        }
    }
    Ok(candidates)
}
