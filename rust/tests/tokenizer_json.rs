//! A tokenizer.json read fast, against one read with `serde_json`.

use bytemill::vocabulary::Vocabulary;
use bytemill::vocabulary::ranks::Ranks;
use bytemill::vocabulary::tokenizer_json::Model;
use serde_json::{Value, json};
use std::collections::HashMap;

/// The character that stands for each byte.
fn alphabet() -> Vec<char> {
    let is_itself = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..);
    let mut others = '\u{100}'..;
    let char = |byte: u8| match is_itself(byte) {
        true => char::from(byte),
        false => others.next().expect("a character"),
    };
    (0..=255).map(char).collect()
}

fn text_of(token: &[u8]) -> String {
    let alphabet = alphabet();
    token.iter().map(|&b| alphabet[usize::from(b)]).collect()
}

/// The pairs that are merged, in their order; the first makes the token 256.
fn merges() -> Vec<[String; 2]> {
    let accent: [&[u8]; 2] = [&[0xc3], &[0xa9]];
    let merges: [[&[u8]; 2]; 5] = [
        accent,
        [b"a", b"b"],
        [b" ", b"ab"],
        ["\u{e9}".as_bytes(), b"\""],
        [b"ab", b"ab"],
    ];
    merges.map(|pair| pair.map(text_of)).to_vec()
}

/// Two files with the same vocabulary: as `tokenizers` writes it, and in other ways.
fn files() -> [String; 2] {
    let bytes = (0..=255).map(|byte| text_of(&[byte]));
    let mut tokens: Vec<_> = bytes.chain(merges().iter().map(|p| p.concat())).collect();
    tokens.extend(["<|end|>", "< \u{1f44d}>"].map(str::to_owned));
    let entries = tokens.iter().zip(0..).map(|(text, id)| {
        // Where it must: with an escape.
        format!("{}: {id}", json!(text))
    });
    let vocab = entries.collect::<Vec<_>>().join(",\n   ");
    let escaped = vocab.replace('\u{120}', "\\u0120");
    let escaped = escaped.replace('\u{1f44d}', "\\ud83d\\uDC4D");
    let lines: Vec<String> = merges().iter().map(|pair| pair.join(" ")).collect();
    let lines = serde_json::to_string_pretty(&lines).expect("JSON");
    let pairs = json!(merges());
    let before = r#"{"version": "1.0", "added_tokens": [{"content": "\u0061 \\\"]}"}], "model""#;
    [
        format!(r#"{before}: {{"type": "BPE", "vocab": {{{vocab}}}, "merges": {pairs}}}}}"#),
        format!(
            "{{\"model\":{{\"merges\":{lines},\"vocab\":{{{escaped}}},\"x\":[{{}}]}}, \"y\":-1e3}}\n"
        ),
    ]
}

fn added() -> Vec<(String, u32)> {
    [("<|end|>", 261), ("< \u{1f44d}>", 262), ("<new>", 263)]
        .map(|(text, id)| (text.to_owned(), id))
        .to_vec()
}

/// All that a reader finds.
#[derive(Debug, PartialEq)]
struct Contents {
    rest: Value,
    n_entries: usize,
    tokens: Vec<(Vec<u8>, u32)>,
    is_entry: Vec<bool>,
}

fn read(file: &[u8]) -> Option<Contents> {
    let model = Model::read(file).expect("memory")?;
    let (ranks, is_entry) = model.ranks(&added(), true).expect("memory")?;
    let tokens = ranks.sorted().expect("memory").into_iter();
    Some(Contents {
        // Only now it is known whether the file is JSON.
        rest: serde_json::from_slice(model.rest()).ok()?,
        n_entries: model.n_entries(),
        tokens: tokens.map(|(token, id)| (token.to_vec(), id)).collect(),
        is_entry,
    })
}

/// The same by way of another reader of JSON, and with tables for encoding.
struct Slowly {
    bytes: HashMap<char, u8>,
}

impl Slowly {
    fn token(&self, text: &str) -> Option<Vec<u8>> {
        let bytes = text.chars().map(|char| self.bytes.get(&char).copied());
        bytes.collect()
    }

    fn read(&self, file: &[u8]) -> Option<Contents> {
        let mut rest: Value = serde_json::from_slice(file).ok()?;
        let model = rest.get_mut("model")?.as_object_mut()?;
        let vocab = model.insert("vocab".to_owned(), json!({}))?;
        let merges = model.insert("merges".to_owned(), json!([]))?;
        let (added, mut is_entry) = (added(), vec![false; 3]);
        let mut tokens = Vec::new();
        let vocab = vocab.as_object()?;
        for (text, id) in vocab {
            let id = u32::try_from(id.as_u64()?).ok()?;
            match added.iter().position(|(added, _)| added == text) {
                Some(i) if added[i].1 == id => is_entry[i] = true,
                Some(_) => return None,
                None => tokens.push((self.token(text)?, id)),
            }
        }
        tokens.sort_unstable_by_key(|token| token.1);
        let ranks = Ranks::new(tokens.clone()).ok()?;
        let longer = tokens.iter().filter(|(token, _)| token.len() > 1);
        let splits = Vocabulary::new(ranks)
            .expect("memory")
            .splits()
            .expect("memory")?;
        let mut expected = longer.zip(splits).filter_map(|((token, id), split)| {
            split.map(|(left, right)| (token.clone(), *id, left, right))
        });
        let by_token: HashMap<_, _> = tokens.iter().cloned().collect();
        let all: HashMap<_, _> = expected
            .clone()
            .map(|(token, _, left, right)| (token, (left, right)))
            .collect();
        for merge in merges.as_array()? {
            let parts: Vec<&str> = match merge {
                Value::String(text) => text.split(' ').collect(),
                other => {
                    let parts = other.as_array()?.iter().map(Value::as_str);
                    parts.collect::<Option<_>>()?
                }
            };
            let [left, right] = parts[..] else {
                return None;
            };
            let (left, right) = self.token(left).zip(self.token(right))?;
            let joined = [&left[..], &right[..]].concat();
            let (left, right) = by_token
                .get(&left)
                .copied()
                .zip(by_token.get(&right).copied())?;
            let id = by_token.get(&joined).copied()?;
            if all.get(&joined) == Some(&(left, right)) {
                // It has to be the next one.
                if expected.next()? != (joined, id, left, right) {
                    return None;
                }
            }
        }
        if expected.next().is_some() {
            return None;
        }
        Some(Contents {
            rest,
            n_entries: vocab.len(),
            tokens,
            is_entry,
        })
    }
}

fn slowly() -> Slowly {
    let bytes = alphabet().into_iter().zip(0..=255).collect();
    Slowly { bytes }
}

#[test]
fn usual_files_are_read() {
    for file in files() {
        let found = read(file.as_bytes()).expect("a usual file");
        assert_eq!(Some(&found), slowly().read(file.as_bytes()).as_ref());
        assert_eq!(found.tokens.len(), 256 + merges().len());
        assert_eq!(found.is_entry, [true, true, false]);
    }
}

/// What is wrong, or means something else than it says, is left to others.
#[test]
fn other_files_are_not_read() {
    let [file, _] = files();
    let with = |old: &str, new: &str| {
        assert_eq!(file.matches(old).count(), 1, "{old}");
        file.replace(old, new)
    };
    assert!(read(with("[\"a\",\"b\"]", "\"a b\"").as_bytes()).is_some());
    for (old, new) in [
        ("\"version\": \"1.0\"", "\"model\": {}"),
        ("\"model\"", "\"mod\\u0065l\""),
        (
            "\"model\"",
            "\"model\": {\"vocab\": {}, \"merges\": []}, \"model\"",
        ),
        ("\"type\": \"BPE\"", "\"merges\": []"),
        ("\"type\": \"BPE\"", "\"m\\u0065rges\": []"),
        ("\"merges\"", "\"Merges\""),
        ("\"a\": 97", "\"a\": 097"),
        ("\"a\": 97", "\"a\": 97.0"),
        ("\"a\": 97", "\"a\": 99"),
        ("\"a\": 97", "\"b\": 97"),
        ("\"a\": 97", "\"a b\": 97"),
        ("\"ab\": 257", "\"ab\": 258"),
        ("\"ab\": 257", "\"ba\": 257"),
        ("\"ab\": 257", "\"\": 257"),
        ("\"<|end|>\": 261", "\"<|end|>\": 300"),
        ("\"<|end|>\": 261", "\"<new>\": 261"),
        ("\u{1f44d}>\": 262", ">\": 262"),
        ("[\"a\",\"b\"],", ""),
        ("[\"a\",\"b\"],", "[\"a\",\"b\"],[\"a\",\"b\"],"),
        ("[\"a\",\"b\"]", "[\"a\",\"b\",\"c\"]"),
        ("[\"a\",\"b\"]", "[\"a\"]"),
        ("[\"a\",\"b\"]", "\"a b \""),
        ("[\"a\",\"b\"]", "\"ab\""),
        ("[\"a\",\"b\"]", "[\"a\",\"\"]"),
        ("[\"a\",\"b\"]", "[\"x\",\"y\"]"),
        ("[\"a\",\"b\"]", "[\"a\",\"b\"],"),
        ("{\"version", "\u{feff}{\"version"),
    ] {
        let file = with(old, new);
        assert!(read(file.as_bytes()).is_none(), "{old} {new}");
    }
    assert!(read(format!("{file} x").as_bytes()).is_none());
    let model = Model::read(file.as_bytes()).expect("memory");
    let model = model.expect("a usual file");
    // An added token that merges make; an entry in other characters that is none; another id.
    for (text, id) in [("ab", 257), ("<|end|>", 261), ("<|end|>", 260)] {
        let added = [(text.to_owned(), id)];
        assert!(model.ranks(&added, true).expect("memory").is_none());
    }
}

/// Whatever is changed in a file, nothing panics, and what is read is what the other reader finds.
#[test]
fn changed_files_are_read_alike_or_not_at_all() {
    let pieces = "\" \\ { } [ ] , : a b 0 1 - . e \u{120} \u{e9} \u{143} \\u0061 \\ud83d null \
                  \"model\": \"vocab\":{}, \"merges\":[], \"a\":97, \"ab\":257 [\"a\",\"b\"], 257 261 263 \
                  <|end|> \"<new>\":263, ,\"<new>\":263 \"\u{120}\u{120}ab\":300,";
    let mut pieces: Vec<&str> = pieces.split(' ').collect();
    pieces.extend([" ", "\n", "\"a b\",", "\"ab a\",", "\r\n\t"]);
    let mut state = 7_u64;
    let mut below = |n: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % n
    };
    let (slowly, files, mut n_read) = (slowly(), files(), 0);
    for case in 0..20_000 {
        let mut file = files[case % 2].clone().into_bytes();
        // Merges and the last of the entries are a small part of it.
        let merges = file.windows(8).position(|w| w == b"\"merges\"");
        let merges = merges.expect("merges");
        for _ in 0..=below(3) {
            let at = match below(2) {
                0 => below(file.len() + 1),
                _ => (merges.saturating_sub(60) + below(240)).min(file.len()),
            };
            let to = (at + below(8)).min(file.len());
            match below(6) {
                0 if at < file.len() => file[at] = below(256) as u8,
                1 => _ = file.drain(at..to),
                2 if below(20) == 0 => file.truncate(at),
                other => {
                    let end = if other == 3 { to } else { at };
                    let piece = pieces[below(pieces.len())].bytes();
                    file.splice(at..end, piece);
                }
            }
        }
        if let Some(found) = read(&file) {
            let expected = slowly.read(&file);
            assert_eq!(Some(found), expected, "{}", String::from_utf8_lossy(&file));
            n_read += 1;
        }
    }
    assert!(n_read > 500, "{n_read}");
}
