//! Many texts -> ids, in parallel, and long texts.
//!
//! A [`Watch`] may end a call early. It is looked at between parts of the work, and a text that cannot be
//! cut is one part.

use crate::corpus::encoded::{Consumer, Encoded};
use crate::corpus::texts::{self, Goal, Options};
use crate::encode::Encoder;
use crate::error::Result;
use crate::streaming::long_text;
use crate::system::memory;
use crate::system::threads::Watch;
use crate::text::special::SpecialTokens;

/// Bytes that one thread encodes between two looks at the watch.
const LOOK: usize = 256 << 10;

/// The ids of all `texts`, flat, and where each text's begin: text `i` has the ids
/// `offsets[i]..offsets[i + 1]`, so that there is one offset more than there are texts.
///
/// # Errors
/// [`crate::error::Error::Argument`] for 0 threads; as [`Encoder::encode`] for the first text that
/// fails; what `watch` is answered.
pub fn encode_batch<T: AsRef<str> + Sync>(
    encoder: &Encoder,
    texts: &[T],
    allowed: &SpecialTokens,
    num_threads: Option<usize>,
    watch: &mut Watch,
) -> Result<(Vec<u32>, Vec<u64>)> {
    let mut flat = Flat {
        ids: Vec::new(),
        offsets: memory::filled(0, 1)?,
        n_ids: 0,
    };
    let options = Options::new(encoder, allowed, Goal::Ids, num_threads);
    run(&options, texts, &mut flat, watch)?;
    Ok((flat.ids, flat.offsets))
}

/// How many ids each of `texts` has.
///
/// # Errors
/// As [`encode_batch`].
pub fn count_batch<T: AsRef<str> + Sync>(
    encoder: &Encoder,
    texts: &[T],
    allowed: &SpecialTokens,
    num_threads: Option<usize>,
    watch: &mut Watch,
) -> Result<Vec<u64>> {
    let mut counts = IdCounts::default();
    let options = Options::new(encoder, allowed, Goal::Count, num_threads);
    run(&options, texts, &mut counts, watch)?;
    Ok(counts.counts)
}

fn run<T: AsRef<str>>(
    options: &Options,
    texts: &[T],
    consumer: &mut dyn Consumer,
    watch: &mut Watch,
) -> Result<()> {
    let sizes = texts.iter().map(|text| text.as_ref().len());
    texts::run(options, texts.len(), sizes.sum(), consumer, |tasks| {
        for text in texts {
            tasks.text(text.as_ref(), watch)?;
            if tasks.is_full() {
                tasks.make_room(watch)?;
            }
        }
        tasks.finish(watch)
    })
}

/// Keeps all ids, and where each text's end.
struct Flat {
    ids: Vec<u32>,
    offsets: Vec<u64>,
    n_ids: u64,
}

impl Consumer for Flat {
    fn take(&mut self, encoded: &mut Encoded) -> Result<()> {
        memory::append(&mut self.ids, &encoded.ids)?;
        self.offsets.try_reserve(encoded.parts.len())?;
        let ends = encoded.parts.iter().filter(|part| part.ends);
        self.offsets
            .extend(ends.map(|part| self.n_ids + part.end as u64));
        self.n_ids += encoded.ids.len() as u64;
        Ok(())
    }
}

/// Keeps how many ids each text has.
#[derive(Default)]
pub(crate) struct IdCounts {
    /// Of the texts that have ended.
    pub counts: Vec<u64>,
    /// Of the text that has not.
    open: u64,
}

impl Consumer for IdCounts {
    fn take(&mut self, encoded: &mut Encoded) -> Result<()> {
        let mut start = 0;
        self.counts.try_reserve(encoded.parts.len())?;
        for part in &encoded.parts {
            self.open += (part.end - start) as u64;
            start = part.end;
            if part.ends {
                self.counts.push(std::mem::take(&mut self.open));
            }
        }
        Ok(())
    }
}

/// As [`Encoder::encode`], for a long text.
///
/// # Errors
/// As there; what `watch` is answered.
pub fn encode(
    encoder: &Encoder,
    text: &str,
    allowed: &SpecialTokens,
    watch: &mut Watch,
    out: &mut Vec<u32>,
) -> Result<()> {
    let mut session = encoder.session();
    each_slice(encoder, text, allowed, watch, |slice| {
        session.encode(slice, allowed, out)
    })
}

/// As [`Encoder::count`], for a long text.
///
/// # Errors
/// As there; what `watch` is answered.
pub fn count(
    encoder: &Encoder,
    text: &str,
    allowed: &SpecialTokens,
    watch: &mut Watch,
) -> Result<usize> {
    let (mut session, mut n) = (encoder.session(), 0);
    each_slice(encoder, text, allowed, watch, |slice| {
        n += session.count(slice, allowed)?;
        Ok(())
    })?;
    Ok(n)
}

/// Calls `work` with slices of `text` that give its ids, and looks at the watch in between.
fn each_slice(
    encoder: &Encoder,
    text: &str,
    allowed: &SpecialTokens,
    watch: &mut Watch,
    mut work: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    let mut from = 0;
    long_text::cut_places(encoder, text, allowed, LOOK, |place| {
        work(&text[from..place])?;
        from = place;
        watch.look()
    })?;
    work(&text[from..])
}
