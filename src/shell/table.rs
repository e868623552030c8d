//! Lays out rows as a table that fits a width, or as one value a line.
//!
//! Pure text: takes cells as strings, writes lines. Knows neither Arrow
//! nor terminals.

use std::borrow::Cow;
use std::io::{self, Write};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Narrowest column that still says something, in terminal cells.
const COLUMN_WIDTH_MIN: usize = 8;

const NULL: &str = "NULL";
const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";

/// A column's heading, and whether its values are numbers (set to the right).
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) numeric: bool,
}

/// A row; `None` is NULL.
pub(crate) type Row = Vec<Option<String>>;

/// How to draw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// Terminal cells of a line; `None` lets lines grow as long as they get.
    pub(crate) width: Option<usize>,
    /// Bold headings and dim NULLs.
    pub(crate) color: bool,
}

/// A table whose column widths are decided.
#[derive(Debug)]
pub(crate) struct Layout {
    columns: Vec<Column>,
    widths: Vec<usize>,
    /// Whether longer values are cut, rather than break the frame.
    truncate: bool,
    color: bool,
}

impl Layout {
    /// Decides the widths from the first rows. `None` when the columns cannot
    /// fit side by side and [`write_expanded`] should be used.
    pub(crate) fn fit(columns: &[Column], rows: &[Row], style: Style) -> Option<Self> {
        let mut widths: Vec<usize> = columns
            .iter()
            .map(|column| clean(&column.name).width())
            .collect();
        for row in rows {
            for (width, value) in widths.iter_mut().zip(row) {
                *width = (*width).max(value_width(value.as_deref()));
            }
        }
        if let Some(line_width) = style.width {
            let available = line_width.checked_sub(3 * columns.len() + 1)?;
            shrink(columns, &mut widths, available)?;
        }
        Some(Self {
            columns: columns.to_vec(),
            widths,
            truncate: style.width.is_some(),
            color: style.color,
        })
    }

    /// The upper frame and the headings.
    pub(crate) fn write_head(&self, out: &mut dyn Write) -> io::Result<()> {
        self.write_rule(out, ["┌", "┬", "┐"])?;
        write!(out, "│")?;
        for (column, width) in self.columns.iter().zip(&self.widths) {
            let name = clean(&column.name);
            self.write_value(out, &name, *width, column.numeric, BOLD)?;
        }
        writeln!(out)?;
        self.write_rule(out, ["├", "┼", "┤"])
    }

    /// One row, as many lines as its tallest value has.
    pub(crate) fn write_row(&self, out: &mut dyn Write, row: &Row) -> io::Result<()> {
        let values: Vec<Cow<'_, str>> = row
            .iter()
            .map(|value| clean(value.as_deref().unwrap_or(NULL)))
            .collect();
        let height = values
            .iter()
            .map(|value| value.lines().count().max(1))
            .max()
            .unwrap_or(1);
        for line in 0..height {
            write!(out, "│")?;
            for (index, column) in self.columns.iter().enumerate() {
                let text = values[index].lines().nth(line).unwrap_or_default();
                let code = if row[index].is_none() { DIM } else { "" };
                self.write_value(out, text, self.widths[index], column.numeric, code)?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    /// The lower frame.
    pub(crate) fn write_end(&self, out: &mut dyn Write) -> io::Result<()> {
        self.write_rule(out, ["└", "┴", "┘"])
    }

    fn write_rule(&self, out: &mut dyn Write, [left, middle, right]: [&str; 3]) -> io::Result<()> {
        let lines: Vec<String> = self
            .widths
            .iter()
            .map(|width| "─".repeat(width + 2))
            .collect();
        writeln!(out, "{left}{}{right}", lines.join(middle))
    }

    fn write_value(
        &self,
        out: &mut dyn Write,
        text: &str,
        width: usize,
        right: bool,
        code: &str,
    ) -> io::Result<()> {
        let text = if self.truncate {
            truncate(text, width)
        } else {
            Cow::Borrowed(text)
        };
        let padding = " ".repeat(width.saturating_sub(text.width()));
        let (before, after) = if right {
            (padding.as_str(), "")
        } else {
            ("", padding.as_str())
        };
        if self.color && !code.is_empty() {
            write!(out, " {before}{code}{text}{RESET}{after} │")
        } else {
            write!(out, " {before}{text}{after} │")
        }
    }
}

/// One row as a block of `name │ value` lines under a heading. `number` is
/// from 1.
pub(crate) fn write_expanded(
    out: &mut dyn Write,
    columns: &[Column],
    row: &Row,
    number: u64,
    style: Style,
) -> io::Result<()> {
    let names: Vec<Cow<'_, str>> = columns.iter().map(|column| clean(&column.name)).collect();
    let width = names.iter().map(|name| name.width()).max().unwrap_or(0);
    writeln!(
        out,
        "──[ row {number} ]{}",
        "─".repeat(width.saturating_sub(4).max(4))
    )?;
    for (name, value) in names.iter().zip(row) {
        let text = clean(value.as_deref().unwrap_or(NULL));
        let mut heading = name.as_ref();
        for line in text.split('\n') {
            let padding = " ".repeat(width.saturating_sub(heading.width()));
            if style.color && value.is_none() {
                writeln!(out, "{heading}{padding} │ {DIM}{line}{RESET}")?;
            } else {
                writeln!(out, "{heading}{padding} │ {line}")?;
            }
            heading = "";
        }
    }
    Ok(())
}

/// Narrows the widest columns, texts before numbers, until all fit.
fn shrink(columns: &[Column], widths: &mut [usize], available: usize) -> Option<()> {
    for numbers_too in [false, true] {
        let narrowed = |cap: usize| -> Vec<usize> {
            let narrow = |(width, column): (&usize, &Column)| {
                if column.numeric && !numbers_too {
                    *width
                } else {
                    (*width).min(cap)
                }
            };
            widths.iter().zip(columns).map(narrow).collect()
        };
        let widest = widths.iter().copied().max().unwrap_or(0).min(available);
        let caps = (COLUMN_WIDTH_MIN.min(widest)..=widest).rev();
        let fitting = caps
            .map(narrowed)
            .find(|narrow| narrow.iter().sum::<usize>() <= available);
        if let Some(mut fitting) = fitting {
            let mut left = available - fitting.iter().sum::<usize>();
            for (width, wanted) in fitting.iter_mut().zip(widths.iter()) {
                if left > 0 && *width < *wanted {
                    *width += 1;
                    left -= 1;
                }
            }
            widths.copy_from_slice(&fitting);
            return Some(());
        }
    }
    None
}

fn value_width(value: Option<&str>) -> usize {
    clean(value.unwrap_or(NULL))
        .lines()
        .map(UnicodeWidthStr::width)
        .max()
        .unwrap_or(0)
}

/// The text without characters that move the cursor or command the terminal;
/// line ends stay.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(|character: char| character != '\n' && character.is_control()) {
        return Cow::Borrowed(text);
    }
    let mut cleaned = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\t' => cleaned.push_str("    "),
            '\n' => cleaned.push('\n'),
            control if control.is_control() => cleaned.extend(control.escape_default()),
            other => cleaned.push(other),
        }
    }
    Cow::Owned(cleaned)
}

/// Cuts a line to a width, with `…` in place of what is left out.
pub(crate) fn truncate(text: &str, width: usize) -> Cow<'_, str> {
    if text.width() <= width {
        return Cow::Borrowed(text);
    }
    let mut used = 1;
    let mut cut = String::new();
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used > width {
            break;
        }
        cut.push(character);
    }
    cut.push('…');
    Cow::Owned(cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style {
        width: None,
        color: false,
    };

    fn columns(names: &[(&str, bool)]) -> Vec<Column> {
        names
            .iter()
            .map(|(name, numeric)| Column {
                name: (*name).to_owned(),
                numeric: *numeric,
            })
            .collect()
    }

    fn rows(rows: &[&[Option<&str>]]) -> Vec<Row> {
        rows.iter()
            .map(|row| row.iter().map(|value| value.map(str::to_owned)).collect())
            .collect()
    }

    fn draw(columns: &[Column], rows: &[Row], style: Style) -> Option<String> {
        let layout = Layout::fit(columns, rows, style)?;
        let mut out = Vec::new();
        layout.write_head(&mut out).unwrap();
        for row in rows {
            layout.write_row(&mut out, row).unwrap();
        }
        layout.write_end(&mut out).unwrap();
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn numbers_stand_right_and_null_is_named() {
        let table = draw(
            &columns(&[("name", false), ("amount", true)]),
            &rows(&[&[Some("a"), Some("1.50")], &[None, Some("1000.00")]]),
            PLAIN,
        );
        assert_eq!(
            table.unwrap(),
            "\
┌──────┬─────────┐
│ name │  amount │
├──────┼─────────┤
│ a    │    1.50 │
│ NULL │ 1000.00 │
└──────┴─────────┘
"
        );
    }

    #[test]
    fn a_table_never_exceeds_its_width() {
        let columns = columns(&[
            ("id", true),
            ("short", false),
            ("long", false),
            ("longer", false),
        ]);
        let long = "x".repeat(60);
        let longer = "日本語".repeat(30);
        let rows = rows(&[&[Some("123456789012"), Some("ab"), Some(&long), Some(&longer)]]);
        for width in 48..200 {
            let table = draw(
                &columns,
                &rows,
                Style {
                    width: Some(width),
                    color: false,
                },
            )
            .unwrap();
            for line in table.lines() {
                assert!(
                    line.width() <= width,
                    "{} > {width}:\n{table}",
                    line.width()
                );
            }
            assert!(
                table.contains("123456789012"),
                "numbers are kept whole:\n{table}"
            );
        }
    }

    #[test]
    fn width_goes_to_those_who_need_it() {
        let columns = columns(&[("a", false), ("b", false)]);
        let rows = rows(&[&[Some("0123456789"), Some("0123456789012345678901234567890")]]);
        let table = draw(
            &columns,
            &rows,
            Style {
                width: Some(37),
                color: false,
            },
        )
        .unwrap();
        assert!(
            table.contains("│ 0123456789 │ 0123456789012345678… │"),
            "{table}"
        );
    }

    #[test]
    fn too_many_columns_do_not_fit() {
        let names: Vec<_> = (0..20).map(|_| ("a_column_name", false)).collect();
        assert!(
            Layout::fit(
                &columns(&names),
                &[],
                Style {
                    width: Some(80),
                    color: false
                }
            )
            .is_none()
        );
        assert!(Layout::fit(&columns(&names), &[], PLAIN).is_some());
    }

    #[test]
    fn values_of_many_lines_stay_in_their_column() {
        let table = draw(
            &columns(&[("n", true), ("plan", false)]),
            &rows(&[&[Some("1"), Some("Sort\n  Scan")]]),
            PLAIN,
        );
        assert!(table.unwrap().contains("│ 1 │ Sort   │\n│   │   Scan │\n"));
    }

    #[test]
    fn control_characters_cannot_reach_the_terminal() {
        let table = draw(
            &columns(&[("a", false)]),
            &rows(&[&[Some("x\x1b[31m\ty\r")]]),
            PLAIN,
        )
        .unwrap();
        assert!(!table.contains(['\x1b', '\r', '\t']), "{table}");
        assert!(table.contains(r"x\u{1b}[31m    y\r"), "{table}");
    }

    #[test]
    fn expanded_rows_put_one_value_on_a_line() {
        let mut out = Vec::new();
        let row = rows(&[&[Some("1"), None]]).remove(0);
        write_expanded(
            &mut out,
            &columns(&[("id", true), ("remark", false)]),
            &row,
            3,
            PLAIN,
        )
        .unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "──[ row 3 ]────\nid     │ 1\nremark │ NULL\n"
        );
    }

    #[test]
    fn truncation_counts_wide_characters() {
        assert_eq!(truncate("日本語", 6), "日本語");
        assert_eq!(truncate("日本語", 5), "日本…");
        assert_eq!(truncate("日本語", 4), "日…");
        assert_eq!(truncate("abc", 1), "…");
    }
}
