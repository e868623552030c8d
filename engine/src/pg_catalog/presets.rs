//! Facts about the server that PostgreSQL shows among its settings and that nobody can set here.

/// The PostgreSQL that Tarn says it is like, to clients that decide by version.
pub(crate) const SERVER_VERSION: &str = "15.0";

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

/// Every fact that is not among the settings, by name.
pub(crate) const PRESETS: &[Preset] = &[
    preset("block_size", "8192", "Bytes in which relpages counts."),
    preset(
        "default_table_access_method",
        "iceberg",
        "How tables are stored.",
    ),
    preset("max_function_args", "100", "Most arguments of a function."),
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
pub(crate) fn preset_value(name: &str) -> Option<&'static str> {
    PRESETS
        .iter()
        .find(|preset| preset.name.eq_ignore_ascii_case(name))
        .map(|preset| preset.value)
}
