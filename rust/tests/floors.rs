//! The floors of `rust/src`: which room may import which, read from the sources themselves.
//!
//! A room is a folder, or a file beside `lib.rs`. Imports are all paths that begin with `crate`, `super` or
//! `self`, in `use` and elsewhere, and those of a `mod.rs` into its own files; tests inside the files count
//! as well.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up: each room, and the rooms it may import. All of those stand above it in this list.
const FLOORS: [(&str, &[&str]); 16] = [
    ("error", &[]),
    ("utf8", &[]),
    ("simd", &[]),
    ("system", &["error"]),
    ("normalize", &["error", "system"]),
    ("pretokenize", &["error", "utf8", "simd", "system"]),
    ("text", &["error", "utf8", "system", "pretokenize"]),
    ("vocabulary", &["error", "utf8", "simd", "system"]),
    ("train", &["error", "system", "pretokenize", "text"]),
    ("naive", &["vocabulary", "train"]),
    (
        "encode",
        &[
            "error",
            "utf8",
            "simd",
            "system",
            "normalize",
            "pretokenize",
            "text",
            "vocabulary",
        ],
    ),
    (
        "superwords",
        &["error", "system", "pretokenize", "text", "train", "encode"],
    ),
    ("decode", &["error", "system", "vocabulary"]),
    (
        "streaming",
        &[
            "error",
            "utf8",
            "system",
            "normalize",
            "pretokenize",
            "text",
            "vocabulary",
            "encode",
        ],
    ),
    (
        "corpus",
        &[
            "error",
            "system",
            "text",
            "vocabulary",
            "encode",
            "streaming",
        ],
    ),
    (
        "python",
        &[
            "error",
            "utf8",
            "system",
            "normalize",
            "pretokenize",
            "text",
            "vocabulary",
            "train",
            "encode",
            "superwords",
            "decode",
            "streaming",
            "corpus",
        ],
    ),
];

const MAX_FILES: usize = 16;
const MAX_LINES: usize = 400;

/// `crate::encode::groups` as `["encode", "groups"]`.
type ModulePath = Vec<String>;

/// A source file.
struct Source {
    path: PathBuf,
    text: String,
    tokens: Vec<String>,
}

/// All files but `lib.rs`, by module.
fn sources() -> BTreeMap<ModulePath, Source> {
    fn visit(folder: &Path, module: &[String], found: &mut BTreeMap<ModulePath, Source>) {
        for entry in fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            let name = path
                .file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            let mut inner = module.to_vec();
            if path.is_dir() {
                inner.push(name);
                visit(&path, &inner, found);
                continue;
            }
            if path.extension().is_none_or(|e| e != "rs") || name == "lib" {
                continue;
            }
            if name != "mod" {
                inner.push(name);
            }
            let text = fs::read_to_string(&path).expect("a source file");
            let tokens = tokens(&text);
            found.insert(inner, Source { path, text, tokens });
        }
    }
    let mut found = BTreeMap::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("rust/src");
    visit(&root, &[], &mut found);
    found
}

/// Names and punctuation, without comments, literals and white space; `::` is one token.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let skip_to = |from: usize, end: &str| {
        let end: Vec<char> = end.chars().collect();
        let found = (from..chars.len()).find(|&i| chars[i..].starts_with(&end));
        found.map_or(chars.len(), |i| i + end.len())
    };
    let mut found = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        match (at(i), at(i + 1)) {
            ('/', '/') => i = skip_to(i, "\n"),
            ('/', '*') => i = skip_to(i, "*/"),
            ('"', _) => {
                i += 1;
                while i < chars.len() && at(i) != '"' {
                    i += if at(i) == '\\' { 2 } else { 1 };
                }
                i += 1;
            }
            ('\'', '\\') => i = skip_to(i + 3, "'"),
            ('\'', _) if at(i + 2) == '\'' => i += 3,
            (':', ':') => {
                found.push("::".to_owned());
                i += 2;
            }
            (c, _) if is_name(c) => {
                let len = chars[i..].iter().take_while(|&&c| is_name(c)).count();
                let name: String = chars[i..i + len].iter().collect();
                i += len;
                let n_hashes = chars[i..].iter().take_while(|&&c| c == '#').count();
                if name.ends_with('r') && name.len() < 3 && at(i + n_hashes) == '"' {
                    let end = format!("\"{}", "#".repeat(n_hashes));
                    i = skip_to(i + n_hashes + 1, &end);
                } else {
                    found.push(name);
                }
            }
            (c, _) => {
                if !c.is_whitespace() {
                    found.push(c.to_string());
                }
                i += 1;
            }
        }
    }
    found
}

/// The paths, from the crate's root, that a file of module `module` names. `inner` are the modules in a
/// `mod.rs`'s folder.
fn imports(tokens: &[String], module: &[String], inner: &BTreeSet<String>) -> Vec<ModulePath> {
    let at = |i: usize| tokens.get(i).map_or("", String::as_str);
    let (mut found, mut here) = (Vec::new(), module.to_vec());
    // Depths at which modules inside the file end.
    let (mut depth, mut ends) = (0, Vec::new());
    for i in 0..tokens.len() {
        let is_first = i == 0 || at(i - 1) != "::";
        let goes_on = is_first && at(i + 1) == "::";
        let (base, from) = match at(i) {
            "{" => {
                depth += 1;
                continue;
            }
            "}" => {
                depth -= 1;
                if ends.last() == Some(&depth) {
                    ends.pop();
                    here.pop();
                }
                continue;
            }
            "mod" if at(i + 2) == "{" => {
                ends.push(depth);
                here.push(at(i + 1).to_owned());
                continue;
            }
            "crate" if goes_on => (Vec::new(), i + 2),
            "self" if goes_on => (here.clone(), i + 2),
            "super" if goes_on => {
                let (mut base, mut from) = (here.clone(), i);
                while at(from) == "super" {
                    base.pop();
                    from += 2;
                }
                (base, from)
            }
            name if goes_on && inner.contains(name) => (here.clone(), i),
            _ => continue,
        };
        tree(tokens, from, &base, &mut found);
    }
    found
}

/// Adds the paths of a tree such as `a::{b, c::d}` that begins at token `i`; returns where it ends.
fn tree(tokens: &[String], mut i: usize, base: &[String], found: &mut Vec<ModulePath>) -> usize {
    let at = |i: usize| tokens.get(i).map_or("", String::as_str);
    let mut path = base.to_vec();
    loop {
        if at(i) == "{" {
            i += 1;
            while !matches!(at(i), "}" | "") {
                i = if at(i) == "," {
                    i + 1
                } else {
                    tree(tokens, i, &path, found)
                };
            }
            return i + 1;
        }
        path.push(at(i).to_owned());
        i += 1;
        if at(i) != "::" {
            if at(i) == "as" {
                i += 2;
            }
            found.push(path);
            return i;
        }
        i += 1;
    }
}

/// Each file's module, and the modules of the files that it imports.
fn edges(sources: &BTreeMap<ModulePath, Source>) -> BTreeMap<ModulePath, BTreeSet<ModulePath>> {
    let edges = sources.iter().map(|(module, source)| {
        let is_folder = source.path.ends_with("mod.rs");
        let inner = sources
            .keys()
            .filter(|m| is_folder && m.len() > module.len());
        let inner = inner.filter(|m| m.starts_with(module));
        let inner = inner.map(|m| m[module.len()].clone()).collect();
        let paths = imports(&source.tokens, module, &inner);
        // The longest beginning of a path that is a file.
        let file = |path: &ModulePath| {
            let lens = (1..=path.len()).rev();
            lens.map(|n| path[..n].to_vec())
                .find(|m| sources.contains_key(m))
        };
        let files = paths.iter().filter_map(file).filter(|m| m != module);
        (module.clone(), files.collect())
    });
    edges.collect()
}

#[test]
fn no_room_imports_one_above_it() {
    for (i, (room, below)) in FLOORS.iter().enumerate() {
        for other in *below {
            let is_below = FLOORS[..i].iter().any(|(name, _)| name == other);
            assert!(is_below, "the table: {other} is not below {room}");
        }
    }
    for (module, imported) in edges(&sources()) {
        let floor = FLOORS.iter().find(|(room, _)| *room == module[0]);
        let Some((room, below)) = floor else {
            panic!("{module:?} is in a room that the table of floors does not have");
        };
        for other in imported {
            let may = other[0] == *room || below.contains(&&*other[0]);
            let (module, other) = (module.join("::"), other.join("::"));
            assert!(may, "{module} imports {other}, which {room} may not");
        }
    }
}

#[test]
fn no_circle_between_files() {
    let mut left = edges(&sources());
    // Takes away files that import none of the rest, until nothing is left, or only circles.
    loop {
        let before = left.len();
        let names: BTreeSet<ModulePath> = left.keys().cloned().collect();
        left.retain(|_, imported| !imported.is_disjoint(&names));
        if left.len() == before {
            break;
        }
    }
    // Files that only lead to a circle are not part of it.
    loop {
        let before = left.len();
        let imported: BTreeSet<ModulePath> = left.values().flatten().cloned().collect();
        left.retain(|module, _| imported.contains(module));
        if left.len() == before {
            break;
        }
    }
    let circle: Vec<String> = left.keys().map(|m| m.join("::")).collect();
    assert!(
        circle.is_empty(),
        "these files import each other: {circle:?}"
    );
}

#[test]
fn files_and_folders_are_small() {
    let mut folders: BTreeMap<&Path, usize> = BTreeMap::new();
    let sources = sources();
    for source in sources.values() {
        let n_lines = source.text.lines().count();
        let path = source.path.display();
        assert!(n_lines <= MAX_LINES, "{path} has {n_lines} lines");
        *folders
            .entry(source.path.parent().expect("a folder"))
            .or_default() += 1;
    }
    for (folder, n_files) in folders {
        assert!(
            n_files <= MAX_FILES,
            "{} has {n_files} files",
            folder.display()
        );
    }
}

#[test]
fn only_the_bindings_know_python() {
    for (module, source) in sources() {
        let knows = source.tokens.iter().any(|token| token == "pyo3");
        assert!(!knows || module[0] == "python", "{module:?} names pyo3");
    }
}

#[test]
fn imports_are_found() {
    let text = r##"
        // use crate::comment::A;
        use crate::{a::B, c::{self as d, E}};
        pub(crate) use crate::f::*;
        const S: &str = "crate::string"; const R: &str = r#"crate::raw""#; const C: char = '"';
        fn g<'a>(x: &'a str) -> crate::h::Result<()> { super::i::j(x) }
        mod tests { use super::*; use super::super::k; use crate::l; }
        use super::m;
        fn n() { inner::o() }
    "##;
    let module = ["room".to_owned(), "file".to_owned()];
    let found = imports(&tokens(text), &module, &["inner".to_owned()].into());
    let found: Vec<String> = found.iter().map(|path| path.join(" ")).collect();
    let expected = [
        "a B",
        "c self",
        "c E",
        "f *",
        "h Result",
        "room i j",
        "room file *",
        "room k",
        "l",
        "room m",
        "room file inner o",
    ];
    assert_eq!(found, expected);
}
