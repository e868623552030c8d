//! Facts about the server that PostgreSQL shows among its settings and that nobody can set here.

/// The PostgreSQL that Tarn says it is like, to clients that decide by version.
pub const SERVER_VERSION: &str = "15.0";

/// One fact: name, value, what it is.
pub(crate) struct Preset {
    pub(crate) name: &'static str,
    pub(crate) value: &'static str,
    pub(crate) description: &'static str,
}

const fn preset(name: &'static str, value: &'static str, description: &'static str) -> Preset {
    Preset {
        name,
        value,
        description,
    }
}

/// Every fact, by name.
pub(crate) const PRESETS: &[Preset] = &[
    preset("block_size", "8192", "Bytes in which relpages counts."),
    preset(
        "integer_datetimes",
        "on",
        "Whether dates and times are integers on the wire.",
    ),
    preset(
        "in_hot_standby",
        "off",
        "Whether this is a replica that only reads.",
    ),
    preset(
        "jit",
        "off",
        "Whether expressions are compiled to machine code.",
    ),
    preset("lc_collate", "C", "How text is ordered: by its bytes."),
    preset("lc_ctype", "C.UTF-8", "How characters are classified."),
    preset("max_function_args", "100", "Most arguments of a function."),
    preset("max_identifier_length", "255", "Most bytes of a name."),
    preset(
        "max_index_keys",
        "32",
        "Most columns of an index, if there were indexes.",
    ),
    preset("server_encoding", "UTF8", "How text is stored."),
    preset(
        "server_version",
        SERVER_VERSION,
        "The PostgreSQL that this server is like.",
    ),
    preset("server_version_num", "150000", "The same as a number."),
];

/// What `version()` says.
pub(crate) fn version() -> String {
    format!(
        "PostgreSQL {SERVER_VERSION} (Tarn {}) on {}-{}, {}-bit",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH,
        std::env::consts::OS,
        usize::BITS
    )
}

/// The value of a fact.
pub fn preset_value(name: &str) -> Option<&'static str> {
    PRESETS
        .iter()
        .find(|preset| preset.name.eq_ignore_ascii_case(name))
        .map(|preset| preset.value)
}
