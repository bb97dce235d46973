//! What a tokenizer.json asks for beyond ranks, special tokens and a pattern, from JSON.

use crate::encode::front::{Added, FrontOptions};
use crate::error::{Error, Result};
use crate::normalize::forms::Form;
use crate::normalize::{Normalizer, Step};
use crate::text::added::Manner;
use serde_json::Value;

/// See the module.
pub struct Shape {
    /// If ranks are not ids but the order of the tokens: how many of them merges make.
    pub n_merged: Option<usize>,
    /// Whether a pretoken that is a token is that token.
    pub whole_tokens: bool,
    /// Whether merging begins with characters.
    pub of_characters: bool,
    /// What ids that no text has are decoded to.
    pub spellings: Vec<(String, u32)>,
    /// Whether a space with which decoded text begins is dropped.
    pub drops_space: bool,
    /// What is done to text before it is cut.
    pub front: FrontOptions,
}

fn bad(value: &Value, reason: &str) -> Error {
    Error::argument("shape", value.to_string(), reason.to_owned())
}

impl Shape {
    /// Reads what `bytemill.shape` writes.
    ///
    /// # Errors
    /// [`Error::Argument`] for anything else; [`Error::Pattern`] for a broken regex.
    pub fn new(json: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(json)
            .map_err(|e| Error::argument("shape", json.to_owned(), e.to_string()))?;
        let list = |key: &str| value[key].as_array().map_or(&[][..], Vec::as_slice);
        let is = |value: &Value, key: &str| value[key].as_bool().unwrap_or_default();
        let steps = list("normalizers")
            .iter()
            .map(step)
            .collect::<Result<_>>()?;
        let added = |added: &Value| Added {
            content: added["content"].as_str().unwrap_or_default().to_owned(),
            special: is(added, "special"),
            normalized: is(added, "normalized"),
            manner: Manner {
                single_word: is(added, "single_word"),
                lstrip: is(added, "lstrip"),
                rstrip: is(added, "rstrip"),
            },
        };
        let n_merged = value["n_merged"].as_u64();
        let spelling = |pair: &Value| {
            let text = pair[0].as_str().unwrap_or_default().to_owned();
            let id = pair[1].as_u64().and_then(|id| u32::try_from(id).ok());
            id.map(|id| (text, id))
                .ok_or_else(|| bad(pair, "not a text and an id"))
        };
        Ok(Self {
            n_merged: n_merged.map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
            whole_tokens: is(&value, "whole_tokens"),
            of_characters: is(&value, "of_characters"),
            spellings: list("spellings")
                .iter()
                .map(spelling)
                .collect::<Result<_>>()?,
            drops_space: is(&value, "drops_space"),
            front: FrontOptions {
                normalizer: Normalizer::new(steps),
                prefix_space: is(&value, "prefix_space"),
                prefix_first: is(&value, "prefix_first"),
                added: list("added").iter().map(added).collect(),
                passes: is(&value, "passes"),
            },
        })
    }
}

fn step(value: &Value) -> Result<Step> {
    let is = |key: &str| value[key].as_bool().unwrap_or_default();
    let text = |key: &str| value[key].as_str().unwrap_or_default();
    Ok(match text("type") {
        "NFC" => Step::Form(Form::Nfc),
        "NFD" => Step::Form(Form::Nfd),
        "NFKC" => Step::Form(Form::Nfkc),
        "NFKD" => Step::Form(Form::Nfkd),
        "Lowercase" => Step::Lowercase,
        "Strip" => Step::Strip {
            left: is("strip_left"),
            right: is("strip_right"),
        },
        "Replace" if !text("text").is_empty() => {
            Step::ReplaceText(text("text").to_owned(), text("content").to_owned())
        }
        "Replace" => Step::replace_matches(text("regex"), text("content"))?,
        "Prepend" => Step::Prepend(text("prepend").to_owned()),
        "Refuse" => {
            let bytes = value["bytes"].as_array().into_iter().flatten();
            let byte = |b: &Value| b.as_u64().and_then(|b| u8::try_from(b).ok());
            let bytes: Option<_> = bytes.map(byte).collect();
            Step::Refuse(bytes.ok_or_else(|| bad(value, "not all of them are bytes"))?)
        }
        _ => return Err(bad(value, "there is no such normalizer")),
    })
}
