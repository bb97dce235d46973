//! Bytes -> patterns of any construction, and texts of characters that such patterns tell apart.

/// What matches one character, or a few that belong together.
const ATOMS: [&str; 40] = [
    "a",
    "b",
    "s",
    "ab",
    " ",
    ".",
    r"\n",
    r"\.",
    "'",
    "ſ",
    "中",
    "\u{301}",
    r"\s",
    r"\S",
    r"\w",
    r"\W",
    r"\d",
    r"\D",
    r"\p{L}",
    r"\P{L}",
    r"\p{N}",
    r"\p{Lu}",
    r"\p{Ll}",
    r"\p{M}",
    r"\p{Han}",
    r"\p{Greek}",
    "[a-c]",
    "[^a-c]",
    r"[^\s\p{L}\p{N}]",
    r"[^\r\n\p{L}\p{N}]",
    r"[\r\n]",
    r"[\p{L}&&[^a]]",
    r"[\p{L}--[a-z]]",
    r"[[:alpha:]]",
    r"[^\S\n]",
    r"\h",
    r"\R",
    r"\x{1F469}",
    "(?s:.)",
    "(?i:k)",
];

const REPEATS: [&str; 20] = [
    "*", "+", "?", "{2}", "{1,3}", "{2,}", "{0,2}", "{0}", "*?", "+?", "??", "{1,2}?", "{2,}?",
    "*+", "++", "?+", "{1,2}+", "{2}+", "{3,1}", "{,2}",
];

/// What takes no character. `X` is for an atom.
const ASSERTIONS: [&str; 14] = [
    "(?=X)", "(?!X)", "(?!X|$)", "(?=X|$)", "(?<=X)", "(?<!X)", "$", "^", r"\z", r"\A", r"\Z",
    r"\b", r"\B", r"\K",
];

/// Bytes one at a time; zeros when there are no more.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn below(&mut self, n: usize) -> usize {
        let Some((&first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        usize::from(first) % n
    }

    fn one_of(&mut self, texts: &[&'static str]) -> &'static str {
        texts[self.below(texts.len())]
    }
}

/// A pattern from the first of some bytes, and the rest. Now and then (`how`) the bytes are the
/// pattern's text; mostly they choose what it is put together from.
pub fn any_pattern(how: u8, data: &[u8]) -> (String, &[u8]) {
    let (chosen, rest) = data.split_at(usize::from(how % 32).min(data.len()));
    if how >> 5 == 7 {
        return (String::from_utf8_lossy(chosen).into_owned(), rest);
    }
    let mut bytes = Bytes(chosen);
    let mut pattern = String::new();
    while !bytes.0.is_empty() {
        if !pattern.is_empty() {
            pattern.push('|');
        }
        put(&mut bytes, 4, &mut pattern);
    }
    (pattern, rest)
}

/// Adds a part of a pattern.
fn put(bytes: &mut Bytes, depth: usize, pattern: &mut String) {
    let kind = if depth == 0 { 0 } else { bytes.below(16) };
    match kind {
        0..6 => *pattern += bytes.one_of(&ATOMS),
        6 => {
            let assertion = bytes.one_of(&ASSERTIONS);
            *pattern += &assertion.replace('X', bytes.one_of(&ATOMS));
        }
        7..10 => (0..2 + bytes.below(2)).for_each(|_| put(bytes, depth - 1, pattern)),
        10..14 => {
            let (open, close) = [
                ("(?:", ")"),
                ("", ""),
                ("(?i:", ")"),
                ("(?>", ")"),
                ("(", ")"),
            ][bytes.below(5)];
            *pattern += open;
            put(bytes, depth - 1, pattern);
            *pattern += close;
            *pattern += bytes.one_of(&REPEATS);
        }
        _ => {
            *pattern += "(?:";
            for i in 0..2 + bytes.below(2) {
                if i > 0 {
                    pattern.push('|');
                }
                put(bytes, depth - 1, pattern);
            }
            pattern.push(')');
        }
    }
}

/// A text in which each byte stands for a character.
pub fn any_text(data: &[u8]) -> String {
    const CHARS: [char; 48] = [
        'a',
        'b',
        'c',
        's',
        'S',
        'k',
        'K',
        'x',
        'Z',
        ' ',
        ' ',
        '\n',
        '\r',
        '\t',
        '\'',
        '.',
        '!',
        '/',
        '_',
        '-',
        '<',
        '0',
        '1',
        '9',
        '½',
        '²',
        'é',
        'ß',
        'ẞ',
        'ſ',
        '\u{212a}',
        'İ',
        'ı',
        'σ',
        'ς',
        'ǅ',
        '\u{301}',
        '中',
        '한',
        'ह',
        '्',
        '\u{200d}',
        '\u{a0}',
        '\u{3000}',
        '\u{85}',
        '👩',
        '\u{10ffff}',
        '\u{0}',
    ];
    data.iter()
        .map(|&byte| CHARS[usize::from(byte) % CHARS.len()])
        .collect()
}
