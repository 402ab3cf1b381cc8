//! Every fuzz target on its seeds, on changed and cut seeds, and on short random inputs: a sample of what
//! `scripts/fuzz` runs at length, and the proof that the targets compile.
#![expect(clippy::expect_used, reason = "the targets check what must hold for every input")]

use std::fs;
use std::path::Path;

// The targets import their one macro from this crate's name.
extern crate self as libfuzzer_sys;

/// Changed copies of each seed, and random inputs, of each target.
const ROUNDS: u64 = 40;

/// What a target can be given, made of any bytes.
trait Input<'a>: Sized {
    fn read(bytes: &'a [u8]) -> Option<Self>;
}

impl<'a> Input<'a> for &'a [u8] {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        Some(bytes)
    }
}

impl<'a> Input<'a> for &'a str {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        std::str::from_utf8(bytes).ok()
    }
}

impl<'a> Input<'a> for (&'a str, &'a str) {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        text.split_at_checked(text.len() / 2)
    }
}

impl<'a> Input<'a> for (u64, &'a str) {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (number, rest) = bytes.split_first_chunk()?;
        Some((u64::from_be_bytes(*number), std::str::from_utf8(rest).ok()?))
    }
}

impl<'a> Input<'a> for (u8, &'a [u8]) {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        bytes.split_first().map(|(number, rest)| (*number, rest))
    }
}

/// Stands in for the fuzzer's macro: a function that runs the target once.
macro_rules! runnable_target {
    (|$input:ident: $type:ty| $body:expr) => {
        pub(super) fn run(bytes: &[u8]) {
            fn target($input: $type) {
                $body;
            }
            if let Some(input) = super::Input::read(bytes) {
                target(input);
            }
        }
    };
}
pub(crate) use runnable_target as fuzz_target;

/// A module for each target, and a test for each that runs it on the seeds in some folders.
macro_rules! targets {
    ($($name:ident: $path:literal, $seeds:expr;)*) => {
        $(
            #[expect(unused_attributes, reason = "a target of the fuzzer has no main function")]
            #[path = $path]
            mod $name;
        )*

        mod seeds {
            $(
                #[test]
                fn $name() {
                    super::try_all(super::$name::run, &$seeds);
                }
            )*
        }

        const TARGETS: &[&str] = &[$(stringify!($name)),*];
    };
}

targets! {
    file_name: "../fuzz/fuzz_targets/file_name.rs", [];
    image_header: "../fuzz/fuzz_targets/image_header.rs", ["pictures"];
    media_id: "../fuzz/fuzz_targets/media_id.rs", [];
    media_token: "../fuzz/fuzz_targets/media_token.rs", [];
    media_type: "../fuzz/fuzz_targets/media_type.rs", [];
    multipart: "../fuzz/fuzz_targets/multipart.rs", ["forms"];
    paging_query: "../fuzz/fuzz_targets/paging_query.rs", [];
    preview: "../fuzz/fuzz_targets/preview.rs", ["pictures"];
    range_header: "../fuzz/fuzz_targets/range_header.rs", [];
    sniff: "../fuzz/fuzz_targets/sniff.rs", ["pictures", "documents"];
    transform: "../fuzz/fuzz_targets/transform.rs", [];
    tus_headers: "../fuzz/fuzz_targets/tus_headers.rs", [];
    upload_token: "../fuzz/fuzz_targets/upload_token.rs", [];
}

fn fuzz() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz"))
}

/// Numbers that differ in every run would make a failure hard to see again.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end.max(1)
    }
}

fn try_all(run: fn(&[u8]), folders: &[&str]) {
    let mut numbers = Numbers(7);
    for folder in folders {
        let files = fs::read_dir(fuzz().join("seeds").join(folder)).expect("the seeds are there");
        for file in files {
            let seed = fs::read(file.expect("it can be listed").path()).expect("it can be read");
            run(&seed);
            for _ in 0..ROUNDS {
                let mut changed = seed.clone();
                for _ in 0..=numbers.below(4) {
                    let at = numbers.below(changed.len());
                    if let Some(byte) = changed.get_mut(at) {
                        *byte = numbers.below(256) as u8;
                    }
                }
                changed.truncate(1 + numbers.below(changed.len() * 2));
                run(&changed);
            }
        }
    }
    // What headers and paths are made of, so that more than the first character is read.
    let letters = b"abtokenbytes=0123456789-,;:/._%?&\" \xc3\xa4\0";
    for _ in 0..ROUNDS * 20 {
        let length = numbers.below(80);
        let text: Vec<u8> = (0..length).map(|_| letters[numbers.below(letters.len())]).collect();
        run(&text);
    }
}

#[test]
fn every_target_runs_here() {
    let files = fs::read_dir(fuzz().join("fuzz_targets")).expect("the targets are there");
    let mut names: Vec<String> = files
        .map(|file| {
            file.expect("it can be listed").file_name().to_string_lossy().replace(".rs", "")
        })
        .collect();
    names.sort();
    assert_eq!(names, TARGETS, "a new target stands in this list, too");
}
