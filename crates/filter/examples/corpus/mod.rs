//! The messages of a corpus: one directory a group; those of groups whose names begin with `spam` are unwanted.

use filter::bucket;
use filter::classifier::Class;
use std::path::Path;

/// A message as it lies in the corpus.
pub(crate) struct File {
    /// Group and name.
    pub(crate) name: String,
    pub(crate) octets: Vec<u8>,
    pub(crate) class: Class,
    /// A hash of the names cuts the corpus in two halves.
    pub(crate) is_first_half: bool,
}

/// All of them, by name.
pub(crate) fn read(directory: &Path) -> Vec<File> {
    let mut files = Vec::new();
    for group in std::fs::read_dir(directory).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        let of = group.file_name().into_string().unwrap();
        let class = if of.starts_with("spam") { Class::Spam } else { Class::Ham };
        for file in std::fs::read_dir(group.path()).unwrap().flatten().filter(|file| file.path().extension().is_some_and(|e| e == "txt")) {
            let name = format!("{of}/{}", file.file_name().to_str().unwrap());
            let is_first_half = (bucket(&format!("half {name}")).wrapping_mul(0x9e37_79b1) >> 8).is_multiple_of(2);
            files.push(File { octets: std::fs::read(file.path()).unwrap(), name, class, is_first_half });
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}
