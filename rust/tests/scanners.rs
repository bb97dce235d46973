//! The scanners against fancy-regex on the pattern texts, span for span.

#[path = "common/clock.rs"]
mod clock;

use bytemill::pretokenize::pattern::Named;
use bytemill::pretokenize::{Pretokenizer, RegexSplitter};
use clock::processor_time;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::time::Duration;

type Spans = Vec<(usize, usize)>;

const CL100K_FIRST: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A scanner and a regex that must agree with it.
struct Pair {
    regex: String,
    scanner: Pretokenizer,
    oracle: RegexSplitter,
}

impl Pair {
    fn new(regex: &str) -> Pair {
        let pair = Pair {
            regex: regex.to_owned(),
            scanner: Pretokenizer::new(regex).unwrap(),
            oracle: RegexSplitter::new(regex).unwrap(),
        };
        let named = !matches!(
            pair.scanner,
            Pretokenizer::Compiled(_) | Pretokenizer::Regex(_)
        );
        assert!(named, "{regex}");
        pair
    }

    fn named() -> Vec<Pair> {
        Named::ALL.map(|n| Pair::new(n.regex())).into()
    }

    fn with_aliases() -> Vec<Pair> {
        let mut pairs = Pair::named();
        let aliases = Named::ALL.map(Named::aliases);
        pairs.extend(aliases.into_iter().flatten().map(|alias| Pair::new(alias)));
        pairs
    }

    fn scan(&self, text: &str) -> Spans {
        let mut spans = Vec::new();
        let mut emit = |s, e| spans.push((s, e));
        self.scanner.split(text, &mut emit).unwrap();
        spans
    }

    fn matches(&self, text: &str) -> Spans {
        let mut spans = Vec::new();
        let mut emit = |s, e| spans.push((s, e));
        self.oracle.split(text, &mut emit).unwrap();
        spans
    }

    fn check(&self, text: &str) {
        let (found, want) = (self.scan(text), self.matches(text));
        if found != want {
            let cut = |spans: &Spans| -> Vec<String> {
                let one = |&(s, e): &(usize, usize)| text[s..e].to_owned();
                spans.iter().map(one).collect()
            };
            assert_eq!(cut(&found), cut(&want), "{} on {text:?}", self.regex);
        }
    }
}

fn check_all(pairs: &[Pair], texts: &[&str]) {
    for pair in pairs {
        for text in texts {
            pair.check(text);
            // Far from the end of the text, and not at its start.
            pair.check(&format!("{text}{}", " filler".repeat(20)));
            pair.check(&format!("{}{text}", "filler ".repeat(20)));
            pair.check(&format!("{0}{text}{0}", "x".repeat(70)));
        }
    }
}

#[test]
fn names_and_aliases() {
    for named in Named::ALL {
        assert_eq!(Named::find(named.name()), Some(named));
        assert_eq!(Named::find(named.regex()), Some(named));
        assert_eq!(
            bytemill::pretokenize::pattern::pat_str(named.name()),
            named.regex()
        );
        for alias in named.aliases() {
            assert_eq!(Named::find(alias), Some(named));
            assert_eq!(&bytemill::pretokenize::pattern::pat_str(alias), alias);
        }
    }
    assert_eq!(Named::Gpt2.aliases().len(), 2);
    let compiled = Pretokenizer::new(r"\w+|\W").unwrap();
    assert!(matches!(compiled, Pretokenizer::Compiled(_)));
    assert!(!Pretokenizer::new(r"\b\w+|\W").unwrap().is_linear());
}

#[test]
fn first_cl100k_text_is_another_pattern() {
    assert_eq!(Named::find(CL100K_FIRST), Some(Named::Llama3));
    let spans = |regex| {
        let mut spans = Vec::new();
        let mut emit = |s, e| spans.push((s, e));
        let splitter = RegexSplitter::new(regex).unwrap();
        splitter.split("a\n  ", &mut emit).unwrap();
        spans
    };
    assert_eq!(spans(CL100K_FIRST), [(0, 1), (1, 2), (2, 4)]);
    assert_eq!(spans(Named::Cl100k.regex()), [(0, 1), (1, 4)]);
}

/// White space in all positions.
#[rustfmt::skip]
const WHITESPACE: &[&str] = &[
    "", " ", "  ", "\n", "\n\n", "\r\n\n", " \n \n x", " \n \n ", "\n  ", "\n  x", "\n \t x", "a\n",
    "a \n", "a\n\n b", "a\n\nb", "!\n", "!\n\n b", "!\r\n\t\nb", "! \n b", "\t\tx", " \tx", "\t x",
    "\tx", "\t1", " 1", "  1", "\t!", " !", "  !", " \t!", "x \u{3000}y", "x\u{3000}y",
    "x\u{3000}\u{3000}y", "x\u{a0}y", "\u{a0}\u{a0}1", "\u{85}x", "\u{2028}x", "x \n\u{3000}",
    "x \n\u{3000}y", "\u{200b}x", "\u{feff}x", "\u{180e} x", "x\u{b}\u{c}\ny", "a \r", "a\r\r b",
    "a\n \n", "a\n \n ", "a\n \n  b", "  \n  \n  ", "if x:\n    y\n\n\n\tz",
];

#[test]
fn whitespace() {
    check_all(&Pair::with_aliases(), WHITESPACE);
}

/// Contractions, whole, chained and near misses.
#[rustfmt::skip]
const CONTRACTIONS: &[&str] = &[
    "'s", "'S", "'ſ", "'ſa", "a'ſ b", "'\u{212a}", "'ll", "'Ll", "'lL", "'l", "'la", "'r", "'re", "'rE",
    "'ve", "'VE", "'v", "'d've", "I'd've", "'s's", "a's's", "a's's's b", "a's's's's", "''s", "a''s",
    " 's", "\t's", "\n's", "1's", "!'s", "a's!", "a'sb", "A'SB", "a'sB", "a'lx", "foo'REX",
    "foo'Rex", "foo'reX", "it’s", "a'", "a'\n", "a''", "'", "''", "'t", "'m's", "a'd'll've b",
    "O'Neil", "L'été", "rock'n'roll", "a'sſ", "'s'", "'s 's", "Ab'Ms'tX y", "'l'l", "'ll'll",
    "x'll'll'llama", "中's", "中'ſ", "\u{301}'s", "a\u{301}'s", "½'s",
];

#[test]
fn contractions() {
    check_all(&Pair::with_aliases(), CONTRACTIONS);
}

/// Letters with and without case, marks, and what may come before them.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "fooBar", "HTMLParser", "ABC", "ABCd", "aB", "ABc", "AbCdE", "ǅa", "aǅ", "Aǅb", "İi", "中A",
    "中AB", "中ABc", "A中", "A中B", "A中BC", "A中BCd", "a中B", "ʰAB", "AʰAB c", "AʰABc", "\u{301}",
    "\u{301}A", "\u{301}AB", "\u{301}ABc", "\u{301}a", "\u{301}\u{301}AB", "\u{301}A\u{301}BC",
    "A\u{301}BC", "a\u{301}BC", "a\u{301}b", "!\u{301}", "!!\u{301}", "!!\u{301}a", " !\u{301}",
    " \u{301}", "\t\u{301}", "\n\u{301}a", "1\u{301}", "1\u{301}A", "1\u{301}Ab", "(foo)",
    "((foo))", " (foo", "\t(foo", "(Foo", "“Hello”", "““Hello", " “Hi", "हिन्दी में", "ภาษาไทย",
    "한국어 조선말", "각 각", "עִבְרִית", "Ελληνικά ΑΒΓδ", "ПриветМир", "𐐀𐐨𐐀", "👩‍👩‍👧 x", "🏳️‍🌈", "❤️A",
    "a/b", "a//b", "//a", " /a", "x\u{200d}y", "ªA", "AªB",
];

#[test]
fn words() {
    check_all(&Pair::with_aliases(), WORDS);
}

/// Numbers, and symbols with newlines and slashes after them.
#[rustfmt::skip]
const NUMBERS_AND_SYMBOLS: &[&str] = &[
    "1", "12", "123", "1234", "1234567", "12345678 ", "a1234b", "½Ⅷ१²", "½½½½½a", "1½2Ⅷ3", " 1234",
    "!1", "1!", "1.5", "1,234,567.89", "1a1", "!\n", "!!\n\n/", "!\n/a", "!\n/!a", "!\n/\n/!\n/",
    "//\n/", "}\n\n/* x", "}\n\n// x", "}\n//\n//", "/\n", "/", "//", "\n/", "a/\n/b", "!\r\n\r\n!",
    " !\n", " !\n/ ", "a\n/b", "a;\n/*!\n*/", "!/\n/", "!\n\n \n", "...\n\n...",
    "#include <a/b.h>\n\n/**\n * x\n */\nint f(void);\n", "a\0b", "\u{10ffff}\n/", "—\n/x", "。\n/",
    "a。b", "a。。b", " 。b", "a。\nb", "€5", "$5", "#define A_B 0xFFFFu\t/* c */",
];

#[test]
fn numbers_and_symbols() {
    check_all(&Pair::with_aliases(), NUMBERS_AND_SYMBOLS);
}

/// Characters and fragments that the patterns distinguish.
#[rustfmt::skip]
const ALPHABET: &[&str] = &[
    "a", "b", "z", "A", "B", "Z", "é", "É", "ж", "Ж", "ǅ", "İ", "ı", "ſ", "\u{212a}", "ß", "ʰ", "ª", "中",
    "か", "ー", "ᄀ", "ᅡ", "ᆨ", "각", "अ", "ि", "्", "ก", "ั", "ا", "\u{64b}", "𐐀", "𐐨", "𠀀", "\u{301}",
    "\u{300}", "\u{fe0f}", "\u{20dd}", "\u{200d}", "👩", "👧", "😀", "❤", "1", "2", "9", "½", "Ⅷ", "१",
    "²", "𝟘", " ", " ", " ", "  ", "\t", "\u{b}", "\u{c}", "\u{a0}", "\u{85}", "\u{1680}",
    "\u{2003}", "\u{2028}", "\u{2029}", "\u{3000}", "\u{180e}", "\u{feff}", "\u{200b}", "\r", "\n",
    "\n", "\r\n", "'", "'", "'", "’", "s", "d", "m", "t", "l", "v", "r", "e", "S", "D", "M", "T",
    "L", "V", "R", "E", "'s", "'ll", "'RE", "'Ve", "/", "/", "!", "(", "-", "_", "\0", "\u{7f}",
    "。", "“", "—", "\u{378}", "\u{e000}", "\u{ffff}", "\u{1ffff}", "\u{2ffff}", "\u{3ffff}",
    "\u{4ffff}", "\u{5ffff}", "\u{6ffff}", "\u{7ffff}", "\u{8ffff}", "\u{9ffff}", "\u{affff}",
    "\u{bffff}", "\u{cffff}", "\u{dffff}", "\u{effff}", "\u{fffff}", "\u{10ffff}",
];

/// Only ASCII, as scanners go another way there.
#[rustfmt::skip]
const ASCII: &[&str] = &[
    "a", "bc", "word", "A", "BC", "Word", "WORD", "1", "23", "456", "7890", " ", " ", " ", " ",
    "  ", "   ", "\t", "\u{b}", "\n", "\n", "\r\n", "\n\n", "'", "'s", "'t", "'ll", "'RE", "'Ve",
    "'d", "l", "s", "S", "e", "/", "//", "!", "!!", "(", ")", "_", "-", ";", "\"", "\0", "{\n",
    "}\n\n/",
];

fn joined(alphabet: &'static [&'static str], max: usize) -> impl Strategy<Value = String> {
    let piece = proptest::sample::select(alphabet);
    proptest::collection::vec(piece, 0..max).prop_map(|v| v.concat())
}

/// Mostly ASCII with others strewn in, long enough for whatever is done in blocks.
fn mixed() -> impl Strategy<Value = String> {
    let common = proptest::sample::select(ASCII);
    let rare = proptest::sample::select(ALPHABET);
    let piece = prop_oneof![12 => common, 1 => rare];
    proptest::collection::vec(piece, 0..120).prop_map(|v| v.concat())
}

#[test]
fn random_texts() {
    let cases = match std::env::var("BYTEMILL_CASES") {
        Ok(n) => n.parse().unwrap(),
        Err(_) => 50_000,
    };
    let pairs = Pair::with_aliases();
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let texts = prop_oneof![
        3 => joined(ALPHABET, 12),
        2 => joined(ALPHABET, 80),
        1 => joined(ASCII, 120),
        2 => mixed(),
        1 => proptest::collection::vec(any::<char>(), 0..40).prop_map(String::from_iter),
    ];
    let run = TestRunner::new_with_rng(config, rng).run(&texts, |text| {
        pairs.iter().for_each(|pair| pair.check(&text));
        Ok(())
    });
    if let Err(e) = run {
        panic!("{e}");
    }
}

#[test]
fn every_code_point() {
    // All of them in release builds; a debug build takes too long for that.
    let step = if cfg!(debug_assertions) { 31 } else { 1 };
    let all: Vec<char> = ('\0'..=char::MAX).step_by(step).collect();
    let check = |pair: &Pair| {
        let mut buffer = [0; 4];
        for c in &all {
            pair.check(c.encode_utf8(&mut buffer));
        }
        for chunk in all.chunks(200) {
            let mut text = String::new();
            for c in chunk {
                let one = format!("a{c}\n{c}a\n {c}\n1 {c} \n!{c}b{c}C ");
                text.push_str(&one);
            }
            pair.check(&text);
        }
    };
    let pairs = Pair::named();
    std::thread::scope(|scope| {
        for pair in &pairs {
            scope.spawn(|| check(pair));
        }
    });
}

/// Runs that would take quadratic time if any part of them were read again for each pretoken.
#[test]
fn linear_in_long_runs() {
    let n = 1_000_000;
    let run = |s: &str| s.repeat(n / s.len());
    let texts = [
        run("a"),
        run("A"),
        run("Aa"),
        run("中"),
        run("\u{301}"),
        run("\u{301}A"),
        run("A\u{301}"),
        run("1"),
        run("½"),
        run(" "),
        run(" ") + "x",
        run("\n"),
        run("\n") + "x",
        run("\n ") + "x",
        run(" \n") + " x",
        run("\u{3000}") + "x",
        run("\u{3000}\n") + " x",
        run("^"),
        run("/\n"),
        run("!\n/"),
        run("'"),
        run("'s"),
        run("'S"),
        run("—"),
        run("\t!"),
        "a".to_owned() + &run("中A"),
        run("a") + &run("A") + &run("!"),
    ];
    for named in Named::ALL {
        let scanner = Pretokenizer::new(named.name()).unwrap();
        for text in &texts {
            let start = processor_time();
            let mut end = 0;
            let emit = |s, e| {
                assert_eq!(s, end);
                assert!(s < e);
                end = e;
            };
            scanner.split(text, emit).unwrap();
            assert_eq!(end, text.len());
            let taken = processor_time() - start;
            let head: String = text.chars().take(4).collect();
            assert!(
                taken < Duration::from_secs(2),
                "{named:?} {head:?} {taken:?}"
            );
        }
    }
}
