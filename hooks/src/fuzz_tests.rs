//! Fuzz target: the lines that git gives its hooks, with refs of a pusher's choice.

use func_model::limits::REF_LINE_BYTES;

use crate::push::{Push, line};

#[test]
fn lines_are_read_to_their_end_and_names_are_shown_in_one_line() {
    let (zero, id) = ("0".repeat(40), "a".repeat(40));
    let seed = format!("{zero} {id} refs/heads/main\n{id} {zero} refs/tags/v1\n{zero} {id} refs/heads/x\n");
    let long = "x".repeat(REF_LINE_BYTES);
    let tokens =
        [" ", "\n", "\r", "\0", "refs/heads/", "refs/", &id, &zero, &long, "\u{202e}", "é", "\u{1b}[2J"];
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    func_fuzz::texts(&[&seed], &tokens, |text| {
        runtime.block_on(async {
            let push = Push::read(text.as_bytes(), "main").await.expect("read");
            let app = "blog".parse().expect("an app");
            for shown in push.remarks(&app, "main").into_iter().chain([push.summary("main")]) {
                assert!(!shown.contains(char::is_control) && shown.len() < 2_000, "{shown:?}");
            }
            let mut input = text.as_bytes();
            let mut count = 0;
            while let Some(line) = line(&mut input).await.expect("read") {
                assert!(line.is_none_or(|line| line.len() <= REF_LINE_BYTES));
                count += 1;
            }
            assert_eq!(count, text.split_terminator('\n').count());
        });
    });
}
