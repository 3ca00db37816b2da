//! Text that others wrote, as it may be shown on a terminal: it must not steer the terminal, nor look like other text.

use std::borrow::Cow;

const ESCAPE: char = '\u{1b}';
const JOINERS: [char; 2] = ['\u{200c}', '\u{200d}'];

/// Returns a text without what would steer a terminal or hide in it: escape sequences and invisible characters are
/// dropped, every other control character but a tab and a line end becomes U+FFFD.
///
/// The zero-width joiner and non-joiner stay between two characters beyond ASCII, where emoji and scripts such as
/// Devanagari and Persian need them; elsewhere they can only hide. Tag characters are dropped, so that the flags of
/// England, Scotland and Wales become a plain black flag.
///
/// Source: ECMA-48, 5.3 to 5.6; Unicode Technical Report 36 and UAX 9 (bidirectional formatting).
pub fn plain_text(text: &str) -> Cow<'_, str> {
    if text.is_ascii() && !text.contains(|c: char| c.is_ascii_control() && c != '\n' && c != '\t') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let after = &rest[next.len_utf8()..];
        rest = after;
        match next {
            ESCAPE => match after_sequence(after) {
                Some(behind) => rest = behind,
                None => plain.push(char::REPLACEMENT_CHARACTER),
            },
            '\t' | '\n' => plain.push(next),
            _ if next.is_control() => plain.push(char::REPLACEMENT_CHARACTER),
            _ if JOINERS.contains(&next) => {
                if joins(plain.chars().next_back()) && joins(after.chars().next()) {
                    plain.push(next);
                }
            }
            _ if is_invisible(next) => {}
            _ => plain.push(next),
        }
    }
    Cow::Owned(plain)
}

/// As [`plain_text`], for what belongs in one line: a line end and a tab become a space.
pub fn plain_line(text: &str) -> Cow<'_, str> {
    match plain_text(text) {
        plain if plain.contains(['\n', '\t']) => Cow::Owned(plain.replace(['\n', '\t'], " ")),
        plain => plain,
    }
}

/// Whether a joiner beside this character has something to join.
fn joins(beside: Option<char>) -> bool {
    beside.is_some_and(|c| {
        !c.is_ascii() && !c.is_control() && !c.is_whitespace() && !JOINERS.contains(&c) && !is_invisible(c)
    })
}

/// Whether a character changes the order of others, or takes no place at all though no script needs it in a line of
/// a log. Variation selectors 15 and 16 stay: they choose between emoji and text.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0d}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// Gives what follows an escape sequence, of which the escape character has been read; `None` if it is none, or not
/// whole.
fn after_sequence(rest: &str) -> Option<&str> {
    let first = rest.chars().next()?;
    match first {
        // CSI: parameters and intermediates, a final character.
        '[' => after_final(&rest[1..], '\u{20}'..='\u{3f}', '\u{40}'..='\u{7e}'),
        // DCS, SOS, OSC, PM, APC: a text up to BEL or ESC \.
        'P' | 'X' | ']' | '^' | '_' => {
            let ends = ["\u{7}", "\u{1b}\\"].map(|end| rest.find(end).map(|at| at + end.len()));
            ends.into_iter().flatten().min().map(|end| &rest[end..])
        }
        // All others: intermediates, a final character.
        _ => after_final(rest, '\u{20}'..='\u{2f}', '\u{30}'..='\u{7e}'),
    }
}

fn after_final(
    rest: &str,
    before: std::ops::RangeInclusive<char>,
    last: std::ops::RangeInclusive<char>,
) -> Option<&str> {
    let rest = rest.trim_start_matches(|c| before.contains(&c));
    rest.strip_prefix(|c| last.contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_are_dropped_and_other_controls_are_replaced() {
        let printed = "\u{1b}[1;31mred\u{1b}[0m\tand\u{1b}[2J\u{1b}]0;title\u{7} \u{1b}]8;;x\u{1b}\\so\u{1b}(B on\u{1b}c";
        assert_eq!(plain_text(printed), "red\tand so on");
        let broken = "a\u{1b}\u{7}b\u{9b}2J\u{7f}c\rd\u{1b}]0;e\u{1b}[1;\u{1b}";
        let shown = "a\u{fffd}\u{fffd}b\u{fffd}2J\u{fffd}c\u{fffd}d\u{fffd}]0;e\u{fffd}[1;\u{fffd}";
        assert_eq!(plain_text(broken), shown);
    }

    #[test]
    fn nothing_that_turns_or_hides_text_is_shown() {
        let hiding = "\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}\u{200e}\u{200f}\u{61c}\
             \u{200b}\u{200c}\u{200d}\u{2060}\u{feff}\u{ad}\u{e0041}\u{e007f}\u{e0100}\u{180e}\u{3164}\u{2028}";
        for c in hiding.chars() {
            assert_eq!(plain_text(&format!("rm{c} x{c}")), "rm x", "U+{:04X}", u32::from(c));
            assert_eq!(plain_text(&format!("é{c}{c}")), "é", "U+{:04X}", u32::from(c));
        }
        assert_eq!(plain_text("\u{1b}\u{200b}[31mx"), "\u{fffd}[31mx", "nothing is made of what stays");
    }

    #[test]
    fn scripts_and_emoji_that_need_a_joiner_keep_it() {
        for text in ["क्\u{200d}ष", "می\u{200c}خواهم", "👩\u{200d}🚒", "❤\u{fe0f}", "שלום", "naïve 東京\tx\ny"]
        {
            assert_eq!(plain_text(text), text);
        }
        assert_eq!(plain_text("👩\u{200d}\u{200d}🚒"), "👩\u{200d}🚒");
        assert_eq!(plain_text("pay\u{200d}pal"), "paypal");
    }

    #[test]
    fn no_control_character_is_left_whatever_stands_before_it() {
        for introducer in ["\u{1b}", "\u{1b}[", "\u{1b}]", "\u{1b}P", "\u{9b}", ""] {
            for control in (0..0xa0).filter_map(char::from_u32).filter(|c| c.is_control()) {
                let line = plain_line(&format!("{introducer}{control}{introducer}x")).into_owned();
                assert!(!line.contains(char::is_control), "{line:?}");
            }
        }
    }
}
