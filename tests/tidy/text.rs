//! A source file as text: what of it is code, and what comment.

/// A source file: its path below `src/`, its lines, and what of each line is code and what comment.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) lines: Vec<Line>,
}

#[derive(Default)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// Without comments, and with strings emptied.
    pub(crate) code: String,
    pub(crate) comment: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let mut state = State::Code;
        let lines = text.lines().map(|line| split(line, &mut state)).collect();
        Self { path: path.into(), lines }
    }

    /// The names of the module that the file is: `pool/guard.rs` is `[pool, guard]`.
    pub(crate) fn module(&self) -> Vec<&str> {
        let stem = self.path.trim_end_matches(".rs");
        stem.split('/').filter(|name| !["lib", "mod"].contains(name)).collect()
    }

    /// All of the code, line by line.
    pub(crate) fn code(&self) -> String {
        self.lines.iter().fold(String::new(), |all, line| all + &line.code + "\n")
    }

    pub(crate) fn is_in(&self, room: &str) -> bool {
        self.module().first() == Some(&room)
    }

    pub(crate) fn complaint(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("src/{}:{}: {what}", self.path, line + 1)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Code,
    Text,
    /// In a string that ends with a quote and so many hashes.
    RawText(usize),
    Comment(usize),
}

fn split(text: &str, state: &mut State) -> Line {
    let chars: Vec<char> = text.chars().collect();
    let mut line = Line { text: text.into(), ..Line::default() };
    let mut at = 0;
    let is = |at: usize, what: &str| {
        what.chars().enumerate().all(|(n, c)| chars.get(at + n) == Some(&c))
    };
    while at < chars.len() {
        match *state {
            State::Code if is(at, "//") => {
                line.comment.extend(&chars[at..]);
                break;
            }
            State::Code if is(at, "/*") => {
                *state = State::Comment(1);
                at += 1;
            }
            State::Code if chars[at] == '"' => {
                let hashes = chars[..at].iter().rev().take_while(|c| **c == '#').count();
                let is_raw = at > hashes && chars[at - hashes - 1] == 'r';
                *state = if is_raw { State::RawText(hashes) } else { State::Text };
                line.code.push('"');
            }
            // A character, as opposed to a lifetime.
            State::Code if chars[at] == '\'' && (is(at + 1, "\\") || is(at + 2, "'")) => {
                let first = if is(at + 1, "\\") { at + 3 } else { at + 2 };
                let end = (first..chars.len()).find(|end| chars[*end] == '\'');
                line.code.push_str("' '");
                at = end.unwrap_or(at);
            }
            State::Code => line.code.push(chars[at]),
            State::Text if chars[at] == '\\' => at += 1,
            State::Text if chars[at] == '"' => {
                line.code.push('"');
                *state = State::Code;
            }
            State::RawText(hashes) if is(at, &format!("\"{}", "#".repeat(hashes))) => {
                line.code.push('"');
                at += hashes;
                *state = State::Code;
            }
            State::Text | State::RawText(_) => {}
            State::Comment(depth) if is(at, "*/") => {
                *state = if depth == 1 { State::Code } else { State::Comment(depth - 1) };
                at += 1;
            }
            State::Comment(depth) if is(at, "/*") => {
                *state = State::Comment(depth + 1);
                at += 1;
            }
            State::Comment(_) => line.comment.push(chars[at]),
        }
        at += 1;
    }
    line
}

#[test]
fn comments_strings_and_characters_are_told_from_code() {
    let text =
        "a \"b // c\" 'd' '\"' '\\'' &'e f // g \"h\"\ni /* j\nk */ l \"m\nn\" r#\"o\"p\"# q";
    let source = Source::new("x.rs", text);
    let code: Vec<_> = source.lines.iter().map(|line| line.code.as_str()).collect();
    assert_eq!(code, ["a \"\" ' ' ' ' ' ' &'e f ", "i ", " l \"", "\" r#\"\" q"]);
    assert_eq!(source.lines[0].comment, "// g \"h\"");
    assert!(source.is_in("x"));
}
