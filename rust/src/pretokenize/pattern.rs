//! The named split patterns and their regex texts.

/// A split pattern that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// GPT-2 and r50k_base/p50k_base.
    Gpt2,
    /// GPT-4's cl100k_base.
    Cl100k,
    /// GPT-4o's o200k_base.
    O200k,
    /// nanochat's: GPT-4's with numbers of one or two digits.
    Nanochat,
}

impl Named {
    /// All named patterns.
    pub const ALL: [Named; 4] = [Named::Gpt2, Named::Cl100k, Named::O200k, Named::Nanochat];

    /// The name a user writes.
    pub fn name(self) -> &'static str {
        match self {
            Named::Gpt2 => "gpt2",
            Named::Cl100k => "cl100k",
            Named::O200k => "o200k",
            Named::Nanochat => "nanochat",
        }
    }

    /// The regex it stands for, in fancy-regex syntax (as tiktoken's `pat_str`).
    pub fn regex(self) -> &'static str {
        match self {
            Named::Gpt2 => {
                r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
            }
            Named::Cl100k => {
                r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
            }
            Named::O200k => concat!(
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
                r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
                r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            ),
            Named::Nanochat => {
                r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
            }
        }
    }

    /// Other regex texts that split every text just as this pattern does.
    ///
    /// The first text of `cl100k_base`, still in use elsewhere, is not one of them: without
    /// `\s++$` it cuts `"\n "` at the end of a text in two.
    fn aliases(self) -> &'static [&'static str] {
        match self {
            Named::Gpt2 => &[
                // tiktoken's, since it uses possessive quantifiers.
                r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
                // As released with GPT-2.
                r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
            ],
            Named::Cl100k | Named::O200k | Named::Nanochat => &[],
        }
    }

    /// The named pattern that splits as `text` does: by its name, its regex, or a regex known to be
    /// equivalent.
    pub fn find(text: &str) -> Option<Named> {
        Named::ALL
            .into_iter()
            .find(|n| n.name() == text || n.regex() == text || n.aliases().contains(&text))
    }
}

/// The regex text for a name or a regex: names are resolved, anything else is itself.
pub fn pat_str(name_or_regex: &str) -> &str {
    match Named::ALL.into_iter().find(|n| n.name() == name_or_regex) {
        Some(named) => named.regex(),
        None => name_or_regex,
    }
}
