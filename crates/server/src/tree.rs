//! A release's directory as a tree of files.

use std::{io, path::Path};

use placet_policy::{MAX_ARCHIVE, Tree};

/// The most files of a release.
const MAX_FILES: usize = 10_000;

/// Reads every file below `dir`; names that begin with a dot are left out. A symbolic link is refused: what it leads to
/// would not be what was reviewed.
pub fn read(dir: &Path) -> io::Result<Tree> {
    let mut tree = Tree::new();
    let mut bytes = 0;
    walk(dir, "", &mut tree, &mut bytes)?;
    Ok(tree)
}

fn walk(dir: &Path, prefix: &str, tree: &mut Tree, bytes: &mut usize) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a file in `{}` has a name that is not UTF-8", dir.display()),
            ));
        };
        if name.starts_with('.') {
            continue;
        }
        let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(&entry.path(), &path, tree, bytes)?;
        } else if kind.is_file() {
            let content = std::fs::read(entry.path())?;
            *bytes = bytes.saturating_add(content.len());
            tree.insert(path, content);
            if *bytes > MAX_ARCHIVE || tree.len() > MAX_FILES {
                return Err(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    "this is more than a release may hold",
                ));
            }
        } else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("`{path}` is neither a file nor a directory"),
            ));
        }
    }
    Ok(())
}
