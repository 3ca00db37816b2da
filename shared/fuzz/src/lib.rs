//! Tests only: inputs for fuzz targets. Each is a seed with edits, a row of tokens, or anything at all.
//!
//! A plain test run tries the same few hundred inputs every time. With `FUZZ_SECONDS` set, a target goes on with new
//! ones for that long (`make fuzz`). An input that fails is made as small as it can be, and shown.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

/// How many inputs a plain test run tries.
const INPUTS: u32 = 400;
/// How many inputs are tried between two looks at the clock.
const INPUTS_BETWEEN: u32 = 2_000;
/// How long one input may take, on a busy machine in a debug build.
const INPUT_TIME_MAX: Duration = Duration::from_secs(5);
const EDITS_MAX: usize = 8;
const TOKENS_MAX: usize = 24;
const BYTES_MAX: usize = 200;
/// How often a token is repeated to make a long input.
const REPEATS_MAX: usize = 600;

/// One change of a seed. Places are shares of its length.
#[derive(Debug, Clone)]
enum Edit {
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Replace(Index, u8),
    Double(Index, usize),
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let place = |at: &Index, length: usize| at.index(length + 1);
        let length = bytes.len();
        match self {
            Self::Insert(at, token) => {
                let at = place(at, length);
                bytes.splice(at..at, token.iter().copied());
            }
            Self::Remove(at, count) => {
                let at = place(at, length);
                bytes.drain(at..(at + count).min(length));
            }
            Self::Replace(at, byte) => {
                if let Some(there) = bytes.get_mut(place(at, length)) {
                    *there = *byte;
                }
            }
            Self::Double(at, count) => {
                let at = place(at, length);
                bytes.extend_from_within(at..(at + count).min(length));
            }
        }
    }
}

fn input(seeds: &[&[u8]], tokens: &[&[u8]]) -> impl Strategy<Value = Vec<u8>> + use<> {
    let owned = |texts: &[&[u8]]| texts.iter().map(|text| text.to_vec()).collect::<Vec<_>>();
    let (seeds, tokens) = (select(owned(seeds)), select(owned(tokens)));
    let token = prop_oneof![4 => tokens.clone(), 1 => prop::collection::vec(any::<u8>(), 1..3)];
    let edit = prop_oneof![
        3 => (any::<Index>(), token.clone()).prop_map(|(at, token)| Edit::Insert(at, token)),
        2 => (any::<Index>(), 1..9_usize).prop_map(|(at, count)| Edit::Remove(at, count)),
        2 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Edit::Replace(at, byte)),
        1 => (any::<Index>(), 1..60_usize).prop_map(|(at, count)| Edit::Double(at, count)),
    ];
    let edited = (seeds, prop::collection::vec(edit, 0..EDITS_MAX)).prop_map(|(mut bytes, edits)| {
        edits.iter().for_each(|edit| edit.apply(&mut bytes));
        bytes
    });
    let row = prop::collection::vec(token, 0..TOKENS_MAX).prop_map(|tokens| tokens.concat());
    let long = (tokens, 1..REPEATS_MAX, row.clone()).prop_map(|(token, count, end)| {
        let mut bytes = token.repeat(count);
        bytes.extend(end);
        bytes
    });
    prop_oneof![
        8 => edited,
        6 => row,
        1 => long,
        1 => prop::collection::vec(any::<u8>(), 0..BYTES_MAX),
    ]
}

/// Tries `check` with bytes made of `seeds` and `tokens`.
///
/// # Panics
/// With the smallest input that fails, if `check` panics or takes longer than 5 s.
pub fn bytes(seeds: &[&[u8]], tokens: &[&[u8]], check: impl Fn(&[u8])) {
    let strategy = input(seeds, tokens);
    let test = |bytes: Vec<u8>| {
        let begun = Instant::now();
        check(&bytes);
        match begun.elapsed() {
            taken if taken > INPUT_TIME_MAX => Err(TestCaseError::fail(format!("it took {taken:?}"))),
            _ => Ok(()),
        }
    };
    let run = |inputs: u32, fixed: Option<TestRng>| {
        let config = Config { cases: inputs, failure_persistence: None, ..Config::default() };
        let mut runner = match fixed {
            Some(rng) => TestRunner::new_with_rng(config, rng),
            None => TestRunner::new(config),
        };
        match runner.run(&strategy, test) {
            Ok(()) => {}
            Err(TestError::Fail(why, bytes)) => {
                panic!("{why}\ninput: {:?}\nbytes: {bytes:?}", String::from_utf8_lossy(&bytes))
            }
            Err(e @ TestError::Abort(_)) => panic!("{e}"),
        }
    };
    run(INPUTS, Some(TestRng::deterministic_rng(RngAlgorithm::ChaCha)));
    let seconds =
        std::env::var("FUZZ_SECONDS").map_or(0, |text| text.parse().expect("FUZZ_SECONDS is a number"));
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        run(INPUTS_BETWEEN, None);
    }
}

/// As [`bytes`], for what takes text: what is not UTF-8 is replaced first.
///
/// # Panics
/// As [`bytes`].
pub fn texts(seeds: &[&str], tokens: &[&str], check: impl Fn(&str)) {
    let (seeds, tokens): (Vec<&[u8]>, Vec<&[u8]>) =
        (seeds.iter().map(|s| s.as_bytes()).collect(), tokens.iter().map(|t| t.as_bytes()).collect());
    bytes(&seeds, &tokens, |bytes| check(&String::from_utf8_lossy(bytes)));
}
