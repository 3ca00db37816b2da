//! Breadth first through every state that a world can get into.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// Multiplies and rotates, as rustc's own hasher: states are small and there are many.
#[derive(Default)]
pub struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u8(*byte);
        }
    }
    fn write_u8(&mut self, byte: u8) {
        self.write_u64(u64::from(byte));
    }
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }
    fn write_isize(&mut self, word: isize) {
        self.write_u64(word as u64);
    }
}

pub type Table<K, V> = HashMap<K, V, BuildHasherDefault<Fold>>;

/// Who does a step, and what: `E0`, `claims`.
pub type Label = (&'static str, &'static str);

/// Whether a step may be counted on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Somebody goes on, or time passes: it happens some day.
    Progress,
    /// A request, a fault, a switch of releases: it may never happen.
    Chance,
}

/// A step, and the state that it leads to.
pub type Found<S> = (Label, Kind, S);

/// The steps that lead out of one state.
pub struct Steps<S> {
    found: Vec<Found<S>>,
    /// A step that must never be possible, and why.
    wrong: Option<(Label, &'static str)>,
}

impl<S> Steps<S> {
    pub fn new() -> Self {
        Self { found: Vec::new(), wrong: None }
    }

    /// Gives the steps, and the wrong one if there is one: for a world that is made of worlds.
    pub fn into_parts(self) -> (Vec<Found<S>>, Option<(Label, &'static str)>) {
        (self.found, self.wrong)
    }

    pub fn progress(&mut self, who: &'static str, what: &'static str, to: S) {
        self.found.push(((who, what), Kind::Progress, to));
    }
    pub fn chance(&mut self, who: &'static str, what: &'static str, to: S) {
        self.found.push(((who, what), Kind::Chance, to));
    }
    pub fn wrong(&mut self, who: &'static str, what: &'static str, why: &'static str) {
        self.wrong.get_or_insert(((who, what), why));
    }
}

pub trait World {
    type State: Copy + Eq + Hash;
    fn first(&self) -> Self::State;
    fn steps(&self, state: &Self::State, steps: &mut Steps<Self::State>);
    /// Gives the one state that stands for all that are the same but for their names.
    fn plain(&self, state: Self::State) -> Self::State;
    /// What must never be, if it is so.
    fn wrong(&self, state: &Self::State) -> Option<&'static str>;
    /// Nobody does anything, and nothing is left over.
    fn rests(&self, state: &Self::State) -> bool;
}

/// What a search found.
#[derive(Debug)]
pub enum Verdict {
    /// Nothing is ever wrong, and from every state rest can be reached by progress alone.
    Sound,
    Wrong(&'static str, String),
    /// A shortest way to a state from which rest cannot be reached.
    Stuck(String),
}

/// More than that is too much for a test.
const STATES_MAX: usize = 3_000_000;

struct Seen<S> {
    states: Vec<S>,
    /// By what step, from which state, each was found first.
    from: Vec<Option<(u32, Label)>>,
    /// Steps of progress: to, from.
    progress: Vec<(u32, u32)>,
}

impl<S> Seen<S> {
    fn trace(&self, mut at: u32, last: Option<Label>) -> String {
        let mut labels: Vec<Label> = last.into_iter().collect();
        while let Some((before, label)) = self.from[at as usize] {
            labels.push(label);
            at = before;
        }
        let mut text = String::new();
        for (who, what) in labels.iter().rev() {
            let _ = write!(text, "{}{who} {what}", if text.is_empty() { "" } else { " > " });
        }
        text
    }
}

/// Searches all of `world`, prints how many states it has, and what was found.
pub fn search<W: World>(name: &str, world: &W) -> Verdict {
    let began = std::time::Instant::now();
    let (verdict, states) = explore(world);
    let (word, more) = match &verdict {
        Verdict::Sound => ("sound", String::new()),
        Verdict::Wrong(why, trace) => (*why, format!("\n      {trace}")),
        Verdict::Stuck(trace) => ("never rests", format!("\n      {trace}")),
    };
    println!("{name:66} {word:24} {states:>8} states, {:.1} s{more}", began.elapsed().as_secs_f32());
    verdict
}

fn explore<W: World>(world: &W) -> (Verdict, usize) {
    let mut seen = Seen { states: Vec::new(), from: Vec::new(), progress: Vec::new() };
    let mut numbers: Table<W::State, u32> = Table::default();
    let first = world.first();
    seen.states.push(first);
    seen.from.push(None);
    numbers.insert(first, 0);
    let mut steps = Steps::new();
    let mut at = 0_u32;
    while let Some(state) = seen.states.get(at as usize).copied() {
        steps.found.clear();
        world.steps(&state, &mut steps);
        if let Some((label, why)) = steps.wrong {
            return (Verdict::Wrong(why, seen.trace(at, Some(label))), seen.states.len());
        }
        for (label, kind, to) in &steps.found {
            let to = &world.plain(*to);
            let number = *numbers.entry(*to).or_insert(seen.states.len() as u32);
            if number as usize == seen.states.len() {
                seen.states.push(*to);
                seen.from.push(Some((at, *label)));
                if let Some(why) = world.wrong(to) {
                    return (Verdict::Wrong(why, seen.trace(number, None)), seen.states.len());
                }
            }
            if *kind == Kind::Progress {
                seen.progress.push((number, at));
            }
        }
        assert!(seen.states.len() < STATES_MAX, "too many states");
        at += 1;
    }
    (stuck(world, &mut seen).map_or(Verdict::Sound, Verdict::Stuck), seen.states.len())
}

/// Goes back from every state of rest along the steps of progress; gives the way to the first state not met.
fn stuck<W: World>(world: &W, seen: &mut Seen<W::State>) -> Option<String> {
    seen.progress.sort_unstable();
    let mut starts = vec![0_u32; seen.states.len() + 1];
    for (to, _) in &seen.progress {
        starts[*to as usize + 1] += 1;
    }
    for n in 1..starts.len() {
        starts[n] += starts[n - 1];
    }
    let mut met: Vec<bool> = seen.states.iter().map(|s| world.rests(s)).collect();
    let mut open: Vec<u32> = (0..met.len() as u32).filter(|n| met[*n as usize]).collect();
    while let Some(n) = open.pop() {
        for (_, from) in &seen.progress[starts[n as usize] as usize..starts[n as usize + 1] as usize] {
            if !std::mem::replace(&mut met[*from as usize], true) {
                open.push(*from);
            }
        }
    }
    let lost = met.iter().position(|met| !met)?;
    Some(seen.trace(lost as u32, None))
}
