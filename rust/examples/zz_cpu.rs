//! Encodes a text three times over and prints how fast, for encoding and for counting.
//!
//! ```sh
//! cargo run --release --example encode_speed -- VOCABULARY PATTERN TEXT THREADS
//! ```
//!
//! VOCABULARY is a file in tiktoken's format, PATTERN a name or a regex, TEXT a file with documents
//! separated by `<|endoftext|>`. Each thread takes documents in turn and keeps their ids in memory.
//! The first pass meets a fresh encoder, the third one with warm caches. One JSON line a mode.

use base64::prelude::{BASE64_STANDARD, Engine};
use bytemill::encode::{Encoder, Ranks};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const SEPARATOR: &str = "<|endoftext|>";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), String> {
    if arguments.len()==5 { return extra(arguments); }
    let [vocabulary, pattern, text, threads] = arguments else {
        return Err("usage: encode_speed VOCABULARY PATTERN TEXT THREADS".to_owned());
    };
    let threads: usize = threads.parse().map_err(|e| format!("THREADS: {e}"))?;
    let read = |path| std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"));
    let tokens: Vec<(Vec<u8>, u32)> = read(vocabulary)?
        .lines()
        .map(|line| {
            let (token, rank) = line.split_once(' ')?;
            Some((BASE64_STANDARD.decode(token).ok()?, rank.parse().ok()?))
        })
        .collect::<Option<_>>()
        .ok_or_else(|| format!("{vocabulary}: not in tiktoken's format"))?;
    let text = read(text)?;
    let documents: Vec<&str> = text.split(SEPARATOR).collect();
    let n_bytes: usize = documents.iter().map(|d| d.len()).sum();
    for counting in [false, true] {
        let start0 = cpu(); let start = Instant::now();
        let ranks = Ranks::new(tokens.iter().cloned()).map_err(|e| e.to_string())?;
        let ranks_ms = start.elapsed().as_secs_f64() * 1e3;
        let encoder = Encoder::new(ranks, Vec::new(), pattern).map_err(|e| e.to_string())?;
        let load_ms = (cpu()-start0)/1e6;
        let mut rates = Vec::new();
        let mut n_ids = 0;
        for _ in 0..4 {
            let start = cpu();
            let ids = pass(&encoder, &documents, threads, counting).map_err(|e| e.to_string())?;
            rates.push(format!("{:.1}", n_bytes as f64 *1e3 / (cpu()-start)));
            n_ids = ids.iter().map(|(n, ids)| n + ids.len()).sum();
        }
        println!(
            "{{\"mode\": \"{}\", \"mb_per_s\": [{}], \"ids\": {n_ids}, \"load_ms\": {load_ms:.0}, \"ranks_ms\": {ranks_ms:.0}}}",
            if counting { "count" } else { "encode" },
            rates.join(", "),
        );
    }
    Ok(())
}

fn cpu()->f64{let s=std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();s.split(' ').next().unwrap().parse().unwrap()}
/// Each thread's number of ids counted and its ids.
fn pass(
    encoder: &Encoder,
    documents: &[&str],
    threads: usize,
    counting: bool,
) -> bytemill::error::Result<Vec<(usize, Vec<u32>)>> {
    // Documents in groups, so that short ones do not make the threads meet at the counter.
    const GROUP: usize = 64;
    let next = AtomicUsize::new(0);
    let work = || {
        let mut session = encoder.session();
        let (mut n, mut ids) = (0, Vec::new());
        loop {
            let from = next.fetch_add(GROUP, Ordering::Relaxed);
            let Some(group) = documents.get(from..) else {
                return Ok((n, ids));
            };
            for document in group.iter().take(GROUP) {
                match counting {
                    true => n += session.count_ordinary(document)?,
                    false => session.encode_ordinary(document, &mut ids)?,
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let joined = others.into_iter().map(|t| t.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
        std::iter::once(own).chain(joined).collect()
    })
}

fn rss()->usize{let s=std::fs::read_to_string("/proc/self/statm").unwrap();s.split(' ').nth(1).unwrap().parse::<usize>().unwrap()*4096}
fn extra(a:&[String])->Result<(),String>{
  let v=std::fs::read_to_string(&a[0]).unwrap();
  let tokens:Vec<(Vec<u8>,u32)>=v.lines().map(|l|{let (t,r)=l.split_once(' ').unwrap();(BASE64_STANDARD.decode(t).unwrap(),r.parse().unwrap())}).collect();
  let r0=rss();
  let enc=Encoder::new(Ranks::new(tokens.iter().cloned()).unwrap(),vec![],&a[1]).unwrap();
  eprintln!("encoder MB {:.1}",(rss() as f64-r0 as f64)/1e6);
  if a[4]=="dump" { for (k,f) in a[2].split(',').enumerate() { let text=std::fs::read_to_string(f).unwrap(); let mut ids=vec![]; for d in text.split(SEPARATOR){ enc.encode_ordinary(d,&mut ids).unwrap(); ids.push(u32::MAX);} let b:Vec<u8>=ids.iter().flat_map(|i|i.to_le_bytes()).collect(); std::fs::write(format!("{}.{k}",a[3]),b).unwrap(); } return Ok(()); }
  let mut st=1u64; let mut rnd=|n:usize|{st=st.wrapping_mul(6364136223846793005).wrapping_add(1);(st>>33) as usize%n};
  let mut gen=|al:&str,n:usize|->String{let l:Vec<char>=al.chars().collect();(0..n).map(|_|l[rnd(l.len())]).collect()};
  for (name,al,n) in [("a","a",1300000),("A","A",1000000),("_","_",50000),("^","^",1000000),("lower","abcdefghijklmnopqrstuvwxyz",100000),("b64","ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",5000000),("letters","ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",5000000),("ACGT","ACGT",3000000),("space"," ",1000000),("nl","\n",1000000),("nbsp","\u{a0}",1000000),("3000","\u{3000}",1000000),("cjk","中文字的是不了人我在有",1000000),("ab","ab",1000000),("zwsp","\u{200b}",1000000)] {
   let t=|n:usize,text:&str|{let _=n;let mut best=f64::MAX;for _ in 0..5{let mut o=vec![];let s=cpu();enc.encode_ordinary(text,&mut o).unwrap();best=best.min(cpu()-s);}best};
   let x=gen(al,n);let y=gen(al,2*n);
   let (p,q)=(t(n,&x),t(n,&y)); println!("{name}: {:.2} ms, t(2n)/t(n) {:.2}, {:.1} MB/s",p/1e6,q/p,x.len() as f64*1e3/p);
  }
  let text=std::fs::read_to_string(&a[2]).unwrap(); let chars:Vec<char>=text.chars().take(1_000_000).collect();
  let strs:Vec<String>=chars.chunks(100).map(|c|c.iter().collect()).collect();
  for round in 0..3 { let mut ts=vec![]; let mut out=vec![]; for s in &strs { let t=Instant::now(); out.clear(); enc.encode_ordinary(s,&mut out).unwrap(); ts.push(t.elapsed().as_nanos()); } ts.sort(); println!("100 chars round {round}: median {} ns, p10 {} total {:.2} ms",ts[ts.len()/2],ts[ts.len()/10],ts.iter().sum::<u128>() as f64/1e6); }
  let before=rss(); let mut peak=0; for i in 0..2000 { let s=gen(if i%2==0 {"abcdefghij klmnopqrstuvwxyz\n"} else {"abcdefghijklmnopqrstuvwxyz"},120000); let mut o=vec![]; enc.encode_ordinary(&s,&mut o).unwrap(); peak=peak.max(rss()); } println!("120 KB strings: growth {:.1} MB (peak {:.1})",(rss() as f64-before as f64)/1e6,(peak as f64-before as f64)/1e6);
  Ok(())
}
