//! Many texts -> ids, in parallel.
//!
//! The work is shared out by bytes: short texts in groups, a long one in parts, cut where neither a
//! special token nor a pretoken can be open. Threads live for one call.

use crate::encode::{Encoder, Session};
use crate::error::Result;
use crate::special::SpecialTokens;
use crate::threads;
use rayon::prelude::*;
use std::ops::Range;

/// Bytes below which no second thread is worth its start.
const SMALL: usize = 32 << 10;

/// Bytes of one task, at least and at most.
const TASK: Range<usize> = 16 << 10..1 << 20;

/// Part of a text, by its index in the batch.
type Part = (usize, Range<usize>);

/// The ids of all `texts`, flat, and where each text's begin: text `i` has the ids
/// `offsets[i]..offsets[i + 1]`, so that there is one offset more than there are texts.
///
/// # Errors
/// [`crate::error::Error::Argument`] for 0 threads; as [`Encoder::encode`] for the first text that
/// fails.
pub fn encode_batch<T: AsRef<str> + Sync>(
    encoder: &Encoder,
    texts: &[T],
    allowed: &SpecialTokens,
    num_threads: Option<usize>,
) -> Result<(Vec<u32>, Vec<u64>)> {
    let done = run(
        encoder,
        texts,
        allowed,
        num_threads,
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
) -> Result<Vec<u64>> {
    let done = run(encoder, texts, allowed, num_threads, |session, text, _| {
        session.count(text, allowed)
    })?;
    let mut counts = vec![0; texts.len()];
    for (text, n) in done.iter().flat_map(|(_, counts)| counts) {
        counts[*text] += *n as u64;
    }
    Ok(counts)
}

/// Ids, and how many of them each part has.
type Done = (Vec<u32>, Vec<(usize, usize)>);

/// Calls `work` on each part with a session and a buffer of its task; tasks come in the order of the text.
fn run<T: AsRef<str> + Sync>(
    encoder: &Encoder,
    texts: &[T],
    allowed: &SpecialTokens,
    num_threads: Option<usize>,
    work: impl Fn(&mut Session, &str, &mut Vec<u32>) -> Result<usize> + Sync,
) -> Result<Vec<Done>> {
    let n_bytes: usize = texts.iter().map(|t| t.as_ref().len()).sum();
    let mut n_threads = threads::resolve(num_threads)?;
    if n_bytes < SMALL {
        n_threads = 1;
    }
    let do_task = |task: &[Part]| -> Result<Done> {
        let mut session = encoder.session();
        let (mut ids, mut counts) = (Vec::new(), Vec::with_capacity(task.len()));
        for (text, range) in task {
            let n = work(
                &mut session,
                &texts[*text].as_ref()[range.clone()],
                &mut ids,
            )?;
            counts.push((*text, n));
        }
        Ok((ids, counts))
    };
    if n_threads == 1 {
        let whole = |(i, text): (usize, &T)| (i, 0..text.as_ref().len());
        let task: Vec<Part> = texts.iter().enumerate().map(whole).collect();
        return Ok(vec![do_task(&task)?]);
    }
    let size = (n_bytes / (n_threads * 8)).clamp(TASK.start, TASK.end);
    let tasks = share_out(encoder, texts, allowed, size);
    let done: Vec<Result<Done>> = threads::pool(n_threads.min(tasks.len()).max(1))?
        .install(|| tasks.par_iter().map(|task| do_task(task)).collect());
    // The first error in the order of the texts, whichever thread was first.
    done.into_iter().collect()
}

/// All parts of all texts, in order, in groups of `size` bytes or so.
fn share_out<T: AsRef<str>>(
    encoder: &Encoder,
    texts: &[T],
    allowed: &SpecialTokens,
    size: usize,
) -> Vec<Vec<Part>> {
    let (mut tasks, mut task, mut filled) = (Vec::new(), Vec::new(), 0);
    for (i, text) in texts.iter().enumerate() {
        let text = text.as_ref();
        let mut start = 0;
        let mut add = |end: usize| {
            task.push((i, start..end));
            filled += end - start;
            start = end;
            if filled >= size {
                tasks.push(std::mem::take(&mut task));
                filled = 0;
            }
        };
        if text.len() > 2 * size {
            cuts(encoder, text, allowed, size, &mut add);
        }
        add(text.len());
    }
    tasks.push(task);
    tasks
}

/// Calls `cut` with places, about `size` bytes apart where possible, at which `text` may be cut so
/// that its parts give its ids.
fn cuts(
    encoder: &Encoder,
    text: &str,
    allowed: &SpecialTokens,
    size: usize,
    mut cut: impl FnMut(usize),
) {
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
                    cut(place);
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
        let Some((_, _, next)) = found else { break };
        if next - last >= size && next < bytes.len() {
            cut(next);
            last = next;
        }
        from = next;
    }
}
