//! The server itself: catalogs as databases, users, settings, and what runs.

use std::str::FromStr;

use chrono::{Offset, TimeZone, Utc};
use datafusion::arrow::array::timezone::Tz;
use datafusion::common::Result;

use super::Filling;
use crate::pg_catalog::TABLESPACE_OID;
use crate::pg_catalog::context::{CatalogContext, OWNER_OID};
use crate::pg_catalog::functions::setting_value;
use crate::pg_catalog::presets::PRESETS;
use crate::pg_catalog::rows::Val::{self, Bool, Int, Null, Oid, Owned, Text, Texts};
use crate::settings::{SETTINGS, Setting, SettingKind};

/// `pg_encoding_to_char(6)`.
const UTF8: i64 = 6;

pub(super) fn pg_database(to: &mut Filling<'_>) -> Result<()> {
    for (oid, name) in &to.context.catalogs {
        to.rows.push([
            ("oid", Oid(*oid)),
            ("datname", Text(name)),
            ("datdba", Oid(OWNER_OID)),
            ("encoding", Int(UTF8)),
            ("datlocprovider", Text("c")),
            ("datistemplate", Bool(false)),
            ("datallowconn", Bool(true)),
            ("datconnlimit", Int(-1)),
            ("dattablespace", Oid(TABLESPACE_OID)),
            ("datcollate", Text("C")),
            ("datctype", Text("C.UTF-8")),
        ])?;
    }
    Ok(())
}

pub(super) fn pg_roles(to: &mut Filling<'_>) -> Result<()> {
    role_rows(to, &Text("********"))
}

pub(super) fn pg_authid(to: &mut Filling<'_>) -> Result<()> {
    role_rows(to, &Null)
}

fn role_rows(to: &mut Filling<'_>, password: &Val<'static>) -> Result<()> {
    for role in &to.context.roles {
        to.rows.push([
            ("oid", Oid(role.oid)),
            ("rolname", Text(&role.name)),
            ("rolsuper", Bool(role.is_admin)),
            ("rolinherit", Bool(true)),
            ("rolcreaterole", Bool(role.is_admin)),
            ("rolcreatedb", Bool(false)),
            ("rolcanlogin", Bool(role.can_login)),
            ("rolreplication", Bool(false)),
            ("rolconnlimit", Int(-1)),
            ("rolpassword", password.clone()),
            ("rolbypassrls", Bool(role.is_admin)),
        ])?;
    }
    Ok(())
}

pub(super) fn pg_user(to: &mut Filling<'_>) -> Result<()> {
    user_rows(to, &Text("********"))
}

pub(super) fn pg_shadow(to: &mut Filling<'_>) -> Result<()> {
    user_rows(to, &Null)
}

fn user_rows(to: &mut Filling<'_>, password: &Val<'static>) -> Result<()> {
    for role in to.context.roles.iter().filter(|role| role.can_login) {
        to.rows.push([
            ("usename", Text(&role.name)),
            ("usesysid", Oid(role.oid)),
            ("usecreatedb", Bool(false)),
            ("usesuper", Bool(role.is_admin)),
            ("userepl", Bool(false)),
            ("usebypassrls", Bool(role.is_admin)),
            ("passwd", password.clone()),
        ])?;
    }
    Ok(())
}

pub(super) fn pg_settings(to: &mut Filling<'_>) -> Result<()> {
    for setting in SETTINGS {
        setting_row(to, setting)?;
    }
    for preset in PRESETS {
        let settable = SETTINGS.iter().any(|setting| setting.name == preset.name);
        if settable || !to.wanted.text("name", preset.name) {
            continue;
        }
        to.rows.push([
            ("name", Text(preset.name)),
            ("setting", Text(preset.value)),
            ("category", Text("Preset Options")),
            ("short_desc", Text(preset.description)),
            ("context", Text("internal")),
            ("vartype", Text(kind_of(preset.value))),
            ("source", Text("default")),
            ("boot_val", Text(preset.value)),
            ("reset_val", Text(preset.value)),
            ("pending_restart", Bool(false)),
        ])?;
    }
    Ok(())
}

fn kind_of(value: &str) -> &'static str {
    match value {
        "on" | "off" => "bool",
        _ if value.parse::<i64>().is_ok() => "integer",
        _ => "string",
    }
}

fn setting_row(to: &mut Filling<'_>, setting: &'static Setting) -> Result<()> {
    // PostgreSQL's own name, if there is one, is the one that clients look for.
    let name = match setting.name {
        "time_zone" => "TimeZone",
        "datestyle" => "DateStyle",
        "intervalstyle" => "IntervalStyle",
        other => other,
    };
    if !to.wanted.text("name", name) {
        return Ok(());
    }
    let context = to.context;
    let value = setting_value(&context.session, setting.name).unwrap_or_default();
    let fixed = setting.kind == SettingKind::Fixed;
    let (kind, bounds, words) = match setting.kind {
        SettingKind::Boolean => ("bool", None, None),
        SettingKind::Integer(min, max) => ("integer", Some((min, max)), None),
        SettingKind::Word(words) if words.iter().all(|word| ["on", "off"].contains(word)) => {
            ("bool", None, None)
        }
        SettingKind::Word(words) => ("enum", None, Some(words)),
        SettingKind::Fixed => (kind_of(setting.default), None, None),
        _ => ("string", None, None),
    };
    let bound = |value: Option<u64>| value.map_or(Null, |value| Owned(value.to_string()));
    let is_default = value == setting.default;
    to.rows.push([
        ("name", Text(name)),
        ("setting", Owned(value)),
        ("category", Text("Tarn")),
        ("short_desc", Text(setting.description)),
        ("context", Text(if fixed { "internal" } else { "user" })),
        ("vartype", Text(kind)),
        (
            "source",
            Text(if is_default { "default" } else { "session" }),
        ),
        ("min_val", bound(bounds.map(|(min, _)| min))),
        ("max_val", bound(bounds.map(|(_, max)| max))),
        (
            "enumvals",
            words.map_or(Null, |words| {
                Texts(words.iter().map(|w| (*w).to_owned()).collect())
            }),
        ),
        ("boot_val", Text(setting.default)),
        ("reset_val", Text(setting.default)),
        ("pending_restart", Bool(false)),
    ])
}

/// The oid of a catalog, if it is visible.
pub(super) fn database_oid(context: &CatalogContext, name: &str) -> Val<'static> {
    let found = context.catalogs.iter().find(|(_, catalog)| catalog == name);
    found.map_or(Null, |(oid, _)| Oid(*oid))
}

pub(super) fn pg_stat_database(to: &mut Filling<'_>) -> Result<()> {
    for (oid, name) in &to.context.catalogs {
        to.rows
            .push([("datid", Oid(*oid)), ("datname", Text(name))])?;
    }
    Ok(())
}

/// Time zones that people pick from lists; every other IANA name is taken, too.
const ZONES: &[&str] = &[
    "Africa/Cairo",
    "Africa/Johannesburg",
    "Africa/Lagos",
    "Africa/Nairobi",
    "America/Anchorage",
    "America/Argentina/Buenos_Aires",
    "America/Bogota",
    "America/Chicago",
    "America/Denver",
    "America/Halifax",
    "America/Lima",
    "America/Los_Angeles",
    "America/Mexico_City",
    "America/New_York",
    "America/Phoenix",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/St_Johns",
    "America/Toronto",
    "America/Vancouver",
    "Asia/Bangkok",
    "Asia/Dhaka",
    "Asia/Dubai",
    "Asia/Ho_Chi_Minh",
    "Asia/Hong_Kong",
    "Asia/Istanbul",
    "Asia/Jakarta",
    "Asia/Jerusalem",
    "Asia/Karachi",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Asia/Kuala_Lumpur",
    "Asia/Manila",
    "Asia/Riyadh",
    "Asia/Seoul",
    "Asia/Shanghai",
    "Asia/Singapore",
    "Asia/Taipei",
    "Asia/Tashkent",
    "Asia/Tehran",
    "Asia/Tokyo",
    "Atlantic/Reykjavik",
    "Australia/Adelaide",
    "Australia/Brisbane",
    "Australia/Darwin",
    "Australia/Melbourne",
    "Australia/Perth",
    "Australia/Sydney",
    "Europe/Amsterdam",
    "Europe/Athens",
    "Europe/Berlin",
    "Europe/Brussels",
    "Europe/Bucharest",
    "Europe/Budapest",
    "Europe/Copenhagen",
    "Europe/Dublin",
    "Europe/Helsinki",
    "Europe/Istanbul",
    "Europe/Kyiv",
    "Europe/Lisbon",
    "Europe/London",
    "Europe/Madrid",
    "Europe/Moscow",
    "Europe/Oslo",
    "Europe/Paris",
    "Europe/Prague",
    "Europe/Rome",
    "Europe/Stockholm",
    "Europe/Vienna",
    "Europe/Warsaw",
    "Europe/Zurich",
    "GMT",
    "Pacific/Auckland",
    "Pacific/Honolulu",
    "UTC",
];

pub(super) fn pg_timezone_names(to: &mut Filling<'_>) -> Result<()> {
    let now = Utc::now().naive_utc();
    for name in ZONES {
        let Ok(zone) = Tz::from_str(name) else {
            continue;
        };
        let offset = zone.offset_from_utc_datetime(&now);
        let seconds = i64::from(offset.fix().local_minus_utc());
        // The clock is ahead of one half of the year before or after.
        let half = zone.offset_from_utc_datetime(&(now + chrono::Days::new(182)));
        let is_dst = seconds > i64::from(half.fix().local_minus_utc());
        to.rows.push([
            ("name", Text(name)),
            ("abbrev", Owned(offset.to_string())),
            ("utc_offset", Val::Span(seconds)),
            ("is_dst", Bool(is_dst)),
        ])?;
    }
    Ok(())
}

/// The only abbreviation that means one zone everywhere.
pub(super) fn pg_timezone_abbrevs(to: &mut Filling<'_>) -> Result<()> {
    to.rows.push([
        ("abbrev", Text("UTC")),
        ("utc_offset", Val::Span(0)),
        ("is_dst", Bool(false)),
    ])
}
