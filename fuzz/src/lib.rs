//! What the fuzz targets share: how bytes become text, patterns and small vocabularies, and the slow
//! ways that results are compared with.

pub mod construct;

use bytemill::encode::Encoder;
use bytemill::naive;
use bytemill::pretokenize::RegexSplitter;
use bytemill::pretokenize::pattern::{Named, pat_str};
use bytemill::train::count::CountOptions;
use bytemill::train::{TrainOptions, train};
use bytemill::vocabulary::ranks::Ranks;
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

/// How many patterns have a name, and with that a scanner.
const NAMED: usize = Named::ALL.len();

/// Patterns of one's own: in the style of GPT's, and not.
pub const OWN: [&str; 4] = [
    r" ?[A-Za-z]+|[0-9]{2}|\s+|[^A-Za-z\s]",
    r"\p{L}+|\p{N}",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}{1,8}|\p{N}{1,2}| ?[^\s\p{L}\p{N}]{1,4}[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r" ?\p{Lu}?\p{Ll}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+|\p{L}",
];

/// Special tokens that overlap, begin with each other, and hold what a regex would read otherwise.
pub const SPECIAL: [&str; 6] = [
    "<|end|>",
    "<|end|><|end|>",
    "<|e",
    "[x] (.*)",
    "<s p>",
    "\u{20ac}",
];

/// Alternatives that patterns are put together from, in any order and number.
const PARTS: [&str; 26] = [
    r"'(?:[sdmt]|ll|ve|re)",
    r"'(?i:[sdmt]|ll|ve|re)",
    r" ?\p{L}+",
    r"\p{L}{1,3}",
    r"[^\r\n\p{L}\p{N}]?\p{L}+",
    r"[^\r\n\p{L}\p{N}]?+\p{L}++",
    r" ?\p{N}+",
    r"\p{N}{1,3}",
    r"\p{N}{2}",
    r" ?[^\s\p{L}\p{N}]+",
    r" ?[^\s\p{L}\p{N}]++[\r\n]*",
    r"[^\s\p{L}\p{N}]{1,2}",
    r"\s*[\r\n]+",
    r"\s*[\r\n]",
    r"\s+(?!\S)",
    r"\s+",
    r"\s++$",
    r"\s",
    r"[A-Za-z]+",
    r"\p{Lu}?\p{Ll}+",
    r"[\p{Lu}\p{Lt}]*[\p{Ll}\p{M}]+(?i:'s|'t)?",
    r"[0-9]",
    r"\w+",
    r"\S",
    r"\p{Han}+",
    r"[\r\n]+",
];

/// How many patterns there are small vocabularies of.
const SMALL: usize = NAMED + OWN.len();

/// The named patterns, then those of `OWN`.
fn small(i: usize) -> &'static str {
    match Named::ALL.get(i) {
        Some(named) => named.name(),
        None => OWN[i - NAMED],
    }
}

/// Some bytes as a pattern, and the rest. The first byte's lowest values mean a named pattern each,
/// the next one of `OWN`; another means so many alternatives, one a byte.
pub fn pattern(data: &[u8]) -> (Cow<'static, str>, &[u8]) {
    let Some((&first, rest)) = data.split_first() else {
        return ("gpt2".into(), data);
    };
    match usize::from(first) {
        i if i < SMALL => (small(i).into(), rest),
        i => {
            let (chosen, rest) = rest.split_at((i % 8).min(rest.len()));
            let parts = chosen.iter().map(|&b| PARTS[usize::from(b) % PARTS.len()]);
            let made = parts.collect::<Vec<_>>().join("|");
            let made = if made.is_empty() {
                r"\s".to_owned()
            } else {
                made
            };
            (made.into(), rest)
        }
    }
}

/// Any bytes as text; what is not UTF-8 becomes U+FFFD.
pub fn text(data: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(data)
}

/// A vocabulary of a few hundred tokens for a pattern, trained on text of several kinds.
pub struct Small {
    /// The encoder with all of `SPECIAL`.
    pub encoder: Arc<Encoder>,
    /// The same tokens and ids as pairs.
    pub special: Vec<(String, u32)>,
    /// All ids that stand for something.
    pub ids: HashSet<u32>,
    oracle: RegexSplitter,
}

/// The first id of a special token; there is a hole before it, and one behind it.
const FIRST_SPECIAL: u32 = 1000;

impl Small {
    /// Trains it. Always gives the same vocabulary for the same pattern.
    pub fn new(pattern: &str) -> Self {
        let texts = [
            "the low lower lowest newest widest river, then they're there; don't: I'LL we've 12345 42",
            "aaaa aaaaaaaa abababab ABBA  \n\n\t\t  == === !!! ... --- x += 1;\r\n /* */ <|end|> <| |>",
            "été größer Straße мельница вода река の水は川の 你好世界 한국어 ภาษาไทย हिन्दी العربية 👍🏽 👩‍👩‍👧",
        ];
        let repeated = texts.iter().flat_map(|text| [*text; 3]);
        let counts = CountOptions::new(pattern)
            .and_then(|options| options.count_texts(repeated))
            .expect("the sample counts");
        let merges = train(&counts, &TrainOptions::new(560)).expect("the sample trains");
        let tokens = merges.tokens();
        let ranks = tokens.iter().zip(0..);
        let ranks = Ranks::new(ranks.map(|(token, id)| (token.to_vec(), id)));
        let special: Vec<(String, u32)> = SPECIAL
            .iter()
            .zip((FIRST_SPECIAL..).step_by(2))
            .map(|(token, id)| ((*token).to_owned(), id))
            .collect();
        let ids = (0..tokens.len() as u32).chain(special.iter().map(|(_, id)| *id));
        Self {
            ids: ids.collect(),
            encoder: Arc::new(
                Encoder::new(ranks.expect("ranks"), special.clone(), pattern).expect("an encoder"),
            ),
            special,
            oracle: RegexSplitter::new(pat_str(pattern)).expect("a regex"),
        }
    }

    /// The ids of `text` by regex and naive merging; None if the regex engine gives up.
    pub fn ordinary(&self, text: &str) -> Option<Vec<u32>> {
        let mut ids = Vec::new();
        self.oracle
            .split(text, &mut |start, end| {
                let pretoken = &text.as_bytes()[start..end];
                ids.extend(naive::encode_pretoken(self.encoder.ranks(), pretoken));
            })
            .ok()?;
        Some(ids)
    }

    /// The ids of `text` with those of the special tokens that `allowed` has a bit for.
    pub fn with_special(&self, text: &str, allowed: u8) -> Option<Vec<u32>> {
        let (mut ids, mut from, mut at) = (Vec::new(), 0, 0);
        while at < text.len() {
            let here = self
                .chosen(allowed)
                .filter(|(token, _)| text[at..].starts_with(token.as_str()))
                .max_by_key(|(token, _)| token.len());
            if let Some((token, id)) = here {
                ids.extend(self.ordinary(&text[from..at])?);
                ids.push(*id);
                at += token.len();
                from = at;
            } else {
                at += text[at..].chars().next().map_or(1, char::len_utf8);
            }
        }
        ids.extend(self.ordinary(&text[from..])?);
        Some(ids)
    }

    /// The special tokens that `allowed` has a bit for.
    pub fn chosen(&self, allowed: u8) -> impl Iterator<Item = &(String, u32)> {
        let chosen = self.special.iter().enumerate();
        chosen.filter_map(move |(i, item)| (allowed >> i & 1 == 1).then_some(item))
    }
}

/// The vocabularies of the named patterns and of `OWN`, made once per thread.
pub fn with_small<R>(which: u8, work: impl FnOnce(&Small) -> R) -> R {
    use std::cell::OnceCell;
    thread_local! {
        static ALL: [OnceCell<Small>; SMALL] = const { [const { OnceCell::new() }; SMALL] };
    }
    let i = usize::from(which) % SMALL;
    ALL.with(|all| work(all[i].get_or_init(|| Small::new(small(i)))))
}
