//! Patterns compiled to tables against fancy-regex on the same texts, span for span.

use bytemill::pattern::Named;
use bytemill::pretokenize::{Compiled, Pretokenizer, RegexSplitter};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::time::{Duration, Instant};

type Spans = Vec<(usize, usize)>;

fn run<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let scaled = std::env::var("BYTEMILL_CASES")
        .ok()
        .and_then(|n| n.parse().ok());
    let config = Config {
        cases: scaled.unwrap_or(cases),
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let outcome = TestRunner::new_with_rng(config, rng).run(&strategy, test);
    outcome.unwrap_or_else(|e| panic!("{e}"));
}

fn compiled(pattern: &str) -> Compiled {
    Compiled::new(pattern).unwrap_or_else(|| panic!("not compiled: {pattern}"))
}

fn scan(compiled: &Compiled, text: &str) -> Spans {
    let mut spans = Vec::new();
    compiled.split(text, |s, e| spans.push((s, e)));
    spans
}

fn matches(oracle: &RegexSplitter, text: &str) -> Spans {
    let mut spans = Vec::new();
    let mut emit = |s, e| spans.push((s, e));
    oracle.split(text, &mut emit).unwrap();
    spans
}

fn check(pattern: &str, compiled: &Compiled, oracle: &RegexSplitter, text: &str) {
    let (found, want) = (scan(compiled, text), matches(oracle, text));
    if found != want {
        let cut = |spans: &Spans| -> Vec<String> {
            let one = |&(s, e): &(usize, usize)| text[s..e].to_owned();
            spans.iter().map(one).collect()
        };
        assert_eq!(cut(&found), cut(&want), "{pattern} on {text:?}");
        assert_eq!(found, want, "{pattern} on {text:?}");
    }
}

/// Texts in use, and what people write.
const PATTERNS: &[&str] = &[
    // GPT-2, as released and as tiktoken has it.
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
    // The first cl100k, Llama 3.
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    // Qwen 2.
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    // DeepSeek 3, in one.
    r"\p{N}{1,3}|[一-龥぀-ゟ゠-ヿ]+|[!-/:-~!-/:-~‘-‟ -。]?[A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    // StarCoder: digits apart.
    r"\p{N}|'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    // Words with their marks, Han apart (Kimi).
    r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"\S+",
    r"\s?\S{1,3}",
    r"\w+",
    r"\w+|[^\w\s]+|\s+",
    r" ?\w+| ?[^\w\s]+|\s+(?!\S)|\s+",
    r"[a-z]+|[0-9]{2}|\s+|.",
    r"[\u0900-\u097F]+|[a-zA-Z]+|\d|\S",
    r"(?i)straße|the|[a-zß]+|\s",
    r"(?i:ſ|k)+|[^k]",
    r"(?s:.){1,4}",
    r".{2,3}?[a-c]|.",
    r"\p{Lu}?\p{Ll}+|\p{Lu}+(?!\p{Ll})|\d+(?=[a-z]|$)|\d|\s+|[^\s\w]",
    r"(?:[a-z]+ )*[a-z]+|.",
    r"a*b|a",
    r"(?:a|ab)(?:c|bcd)?(?:d*)|.",
    r"[ab]{2,}?[bc]{1,2}+|[^\n]",
    r"a?|b",
    r"x*",
    r"\r?\n|[^\r\n]+",
    r"[^,;]+[,;]?|.",
    r"\s+\z|\s|\w+",
    r"<\|[a-z]+\|>|<|[^<]+",
];

#[rustfmt::skip]
const TEXTS: &[&str] = &[
    "", " ", "  ", "\n", "\n\n", "\r\n\n", " \n \n x", " \n \n ", "\n  ", "\n  x", "\n \t x", "a\n",
    "a \n", "a\n\n b", "!\n", "!\n\n b", "!\r\n\t\nb", "\t\tx", " \tx", " 1", "  1", "\t!", "  !",
    "x \u{3000}y", "x\u{3000}\u{3000}y", "\u{a0}\u{a0}1", "x \n\u{3000}", "x \n\u{3000}y", "a\n \n  b",
    "  \n  \n  ", "if x:\n    y\n\n\n\tz", "'s", "'S", "'ſ", "a'ſ b", "'Ll", "'l", "'la", "'rE", "'v",
    "I'd've", "'s's", "''s", " 's", "1's", "!'s", "a'sb", "it’s", "a''", "fooBar", "HTMLParser", "ǅa",
    "İi", "中A", "A中Bc", "\u{301}AB", "A\u{301}BC", "!\u{301}", "(foo)", "((foo))", "“Hello”",
    "हिन्दी में", "ภาษาไทย", "한국어", "ПриветМир", "𐐀𐐨𐐀", "👩‍👩‍👧 x", "1234567", "½Ⅷ१²", "1½2Ⅷ3", "!\n/a",
    "#include <a/b.h>\n\n/**\n * x\n */\nint f(void);\n", "aaab", "aaaa", "abcd", "abbbcc", "the StraßE THE",
    "kſK\u{212a}x", "<|end|><|x<", "a b c d, e;f", "a1,b2c33$", "12a 12", "12", "word word word ",
    "ab\0c", "\u{10ffff}", "日本語のテキスト、漢字かな交じり文。", "def f(x):\n        return x\n\n\n    # y\n",
];

#[test]
fn known_patterns_on_known_texts() {
    let named = Named::ALL.map(Named::regex);
    for pattern in PATTERNS.iter().chain(&named) {
        let (compiled, oracle) = (compiled(pattern), RegexSplitter::new(pattern).unwrap());
        for text in TEXTS {
            check(pattern, &compiled, &oracle, text);
            check(pattern, &compiled, &oracle, &format!("{text}{}", " filler".repeat(20)));
            check(pattern, &compiled, &oracle, &format!("{}{text}", "filler ".repeat(20)));
            check(pattern, &compiled, &oracle, &TEXTS.concat());
        }
    }
}
