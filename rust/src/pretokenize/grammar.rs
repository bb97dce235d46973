//! A pattern text -> its structure over symbols, for patterns of the GPT-2 family.
//!
//! The family: any nesting of alternatives, sequences and repetitions (greedy or lazy) of character
//! classes, possessive repetition of single classes, and look-ahead by at most one character (`(?!\S)`,
//! `(?=[a-z]|$)`, `$`, `\z`). What lies outside (look-behind, longer look-ahead, back-references, `^`,
//! `\b`, other atomic groups, ...) is not accepted; the regex engine does it.
//!
//! The text is parsed by fancy-regex and classes by regex-syntax, which the engine uses as well, so
//! that no second reading of a pattern can differ from the first.

use fancy_regex::{Assertion, AstNode, Expr, LookAround};
use regex_syntax::hir::{Class, HirKind};

/// Classes a pattern may have: they must fit in the bits of a `u128`.
const MAX_CLASSES: usize = 128;
/// Symbols a pattern may have, the end of the text among them: they must fit in a [`Symbols`].
const MAX_SYMBOLS: usize = 64;
/// Levels of nesting.
const MAX_DEPTH: usize = 50;

/// A set of symbols; bit `i` is for symbol `i`.
pub type Symbols = u64;

/// A pattern, or a part of one. `C` is what stands for a class of characters.
#[derive(Clone, Debug)]
pub enum Node<C> {
    /// One character of a class.
    Take(C),
    /// The next character is in one of the classes; nothing is taken.
    Ahead(C),
    /// One after the other.
    Sequence(Vec<Node<C>>),
    /// The first that lets the whole match.
    Either(Vec<Node<C>>),
    /// Repetition.
    Repeat {
        /// What is repeated.
        node: Box<Node<C>>,
        /// At least so often.
        min: usize,
        /// At most so often; `usize::MAX` is for any number.
        max: usize,
        /// Whether more is tried first, and whether what was taken may be given back.
        manner: Manner,
    },
}

/// How a repetition goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// `X+`
    Greedy,
    /// `X+?`
    Lazy,
    /// `X++`, of a single class.
    Possessive,
}

/// A pattern over symbols. A symbol is a set of characters that no class of the pattern tells apart.
#[derive(Debug)]
pub struct Grammar {
    /// What the pattern says.
    pub root: Node<Symbols>,
    /// How many symbols there are. The last one is the end of the text.
    pub n_symbols: usize,
    /// The symbol of each character in these ranges, both ends included; 0 for all others.
    pub spans: Vec<(usize, usize, u8)>,
}

impl Grammar {
    /// Reads `pattern`; `None` if it is not in the family.
    pub fn new(pattern: &str) -> Option<Grammar> {
        let tree = Expr::parse_tree(pattern).ok()?;
        let mut classes = Classes::default();
        let root = classes.node(&tree.expr, 0)?;
        classes.grammar(&root)
    }
}

/// Classes by number, a set of them, negated or not, with or without the end of the text.
#[derive(Clone, Copy, Debug, Default)]
struct Draft {
    classes: u128,
    at_end: bool,
    negated: bool,
}

/// The classes that a pattern names.
#[derive(Default)]
struct Classes {
    /// Texts, in regex-syntax's language.
    texts: Vec<String>,
    /// Ranges of code points, both ends included, in order.
    ranges: Vec<Vec<(usize, usize)>>,
}

impl Classes {
    /// Reads a part of a pattern.
    fn node(&mut self, expr: &Expr, depth: usize) -> Option<Node<Draft>> {
        if depth > MAX_DEPTH {
            return None;
        }
        let depth = depth + 1;
        Some(match expr {
            Expr::Empty => Node::Sequence(Vec::new()),
            Expr::Concat(nodes) => Node::Sequence(self.nodes(nodes, depth)?),
            Expr::Alt(nodes) => Node::Either(self.nodes(nodes, depth)?),
            Expr::Group(inner) => self.node(inner, depth)?,
            Expr::AstNode(AstNode::AstGroup { name: None, inner }, _) => self.node(inner, depth)?,
            Expr::Literal { val, casei } => {
                let one = |c: char| {
                    let mut buffer = [0; 4];
                    let text = regex_syntax::escape(c.encode_utf8(&mut buffer));
                    Some(Node::Take(self.class(&text, *casei)?))
                };
                Node::Sequence(val.chars().map(one).collect::<Option<_>>()?)
            }
            Expr::Any {
                newline,
                crlf: false,
            } => Node::Take(self.class(if *newline { "(?s:.)" } else { "." }, false)?),
            Expr::Delegate { inner, casei } => Node::Take(self.class(inner, *casei)?),
            Expr::Repeat {
                child,
                lo,
                hi,
                greedy,
            } => {
                let node = self.node(child, depth)?;
                // What an engine does about repeated empty matches is its own affair.
                if *hi > 1 && node.may_be_empty() || lo > hi {
                    return None;
                }
                let manner = if *greedy {
                    Manner::Greedy
                } else {
                    Manner::Lazy
                };
                Node::Repeat {
                    node: Box::new(node),
                    min: *lo,
                    max: *hi,
                    manner,
                }
            }
            Expr::AtomicGroup(inner) => match self.node(inner, depth)? {
                Node::Repeat {
                    node,
                    min,
                    max,
                    manner: Manner::Greedy,
                } if node.single().is_some() => Node::Repeat {
                    node,
                    min,
                    max,
                    manner: Manner::Possessive,
                },
                _ => return None,
            },
            Expr::Assertion(Assertion::EndText) => Node::Ahead(Draft {
                at_end: true,
                ..Draft::default()
            }),
            Expr::LookAround(inner, LookAround::LookAhead) => {
                Node::Ahead(self.node(inner, depth)?.first_only()?)
            }
            Expr::LookAround(inner, LookAround::LookAheadNeg) => {
                let mut draft = self.node(inner, depth)?.first_only()?;
                draft.negated = !draft.negated;
                Node::Ahead(draft)
            }
            _ => return None,
        })
    }

    fn nodes(&mut self, exprs: &[Expr], depth: usize) -> Option<Vec<Node<Draft>>> {
        exprs.iter().map(|expr| self.node(expr, depth)).collect()
    }

    /// The class that regex-syntax reads in `text`.
    fn class(&mut self, text: &str, any_case: bool) -> Option<Draft> {
        let text = match any_case {
            true => format!("(?i:{text})"),
            false => text.to_owned(),
        };
        let known = self.texts.iter().position(|other| *other == text);
        let index = match known {
            Some(index) => index,
            None => {
                self.ranges.push(ranges(&text)?);
                self.texts.push(text);
                self.texts.len() - 1
            }
        };
        (index < MAX_CLASSES).then(|| Draft {
            classes: 1 << index,
            ..Draft::default()
        })
    }

    /// Replaces classes by symbols.
    fn grammar(&self, root: &Node<Draft>) -> Option<Grammar> {
        // Where some class begins or ends: the set of classes flips there.
        let mut edges = vec![(0, 0)];
        for (class, ranges) in self.ranges.iter().enumerate() {
            for &(start, end) in ranges {
                edges.extend([(start, 1_u128 << class), (end + 1, 1 << class)]);
            }
        }
        edges.sort_unstable();
        let past_last = char::MAX as usize + 1;
        let mut symbols: Vec<u128> = Vec::new();
        let mut spans = Vec::new();
        let mut current = 0;
        for (i, &(start, flip)) in edges.iter().enumerate() {
            current ^= flip;
            let next = edges.get(i + 1).map_or(past_last, |e| e.0);
            // The surrogates may be in another class than half of their neighbours; they occur in no text.
            if start >= next {
                continue;
            }
            let known = symbols.iter().position(|&s| s == current);
            let symbol = known.unwrap_or(symbols.len());
            if known.is_none() {
                symbols.push(current);
            }
            if symbol + 1 >= MAX_SYMBOLS {
                return None;
            }
            spans.push((start, next - 1, symbol as u8));
        }
        let end = symbols.len();
        let resolve = |draft: &Draft| {
            let holds = |s: &u128| s & draft.classes != 0;
            let mut set = u64::from(draft.at_end) << end;
            for (i, _) in symbols.iter().enumerate().filter(|(_, s)| holds(s)) {
                set |= 1 << i;
            }
            match draft.negated {
                true => !set & (!0 >> (63 - end)),
                false => set,
            }
        };
        Some(Grammar {
            root: root.map(&resolve),
            n_symbols: end + 1,
            spans,
        })
    }
}

/// The code points of the class that regex-syntax reads in `text`.
fn ranges(text: &str) -> Option<Vec<(usize, usize)>> {
    let hir = regex_syntax::parse(text).ok()?;
    match hir.kind() {
        HirKind::Class(Class::Unicode(set)) => {
            let one =
                |r: &regex_syntax::hir::ClassUnicodeRange| (r.start() as usize, r.end() as usize);
            Some(set.ranges().iter().map(one).collect())
        }
        HirKind::Class(Class::Bytes(set)) if set.is_ascii() => {
            let one = |r: &regex_syntax::hir::ClassBytesRange| (r.start().into(), r.end().into());
            Some(set.ranges().iter().map(one).collect())
        }
        HirKind::Literal(literal) => {
            let mut chars = std::str::from_utf8(&literal.0).ok()?.chars();
            let c = chars.next()? as usize;
            chars.next().is_none().then(|| vec![(c, c)])
        }
        _ => None,
    }
}

impl<C> Node<C> {
    /// Whether it can match without taking anything.
    pub fn may_be_empty(&self) -> bool {
        match self {
            Node::Take(_) => false,
            Node::Ahead(_) => true,
            Node::Sequence(nodes) => nodes.iter().all(Node::may_be_empty),
            Node::Either(nodes) => nodes.iter().any(Node::may_be_empty),
            Node::Repeat { node, min, .. } => *min == 0 || node.may_be_empty(),
        }
    }

    /// The class, if this is one character of it.
    pub fn single(&self) -> Option<&C> {
        match self {
            Node::Take(class) => Some(class),
            Node::Sequence(nodes) | Node::Either(nodes) => match &nodes[..] {
                [node] => node.single(),
                _ => None,
            },
            _ => None,
        }
    }

    fn map<D>(&self, f: &impl Fn(&C) -> D) -> Node<D> {
        let all = |nodes: &[Node<C>]| nodes.iter().map(|p| p.map(f)).collect();
        match self {
            Node::Take(class) => Node::Take(f(class)),
            Node::Ahead(class) => Node::Ahead(f(class)),
            Node::Sequence(nodes) => Node::Sequence(all(nodes)),
            Node::Either(nodes) => Node::Either(all(nodes)),
            Node::Repeat {
                node,
                min,
                max,
                manner,
            } => Node::Repeat {
                node: Box::new(node.map(f)),
                min: *min,
                max: *max,
                manner: *manner,
            },
        }
    }
}

impl Node<Draft> {
    /// As the inside of a look-ahead: the classes, if it matches just when the next character is in one.
    fn first_only(&self) -> Option<Draft> {
        match self {
            Node::Take(draft) | Node::Ahead(draft) => Some(*draft),
            Node::Sequence(nodes) => match &nodes[..] {
                [node] => node.first_only(),
                _ => None,
            },
            Node::Either(nodes) => {
                let mut all = Draft::default();
                for node in nodes {
                    let one = node.first_only()?;
                    if one.negated {
                        return None;
                    }
                    all.classes |= one.classes;
                    all.at_end |= one.at_end;
                }
                Some(all)
            }
            Node::Repeat { .. } => None,
        }
    }
}
