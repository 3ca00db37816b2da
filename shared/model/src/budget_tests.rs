use super::*;
use crate::{Phase, Record, ReleaseNumber};

const MIB: u64 = 1 << 20;

fn release(name: &str) -> ReleaseId {
    name.parse().expect("a release")
}

/// An image with a layer of 10 MiB of its own, and these besides.
fn image(name: &str, used_ms: u64, shared: &[&str]) -> ImageUsage {
    let layer = |id: &str| (id.to_owned(), 10 * MIB);
    let layers = shared.iter().map(|id| layer(id)).chain([layer(name)]).collect();
    ImageUsage { release: release(name), layers, used_ms }
}

fn log(app: &str, file: &str, used_ms: u64) -> LogUsage {
    LogUsage { app: app.parse().expect("a name"), file: file.into(), bytes: 4 * MIB, used_ms }
}

/// blog-v1 to v5, v4 is live.
fn known() -> Known {
    let releases = (1..=5).map(|n| release(&format!("blog-v{n}"))).collect();
    let current = [("blog".parse().expect("a name"), ReleaseNumber(4))].into();
    Known { current, releases, ..Known::default() }
}

fn usage() -> DiskUsage {
    DiskUsage {
        repositories: [("blog".parse().expect("a name"), 5 * MIB)].into(),
        logs: vec![
            log("blog", "build.log", 1),
            log("blog", "build.log.1", 9),
            log("blog", "instance.log.1", 8),
        ],
        own_bytes: 0,
        images: (1..=5).map(|n| image(&format!("blog-v{n}"), 100 - n, &["base"])).collect(),
        cache: CacheUsage { bytes: 30 * MIB, unused_bytes: 20 * MIB },
    }
}

fn names(evictions: &[Eviction]) -> Vec<String> {
    let name = |eviction: &Eviction| match eviction {
        Eviction::Cache { bytes } => format!("cache {}", bytes / MIB),
        Eviction::Release { release, bytes } => format!("{release} {}", bytes / MIB),
        Eviction::Log { file, bytes, .. } => format!("{file} {}", bytes / MIB),
    };
    evictions.iter().map(name).collect()
}

#[test]
fn live_previous_pinned_and_what_has_a_record_never_go() {
    let mut known = known();
    let kept = |known: &Known| &protected(known) | &in_use(known);
    let all = |known: &Known| names(&evictable(&usage(), &kept(known)));
    // Used least recently first: v5 before v2 before v1.
    let logs = ["instance.log.1 4", "build.log.1 4"];
    assert_eq!(all(&known), [&["cache 20", "blog-v5 10", "blog-v2 10", "blog-v1 10"][..], &logs].concat());
    known.pinned.insert(release("blog-v2"));
    assert_eq!(all(&known), [&["cache 20", "blog-v5 10", "blog-v1 10"][..], &logs].concat());
    let retired = Record { phase: Phase::Cold, retired: true, ..Record::new(0) };
    known.records.insert(release("blog-v1").instance(), retired);
    assert_eq!(all(&known), [&["cache 20", "blog-v5 10"][..], &logs].concat());
    known.current.insert("blog".parse().expect("a name"), ReleaseNumber(5));
    assert_eq!(all(&known), [&["cache 20", "blog-v3 10"][..], &logs].concat());
}

#[test]
fn no_more_goes_than_has_to_and_the_cache_goes_in_parts() {
    // 30 of cache, 60 of images, 12 of logs, 5 of repositories.
    let (usage, protected) = (usage(), protected(&known()));
    assert_eq!(usage.bytes(DiskPart::Everything), 107 * MIB);
    let evicted = |budget| names(&evictions(&usage, &protected, DiskBudget::Whole(budget * MIB)));
    assert!(evicted(107).is_empty());
    assert_eq!(evicted(104), ["cache 3"]);
    assert_eq!(evicted(87), ["cache 20"]);
    assert_eq!(evicted(86), ["cache 20", "blog-v5 10"]);
    assert_eq!(evicted(77), ["cache 20", "blog-v5 10"]);
    assert_eq!(evicted(57), ["cache 20", "blog-v5 10", "blog-v2 10", "blog-v1 10"]);
    assert_eq!(evicted(56).len(), 5);
    assert_eq!(evicted(0).len(), 6, "all that may, and no repository");
}

#[test]
fn what_fills_one_file_system_is_not_made_up_for_on_the_other() {
    let (usage, protected) = (usage(), protected(&known()));
    let evicted = |engine, data| {
        let budget = DiskBudget::Split { engine: engine * MIB, data: data * MIB };
        names(&evictions(&usage, &protected, budget))
    };
    assert!(evicted(90, 17).is_empty());
    assert_eq!(evicted(69, 100), ["cache 20", "blog-v5 10"]);
    assert_eq!(evicted(100, 16), ["instance.log.1 4"]);
}

#[test]
fn an_image_whose_layers_others_have_frees_what_only_it_has() {
    let mut usage = usage();
    // v2 is v5 again, v1 is the live one again.
    usage.images[1].layers = usage.images[4].layers.clone();
    usage.images[0].layers = usage.images[3].layers.clone();
    let all = evictable(&usage, &protected(&known()));
    assert_eq!(names(&all)[..3], ["cache 20", "blog-v5 0", "blog-v2 10"]);
    assert!(!names(&all).iter().any(|name| name.starts_with("blog-v1")), "nothing would be free");
}

#[test]
fn a_share_is_of_the_file_system_that_something_is_on() {
    let volume = |device, mib| Volume { device, bytes: mib * MIB };
    let share = DiskLimit::Percent(50);
    let same = share.budget(volume(1, 100), Some(volume(1, 100)));
    assert_eq!(same, DiskBudget::Whole(volume(1, 100).bytes / 100 * 50));
    assert_eq!(share.budget(volume(1, 100), None), same);
    let split = share.budget(volume(1, 100), Some(volume(2, 400)));
    let DiskBudget::Split { engine, data } = split else { panic!("{split:?}") };
    assert!(engine > data * 3);
    assert_eq!(DiskLimit::Bytes(7).budget(volume(1, 100), Some(volume(2, 400))), DiskBudget::Whole(7));
}

#[test]
fn a_pinned_release_stays_beside_the_newest() {
    let releases: BTreeSet<_> = (1..=8).map(|n| release(&format!("blog-v{n}"))).collect();
    let mut known = Known { releases, ..known() };
    known.current.insert("blog".parse().expect("a name"), ReleaseNumber(8));
    let removed = |known: &Known| {
        let steps = crate::plan(known, &crate::Seen::default(), 0).into_iter();
        let number = |step| match step {
            crate::Step::RemoveRelease(release) => Some(release.number.0),
            _ => None,
        };
        steps.filter_map(number).collect::<BTreeSet<_>>()
    };
    assert_eq!(removed(&known), [1, 2, 3].into());
    known.pinned.insert(release("blog-v2"));
    assert_eq!(removed(&known), [1, 3].into());
}

#[test]
fn what_is_set_aside_for_the_build_engine_is_taken_off_the_engines_disk() {
    assert_eq!(DiskBudget::Whole(50).without(20), DiskBudget::Whole(30));
    assert_eq!(DiskBudget::Whole(50).without(60), DiskBudget::Whole(0));
    let split = DiskBudget::Split { engine: 50, data: 40 };
    assert_eq!(split.without(20), DiskBudget::Split { engine: 30, data: 40 });
}
