//! How far a run that writes shards has come, as JSON.

use serde_json::{Value, json};

/// What is in a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shard {
    /// Ids.
    pub tokens: u64,
    /// Documents.
    pub documents: u64,
    /// Bytes of their text.
    pub bytes: u64,
    /// CRC-32 of the file of ids; of an open shard, of the data in it.
    pub crc32: u32,
    /// The same of the file of documents.
    pub documents_crc32: u32,
}

/// What is in a split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// The finished shards.
    pub shards: Vec<Shard>,
    /// The one being filled.
    pub open: Option<Shard>,
}

/// How far a run has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// The source of the last document written: 1 is the first. 0 if there is none yet.
    pub source: u64,
    /// Documents written of that source, empty ones not counted.
    pub documents: u64,
    /// What has been written.
    pub splits: [Split; 2],
}

impl Checkpoint {
    /// As JSON.
    pub fn to_json(&self) -> String {
        let split = |split: &Split| {
            json!({
                "shards": split.shards.iter().map(shard_json).collect::<Vec<_>>(),
                "open": split.open.as_ref().map(shard_json),
            })
        };
        json!({
            "source": self.source,
            "documents": self.documents,
            "splits": self.splits.iter().map(split).collect::<Vec<_>>(),
        })
        .to_string()
    }

    /// Reads what [`Self::to_json`] wrote; `None` if it is anything else.
    pub fn from_json(json: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(json).ok()?;
        let split = |value: &Value| {
            let shards = value.get("shards")?.as_array()?;
            let open = value.get("open")?;
            Some(Split {
                shards: shards.iter().map(shard_of).collect::<Option<_>>()?,
                open: if open.is_null() {
                    None
                } else {
                    Some(shard_of(open)?)
                },
            })
        };
        let splits: Vec<Split> = value
            .get("splits")?
            .as_array()?
            .iter()
            .map(split)
            .collect::<Option<_>>()?;
        Some(Self {
            source: value.get("source")?.as_u64()?,
            documents: value.get("documents")?.as_u64()?,
            splits: splits.try_into().ok()?,
        })
    }
}

fn shard_json(shard: &Shard) -> Value {
    json!({
        "tokens": shard.tokens,
        "documents": shard.documents,
        "bytes": shard.bytes,
        "crc32": shard.crc32,
        "documents_crc32": shard.documents_crc32,
    })
}

fn shard_of(value: &Value) -> Option<Shard> {
    let number = |key| value.get(key)?.as_u64();
    Some(Shard {
        tokens: number("tokens")?,
        documents: number("documents")?,
        bytes: number("bytes")?,
        crc32: number("crc32")?.try_into().ok()?,
        documents_crc32: number("documents_crc32")?.try_into().ok()?,
    })
}
