//! Citations lead somewhere: `contract §8` to a section of docs/contract.md, `(S12, R17)` to lines
//! of docs/guarantees.md. The tests that docs/guarantees.md names exist.
//!
//! Guarantees are cited in parentheses, which tells them from S3 the protocol and R2 the store.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const CONTRACT: &str = "docs/contract.md";
const GUARANTEES: &str = "docs/guarantees.md";
/// Where citations are looked for. Those that are not there are skipped.
const FOLDERS: [&str; 9] = [
    "src",
    "crates",
    "tests",
    "examples",
    "benches",
    "fuzz/fuzz_targets",
    "page",
    "migrations",
    "docs",
];
const EXTENSIONS: [&str; 7] = ["rs", "mjs", "js", "sql", "md", "py", "c"];
/// What begins a line of comment in one of these languages; longer ones first.
const COMMENTS: [&str; 6] = ["//!", "///", "//", "--", "#", "*"];
/// Publishers of documents that have sections of their own.
const STANDARDS: [&str; 8] = ["RFC", "ISO", "ECMA", "ICC", "PNG", "W3C", "WHATWG", "CSP3"];
/// Words before a section number among which its standard is named.
const STANDARD_WORDS: usize = 8;
/// Products that are called like a guarantee.
const PRODUCTS: [&str; 2] = ["S3", "R2"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file's text by its path from the root; empty when there is none.
fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_default()
}

fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name).extension().is_some_and(|found| found == extension)
}

/// Paths from the root, without what is built or downloaded.
fn source_names() -> Vec<String> {
    let mut names = Vec::new();
    let mut folders: Vec<_> = FOLDERS.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            let is_generated = path.join("CACHEDIR.TAG").exists()
                || path.join("pyvenv.cfg").exists()
                || path.ends_with("node_modules");
            let extension = path.extension().and_then(|extension| extension.to_str());
            if path.is_dir() && !is_generated {
                folders.push(path);
            } else if extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) {
                let name = path.strip_prefix(root()).unwrap_or(&path);
                names.push(name.display().to_string());
            }
        }
    }
    names.sort();
    names
}

/// What can be cited.
struct Known {
    sections: BTreeSet<String>,
    guarantees: BTreeSet<String>,
}

impl Known {
    fn from_texts(contract: &str, guarantees: &str) -> Self {
        let headings = contract.lines().filter(|line| line.starts_with("##"));
        let numbers = headings.filter_map(|line| line.split_whitespace().nth(1));
        let lines = guarantees.lines().filter_map(|line| line.strip_prefix("- **"));
        let ids = lines.filter_map(|line| line.split_once("**")).map(|(id, _)| id.to_owned());
        Self {
            sections: numbers.map(|number| number.trim_end_matches('.').to_owned()).collect(),
            guarantees: ids.collect(),
        }
    }

    /// The citations of a file that lead nowhere or are not in the agreed form.
    fn unresolved(&self, name: &str, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        for block in prose(name, text) {
            found.extend(self.unresolved_sections(name, &block));
            found.extend(self.unresolved_guarantees(name, &block));
        }
        found.into_iter().map(|problem| format!("{name}: {problem}")).collect()
    }

    fn unresolved_sections(&self, name: &str, block: &str) -> Vec<String> {
        let words: Vec<&str> = block.split_whitespace().collect();
        let mut found = Vec::new();
        for (at, word) in words.iter().enumerate() {
            let Some((_, number)) = word.split_once('§') else { continue };
            let end = number.find(|c: char| !c.is_ascii_digit() && c != '.');
            let number = number[..end.unwrap_or(number.len())].trim_end_matches('.');
            // Of a list, such as "contract §4, §8", the word before the first one counts.
            let is_listed = |word: &&&str| word.contains('§') || **word == "and";
            let source = words[..at].iter().rev().find(|word| !is_listed(word));
            let source =
                source.map_or("", |word| word.trim_matches(|c: char| !c.is_alphanumeric()));
            let near = &words[at.saturating_sub(STANDARD_WORDS)..at];
            let is_standard =
                near.iter().any(|word| STANDARDS.iter().any(|standard| word.contains(standard)));
            if source == "contract" || (name == CONTRACT && !is_standard) {
                if !self.sections.contains(number) {
                    found.push(format!("contract §{number} is no section of {CONTRACT}"));
                }
            } else if !is_standard {
                found.push(format!(
                    "§{number} names no document; ours is cited as contract §{number}"
                ));
            }
        }
        found
    }

    fn unresolved_guarantees(&self, name: &str, block: &str) -> Vec<String> {
        let mut found = Vec::new();
        // A line that defines an id does not cite it.
        let may_stand_alone = |id: &str| name == GUARANTEES || PRODUCTS.contains(&id);
        for (id, is_in_parentheses) in guarantee_ids(block) {
            if is_in_parentheses && !self.guarantees.contains(id) {
                found.push(format!("({id}) is no line of {GUARANTEES}"));
            } else if !is_in_parentheses && !may_stand_alone(id) {
                found.push(format!("{id} is cited in parentheses, as ({id})"));
            }
        }
        found
    }
}

/// The paragraphs of a Markdown file, or the comments of another one. Lines of one comment are
/// joined, since a citation may run over the end of a line.
fn prose(name: &str, text: &str) -> Vec<String> {
    if has_extension(name, "md") {
        return text.split("\n\n").map(str::to_owned).collect();
    }
    let mut blocks = vec![String::new()];
    for line in text.lines() {
        match (comment(line), blocks.last_mut()) {
            (Some(comment), Some(block)) => {
                block.push(' ');
                block.push_str(comment);
            }
            _ => blocks.push(String::new()),
        }
    }
    blocks
}

fn comment(line: &str) -> Option<&str> {
    let start = line.trim_start();
    let whole_line = COMMENTS.iter().find_map(|mark| start.strip_prefix(mark));
    whole_line.or_else(|| line.split_once(" // ").map(|(_, comment)| comment))
}

/// Ids of guarantees, as (S12) and (R7), and whether each stands in parentheses.
fn guarantee_ids(block: &str) -> Vec<(&str, bool)> {
    let is_boundary = |c: char| !c.is_alphanumeric() && c != '_';
    let (mut depth, mut found) = (0_usize, Vec::new());
    for piece in block.split_inclusive(is_boundary) {
        let word = piece.trim_end_matches(is_boundary);
        let digits = word.strip_prefix(['S', 'R']).unwrap_or_default();
        if matches!(digits.len(), 1 | 2) && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            found.push((word, depth > 0));
        }
        match piece.chars().last() {
            Some('(') => depth += 1,
            Some(')') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    found
}

/// The problem with a name in backticks, if it is that of a file or a test and leads nowhere.
fn unresolved_test(name: &str) -> Option<String> {
    let (file, test) = name.split_once("::").unwrap_or((name, ""));
    let is_file = ["src/", "crates/", "tests/", "examples/", "fuzz/", "docs/"]
        .iter()
        .any(|folder| file.starts_with(folder));
    if !is_file || file.contains('*') {
        return None;
    }
    if !root().join(file).exists() {
        return Some(format!("there is no {file}"));
    }
    let declaration =
        if has_extension(file, "rs") { format!("fn {test}(") } else { test.to_owned() };
    let is_found = test.is_empty() || read(file).contains(&declaration);
    (!is_found).then(|| format!("{file} holds no test {test}"))
}

#[test]
fn every_citation_leads_to_a_section_or_a_guarantee() {
    let known = Known::from_texts(&read(CONTRACT), &read(GUARANTEES));
    let names = source_names();
    assert!(names.len() > 300, "the sources were not found");
    let unresolved: Vec<String> =
        names.iter().flat_map(|name| known.unresolved(name, &read(name))).collect();
    assert!(unresolved.is_empty(), "{}", unresolved.join("\n"));
}

#[test]
fn the_contract_and_the_guarantees_are_numbered_without_a_gap() {
    let known = Known::from_texts(&read(CONTRACT), &read(GUARANTEES));
    for number in 1..=17 {
        assert!(known.sections.contains(&number.to_string()), "section {number}");
    }
    let security = (1..=40).map(|number| format!("S{number}"));
    let reliability = (1..=30).map(|number| format!("R{number}"));
    assert_eq!(known.guarantees, security.chain(reliability).collect());
}

#[test]
fn every_test_that_the_guarantees_name_exists() {
    let text = read(GUARANTEES);
    let names: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    assert!(names.iter().filter(|name| name.contains("::")).count() > 150, "{GUARANTEES}");
    let unresolved: Vec<String> = names.into_iter().filter_map(unresolved_test).collect();
    assert!(unresolved.is_empty(), "{}", unresolved.join("\n"));
}

#[test]
fn what_leads_nowhere_is_found() {
    let known =
        Known::from_texts("## 4. Schemas\n### 4.1 List\n", "- **S3** Types.\n- **R7** Reads.\n");
    for good in [
        "//! Reads a list (contract §4, §4.1; S3, R7).\n",
        "//! Ranges (RFC 9110 §14.2, §17.15) of contract §4.\n",
        "// The races of a list (R7,\n// S3).\n",
        "// Parts at most, by the rules of S3.\nlet a = f(S99);\n",
    ] {
        assert_eq!(known.unresolved("src/a.rs", good), [""; 0], "{good}");
    }
    for bad in [
        "//! Errors (contract §6).\n",
        "//! Lists (contract §4, §9).\n",
        "/// As the design says (design §4).\n",
        "/// A part (§4).\n",
        "// Never on a path (S9).\n",
        "let a = 1; // Fresh (R8).\n",
        "// R7: fresh.\n",
    ] {
        assert_eq!(known.unresolved("src/a.rs", bad).len(), 1, "{bad}");
    }
    assert_eq!(known.unresolved(CONTRACT, "See §4 and §5.").len(), 1);
    assert!(unresolved_test("tests/references.rs::no_such_test").is_some());
    assert!(unresolved_test("tests/no_such_file.rs::test").is_some());
    assert_eq!(unresolved_test("tests/references.rs::what_leads_nowhere_is_found"), None);
}
