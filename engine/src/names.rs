//! Names as people type them: which existing one did they mean?

/// The candidate nearest to `wanted`, if it is near enough to be a slip of the finger.
///
/// Distance is Damerau-Levenshtein over lower-cased names; at most a third of the
/// longer name may differ (and at least one edit is allowed).
pub(crate) fn nearest<'a>(
    wanted: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let wanted = wanted.to_lowercase();
    candidates
        .into_iter()
        .map(|name| {
            let distance = strsim::damerau_levenshtein(&wanted, &name.to_lowercase());
            (distance, name)
        })
        .filter(|(distance, name)| *distance <= (wanted.len().max(name.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Finds `wanted` exactly, else case-insensitively if only one candidate fits.
pub(crate) fn find<'a>(wanted: &str, candidates: &'a [String]) -> Option<&'a str> {
    if let Some(exact) = candidates.iter().find(|c| *c == wanted) {
        return Some(exact);
    }
    let mut folded = candidates
        .iter()
        .filter(|c| c.to_lowercase() == wanted.to_lowercase());
    match (folded.next(), folded.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

/// At most `count_max` names, joined for a message; says how many more there are.
pub(crate) fn listing(names: &[String], count_max: usize) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let shown = names
        .iter()
        .take(count_max)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(count_max) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_found_and_a_stranger_is_not() {
        let names = ["lineitem", "orders"];
        assert_eq!(nearest("linetem", names), Some("lineitem"));
        assert_eq!(nearest("customer", names), None);
    }

    #[test]
    fn exact_case_wins_and_ambiguity_finds_nothing() {
        let names = vec!["T".to_owned(), "t".to_owned(), "Orders".to_owned()];
        assert_eq!(find("t", &names), Some("t"));
        assert_eq!(find("orders", &names), Some("Orders"));
        let names = vec!["T1".to_owned(), "t1".to_owned()];
        assert_eq!(find("T1", &names), Some("T1"));
        assert_eq!(find("tt", &names), None);
    }
}
