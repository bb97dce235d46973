//! What is done to text before it is cut into pretokens.

use crate::check;
use crate::sample::Sample;
use bytemill::normalize::aligned::Aligned;
use bytemill::normalize::forms::Form;
use bytemill::normalize::{Normalizer, Step};

pub fn steps(sample: &Sample) {
    let text = &sample.text;
    let regex = Step::replace_matches("[eo]", "xyz").expect("a regex");
    let strip = Step::Strip {
        left: true,
        right: true,
    };
    let (composed, decomposed) = (text.replace('e', "é"), text.replace('e', "e\u{301}"));
    // The marks behind a character are put in order, and the first of the last kind is composed with it.
    let n = 20_000;
    let marks = format!("a{}", "\u{301}\u{327}".repeat(n));
    let in_order = format!("á{}{}", "\u{327}".repeat(n), "\u{301}".repeat(n - 1));
    for (name, step, given, expected) in [
        ("NFC, of marks", Step::Form(Form::Nfc), &marks, &in_order),
        ("NFC", Step::Form(Form::Nfc), &decomposed, &composed),
        ("NFKD", Step::Form(Form::Nfkd), &composed, &decomposed),
        // It grows more than there is room for at first.
        (
            "Lowercase",
            Step::Lowercase,
            &text.replace('e', "İ"),
            &text.replace('e', "i\u{307}"),
        ),
        (
            "Strip",
            strip,
            &format!("\n {text}"),
            &text.trim_end().to_owned(),
        ),
        (
            "ReplaceText",
            Step::ReplaceText("e".to_owned(), "xyz".to_owned()),
            text,
            &text.replace('e', "xyz"),
        ),
        (
            "ReplaceMatches",
            regex,
            text,
            &text.replace(['e', 'o'], "xyz"),
        ),
        (
            "Prepend",
            Step::Prepend("new ".to_owned()),
            text,
            &format!("new {text}"),
        ),
    ] {
        let fresh = || Normalizer::new(vec![step.clone()]);
        let apply = |normalizer: &mut Normalizer| Ok(normalizer.apply(given)?.into_owned());
        check(&format!("Normalizer: {name}"), fresh, apply, |found| {
            found == expected
        });
        let align = |normalizer: &mut Normalizer| {
            let mut aligned = Aligned::new(given, 0..given.len())?;
            normalizer.align(&mut aligned)?;
            Ok(aligned)
        };
        check(&format!("Aligned: {name}"), fresh, align, |found| {
            found.text == *expected && found.from.len() == expected.len()
        });
    }
}
