//! Cuts SQL text into statements at the semicolons that end them.
//!
//! Knows strings, quoted names, dollar quotes and comments as `PostgreSQL`
//! writes them, and nothing else of the language. Text may come in pieces, cut
//! at line ends.

/// One statement of a longer text, without its semicolon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The statement's text, trimmed.
    pub sql: String,
    /// Line of its first character, from 1.
    pub line: usize,
    /// Characters of the whole text before its first one.
    pub offset: usize,
}

/// The statements of a text; empty ones are left out.
pub fn split(text: &str) -> Vec<Piece> {
    let mut splitter = Splitter::new();
    let mut pieces = splitter.push(text);
    pieces.extend(splitter.finish());
    pieces
}

/// Where in the language the scan stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Plain,
    /// In `'…'`; in `E'…'` a backslash escapes.
    String {
        backslash: bool,
    },
    /// In `"…"`.
    Name,
    /// After `--`.
    LineComment,
    /// In `/* … */`, which nests.
    BlockComment {
        depth: usize,
    },
    /// In `$tag$ … $tag$`; holds the whole delimiter.
    Dollar {
        delimiter: String,
    },
}

/// Collects text and gives back whole statements.
#[derive(Debug)]
pub struct Splitter {
    buffer: String,
    state: State,
    /// The buffer has something besides spaces and comments.
    has_content: bool,
    line: usize,
    start_line: usize,
    /// Characters seen so far, and before the buffer's first one.
    characters: usize,
    start: usize,
}

impl Default for Splitter {
    fn default() -> Self {
        Self::new()
    }
}

impl Splitter {
    /// At the beginning of a text.
    pub fn new() -> Self {
        Self {
            buffer: String::new(),
            state: State::Plain,
            has_content: false,
            line: 1,
            start_line: 1,
            characters: 0,
            start: 0,
        }
    }

    /// Takes the next piece and returns the statements that it completes.
    /// A piece ends at a line end, or the text does.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        let mut statements = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if self.state == State::Plain && first == ';' {
                self.characters += 1;
                statements.extend(self.cut());
                rest = &rest[1..];
                continue;
            }
            let length = self.step(rest, first);
            let (token, after) = rest.split_at(length);
            self.characters += token.chars().count();
            if self.buffer.is_empty() && first.is_whitespace() {
                self.start_line = self.line + token.matches('\n').count();
                self.start = self.characters;
            } else {
                self.buffer.push_str(token);
            }
            self.line += token.matches('\n').count();
            rest = after;
        }
        statements
    }

    /// The statement that the text ends with, when no semicolon closes it.
    pub fn finish(&mut self) -> Option<Piece> {
        self.state = State::Plain;
        self.cut()
    }

    /// Whether a statement, string or comment has begun and not ended.
    pub fn is_pending(&self) -> bool {
        self.has_content || !matches!(self.state, State::Plain | State::LineComment)
    }

    fn cut(&mut self) -> Option<Piece> {
        let text = std::mem::take(&mut self.buffer);
        let statement = Piece {
            sql: text.trim_end().to_owned(),
            line: self.start_line,
            offset: self.start,
        };
        self.start_line = self.line;
        self.start = self.characters;
        std::mem::take(&mut self.has_content).then_some(statement)
    }

    /// Consumes one token of `rest`, changes the state, returns its length.
    fn step(&mut self, rest: &str, first: char) -> usize {
        match &mut self.state {
            State::Plain => return self.step_plain(rest, first),
            State::String { backslash: true } if first == '\\' => {
                return 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
            }
            State::String { .. } if first == '\'' => {
                if rest.starts_with("''") {
                    return 2;
                }
                self.state = State::Plain;
            }
            State::Name if first == '"' => {
                if rest.starts_with("\"\"") {
                    return 2;
                }
                self.state = State::Plain;
            }
            State::LineComment if first == '\n' => self.state = State::Plain,
            State::BlockComment { depth } if rest.starts_with("/*") => {
                *depth += 1;
                return 2;
            }
            State::BlockComment { depth } if rest.starts_with("*/") => {
                *depth -= 1;
                if *depth == 0 {
                    self.state = State::Plain;
                }
                return 2;
            }
            State::Dollar { delimiter } if rest.starts_with(delimiter.as_str()) => {
                let length = delimiter.len();
                self.state = State::Plain;
                return length;
            }
            State::String { .. }
            | State::Name
            | State::LineComment
            | State::BlockComment { .. }
            | State::Dollar { .. } => {}
        }
        first.len_utf8()
    }

    fn step_plain(&mut self, rest: &str, first: char) -> usize {
        if rest.starts_with("--") {
            self.state = State::LineComment;
            return 2;
        }
        if rest.starts_with("/*") {
            self.state = State::BlockComment { depth: 1 };
            return 2;
        }
        if !first.is_whitespace() {
            self.has_content = true;
        }
        match first {
            '\'' => {
                self.state = State::String {
                    backslash: self.after_e(),
                }
            }
            '"' => self.state = State::Name,
            '$' if !self.buffer.ends_with(is_name_char) => {
                if let Some(delimiter) = dollar_delimiter(rest) {
                    let length = delimiter.len();
                    self.state = State::Dollar {
                        delimiter: delimiter.to_owned(),
                    };
                    return length;
                }
            }
            _ => {}
        }
        first.len_utf8()
    }

    /// Whether the buffer ends in the `E` of an escape string.
    fn after_e(&self) -> bool {
        let mut before = self.buffer.chars().rev();
        matches!(before.next(), Some('e' | 'E')) && !before.next().is_some_and(is_name_char)
    }
}

fn is_name_char(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || character == '$'
}

/// `$tag$` at the start of the text.
fn dollar_delimiter(text: &str) -> Option<&str> {
    let end = text[1..].find('$')? + 1;
    let tag = &text[1..end];
    let valid = !tag.starts_with(|first: char| first.is_ascii_digit())
        && tag
            .chars()
            .all(|character| character != '$' && is_name_char(character));
    valid.then(|| &text[..=end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_split(text: &str, expected: &[(usize, &str)]) {
        let mut splitter = Splitter::new();
        let mut whole = splitter.push(text);
        whole.extend(splitter.finish());
        let mut splitter = Splitter::new();
        let mut by_line: Vec<_> = text
            .split_inclusive('\n')
            .flat_map(|line| splitter.push(line))
            .collect();
        by_line.extend(splitter.finish());
        assert_eq!(whole, by_line, "lines and the whole text must split alike");
        let got: Vec<_> = whole.iter().map(|s| (s.line, s.sql.as_str())).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn semicolons_end_statements_and_lines_are_counted() {
        check_split(
            "SELECT 1; SELECT 2;\n\n  SELECT\n 3",
            &[(1, "SELECT 1"), (1, "SELECT 2"), (3, "SELECT\n 3")],
        );
    }

    #[test]
    fn a_piece_knows_how_many_characters_stand_before_it() {
        let text = "SELECT 'ä';\n;  SELECT 2; x";
        for piece in split(text) {
            let rest: String = text.chars().skip(piece.offset).collect();
            assert!(rest.starts_with(&piece.sql), "{piece:?}");
        }
    }

    #[test]
    fn empty_statements_vanish() {
        check_split(" ;;\n; -- nothing ; here\n /* nor ; here */ ;", &[]);
    }

    #[test]
    fn quotes_hide_semicolons() {
        check_split(
            "SELECT 'a;''b;', \"c;\"\"d\"; x",
            &[(1, "SELECT 'a;''b;', \"c;\"\"d\""), (1, "x")],
        );
    }

    #[test]
    fn backslash_escapes_only_in_escape_strings() {
        check_split(
            r"SELECT E'\';', 1; x",
            &[(1, r"SELECT E'\';', 1"), (1, "x")],
        );
        check_split(r"SELECT '\'; x", &[(1, r"SELECT '\'"), (1, "x")]);
        check_split(r"SELECT like'\'; x", &[(1, r"SELECT like'\'"), (1, "x")]);
    }

    #[test]
    fn dollar_quotes_hide_everything_to_their_own_end() {
        check_split(
            "DO $f$ a; $$ ; ' $f$; x",
            &[(1, "DO $f$ a; $$ ; ' $f$"), (1, "x")],
        );
        check_split(
            "SELECT $$;$$; SELECT $1; y",
            &[(1, "SELECT $$;$$"), (1, "SELECT $1"), (1, "y")],
        );
        check_split("SELECT a$b$; c", &[(1, "SELECT a$b$"), (1, "c")]);
    }

    #[test]
    fn comments_hide_semicolons_and_nest() {
        check_split(
            "SELECT 1 -- a;\n, 2; x",
            &[(1, "SELECT 1 -- a;\n, 2"), (2, "x")],
        );
        check_split(
            "/* a /* b; */ c; */ SELECT 1;",
            &[(1, "/* a /* b; */ c; */ SELECT 1")],
        );
        check_split("-- head\nSELECT 'it''s'", &[(1, "-- head\nSELECT 'it''s'")]);
    }

    #[test]
    fn pending_means_something_waits_for_its_end() {
        for (text, pending) in [
            ("", false),
            ("SELECT 1;", false),
            ("SELECT 1; -- done", false),
            ("SELECT", true),
            ("SELECT ';", true),
            ("/* ;", true),
        ] {
            let mut splitter = Splitter::new();
            splitter.push(text);
            assert_eq!(splitter.is_pending(), pending, "{text:?}");
        }
    }

    #[test]
    fn an_unclosed_quote_is_still_handed_over() {
        check_split("SELECT 'a;\nb", &[(1, "SELECT 'a;\nb")]);
    }
}
