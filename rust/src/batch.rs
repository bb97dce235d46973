//! Many texts -> ids, in parallel.
//!
//! The work is shared out by bytes: short texts in groups, a long one in parts, cut where neither a
//! special token nor a pretoken can be open. Threads live for one call. A [`Watch`] may end the call
//! early: it is kept between parts, and a part of a text that cannot be cut is all of it.

use crate::encode::{Encoder, Session};
use crate::error::Result;
use crate::special::SpecialTokens;
use crate::threads::{self, Watch};
use std::ops::Range;
use std::sync::atomic::Ordering;

/// Bytes below which no second thread is worth its start.
const SMALL: usize = 32 << 10;

/// Bytes of one task, at least and at most.
const TASK: Range<usize> = 16 << 10..1 << 20;

/// Work that one thread does between two looks at the watch, in bytes.
const LOOK: usize = 256 << 10;

/// What a text counts for by itself, in bytes.
const TEXT: usize = 64;

/// Part of a text, by its index in the batch.
type Part = (usize, Range<usize>);

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
    let done = run(
        encoder,
        texts,
        allowed,
        num_threads,
        watch,
        |session, text, out| {
            let before = out.len();
            session.encode(text, allowed, out)?;
            Ok(out.len() - before)
        },
    )?;
    let mut offsets = vec![0; texts.len() + 1];
    for (text, n) in done.iter().flat_map(|(_, counts)| counts) {
        offsets[text + 1] += *n as u64;
    }
    for i in 0..texts.len() {
        offsets[i + 1] += offsets[i];
    }
    let mut parts = done.into_iter().map(|(ids, _)| ids);
    let mut ids = parts.next().unwrap_or_default();
    ids.reserve_exact(offsets[texts.len()] as usize - ids.len());
    parts.for_each(|part| ids.extend_from_slice(&part));
    Ok((ids, offsets))
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
    let count = |session: &mut Session, text: &str, _: &mut _| session.count(text, allowed);
    let done = run(encoder, texts, allowed, num_threads, watch, count)?;
    let mut counts = vec![0; texts.len()];
    for (text, n) in done.iter().flat_map(|(_, counts)| counts) {
        counts[*text] += *n as u64;
    }
    Ok(counts)
}

/// Ids, and how many of them each part has.
type Done = (Vec<u32>, Vec<(usize, usize)>);

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
    cuts(encoder, text, allowed, LOOK, |place| {
        work(&text[from..place])?;
        from = place;
        watch.look()
    })?;
    work(&text[from..])
}

/// Calls `work` on each part with a session and a buffer of its task; tasks come in the order of the text.
fn run<T: AsRef<str> + Sync>(
    encoder: &Encoder,
    texts: &[T],
    allowed: &SpecialTokens,
    num_threads: Option<usize>,
    watch: &mut Watch,
    work: impl Fn(&mut Session, &str, &mut Vec<u32>) -> Result<usize> + Sync,
) -> Result<Vec<Done>> {
    let n_bytes: usize = texts.iter().map(|t| t.as_ref().len()).sum();
    let mut n_threads = threads::resolve(num_threads)?;
    if n_bytes < SMALL {
        n_threads = 1;
    }
    let do_part = |session: &mut Session, (text, range): &Part, done: &mut Done| {
        let part = &texts[*text].as_ref()[range.clone()];
        let n = work(session, part, &mut done.0)?;
        done.1.push((*text, n));
        Ok(())
    };
    if n_threads == 1 {
        let mut session = encoder.session();
        let mut done = (Vec::new(), Vec::with_capacity(texts.len()));
        let mut seen = 0;
        let mut do_part = |part: Part| {
            seen += part.1.len() + TEXT;
            if seen >= LOOK {
                seen = 0;
                watch.look()?;
            }
            do_part(&mut session, &part, &mut done)
        };
        for (i, text) in texts.iter().enumerate() {
            parts(encoder, text.as_ref(), allowed, LOOK, |range| {
                do_part((i, range))
            })?;
        }
        return Ok(vec![done]);
    }
    let size = (n_bytes / (n_threads * 8)).clamp(TASK.start, TASK.end);
    let tasks = share_out(encoder, texts, allowed, size, watch)?;
    let n_threads = n_threads.min(tasks.len()).max(1);
    let done = threads::share_out(n_threads, tasks.len(), watch, |i, stop| -> Result<Done> {
        let mut session = encoder.session();
        let mut done = (Vec::new(), Vec::with_capacity(tasks[i].len()));
        for part in &tasks[i] {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            do_part(&mut session, part, &mut done)?;
        }
        Ok(done)
    })?;
    // The first error in the order of the texts, whichever thread was first.
    done.into_iter().collect()
}

/// All parts of all texts, in order, in groups of `size` bytes or so.
fn share_out<T: AsRef<str>>(
    encoder: &Encoder,
    texts: &[T],
    allowed: &SpecialTokens,
    size: usize,
    watch: &mut Watch,
) -> Result<Vec<Vec<Part>>> {
    let (mut tasks, mut task, mut filled) = (Vec::new(), Vec::new(), 0);
    for (i, text) in texts.iter().enumerate() {
        parts(encoder, text.as_ref(), allowed, size, |range| {
            filled += range.len();
            task.push((i, range));
            if filled >= size {
                tasks.push(std::mem::take(&mut task));
                filled = 0;
                watch.look()?;
            }
            Ok(())
        })?;
    }
    tasks.push(task);
    Ok(tasks)
}

/// Calls `part` with the parts of a text: all of it if it is not much longer than `size` bytes.
fn parts(
    encoder: &Encoder,
    text: &str,
    allowed: &SpecialTokens,
    size: usize,
    mut part: impl FnMut(Range<usize>) -> Result<()>,
) -> Result<()> {
    let mut start = 0;
    if text.len() > 2 * size {
        cuts(encoder, text, allowed, size, |end| {
            part(start..end)?;
            start = end;
            Ok(())
        })?;
    }
    part(start..text.len())
}

/// Calls `cut` with places, about `size` bytes apart where possible, at which `text` may be cut so
/// that its parts give its ids.
fn cuts(
    encoder: &Encoder,
    text: &str,
    allowed: &SpecialTokens,
    size: usize,
    mut cut: impl FnMut(usize) -> Result<()>,
) -> Result<()> {
    let bytes = text.as_bytes();
    let places = encoder.pretokenizer().cuts();
    let may_cut = places.exist();
    let (mut last, mut from) = (0, 0);
    loop {
        let found = allowed.find(bytes, from);
        let end = found.map_or(bytes.len(), |f| f.1);
        // No special token begins in from..end.
        let mut after = from;
        let mut to = last + size;
        while may_cut && to < end {
            if to <= after {
                to = after + size;
                continue;
            }
            match places.last(&bytes[..end], after, to) {
                Some(place) => {
                    cut(place)?;
                    last = place;
                    after = place;
                    to = place + size;
                }
                None => {
                    after = to;
                    to += size;
                }
            }
        }
        let Some((_, _, next)) = found else {
            return Ok(());
        };
        if next - last >= size && next < bytes.len() {
            cut(next)?;
            last = next;
        }
        from = next;
    }
}
