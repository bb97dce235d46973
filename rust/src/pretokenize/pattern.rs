//! The named split patterns: their names, their regex texts and what else is known of them.
//!
//! A new one takes three files: a variant with its [`Spec`] here, a scanner in a file of its own, and the
//! scanner's line in `Pretokenizer::split_alone`. Python reads this table, and the tests, the fuzz targets and
//! the help of the command line go through it. What is assumed of every named pattern is written where it
//! is used: in `cut.rs` (where documents may be cut) and in `streaming/open_pretoken.rs`.

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
    /// Llama 3's, GLM's and others': the first text of GPT-4's.
    Llama3,
    /// Qwen's: Llama 3's with numbers of one digit.
    Qwen2,
    /// StarCoder's, SmolLM's and others': GPT-2's where each number has been split off before.
    StarCoder,
    /// DeepSeek V3's: its three splits as one.
    DeepSeek,
}

/// What there is to say about a named pattern.
struct Spec {
    /// The name a user writes.
    name: &'static str,
    /// The regex it stands for, in fancy-regex syntax (as tiktoken's `pat_str`).
    regex: &'static str,
    /// Other regex texts that split every text just as this pattern does.
    aliases: &'static [&'static str],
    /// Whether words end where an uppercase letter follows a lowercase one.
    splits_case: bool,
}

impl Named {
    /// All named patterns.
    pub const ALL: [Named; 8] = [
        Named::Gpt2,
        Named::Cl100k,
        Named::O200k,
        Named::Nanochat,
        Named::Llama3,
        Named::Qwen2,
        Named::StarCoder,
        Named::DeepSeek,
    ];

    /// Those that are offered by name; the others are found by their regexes, as a tokenizer.json has them.
    pub const OFFERED: [Named; 4] = [Named::Gpt2, Named::Cl100k, Named::O200k, Named::Nanochat];

    fn spec(self) -> &'static Spec {
        match self {
            Named::Gpt2 => &Spec {
                name: "gpt2",
                regex: r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
                aliases: &[
                    // tiktoken's, since it uses possessive quantifiers.
                    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
                    // As released with GPT-2.
                    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
                ],
                splits_case: false,
            },
            Named::Cl100k => &Spec {
                name: "cl100k",
                regex: r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
                // The first text of `cl100k_base` (`Llama3` here) is not one of them: without
                // `\s++$` it cuts `"\n "` at the end of a text in two.
                aliases: &[],
                splits_case: false,
            },
            Named::O200k => &Spec {
                name: "o200k",
                regex: concat!(
                    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
                    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
                    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
                ),
                aliases: &[],
                splits_case: true,
            },
            Named::Nanochat => &Spec {
                name: "nanochat",
                regex: r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
                aliases: &[],
                splits_case: false,
            },
            Named::Llama3 => &Spec {
                name: "llama3",
                regex: r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
                aliases: &[],
                splits_case: false,
            },
            Named::Qwen2 => &Spec {
                name: "qwen2",
                regex: r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
                aliases: &[],
                splits_case: false,
            },
            Named::StarCoder => &Spec {
                name: "starcoder",
                // As bytemill writes the splits as one.
                regex: r"\p{N}|'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?![[\S]&&[\P{N}]])|\s+",
                aliases: &[],
                splits_case: false,
            },
            Named::DeepSeek => &Spec {
                name: "deepseek",
                // As bytemill writes the splits as one.
                regex: concat!(
                    r"\p{N}{1,3}",
                    r"|[[^\r\n\p{L}\p{P}\p{S}]&&[一-龥\x{3040}-ゟ゠-ヿ]]?[[\p{L}\p{M}]&&[一-龥\x{3040}-ゟ゠-ヿ]]+",
                    r"|[[\p{P}\p{S}]&&[一-龥\x{3040}-ゟ゠-ヿ]]+",
                    r"|(?:[[[^\r\n\p{L}\p{P}\p{S}]&&[^\p{L}\p{M}\p{P}\p{S}\r\n\s]]&&[一-龥\x{3040}-ゟ゠-ヿ]](?![[\p{L}\p{M}]&&[一-龥\x{3040}-ゟ゠-ヿ]]))+",
                    r##"|[!"#\$%\&'\(\)\*\+,\-\./:;<=>\?@\[\\\]\^_`\{\|\}\~][A-Za-z]+"##,
                    r"|[[[^\r\n\p{L}\p{P}\p{S}]&&[^一-龥\x{3040}-ゟ゠-ヿ]]&&[\P{N}]]?[[\p{L}\p{M}]&&[^一-龥\x{3040}-ゟ゠-ヿ]]+",
                    r"| ?[[\p{P}\p{S}]&&[^一-龥\x{3040}-ゟ゠-ヿ]]+[\r\n]*",
                    r"|\s*[\r\n]+",
                    r"|\s+(?![[[\S]&&[^一-龥\x{3040}-ゟ゠-ヿ]]&&[\P{N}]])",
                    r"|\s+",
                    r"|(?:[[[[^\r\n\p{L}\p{P}\p{S}]&&[^\p{L}\p{M}\p{P}\p{S}\r\n\s]]&&[^一-龥\x{3040}-ゟ゠-ヿ]]&&[\P{N}]](?![[\p{L}\p{M}]&&[^一-龥\x{3040}-ゟ゠-ヿ]]))+"
                ),
                aliases: &[],
                splits_case: false,
            },
        }
    }

    /// The name a user writes.
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// The regex it stands for, in fancy-regex syntax (as tiktoken's `pat_str`).
    pub fn regex(self) -> &'static str {
        self.spec().regex
    }

    /// Other regex texts that split every text just as this pattern does.
    pub fn aliases(self) -> &'static [&'static str] {
        self.spec().aliases
    }

    /// Whether words end where an uppercase letter follows a lowercase one.
    pub fn splits_case(self) -> bool {
        self.spec().splits_case
    }

    /// The named pattern that splits as `text` does: by its name, its regex, or a regex known to be
    /// equivalent.
    pub fn find(text: &str) -> Option<Named> {
        let is_it = |named: &Named| {
            let spec = named.spec();
            spec.name == text || spec.regex == text || spec.aliases.contains(&text)
        };
        Named::ALL.into_iter().find(is_it)
    }
}

/// The regex text for a name or a regex: names are resolved, anything else is itself.
pub fn pat_str(name_or_regex: &str) -> &str {
    match Named::ALL.into_iter().find(|n| n.name() == name_or_regex) {
        Some(named) => named.regex(),
        None => name_or_regex,
    }
}
