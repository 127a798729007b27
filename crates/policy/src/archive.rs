//! A release as one file: a tar archive with sorted names and nothing that differs between machines.

use std::{collections::BTreeMap, io::Read as _};

use placet_core::Digest;
use tar::{Archive, Builder, EntryType, Header};

/// A release's files by path, `/` between its parts.
pub type Tree = BTreeMap<String, Vec<u8>>;

/// Where an archive holds what was rewritten, beside what the author wrote.
pub(crate) const REWRITTEN: &str = "rewritten/";

/// The most bytes of an archive, and of all its files together.
pub const MAX_ARCHIVE: usize = 32 << 20;

/// The canonical archive of a tree.
pub(crate) fn pack(tree: &Tree) -> std::io::Result<Vec<u8>> {
    let mut builder = Builder::new(Vec::new());
    for (path, bytes) in tree {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        builder.append_data(&mut header, path, bytes.as_slice())?;
    }
    builder.into_inner()
}

/// The files of an archive. Refused is whatever [`pack`] wouldn't have written: links, doubled, unsorted or odd paths,
/// other metadata, bytes after the end.
pub(crate) fn unpack(bytes: &[u8]) -> Result<Tree, String> {
    if bytes.len() > MAX_ARCHIVE {
        return Err(format!("the archive has more than {MAX_ARCHIVE} bytes"));
    }
    let mut tree = Tree::new();
    let unreadable = |error: std::io::Error| format!("the archive can't be read: {error}");
    for entry in Archive::new(bytes).entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let path = String::from_utf8(entry.path_bytes().into_owned())
            .map_err(|_| "a path is not UTF-8".to_owned())?;
        check_path(&path)?;
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(unreadable)?;
        tree.insert(path, content);
    }
    match pack(&tree) {
        Ok(again) if again == bytes => Ok(tree),
        Ok(_) | Err(_) => {
            Err("the archive isn't in its canonical form: it was changed, cut or packed by something else"
                .to_owned())
        }
    }
}

/// A path stays inside the release.
pub(crate) fn check_path(path: &str) -> Result<(), String> {
    let fine = !path.is_empty()
        && path.len() <= 512
        && !path.chars().any(|c| c.is_control() || c == '\\')
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if fine { Ok(()) } else { Err(format!("`{}` is no path of a release", path.escape_debug())) }
}

/// The digest of an archive's bytes.
pub(crate) fn digest(archive: &[u8]) -> Digest {
    Digest::of(archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let long = format!("policies/{}/p.rego", "a".repeat(150));
        [
            ("release.toml".to_owned(), b"name = \"a\"\n".to_vec()),
            (long, vec![0, 255, 10]),
            ("policies/p.rego".to_owned(), Vec::new()),
        ]
        .into()
    }

    #[test]
    fn an_archive_is_the_same_anywhere_and_comes_back_whole() {
        let bytes = pack(&tree()).unwrap();
        assert_eq!(bytes, pack(&tree()).unwrap());
        assert_eq!(unpack(&bytes).unwrap(), tree());
    }

    #[test]
    fn a_changed_or_cut_archive_is_refused() {
        let bytes = pack(&tree()).unwrap();
        for cut in [1, 511, 512, 1024, bytes.len() / 2] {
            assert!(unpack(bytes.get(..bytes.len() - cut).unwrap()).is_err(), "cut by {cut}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(unpack(&longer).is_err());
        for at in (0..600).step_by(7) {
            let mut changed = bytes.clone();
            *changed.get_mut(at).unwrap() ^= 1;
            assert!(unpack(&changed).is_err() || unpack(&changed).unwrap() != tree(), "byte {at}");
        }
        for bad in ["/etc/passwd", "../x", "a//b", "a/./b", "", "a\\b", "a\nb"] {
            assert!(check_path(bad).is_err(), "{bad:?}");
        }
    }
}
