//! Enough of Rust's lexical grammar to look at source without being fooled by comments, literals and tests.

/// Source with comments and literals blanked: same length in characters, same lines.
#[must_use]
pub(super) fn mask(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out: Vec<char> = Vec::with_capacity(chars.len());
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut i = 0;
    while i < chars.len() {
        let end = match at(i) {
            '/' if at(i + 1) == '/' => line_end(&chars, i),
            '/' if at(i + 1) == '*' => block_comment_end(&chars, i),
            '"' => string_end(&chars, i + 1),
            'r' | 'b' | 'c' if !is_word(at(i.wrapping_sub(1))) => prefixed_end(&chars, i),
            '\'' => char_end(&chars, i),
            _ => i,
        };
        if end == i {
            out.push(at(i));
            i += 1;
        } else {
            while i < end.min(chars.len()) {
                out.push(if at(i) == '\n' { '\n' } else { ' ' });
                i += 1;
            }
        }
    }
    out.into_iter().collect()
}

/// Whether `c` can be part of an identifier.
#[must_use]
pub(super) fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn line_end(chars: &[char], from: usize) -> usize {
    let rest = chars.get(from..).unwrap_or_default();
    from + rest.iter().position(|c| *c == '\n').unwrap_or(rest.len())
}

fn block_comment_end(chars: &[char], from: usize) -> usize {
    let mut depth = 0_usize;
    let mut i = from;
    while i < chars.len() {
        match (chars.get(i), chars.get(i + 1)) {
            (Some('/'), Some('*')) => {
                depth += 1;
                i += 2;
            }
            (Some('*'), Some('/')) => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    return i;
                }
            }
            _ => i += 1,
        }
    }
    chars.len()
}

/// `from` is just after the opening quote.
fn string_end(chars: &[char], from: usize) -> usize {
    let mut i = from;
    while let Some(c) = chars.get(i) {
        match c {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

/// Raw, byte and C strings, byte characters; `from` itself if none begins there.
fn prefixed_end(chars: &[char], from: usize) -> usize {
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut i = from;
    if matches!(at(i), 'b' | 'c') {
        i += 1;
    }
    let raw = at(i) == 'r';
    if raw {
        i += 1;
        let mut hashes = 0;
        while at(i) == '#' {
            hashes += 1;
            i += 1;
        }
        if at(i) != '"' {
            return from;
        }
        i += 1;
        while i < chars.len() {
            if at(i) == '"' && (1..=hashes).all(|n| at(i + n) == '#') {
                return i + 1 + hashes;
            }
            i += 1;
        }
        return chars.len();
    }
    match at(i) {
        '"' if i > from => string_end(chars, i + 1),
        '\'' if i > from && at(from) == 'b' => char_end(chars, i),
        _ => from,
    }
}

/// A character literal; `from` itself if it is a lifetime.
fn char_end(chars: &[char], from: usize) -> usize {
    match (chars.get(from + 1), chars.get(from + 2)) {
        (Some('\\'), _) => {
            let rest = chars.get(from + 3..).unwrap_or_default();
            from + 4 + rest.iter().position(|c| *c == '\'').unwrap_or(rest.len())
        }
        (Some(_), Some('\'')) => from + 3,
        _ => from,
    }
}

/// Masked source with the items under `#[cfg(test)]` blanked; how many lines they took.
#[must_use]
pub(super) fn without_tests(masked: &str) -> (String, usize) {
    let mut text: Vec<char> = masked.chars().collect();
    let mut lines = 0;
    let mut from = 0;
    while let Some(start) = find_test_attribute(&text, from) {
        let end = item_end(&text, start);
        lines += text
            .get(start..end)
            .unwrap_or_default()
            .iter()
            .filter(|c| **c == '\n')
            .count()
            + 1;
        for c in text.get_mut(start..end).unwrap_or_default() {
            if *c != '\n' {
                *c = ' ';
            }
        }
        from = end;
    }
    (text.into_iter().collect(), lines)
}

/// Names of the modules that are declared under `#[cfg(test)]` and have files of their own.
#[must_use]
pub(super) fn test_modules(masked: &str) -> Vec<String> {
    let text: Vec<char> = masked.chars().collect();
    let mut names = Vec::new();
    let mut from = 0;
    while let Some(start) = find_test_attribute(&text, from) {
        from = item_end(&text, start);
        let item: String = text.get(start..from).unwrap_or_default().iter().collect();
        let mut words = item.trim_end_matches(';').split_whitespace().rev();
        if let (true, Some(name), Some("mod")) = (item.ends_with(';'), words.next(), words.next()) {
            names.push(name.to_owned());
        }
    }
    names
}

fn find_test_attribute(text: &[char], from: usize) -> Option<usize> {
    let mut i = from;
    while i < text.len() {
        if text.get(i) == Some(&'#') && text.get(i + 1) == Some(&'[') {
            let end = bracket_end(text, i + 1);
            let attribute: String = text
                .get(i..end)
                .unwrap_or_default()
                .iter()
                .filter(|c| !c.is_whitespace())
                .collect();
            if attribute == "#[cfg(test)]" || attribute.starts_with("#[cfg(all(test,") {
                return Some(i);
            }
            i = end;
        } else {
            i += 1;
        }
    }
    None
}

/// Just after the bracket that closes the one at `open`.
fn bracket_end(text: &[char], open: usize) -> usize {
    let mut depth = 0_usize;
    let mut i = open;
    while let Some(c) = text.get(i) {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return i + 1;
                }
            }
            _ => {}
        }
        i += 1;
    }
    text.len()
}

/// Just after the item whose first attribute begins at `start`.
fn item_end(text: &[char], start: usize) -> usize {
    let mut i = start;
    loop {
        match text.get(i) {
            None => return text.len(),
            Some('#') if text.get(i + 1) == Some(&'[') => i = bracket_end(text, i + 1),
            Some('{') => return bracket_end(text, i),
            Some('(' | '[') => i = bracket_end(text, i),
            Some(';') => return i + 1,
            Some(_) => i += 1,
        }
    }
}

/// The line, counting from 1, of the character at `offset`.
#[must_use]
pub(super) fn line_of(text: &[char], offset: usize) -> usize {
    1 + text
        .get(..offset)
        .unwrap_or(text)
        .iter()
        .filter(|c| **c == '\n')
        .count()
}

/// Where `needle` stands in `text` as whole words, in characters.
#[must_use]
pub(super) fn find_words(text: &[char], needle: &str) -> Vec<usize> {
    let needle: Vec<char> = needle.chars().collect();
    let mut found = Vec::new();
    for (i, window) in text.windows(needle.len()).enumerate() {
        let before = i.checked_sub(1).and_then(|i| text.get(i));
        let after = text.get(i + needle.len());
        if window == needle
            && !before.is_some_and(|c| is_word(*c))
            && !after.is_some_and(|c| is_word(*c))
        {
            found.push(i);
        }
    }
    found
}
